"""Hedging: when a second call starts, who wins, what becomes of the loser."""

from __future__ import annotations

import threading
from collections import Counter

import anyio
import pytest

from hush.core import Hush, LLMStatusError, Retry
from hush.providers.race import Race
from hush.testing import Answer, ErrorReply, Hang, capture_spans
from tests.providers.asking import (
    ask,
    asks,
    asks_each,
    chats,
    events,
    outcomes,
    until,
)

SLOW = Answer("slow", delay_s=20)


def hedged(after_s=0.05, **options):
    return asks(hedge_after_s=after_s, **options)


async def test_a_second_call_answers_where_the_first_is_slow(server):
    server.script("m", SLOW, Answer("fast", prompt_tokens=40, completion_tokens=2))
    result, tree = await ask(server, hedged())
    assert result["content"] == "fast"
    loser, winner = chats(tree)
    assert (loser.outcome, winner.outcome) == ("cancelled", "ok")
    assert loser.attributes["hush.cancel.reason"] == "race_lost"
    assert [link.span_id for link in loser.links] == [winner.span_id]
    assert not loser.is_red
    assert "hush.llm.hedge" not in loser.attributes
    assert winner.attributes["hush.llm.hedge"] is True
    assert tree.one("node ask").record.attributes["hush.attempts"] == 2
    (hedge,) = events(tree.one("node ask").record, "hush.hedge")
    assert hedge == {"hush.llm.resource": "m", "hush.limit_s": 0.05}


async def test_the_losers_tokens_are_wasted(server):
    server.script("m", SLOW, Answer("fast", prompt_tokens=40, completion_tokens=2))
    prices = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    result, tree = await ask(server, hedged(), **prices)
    usage = result.usage
    # The same prompt at the same resource: what the winner was counted, the loser took too.
    assert (usage.input_tokens, usage.output_tokens, usage.wasted_tokens) == (40, 2, 40)
    assert (usage.calls, usage.complete) == (2, False)
    assert usage.cost_usd == pytest.approx(44e-6)
    assert usage.wasted_usd == pytest.approx(40e-6)
    loser = chats(tree)[0].attributes
    assert loser["hush.tokens.wasted"] == 40
    assert loser["hush.tokens.estimated"] is True
    assert loser["hush.tokens.complete"] is False
    for above in (tree.one("node ask"), tree.root):
        told = above.record.attributes
        assert told["hush.tokens.wasted"] == 40
        assert (told["hush.tokens.input"], told["hush.tokens.output"]) == (40, 2)
        assert told["hush.tokens.complete"] is False


async def test_no_second_call_where_the_first_is_fast(server):
    result, tree = await ask(server, hedged(10))
    assert result["content"] == "hello you"
    assert len(server.requests) == len(chats(tree)) == 1
    assert not events(tree.one("node ask").record, "hush.hedge")
    assert result.usage.complete


async def test_the_first_may_still_win(server):
    server.script("m", Answer("first", delay_s=0.3), SLOW)
    result, tree = await ask(server, hedged())
    assert result["content"] == "first"
    assert outcomes(tree) == ["ok", "cancelled"]
    winner, loser = chats(tree)
    assert [link.span_id for link in loser.links] == [winner.span_id]


async def test_what_fails_before_is_retried_not_hedged(server):
    server.script("m", ErrorReply(500))
    result, tree = await ask(server, hedged(10))
    assert result["content"] == "hello you"
    assert outcomes(tree) == ["error", "ok"]
    node = tree.one("node ask").record
    assert len(events(node, "hush.retry")) == 1
    assert not events(node, "hush.hedge")


async def test_what_fails_later_leaves_it_to_the_second(server):
    server.script("m", ErrorReply(500, delay_s=0.2), Answer("second", delay_s=0.4))
    result, tree = await ask(server, hedged())
    assert result["content"] == "second"
    assert outcomes(tree) == ["error", "ok"]
    assert len(server.requests) == 2
    node = tree.one("node ask").record
    assert not events(node, "hush.retry")
    assert not node.is_red


async def test_a_second_that_fails_leaves_it_to_the_first(server):
    server.script("m", Answer("first", delay_s=0.3), ErrorReply(500))
    result, tree = await ask(server, hedged())
    assert result["content"] == "first"
    assert outcomes(tree) == ["ok", "error"]


async def test_where_both_fail_the_pair_is_one_try(server):
    pair = ErrorReply(500, delay_s=0.2), ErrorReply(503, delay_s=0.3)
    server.script("m", *pair, *pair)
    error, tree = await ask(server, hedged(retry=Retry(2, initial_s=0.01)))
    assert isinstance(error.__cause__, LLMStatusError)
    assert outcomes(tree) == ["error"] * 4
    node = tree.one("node ask").record
    assert len(events(node, "hush.retry")) == 1
    assert len(events(node, "hush.hedge")) == 2
    # Each exception is recorded on its call, and nowhere again.
    assert [len(events(call, "exception")) for call in chats(tree)] == [1] * 4
    assert not events(node, "exception")
    assert len(error.__cause__.history) == 4


async def test_a_pair_goes_on_to_the_fallback(server):
    server.default("m", ErrorReply(401, delay_s=0.1))
    result, _ = await ask(server, hedged(fallback="n"), "m", "n")
    assert result["resource_used"] == "n"
    assert [request.model for request in server.requests] == ["m", "m", "n"]


async def test_the_second_waits_for_the_limit_like_any_call(server):
    server.script("m", Answer("first", delay_s=0.3))
    result, tree = await ask(server, hedged(), max_concurrency=1)
    assert result["content"] == "first"
    assert len(server.requests) == len(chats(tree)) == 1


async def test_the_clock_starts_when_the_limit_lets_the_first_in(server):
    server.default("m", Answer("said", delay_s=0.1))
    graph = asks_each(["a", "b", "c", "d"], 4, hedge_after_s=0.3)
    result, tree = await ask(server, graph, max_concurrency=1)
    assert result["content"] == ["said"] * 4
    assert len(chats(tree)) == 4


# --- streams -----------------------------------------------------------------------------------


async def streamed(server, after_s=0.05, **options):
    heard = []
    graph = hedged(after_s, stream=True, on_chunk=heard.append, **options)
    came, tree = await ask(server, graph)
    return came, tree, heard


async def test_the_first_piece_decides_a_stream(server):
    server.script("m", SLOW, Answer(chunks=["x ", "y ", "z"], chunk_delay_s=0.05))
    result, tree, heard = await streamed(server)
    assert result["content"] == "x y z"
    assert [(chunk.text, chunk.attempt) for chunk in heard] == [("x ", 2), ("y ", 2), ("z", 2)]
    assert outcomes(tree) == ["cancelled", "ok"]
    assert chats(tree)[0].attributes["hush.cancel.reason"] == "race_lost"
    assert result.usage.wasted_tokens > 0
    assert not result.usage.complete


async def test_a_stream_that_has_begun_is_not_hedged(server):
    server.script("m", Answer(chunks=["x ", "y ", "z"], chunk_delay_s=0.15))
    result, tree, heard = await streamed(server, 0.2)
    assert result["content"] == "x y z"
    assert [chunk.attempt for chunk in heard] == [1, 1, 1]
    assert len(chats(tree)) == 1


async def test_only_the_winners_pieces_are_delivered(server):
    late = Answer(chunks=["a"] * 50, delay_s=0.2, chunk_delay_s=0.01)
    server.script("m", late, late)
    _, tree, heard = await streamed(server)
    assert len(heard) == 50
    assert len({chunk.attempt for chunk in heard}) == 1
    assert sorted(outcomes(tree)) == ["cancelled", "ok"]


async def test_a_winner_that_breaks_off_is_tried_again(server):
    broken = Answer(chunks=["b ", "roken"], cut_after=1, delay_s=0.15)
    server.script("m", broken, SLOW, Answer(chunks=["who", "le"]))
    result, tree, heard = await streamed(server, 0.05)
    assert result["content"] == "whole"
    assert [(chunk.text, chunk.attempt) for chunk in heard] == [("b ", 1), ("who", 3), ("le", 3)]
    assert outcomes(tree) == ["error", "cancelled", "ok"]


# --- cancellation from outside --------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancellation_from_outside_ends_both(server, stream):
    server.default("m", Hang())
    engine = Hush(hedged(stream=stream), resources=server.resources("m"))
    with capture_spans() as captured:
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run)
            await until(lambda: server.active == 2)
            group.cancel_scope.cancel()
    assert captured.open_spans == ()
    captured.tree.assert_sound()
    calls = chats(captured.tree)
    assert [call.outcome for call in calls] == ["cancelled", "cancelled"]
    assert {call.attributes["hush.cancel.reason"] for call in calls} == {"external"}


async def test_the_nodes_deadline_ends_both(server):
    server.default("m", Hang())
    error, tree = await ask(server, hedged(deadline_s=0.3))
    assert error.outcome == "timeout"
    assert outcomes(tree) == ["cancelled", "cancelled"]
    assert {call.attributes["hush.cancel.reason"] for call in chats(tree)} == {"timeout"}


async def test_each_call_of_a_pair_has_its_timeout(server):
    server.default("m", Hang())
    error, tree = await ask(server, hedged(timeout_s=0.2, retry=Retry(1)))
    assert error.outcome == "timeout"
    assert outcomes(tree) == ["timeout", "timeout"]


async def test_many_hedges_at_once_leave_nothing(server):
    lock, seen = threading.Lock(), Counter()

    def slow_at_first(body):
        text = body["messages"][-1]["content"]
        with lock:
            seen[text] += 1
            return Hang() if seen[text] == 1 else Answer(text)

    server.default("m", slow_at_first)
    result, tree = await ask(server, asks_each(range(40), 8, hedge_after_s=0.03))
    assert result["content"] == [str(i) for i in range(40)]
    assert len(chats(tree)) == len(server.requests) == result.usage.calls == 80
    assert Counter(outcomes(tree)) == {"ok": 40, "cancelled": 40}


class FakeCall:
    """Waits until it is told, then has an answer."""

    def __init__(self):
        self.on_open = self.on_piece = self.claim = None
        self.told = anyio.Event()

    async def run(self):
        if self.on_open is not None:
            self.on_open()
        await self.told.wait()
        self.claim()
        return "answer"


async def test_a_second_that_loses_before_its_first_step_does_not_run():
    first, second = FakeCall(), FakeCall()

    def late():
        first.claim()
        first.told.set()
        return second

    with anyio.fail_after(5):
        assert await Race(late, streams=False).run(first, 0.001) == "answer"
