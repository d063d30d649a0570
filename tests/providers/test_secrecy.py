"""Secrecy: no key and no secret header in anything that leaves, whatever the server says."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import traceback

import pytest
from pydantic import BaseModel

from hush.core import Hush, Retry, RunError
from hush.providers import ResourceHub
from hush.testing import Answer, Disconnect, ErrorReply, Hang, Malformed, ScriptedLLMServer
from tests.providers.asking import FAST, asks, asks_each, traced

KEY = "sesame-7f3a9c51-open"
TOKEN = "team-token-b81d04e6"
HEADER = f"Bearer {TOKEN}"
# A part is as bad as the whole: what is cut must not be cut through a secret.
NEEDLES = ("7f3a9c", "9c51-op", "b81d04", "team-token")


@pytest.fixture
def keeper():
    """A server that asks for the distinctive key."""
    with ScriptedLLMServer(api_key=KEY) as running:
        yield running


def guarded(server, *models, **options):
    headers = {"x-team": HEADER}
    resources = server.resources(*(models or ("m",)), headers=headers, **options)
    return ResourceHub.from_mapping(resources)


def exceptions_of(error):
    """An exception and all that hang on it."""
    found, left = [], [error]
    while left:
        one = left.pop()
        if one is None or one in found:
            continue
        found.append(one)
        left += [one.__cause__, one.__context__]
        left += getattr(one, "exceptions", ())
        left += [failure.exception for failure in getattr(one, "failures", ())]
    return found


def said_by(error):
    """All that an exception and its chain can show."""
    for one in exceptions_of(error):
        yield str(one)
        yield repr(one)
        yield repr(one.args)
        yield repr(vars(one))
        yield repr(getattr(one, "__notes__", ""))
        yield "".join(traceback.format_exception(one))
        for carrier in (getattr(one, "request", None), getattr(one, "response", None)):
            if carrier is not None:
                yield repr(list(carrier.headers.raw))
                yield repr(carrier.headers)
                yield repr(carrier.content)
                yield repr(carrier.url)
        yield repr(getattr(one, "body", ""))
    yield pickle.dumps(error).decode("latin-1")
    for failure in getattr(error, "failures", ()):
        yield repr(failure)
        yield str(failure)


def said_by_spans(tree):
    for node in tree:
        record = node.record
        yield record.name
        yield repr(record.attributes)
        yield repr(record.events)
        yield repr(record.status_description)
        yield repr(record.links)


def said_by_objects(engine, hub):
    yield from map(repr, (hub, engine, engine._resources, engine.plan))
    endpoint = engine._resources.endpoint("m")
    resource = endpoint.resource
    yield from map(repr, (endpoint, endpoint.shared, resource, resource.api_key))
    yield from map(str, (hub, engine, endpoint, resource))
    yield repr(resource.model_dump())
    yield resource.model_dump_json()


def assert_secret(texts):
    for text in texts:
        for needle in (*NEEDLES, KEY, TOKEN):
            assert needle not in text


ECHOES = {
    "401": ErrorReply(401, f"Incorrect API key provided: {KEY}."),
    "401 cut": ErrorReply(401, "x" * 492 + KEY),
    "401 twice": ErrorReply(401, f"{KEY} and {HEADER}", headers={"x-echo": KEY}),
    "500 body": ErrorReply(500, f"panic: headers were Authorization=Bearer {KEY}, {HEADER}"),
    "500 header": ErrorReply(500, "oops", headers={"x-debug": f"key={KEY}"}),
    "500 cookie": ErrorReply(500, "oops", headers={"set-cookie": f"token={TOKEN}"}),
    "400 type": ErrorReply(400, "no", type=f"bad_{KEY}", param=KEY),
    "400 code": ErrorReply(400, "no", code=KEY),
    "429 request id": ErrorReply(429, "slow", headers={"x-request-id": KEY}),
    "malformed": Malformed(b"{" + KEY.encode()),
    "malformed cut": Malformed(b"x" * 185 + KEY.encode()),
    "malformed quote": Malformed(b"'" + KEY.encode() + b'"'),
    "no choices": Malformed(json.dumps({"choices": [], "echo": KEY}).encode()),
    "no message": Malformed(json.dumps({"choices": [{"message": KEY}]}).encode()),
    "disconnect": Disconnect(),
    "hang": Hang(),
    "cut": Answer(f"{KEY}", cut_after=1),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("reply", ECHOES.values(), ids=ECHOES.keys())
async def test_no_failure_shows_a_secret(keeper, reply, stream, caplog):
    caplog.set_level(logging.DEBUG, logger="hush")
    keeper.default("m", reply)
    hub = guarded(keeper, timeout_s=0.2 if isinstance(reply, Hang) else 60)
    engine = Hush(asks(stream=stream), resources=hub)
    error, tree = await traced(engine)
    assert isinstance(error, RunError)
    assert keeper.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert keeper.requests[0].headers["x-team"] == HEADER
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))
    assert_secret(said_by_objects(engine, hub))
    assert_secret(record.getMessage() for record in caplog.records if record.name == "hush")


@pytest.mark.parametrize(
    "event",
    [
        b'{"error": {"message": "bad key %b"}}',
        b'{"error": "bad key %b"}',
        b'{"choices": [{"index": "%b"}]}',
        b"x" * 185 + b"%b",
    ],
)
async def test_no_event_of_a_stream_shows_a_secret(keeper, event):
    keeper.default("m", Malformed(event % KEY.encode()))
    error, tree = await traced(Hush(asks(stream=True), resources=guarded(keeper)))
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))


async def test_a_refused_connection_shows_none():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        entry = {
            "api_key": KEY,
            "model": "m",
            "base_url": f"http://127.0.0.1:{taken.getsockname()[1]}/v1",
            "headers": {"x-team": HEADER},
        }
        error, tree = await traced(Hush(asks(), resources={"llm:m": entry}))
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))


async def test_a_wrong_key_shows_none():
    with ScriptedLLMServer(api_key="another") as server:
        resources = server.resources("m", api_key=KEY)
        error, tree = await traced(Hush(asks(), resources=resources))
    assert error.__cause__.status == 401
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))


async def test_azure_shows_none(keeper):
    keeper.default("m", ErrorReply(401, f"Access denied for {KEY}", headers={"api-key": KEY}))
    hub = guarded(keeper, api_type="azure", api_version="2024-10-21")
    error, tree = await traced(Hush(asks(), resources=hub))
    assert keeper.requests[0].headers["api-key"] == KEY
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))


async def test_no_result_shows_a_secret(keeper, caplog):
    caplog.set_level(logging.DEBUG, logger="hush")
    keeper.script("m", ErrorReply(500, KEY), Answer("fine", headers={"x-echo": KEY}))
    hub = guarded(keeper)
    engine = Hush(asks(hedge_after_s=10), resources=hub)
    result, tree = await traced(engine)
    assert result["content"] == "fine"
    assert_secret((repr(result), str(result), repr(result.state), repr(vars(result.state))))
    assert_secret((repr(result.usage), repr(result.usage_by_model)))
    assert_secret([pickle.dumps(result).decode("latin-1")])
    assert_secret(said_by_spans(tree))
    assert_secret(said_by_objects(engine, hub))
    assert_secret(record.getMessage() for record in caplog.records if record.name == "hush")


async def test_collected_failures_show_none(keeper):
    keeper.default("m", ErrorReply(401, f"bad key {KEY}"))
    graph = asks_each(range(3), 3, {"on_error": "collect"})
    result, tree = await traced(Hush(graph, resources=guarded(keeper)))
    assert result.failure_count == 3
    assert_secret([repr(result), repr(result.failures)])
    for failure in result.failures:
        assert_secret(said_by(failure.exception))
    assert_secret(said_by_spans(tree))


async def test_fallback_tells_of_all_and_shows_none(keeper):
    keeper.default("m", ErrorReply(401, f"bad key {KEY}"))
    keeper.default("n", ErrorReply(403, f"bad token {TOKEN}"))
    graph = asks(fallback="n", retry=FAST)
    error, tree = await traced(Hush(graph, resources=guarded(keeper, "m", "n")))
    assert len(error.__cause__.history) == 2
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))


async def test_a_prompt_that_cannot_be_sent_shows_none(keeper):
    class Odd:
        pass

    graph = asks(inputs={"messages": [{"role": "user", "content": Odd()}]}, retry=Retry(1))
    error, tree = await traced(Hush(graph, resources=guarded(keeper)))
    assert keeper.requests == []
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))


class Verdict(BaseModel):
    score: int


async def test_an_answer_that_does_not_fit_shows_none(keeper):
    keeper.default("m", Answer(json.dumps({"score": KEY})))
    inputs = {"messages": [{"role": "user", "content": "?"}], "response_format": Verdict}
    error, tree = await traced(Hush(asks(inputs=inputs), resources=guarded(keeper)))
    assert_secret(said_by(error))
    assert_secret(said_by_spans(tree))
