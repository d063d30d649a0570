"""Retries: what is tried again, how long it waits, what is told of it, which limits end it."""

from __future__ import annotations

import email.utils
import pickle
import socket
import time

import anyio
import pytest

from hush.core import Hush, LLMConnectionError, LLMError, LLMStatusError, Retry
from hush.core import LLMTimeoutError as TimedOut
from hush.errors import NodeTimeoutError
from hush.testing import (
    Answer,
    Disconnect,
    ErrorReply,
    Hang,
    Malformed,
)
from tests.providers.asking import FAST, ask, asks, chats, events, outcomes, traced

TRANSIENT = {
    "429": (ErrorReply(429), "429"),
    "408": (ErrorReply(408), "408"),
    "409": (ErrorReply(409), "409"),
    "500": (ErrorReply(500), "500"),
    "503": (ErrorReply(503), "503"),
    "529": (ErrorReply(529), "529"),
    "disconnect": (Disconnect(), "connection"),
    "half a body": (Answer("half", cut_after=0), "connection"),
    "malformed": (Malformed(), "bad_response"),
    "no choices": (Malformed(b'{"choices": []}'), "bad_response"),
    "no object": (Malformed(b"[1, 2]"), "bad_response"),
    "hang": (Hang(), "timeout"),
}
FINAL = {
    "400": ErrorReply(400),
    "401": ErrorReply(401),
    "403": ErrorReply(403),
    "404": ErrorReply(404),
    "422": ErrorReply(422),
    "content filter": ErrorReply(400, code="content_filter"),
    "quota": ErrorReply(429, code="insufficient_quota"),
    "billing": ErrorReply(429, code="billing_hard_limit_reached"),
}


def of(table):
    return pytest.mark.parametrize("what", table.values(), ids=table.keys())


@of(TRANSIENT)
async def test_what_passes_is_tried_three_times(server, what):
    reply, kind = what
    server.script("m", reply, repeat=True)
    error, tree = await ask(server, timeout_s=0.2 if kind == "timeout" else 60.0)
    assert len(server.requests) == 3
    calls = chats(tree)
    assert [call.attributes["hush.attempt"] for call in calls] == [1, 2, 3]
    assert outcomes(tree) == ["timeout" if kind == "timeout" else "error"] * 3
    assert {call.attributes["error.type"] for call in calls} == {kind}
    assert error.__cause__.error_type == kind
    assert len(error.__cause__.history) == 3
    assert error.outcome == chats(tree)[0].outcome == tree.root.record.outcome


@of(TRANSIENT)
async def test_what_has_passed_is_no_failure(server, what):
    reply, kind = what
    server.script("m", reply, Answer("at last"))
    result, tree = await ask(server, timeout_s=0.3 if kind == "timeout" else 60.0)
    assert result["content"] == "at last"
    assert [bad.outcome == "ok" for bad in chats(tree)] == [False, True]
    assert [node.name for node in tree if node.record.is_red] == ["chat m"]


@of(FINAL)
async def test_what_stays_is_not_tried_again(server, what):
    server.script("m", what, repeat=True)
    error, tree = await ask(server)
    assert len(server.requests) == len(chats(tree)) == 1
    cause = error.__cause__
    assert isinstance(cause, LLMStatusError)
    assert (cause.status, cause.history) == (what.status, ())
    assert cause.code == (what.code or cause.code)
    assert cause.request_id == "req_1"
    assert not events(tree.one("node ask").record, "hush.retry")


async def test_a_refused_connection_is_tried_three_times():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        nowhere = {"llm:m": {"api_key": "k", "model": "m", "base_url": address}}
        error, tree = await traced(Hush(asks(), resources=nowhere))
    assert isinstance(error.__cause__, LLMConnectionError)
    assert "base_url" in str(error)
    assert [call.attributes["error.type"] for call in chats(tree)] == ["connection"] * 3
    # Nothing was sent, so nothing was wasted and every number is known.
    assert (error.usage.calls, error.usage.wasted_tokens, error.usage.complete) == (3, 0, True)


async def test_each_call_is_told_once_and_the_whole_at_the_end(server):
    server.script("m", ErrorReply(429), ErrorReply(500), ErrorReply(503))
    error, tree = await ask(server)
    assert str(tree) == (
        "run g error\n  node ask error\n    chat m error\n    chat m error\n    chat m error"
    )
    node = tree.one("node ask").record
    retries = events(node, "hush.retry")
    assert [(one["hush.attempt"], one["error.type"]) for one in retries] == [(1, "429"), (2, "500")]
    pauses = [one["hush.backoff_s"] for one in retries]
    assert pauses == [pytest.approx(0.01), pytest.approx(0.02)]
    assert node.attributes["hush.attempts"] == 3
    assert node.attributes["hush.backoff_s"] >= sum(pauses)
    assert node.attributes["hush.run_s"] <= node.duration_s - sum(pauses)
    # Each exception stands on its call alone; what is above says where it happened.
    assert [len(events(call, "exception")) for call in chats(tree)] == [1, 1, 1]
    assert not events(node, "exception")
    assert not events(tree.root.record, "exception")
    for above in (node, tree.root.record):
        assert above.is_red
        assert "g.ask" in above.status_description
    assert tree.root.record.attributes["hush.failed.node"] == "g.ask"
    for told in (str(error), str(error.__cause__), tree.root.record.status_description):
        assert all(status in told for status in ("429", "500", "503"))
    assert error.__cause__.history == tuple(
        f"m: LLMStatusError {status}" for status in (429, 500, 503)
    )


async def test_each_call_links_to_the_one_before(server):
    server.script("m", ErrorReply(500), ErrorReply(500))
    _, tree = await ask(server)
    first, second, third = chats(tree)
    assert [link.span_id for link in second.links] == [first.span_id]
    assert [link.span_id for link in third.links] == [second.span_id]


async def test_one_call_that_works_says_nothing_of_retries(server):
    _, tree = await ask(server)
    node = tree.one("node ask").record
    assert node.attributes["hush.attempts"] == 1
    assert "hush.backoff_s" not in node.attributes
    assert not events(node, "hush.retry")


# --- waiting as the server asks ------------------------------------------------------------


def in_seconds(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least_s"),
    [
        (lambda: {"retry_after_s": 0.1}, 0.1),
        (lambda: {"retry_after_ms": 80, "retry_after_s": 30}, 0.08),
        # A date has whole seconds, so what is left of two is more than half of one.
        (lambda: {"headers": {"Retry-After": in_seconds(2)}}, 0.5),
    ],
    ids=["seconds", "milliseconds", "date"],
)
async def test_a_retry_waits_as_long_as_the_server_asks(server, asked, least_s):
    server.script("m", ErrorReply(429, **asked()))
    _, tree = await ask(server)
    (retry,) = events(tree.one("node ask").record, "hush.retry")
    assert least_s <= retry["hush.backoff_s"] < 2.5
    first, second = server.requests
    assert second.at - first.at >= least_s
    assert tree.one("node ask").record.attributes["hush.backoff_s"] >= least_s


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "soon"},
        {"Retry-After": "-5"},
        {"Retry-After": "nan"},
        {"Retry-After": "1e999"},
        {"Retry-After": ""},
        {"Retry-After": in_seconds(-600)},
        {"retry-after-ms": "x", "Retry-After": "0.01"},
    ],
)
async def test_an_odd_retry_after_does_no_harm(server, headers):
    server.script("m", ErrorReply(503, headers=headers))
    result, tree = await ask(server)
    assert result["content"]
    (retry,) = events(tree.one("node ask").record, "hush.retry")
    assert retry["hush.backoff_s"] < 0.1


async def test_a_wait_beyond_what_the_resource_allows_fails_at_once(server):
    server.script("m", ErrorReply(429, retry_after_s=120))
    error, _ = await ask(server)
    assert len(server.requests) == 1
    assert error.__cause__.retry_after_s == 120
    for said in ("120 s", "max_retry_after_s=60"):
        assert said in str(error)


async def test_with_a_fallback_left_nobody_waits_long(server):
    server.script("m", ErrorReply(429, retry_after_s=20))
    result, tree = await ask(server, asks(fallback="n"), "m", "n")
    assert result["resource_used"] == "n"
    assert [call.attributes["hush.llm.resource"] for call in chats(tree)] == ["m", "n"]


# --- the user's own policy -------------------------------------------------------------------


async def test_attempts_are_the_users(server):
    server.script("m", ErrorReply(500), repeat=True)
    await ask(server, asks(retry=Retry(5, initial_s=0.001)))
    assert len(server.requests) == 5
    await ask(server, asks(retry=Retry(1)))
    assert len(server.requests) == 6


async def test_a_predicate_decides_alone(server):
    seen = []

    def on_403(error):
        seen.append(error)
        return isinstance(error, LLMError) and error.status == 403

    graph = asks(retry=Retry(3, on=on_403, initial_s=0.001))
    server.script("m", ErrorReply(403), ErrorReply(403), Answer("let in"))
    result, _ = await ask(server, graph)
    assert result["content"] == "let in"
    assert [error.status for error in seen] == [403, 403]
    server.script("m", ErrorReply(500))
    error, _ = await ask(server, graph)
    assert error.__cause__.status == 500
    assert len(server.requests) == 4


async def test_classes_decide_alone(server):
    graph = asks(retry=Retry(3, on=(LLMConnectionError, TimedOut), initial_s=0.001))
    server.script("m", Disconnect(), ErrorReply(500))
    error, _ = await ask(server, graph)
    assert error.__cause__.status == 500
    assert len(server.requests) == 2


# --- errors travel ----------------------------------------------------------------------------


@of({**{name: reply for name, (reply, _) in TRANSIENT.items()}, **FINAL})
async def test_errors_can_be_pickled(server, what):
    server.script("m", what, repeat=True)
    error, _ = await ask(server, timeout_s=0.3)
    for one in (error.__cause__, error):
        copy = pickle.loads(pickle.dumps(one))
        assert (type(copy), str(copy)) == (type(one), str(one))
    copy = pickle.loads(pickle.dumps(error.__cause__))
    assert vars(copy) == vars(error.__cause__)
    assert copy.error_type == error.__cause__.error_type


# --- time limits --------------------------------------------------------------------------------


async def test_the_nodes_timeout_is_for_each_call(server):
    server.script("m", Hang(), repeat=True)
    error, tree = await ask(server, asks(timeout_s=0.05, retry=Retry(2, initial_s=0.001)))
    assert isinstance(error.__cause__, TimedOut)
    assert isinstance(error.__cause__, NodeTimeoutError)
    assert "timeout_s=0.05" in str(error)
    assert str(tree) == (
        "run g timeout\n  node ask timeout\n    chat m timeout\n    chat m timeout"
    )


async def test_the_resources_timeout_is_for_a_whole_answer(server):
    server.script("m", Hang())
    error, tree = await ask(server, asks(retry=Retry(1)), timeout_s=0.05)
    assert "llm:m.timeout_s=0.05" in str(error)
    assert outcomes(tree) == ["timeout"]


async def test_the_resources_timeout_is_for_a_streams_silence(server):
    words = [f"w{i} " for i in range(8)]
    server.script("m", Answer(chunks=words, chunk_delay_s=0.05))
    result, _ = await ask(server, asks(stream=True), timeout_s=0.3)
    assert result["content"] == "".join(words)
    server.script("m", Answer(chunks=["a", "b"], chunk_delay_s=30))
    error, tree = await ask(server, asks(stream=True, retry=Retry(1)), timeout_s=0.1)
    assert isinstance(error.__cause__, TimedOut)
    assert "sent nothing for timeout_s=0.1" in str(error)
    assert outcomes(tree) == ["timeout"]
    assert tree.root.record.outcome == "timeout"


async def test_the_nodes_timeout_is_for_a_whole_stream(server):
    server.script("m", Answer(chunks=["a"] * 1000, chunk_delay_s=0.02))
    error, tree = await ask(server, asks(stream=True, timeout_s=0.2, retry=Retry(1)))
    assert "within timeout_s=0.2" in str(error)
    assert tree.one("chat m").record.attributes["hush.tokens.wasted"] > 0


async def test_the_deadline_is_for_everything(server):
    server.script("m", ErrorReply(500), ErrorReply(500), Hang())
    error, tree = await ask(server, asks(deadline_s=0.3))
    assert type(error.__cause__) is NodeTimeoutError
    assert "deadline_s=0.3" in str(error)
    assert error.outcome == "timeout"
    assert str(tree) == (
        "run g timeout\n  node ask timeout\n"
        "    chat m error\n    chat m error\n    chat m cancelled"
    )
    cut = chats(tree)[2]
    assert cut.attributes["hush.cancel.reason"] == "timeout"
    assert cut.attributes["hush.cancel.cause"] == "g.ask"
    assert tree.one("node ask").record.attributes["hush.attempts"] == 3


async def test_the_deadline_ends_a_pause_too(server):
    server.script("m", ErrorReply(429, retry_after_s=30))
    with anyio.fail_after(10):
        error, tree = await ask(server, asks(deadline_s=0.2))
    assert error.outcome == "timeout"
    assert str(tree) == "run g timeout\n  node ask timeout\n    chat m error"
    assert 0 < tree.one("node ask").record.attributes["hush.backoff_s"] < 10


async def test_a_failure_after_retries_can_be_captured(server):
    from hush.core import END, PARENT, START, GraphNode
    from hush.providers import LLMNode
    from tests.providers.asking import say

    server.script("m", ErrorReply(500), repeat=True)
    with GraphNode(name="g") as graph:
        node = LLMNode(
            name="ask",
            resource_key="m",
            inputs={"messages": say("hi")},
            outputs={"error": PARENT["why"], "content": PARENT},
            on_error="capture",
            retry=FAST,
        )
        START >> node >> END
    result, tree = await ask(server, graph)
    assert result["content"] is None
    assert result["why"]["path"] == "g.ask"
    assert "500" in result["why"]["message"]
    assert tree.one("node ask").record.is_red
    assert not tree.root.record.is_red
