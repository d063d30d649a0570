"""Fallback and load balancing: who is called first, who next, and what is told of it."""

from __future__ import annotations

from collections import Counter

import pytest

from hush.core import Hush, LLMStatusError, Retry, RunError
from hush.testing import Answer, Disconnect, ErrorReply, Hang, Malformed
from tests.providers.asking import (
    FAST,
    ask,
    asks,
    asks_each,
    chats,
    events,
    outcomes,
    traced,
)


def called(server):
    return [request.model for request in server.requests]


@pytest.mark.parametrize(
    "reply",
    [
        ErrorReply(400),
        ErrorReply(401),
        ErrorReply(404),
        ErrorReply(429, code="insufficient_quota"),
        ErrorReply(400, code="content_filter"),
    ],
    ids=lambda reply: f"{reply.status} {reply.code or ''}".strip(),
)
async def test_what_stays_moves_on_at_once(server, reply):
    server.default("m", reply)
    result, tree = await ask(server, asks(fallback=["n"]), "m", "n")
    assert result["resource_used"] == "n"
    assert called(server) == ["m", "n"]
    node = tree.one("node ask").record
    (moved,) = events(node, "hush.fallback")
    assert moved == {
        "hush.llm.resource": "m",
        "error.type": str(reply.status),
        "hush.fallback.to": "n",
    }
    assert node.attributes["hush.attempts"] == 2
    assert not node.is_red
    assert outcomes(tree) == ["error", "ok"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ErrorReply(429), "429"),
        (ErrorReply(500), "500"),
        (Disconnect(), "connection"),
        (Malformed(), "bad_response"),
        (Hang(), "timeout"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
async def test_what_passes_moves_on_after_its_tries(server, reply, kind):
    server.default("m", reply)
    timeout_s = 0.3 if kind == "timeout" else 60.0
    result, tree = await ask(server, asks(fallback="n"), "m", "n", timeout_s=timeout_s)
    assert result["resource_used"] == "n"
    assert called(server) == ["m", "m", "m", "n"]
    node = tree.one("node ask").record
    assert len(events(node, "hush.retry")) == 2
    (moved,) = events(node, "hush.fallback")
    assert moved["error.type"] == kind
    assert [call.attributes["hush.attempt"] for call in chats(tree)] == [1, 2, 3, 4]


async def test_a_stream_that_breaks_off_moves_on(server):
    server.default("m", Answer(chunks=["never ", "used"], cut_after=1))
    result, tree = await ask(server, asks(fallback="n", stream=True, retry=Retry(1)), "m", "n")
    assert result["content"] == "hello you"
    broken, _ = chats(tree)
    assert broken.attributes["hush.tokens.complete"] is False
    assert result.usage.wasted_tokens == broken.attributes["hush.tokens.wasted"] > 0


async def test_fallbacks_are_called_in_their_order(server):
    for model in "abc":
        server.default(model, ErrorReply(401))
    result, tree = await ask(server, asks("a", fallback=["c", "llm:b", "d"]), *"abcd")
    assert result["resource_used"] == "d"
    assert called(server) == ["a", "c", "b", "d"]
    moved = events(tree.one("node ask").record, "hush.fallback")
    assert [one["hush.fallback.to"] for one in moved] == ["c", "b", "d"]


async def test_each_resource_has_tries_of_its_own(server):
    server.default("a", ErrorReply(500))
    server.default("b", ErrorReply(503))
    await ask(server, asks("a", fallback=["b", "c"], retry=Retry(2, initial_s=0.001)), *"abc")
    assert called(server) == ["a", "a", "b", "b", "c"]


async def test_where_all_fail_the_last_one_tells_of_all(server):
    server.default("a", ErrorReply(401))
    server.default("b", ErrorReply(404))
    error, tree = await ask(server, asks("a", fallback=["b"]), *"ab")
    cause = error.__cause__
    assert isinstance(cause, LLMStatusError)
    assert (cause.status, cause.resource) == (404, "b")
    assert cause.history == ("a: LLMStatusError 401", "b: LLMStatusError 404")
    assert "401" in str(error)
    assert str(tree) == "run g error\n  node ask error\n    chat a error\n    chat b error"
    assert not events(tree.one("node ask").record, "exception")
    assert len(events(tree.one("node ask").record, "hush.fallback")) == 1


async def test_a_fallback_that_was_called_first_is_not_called_again(server):
    server.default("a", ErrorReply(401))
    server.default("b", ErrorReply(401))
    await ask(server, asks("a", fallback=["a", "b"]), *"ab")
    assert called(server) == ["a", "b"]


# --- load balancing --------------------------------------------------------------------------


async def test_a_group_goes_on_to_its_others(server):
    for model in "abc":
        server.default(model, ErrorReply(401))
    error, _ = await ask(server, asks(list("abc")), *"abc")
    assert sorted(called(server)) == ["a", "b", "c"]
    assert len(error.__cause__.history) == 3


async def test_a_group_without_fallback_does_not(server):
    for model in "abc":
        server.default(model, ErrorReply(401))
    await ask(server, asks(list("abc"), fallback=[]), *"abc")
    assert len(server.requests) == 1


async def test_a_group_with_fallback_goes_on_to_that(server):
    for model in "ab":
        server.default(model, ErrorReply(401))
    result, _ = await ask(server, asks(["a", "b"], fallback="c"), *"abc")
    assert result["resource_used"] == "c"
    assert len(server.requests) == 2


def texts(count):
    return [f"text {i}" for i in range(count)]


async def shares(server, count, **options):
    graph = asks_each(texts(count), 16, resource_key=["a", "b", "c"], **options)
    await ask(server, graph, *"abc")
    return Counter(called(server))


async def test_without_ratios_each_gets_as_much(server):
    got = await shares(server, 300, balance_seed=1)
    assert all(70 < got[model] < 130 for model in "abc")


async def test_ratios_are_kept(server):
    got = await shares(server, 300, ratios=[6, 3, 1], balance_seed=2)
    assert 150 < got["a"] < 210
    assert 65 < got["b"] < 115
    assert 15 < got["c"] < 50


async def test_a_ratio_of_zero_is_for_need_only(server):
    got = await shares(server, 60, ratios=[1, 0, 1])
    assert set(got) == {"a", "c"}
    server.default("a", ErrorReply(401))
    server.default("c", ErrorReply(401))
    server.requests.clear()
    result, _ = await ask(server, asks(list("abc"), ratios=[1, 0, 1]), *"abc")
    assert result["resource_used"] == "b"
    assert called(server)[-1] == "b"


async def sequence(server, **options):
    server.requests.clear()
    await ask(server, asks_each(texts(40), 1, resource_key=["a", "b"], **options), *"ab")
    return called(server)


async def test_a_seed_makes_the_choice_the_same(server):
    first = await sequence(server, balance_seed=5)
    assert set(first) == {"a", "b"}
    assert await sequence(server, balance_seed=5) == first
    assert await sequence(server, balance_seed=6) != first


async def test_each_engine_of_a_graph_begins_its_seed_anew(server):
    graph = asks_each(texts(40), 1, resource_key=["a", "b"], balance_seed=5)
    resources = server.resources("a", "b")
    await traced(Hush(graph, resources=resources))
    await traced(Hush(graph, resources=resources))
    chosen = called(server)
    assert chosen[:40] == chosen[40:]


async def test_without_a_seed_it_is_not(server):
    assert await sequence(server) != await sequence(server)


async def test_retries_stay_with_the_chosen_one(server):
    for model in "ab":
        server.script(model, ErrorReply(500), ErrorReply(500), Answer("at last"))
    result, tree = await ask(server, asks(["a", "b"], retry=FAST), *"ab")
    assert result["content"] == "at last"
    assert len(set(called(server))) == 1
    assert not events(tree.one("node ask").record, "hush.fallback")


async def test_a_failure_after_one_try_keeps_the_clients_error_as_its_cause(server):
    server.script("m", ErrorReply(401))
    with pytest.raises(RunError) as caught:
        await Hush(asks(), resources=server.resources("m")).run()
    error = caught.value.__cause__
    assert isinstance(error, LLMStatusError)
    assert type(error.__cause__).__name__ == "AuthenticationError"
    assert error.__cause__.__cause__ is None
