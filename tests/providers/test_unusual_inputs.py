"""What a node may be given that is no ordinary call, and what then becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from hush import semconv
from hush.core import GraphError, Hush, LLMStatusError, PromptError, Retry, RunError
from hush.testing import Answer, ErrorReply, ScriptedLLMServer
from tests.providers.asking import asks, asks_each, say, traced


class Unspeakable(BaseModel):
    do: Callable[[int], int]


@pytest.mark.parametrize("hedge_after_s", [None, 5.0])
@pytest.mark.parametrize("name", ["response_format", "tools"])
async def test_a_model_without_a_schema_is_told_as_such(server, name, hedge_after_s):
    value = Unspeakable if name == "response_format" else [Unspeakable]
    inputs = {"messages": say("hi"), name: value}
    engine = Hush(asks(inputs=inputs, hedge_after_s=hedge_after_s), resources=server.resources("m"))
    with pytest.raises(RunError) as caught:
        await engine.run()
    assert isinstance(caught.value.__cause__, PromptError)
    assert "Unspeakable has no JSON schema" in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("hedge_after_s", [None, 5.0])
async def test_a_stop_that_is_none_goes_to_the_server(server, hedge_after_s):
    inputs = {"messages": say("hi"), "stop": 5}
    graph = asks(inputs=inputs, hedge_after_s=hedge_after_s)
    result = await Hush(graph, resources=server.resources("m")).run()
    assert result["content"] == "hi"
    assert server.requests[0].body["stop"] == 5


async def test_a_generic_models_name_is_one_that_servers_take(server):
    class Box(BaseModel):
        size: int

    Box.__name__ = "Box[int]"
    server.script("m", Answer('{"size": 3}'))
    graph = asks(inputs={"messages": say("hi"), "response_format": Box})
    await Hush(graph, resources=server.resources("m")).run()
    assert server.requests[0].body["response_format"]["json_schema"]["name"] == "Box_int"


async def test_a_retry_after_beyond_all_calendars_is_none(server):
    server.script(
        "m",
        ErrorReply(429, headers={"Retry-After": "Thu, 01 Jan 99999999999 00:00:00 GMT"}),
        Answer("there"),
    )
    result = await Hush(asks(), resources=server.resources("m")).run()
    assert result["content"] == "there"


async def test_one_limit_under_two_names_is_sent_under_one(server):
    inputs = {"messages": say("hi"), "max_completion_tokens": 5}
    resources = server.resources("m", params={"max_tokens": 100, "temperature": 0.5})
    await Hush(asks(inputs=inputs), resources=resources).run()
    body = server.requests[0].body
    assert (body.get("max_tokens"), body["max_completion_tokens"]) == (None, 5)
    assert body["temperature"] == 0.5


async def test_stream_options_of_a_resource_go_with_streams_alone(server):
    resources = server.resources("m", params={"stream_options": {"include_usage": False}})
    await Hush(asks(), resources=resources).run()
    await Hush(asks(stream=True), resources=resources).run()
    plain, streamed = (request.body for request in server.requests)
    assert "stream_options" not in plain
    assert streamed["stream_options"] == {"include_usage": False}


def test_a_wrong_hedge_is_called_by_its_name():
    with pytest.raises(GraphError, match=r"g\.ask: hedge_after_s=-1\. Give a positive number"):
        Hush(asks(hedge_after_s=-1), resources={"llm:m": {"api_key": "k", "model": "m"}})


async def test_a_call_that_was_refused_gives_its_tokens_back(server):
    server.script("m", ErrorReply(401))
    resources = server.resources("m", tokens_per_minute=600)
    engine = Hush(asks(), resources=resources)
    with pytest.raises(RunError) as caught:
        await engine.run()
    assert isinstance(caught.value.__cause__, LLMStatusError)
    began = time.perf_counter()
    await engine.run()
    # The charge of the refused call would take 26 seconds to come back.
    assert time.perf_counter() - began < 5


async def test_a_wait_for_a_limit_that_is_cut_short_is_told_all_the_same(server):
    graph = asks_each(["a", "b", "c"], 3, map_options={"on_error": "collect"}, deadline_s=0.5)
    _, tree = await traced(Hush(graph, resources=server.resources("m", requests_per_minute=6)))
    starved = [
        node.record.attributes
        for node in tree.all("node ask")
        if node.record.attributes[semconv.OUTCOME] == "timeout"
    ]
    assert len(starved) == 2
    for facts in starved:
        assert 0.3 < facts[semconv.WAIT_LIMITER_S] < 3
        assert facts[semconv.WAIT_LIMITER] == "llm:m/requests_per_minute"
    assert tree.one("map each").record.attributes[semconv.MAP_BOUND_BY] == "rate_limit"


async def test_an_outage_that_hits_many_calls_at_once_is_one_failure(server):
    began = time.monotonic()
    server.default(
        "m",
        lambda _body: ErrorReply(503) if time.monotonic() - began < 0.2 else Answer("ok"),
    )
    graph = asks_each(
        list(map(str, range(200))),
        10,
        map_options={"on_error": "collect"},
        retry=Retry(attempts=4, initial_s=0.2, jitter=0.0),
    )
    result = await Hush(graph, resources=server.resources("m")).run()
    assert result["content"] == ["ok"] * 200


@pytest.mark.parametrize("stream", [False, True])
async def test_headers_of_a_node_count_as_secret(stream):
    secrets = ("override-secret-1", "team-secret-777")
    headers = {"Authorization": f"Bearer {secrets[0]}", "X-Team": secrets[1]}
    inputs = {"messages": say("hi"), "extra_headers": headers}
    with ScriptedLLMServer(api_key=None) as server:
        server.script("m", ErrorReply(403, message=f"who is {secrets[1]} with {secrets[0]}?"))
        engine = Hush(asks(inputs=inputs, stream=stream), resources=server.resources("m"))
        error, tree = await traced(engine)
        (asked,) = server.requests
    assert asked.headers["x-team"] == secrets[1]
    told = [str(error), str(error.__cause__), repr(error.__cause__.__cause__)]
    told += [str(node.record) for node in tree.walk()]
    assert "[redacted]" in told[0]
    assert not any(secret in text for secret in secrets for text in told)
