"""Calls to language models as Jaeger shows them: a retry, a fallback, a hedge, a cut stream.

The models are scripted; client, HTTP, export and Jaeger are real.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hush.core import END, PARENT, START, Each, GraphNode, MapNode, Retry
from hush.providers import LLMNode, PromptNode
from hush.testing import Answer, ErrorReply, ScriptedLLMServer
from tests.e2e.jaeger_server import JaegerServer
from tests.e2e.runs import Backend, Exported, at, events, exporting, linked, outline, raised_at

pytestmark = [pytest.mark.timeout(30), pytest.mark.jaeger]

SOON = Retry(attempts=3, initial_s=0.01)
MESSAGES = [{"role": "user", "content": "Where is the longest river?"}]


@pytest.fixture
def exported(jaeger: JaegerServer) -> Iterator[Exported]:
    with exporting(jaeger) as one:
        yield one


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def server() -> Iterator[ScriptedLLMServer]:
    with ScriptedLLMServer() as one:
        yield one


def call(name: str, key: str, **options) -> LLMNode:
    return LLMNode(
        name=name,
        resource_key=key,
        retry=SOON,
        inputs={"messages": MESSAGES},
        outputs={"content": PARENT[name]},
        **options,
    )


def eventful() -> GraphNode:
    with GraphNode(name="ask") as graph:
        calls = [
            call("retried", "busy"),
            call("moved", "down", fallback=["up"]),
            call("hedged", "slow", hedge_after_s=0.1),
            call("streamed", "cut", stream=True),
        ]
        START >> calls >> END
    return graph


def script(server: ScriptedLLMServer) -> None:
    server.script("busy", ErrorReply(429, retry_after_ms=20), Answer("Nile."))
    server.script("down", ErrorReply(401))
    server.script("up", Answer("Amazon."))
    server.script("slow", Answer("late", delay_s=5.0), Answer("Nile, I think."))
    server.script("cut", Answer("Nile or Amazon", cut_after=2), Answer("Nile or Amazon"))


def test_each_call_is_a_span_and_says_what_became_of_it(
    exported: Exported, backend: Backend, server: ScriptedLLMServer
):
    script(server)
    models = ("busy", "down", "up", "slow", "cut")
    resources = server.resources(*models, input_usd_per_million=1.0, output_usd_per_million=4.0)
    result, found = exported.run(eventful(), backend=backend, resources=resources)
    lines = outline(found).splitlines()
    assert sorted(lines[1:]) == sorted(
        [
            "  node retried",
            "    chat busy[1] error",
            "    chat busy[2]",
            "  node moved",
            "    chat down[1] error",
            "    chat up[2]",
            "  node hedged",
            "    chat slow[1] cancelled",
            "    chat slow[2]",
            "  node streamed",
            "    chat cut[1] error",
            "    chat cut[2]",
        ]
    )
    chats = {
        (span.name, span.tags["hush.attempt"]): span
        for span in found.spans
        if span.name.startswith("chat ")
    }
    assert {span.tags["span.kind"] for span in chats.values()} == {"client"}
    assert chats["chat busy", 1].tags["error.type"] == "429"
    assert chats["chat down", 1].tags["error.type"] == "401"
    assert chats["chat cut", 1].tags["error.type"] == "stream_broken"
    assert chats["chat cut", 1].tags["hush.tokens.complete"] is False
    # Each failed call holds its own exception, and what contains it none.
    failed = [span for span in chats.values() if span.tags["hush.outcome"] == "error"]
    assert sorted(span.name for span in raised_at(found)) == sorted(span.name for span in failed)

    loser, winner = chats["chat slow", 1], chats["chat slow", 2]
    assert loser.tags["hush.cancel.reason"] == "race_lost"
    assert winner.tags["hush.llm.hedge"] is True
    assert winner.span_id in {reference.span_id for reference in loser.references}
    assert loser.tags["hush.tokens.wasted"] > 0
    assert "gen_ai.usage.input_tokens" not in loser.tags

    retries = events(at(found, "ask.retried"), "hush.retry")
    assert [log.fields["error.type"] for log in retries] == ["429"]
    (moved,) = events(at(found, "ask.moved"), "hush.fallback")
    assert moved.fields["hush.fallback.to"] == "up"
    assert len(events(at(found, "ask.hedged"), "hush.hedge")) == 1

    run = found.one("run ask")
    used = [span for span in chats.values() if span.tags["hush.outcome"] == "ok"]
    for sum_of, part in (
        ("hush.tokens.input", "gen_ai.usage.input_tokens"),
        ("hush.tokens.output", "gen_ai.usage.output_tokens"),
    ):
        assert run.tags[sum_of] == sum(span.tags[part] for span in used)
    assert run.tags["hush.tokens.wasted"] == result.usage.wasted_tokens > 0
    assert run.tags["hush.tokens.complete"] is False
    assert run.tags["hush.cost_usd"] == pytest.approx(result.usage.cost_usd)
    assert not any(name.startswith("gen_ai.") for name in run.tags)


def test_a_map_that_waits_for_a_rate_limit_says_so(
    exported: Exported, backend: Backend, server: ScriptedLLMServer
):
    with GraphNode(name="batch") as graph:
        with MapNode(
            name="all", inputs={"city": Each(["Rome", "Paris", "Oslo"] * 20)}, max_concurrency=10
        ) as cities:
            prompt = PromptNode(
                name="prompt", inputs={"prompt": "Where is {city}?", "city": PARENT["city"]}
            )
            asked = LLMNode(
                name="ask",
                resource_key="m",
                inputs={"messages": prompt["messages"]},
                outputs={"content": PARENT},
            )
            START >> prompt >> asked >> END
        START >> cities >> END
    resources = server.resources("m", requests_per_minute=1200)
    _, found = exported.run(graph, backend=backend, resources=resources)
    spans = {span.name: span for span in found.spans}
    assert spans["map all"].tags["hush.map.bound_by"] == "rate_limit"
    assert spans["map all"].tags["hush.wait.limiter"] == "llm:m/requests_per_minute"
    waited = [
        span.tags["hush.wait.limiter_s"]
        for span in found.spans
        if span.name == "item all" and "hush.wait.limiter_s" in span.tags
    ]
    assert waited
    assert sum(waited) == pytest.approx(spans["map all"].tags["hush.wait.limiter_s"], rel=0.01)
    for span in found.spans:
        if span.name == "chat m" and linked(found, span):
            pytest.fail("a first call follows upon no other")
