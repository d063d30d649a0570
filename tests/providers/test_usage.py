"""Tokens and cost: on the call's span in the convention's words, summed up on all around it."""

from __future__ import annotations

import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    MapNode,
    RunError,
    Usage,
    WhileLoopNode,
)
from hush.providers import LLMNode
from hush.testing import Answer, ErrorReply, capture_spans

MESSAGES = [{"role": "user", "content": "hello there"}]
PRICES = {
    "input_usd_per_million": 2.0,
    "cached_usd_per_million": 0.5,
    "output_usd_per_million": 10.0,
}
ANSWER = Answer(
    "yes", prompt_tokens=100, completion_tokens=40, cached_tokens=60, reasoning_tokens=30
)
COST = (40 * 2.0 + 60 * 0.5 + 40 * 10.0) / 1_000_000


def usage(calls=1, **more):
    """What ``calls`` calls that are answered with ANSWER use."""
    return Usage(
        calls, 100 * calls, 40 * calls, 60 * calls, 30 * calls, cost_usd=approx(calls), **more
    )


def approx(calls=1):
    return pytest.approx(COST * calls)


def facts_of(tree, name, **attributes):
    return tree.one(name, attributes).record.attributes


def sums(facts):
    names = ("hush.tokens.input", "hush.tokens.output", "hush.tokens.complete", "hush.cost_usd")
    return tuple(facts[name] for name in names)


# --- one call --------------------------------------------------------------------------------


async def test_the_span_of_a_call(server, ask):
    server.script("m", ANSWER)
    inputs = {
        "temperature": 0.5,
        "top_p": 1,
        "max_tokens": 50,
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "stop": ["a", "b"],
    }
    with capture_spans() as captured:
        await ask(inputs, resource=PRICES)
    tree = captured.tree
    tree.assert_sound()
    node = tree.one("chat m")
    assert node.parent.name == "node ask"
    assert node.record.kind == "client"
    facts = dict(node.record.attributes)
    assert facts.pop("server.port") == int(server.url.rpartition(":")[2])
    assert facts.pop("hush.llm.cost_usd") == approx()
    assert facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stream": False,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "gen_ai.request.stop_sequences": ("a", "b"),
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.reasoning.output_tokens": 30,
        "server.address": "127.0.0.1",
        "hush.llm.resource": "m",
        "hush.attempt": 1,
        "hush.outcome": "ok",
    }


async def test_a_span_says_no_more_than_is_known(server, ask):
    server.script("m", Answer("yes", cached_tokens=0))
    with capture_spans() as captured:
        await ask()
    facts = facts_of(captured.tree, "chat m")
    unknown = {"gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.reasoning.output_tokens"}
    unknown |= {"gen_ai.request.temperature", "gen_ai.request.seed", "hush.llm.cost_usd"}
    assert not unknown & facts.keys()
    assert not any(name.startswith("hush.tokens.") for name in facts)


async def test_what_a_resource_says_of_itself(server, ask):
    params = {"temperature": 0.25, "max_completion_tokens": 9}
    resource = {"provider": "groq", "model": "real-name", "params": params}
    with capture_spans() as captured:
        result = await ask({"n": 2}, resource=resource)
    facts = facts_of(captured.tree, "chat real-name")
    assert facts["gen_ai.provider.name"] == "groq"
    assert (facts["hush.llm.resource"], facts["gen_ai.request.model"]) == ("m", "real-name")
    assert facts["gen_ai.request.temperature"] == 0.25
    assert facts["gen_ai.request.max_tokens"] == 9
    assert facts["gen_ai.request.choice.count"] == 2
    assert facts["gen_ai.response.finish_reasons"] == ("stop", "stop")
    assert result.usage_by_model.keys() == {"real-name"}


async def test_the_model_that_answered(server, ask):
    server.script("m", Answer("yes", model="m-2026"))
    with capture_spans() as captured:
        result = await ask()
    facts = facts_of(captured.tree, "chat m")
    assert (facts["gen_ai.request.model"], facts["gen_ai.response.model"]) == ("m", "m-2026")
    assert result["model_used"] == "m-2026"
    assert result.usage_by_model.keys() == {"m"}


@pytest.mark.parametrize("stream", [False, True])
async def test_all_around_it_carry_the_sums(server, ask, stream):
    server.script("m", ANSWER)
    with capture_spans() as captured:
        result = await ask(stream=stream, resource=PRICES)
    assert result["cost_usd"] == approx()
    assert result.usage == result["$state"].usage == usage()
    assert result.usage_by_model == result["$state"].usage_by_model == {"m": usage()}
    assert result.usage.total_tokens == 140
    for name in ("node ask", "run g"):
        facts = facts_of(captured.tree, name)
        assert sums(facts) == (100, 40, True, approx())
        assert not any(one.startswith("gen_ai.") for one in facts)


async def test_cached_tokens_without_a_price_of_their_own(server, ask):
    server.script("m", ANSWER)
    prices = {"input_usd_per_million": 2.0, "output_usd_per_million": 10.0}
    result = await ask(resource=prices)
    assert result.usage.cost_usd == pytest.approx((100 * 2.0 + 40 * 10.0) / 1_000_000)


async def test_without_prices(server, ask):
    server.script("m", ANSWER)
    with capture_spans() as captured:
        result = await ask()
    assert (result.usage.cost_usd, result.usage.input_tokens) == (None, 100)
    assert "hush.cost_usd" not in facts_of(captured.tree, "run g")


async def test_nothing_asked_nothing_used(engine_of):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="a", code_fn=lambda: {}) >> END
    with capture_spans() as captured:
        result = await engine_of(graph).run()
    assert result.usage == Usage()
    assert result.usage_by_model == {}
    for node in captured.tree.walk():
        assert not any(name.startswith("hush.tokens") for name in node.record.attributes)


# --- a server that does not count --------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_does_not_count(server, ask, stream):
    server.script("m", Answer("yes", usage=False))
    with capture_spans() as captured:
        result = await ask(stream=stream, resource=PRICES)
    nothing = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
    assert (result["tokens_used"], result["cost_usd"]) == (nothing, None)
    assert result.usage == Usage(calls=1, complete=False)
    for name in ("chat m", "node ask", "run g"):
        facts = facts_of(captured.tree, name)
        assert facts["hush.tokens.complete"] is False
        assert not any(one.startswith("gen_ai.usage.") for one in facts)
        # Not known is not zero.
        assert not {"hush.tokens.input", "hush.tokens.output", "hush.cost_usd"} & facts.keys()


async def test_what_is_known_is_summed_up_all_the_same(server, engine_of):
    server.script("m", ANSWER)
    server.script("n", Answer("yes", usage=False))
    with GraphNode(name="g") as graph:
        calls = [LLMNode(key, key, inputs={"messages": MESSAGES}) for key in ("m", "n")]
        START >> calls >> END
    with capture_spans() as captured:
        result = await engine_of(graph, **PRICES).run()
    assert result.usage == usage() + Usage(calls=1, complete=False)
    assert result.usage_by_model == {"m": usage(), "n": Usage(calls=1, complete=False)}
    assert sums(facts_of(captured.tree, "run g")) == (100, 40, False, approx())
    assert facts_of(captured.tree, "node m")["hush.tokens.complete"] is True


@pytest.mark.parametrize(
    "counts",
    [None, 3, {}, {"prompt_tokens": 3}, {"prompt_tokens": -1, "completion_tokens": 2}],
)
async def test_counts_that_make_no_sense(server, ask, counts):
    import json

    from hush.testing import Malformed

    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    server.script("m", Malformed(json.dumps({"choices": [choice], "usage": counts}).encode()))
    result = await ask()
    assert (result["content"], result["tokens_used"]["total_tokens"]) == ("a", None)
    assert not result.usage.complete


# --- sums ------------------------------------------------------------------------------------


def nested():
    """A nested graph with a map of three items of two calls each, and a call beside it."""
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner", inputs={"xs": PARENT["xs"]}) as inner:
            with MapNode(name="each", inputs={"x": Each(PARENT["xs"])}, max_concurrency=2) as each:
                first = LLMNode("first", "m", inputs={"messages": MESSAGES})
                second = LLMNode("second", "n", inputs={"messages": MESSAGES})
                START >> first >> second >> END
            START >> each >> END
        beside = LLMNode("beside", "m", inputs={"messages": MESSAGES})
        START >> [inner, beside] >> END
    return graph


async def test_sums_of_items_maps_graphs_and_runs(server, engine_of):
    server.script("m", ANSWER, repeat=True)
    server.script("n", ANSWER, repeat=True)
    with capture_spans() as captured:
        result = await engine_of(nested(), **PRICES).run({"xs": range(3)})
    tree = captured.tree
    tree.assert_sound()
    assert len(tree.all("chat *")) == 7
    calls = {"run g": 7, "graph inner": 6, "map each": 6, "node beside": 1}
    for name, count in calls.items():
        expected = (100 * count, 40 * count, True, approx(count))
        assert sums(facts_of(tree, name)) == expected
    for i in range(3):
        assert sums(tree.item("each", i).record.attributes) == (200, 80, True, approx(2))
    assert result.usage == usage(7)
    assert result.usage_by_model == {"m": usage(4), "n": usage(3)}
    for node in tree.walk():
        used = [name for name in node.record.attributes if name.startswith("gen_ai.")]
        assert bool(used) == node.name.startswith("chat ")


async def test_sums_of_loops(server, engine_of):
    server.script("m", ANSWER, repeat=True)
    with GraphNode(name="g") as graph:
        with WhileLoopNode(
            name="loop", condition="n < 3", inputs={"n": 0}, outputs={"n": PARENT}
        ) as loop:
            call = LLMNode("ask", "m", inputs={"messages": MESSAGES})
            add = CodeNode(
                name="add",
                code_fn=lambda n: {"n": n + 1},
                inputs={"n": PARENT["n"]},
                outputs={"n": PARENT},
            )
            START >> call >> add >> END
        START >> loop >> END
    with capture_spans() as captured:
        result = await engine_of(graph, **PRICES).run()
    assert result.usage == usage(3)
    tree = captured.tree
    assert sums(facts_of(tree, "loop loop")) == (300, 120, True, approx(3))
    rounds = [sums(node.record.attributes) for node in tree.all("iteration loop")]
    assert rounds == [(100, 40, True, approx())] * 3


async def test_runs_share_no_sums(server, single):
    server.script("m", ANSWER, repeat=True)
    engine = single(resource=PRICES)
    async with engine:
        first, second = await engine.run(), await engine.run()
    assert first.usage == second.usage == usage()


# --- failing runs ------------------------------------------------------------------------------


async def test_what_a_failing_run_used(server, engine_of):
    server.script("m", ANSWER)

    def fails(text):
        raise ValueError("no")

    with GraphNode(name="g") as graph:
        call = LLMNode("ask", "m", inputs={"messages": MESSAGES})
        bad = CodeNode(name="bad", code_fn=fails, inputs={"text": call["content"]})
        START >> call >> bad >> END
    with capture_spans() as captured, pytest.raises(RunError) as caught:
        await engine_of(graph, **PRICES).run()
    assert caught.value.usage == usage()
    assert sums(facts_of(captured.tree, "run g")) == (100, 40, True, approx())


async def test_a_call_that_is_refused_costs_nothing(server, ask):
    server.default("m", ErrorReply(400))
    with capture_spans() as captured, pytest.raises(RunError) as caught:
        await ask(resource=PRICES)
    assert caught.value.usage == Usage(calls=1)
    assert sums({**facts_of(captured.tree, "run g"), "hush.cost_usd": None}) == (0, 0, True, None)


# --- without telemetry, and without content ------------------------------------------------------


async def test_without_a_provider_of_telemetry_all_is_counted(server, ask):
    server.script("m", ANSWER)
    result = await ask(stream=True, resource=PRICES)
    assert result.trace_id is None
    assert result.usage == usage()


async def test_no_content_on_spans(server, ask):
    server.script("m", Answer("s3cret answer", reasoning="s3cret thought"))
    tool = {"type": "function", "function": {"name": "s3cret", "parameters": {}}}
    messages = [{"role": "user", "content": "s3cret question"}]
    with capture_spans() as captured:
        await ask({"messages": messages, "tools": [tool]})
    for span in captured.spans:
        private = {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions"}
        assert not private & span.attributes.keys()
        assert "s3cret" not in repr(span)
