"""Cancellation of calls: at every moment it comes out, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc

import anyio
import anyio.lowlevel
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    First,
    GraphNode,
    Hush,
    MapNode,
    Retry,
)
from hush.providers import LLMNode, ResourceHub
from hush.testing import Answer, ErrorReply, Hang, capture_spans
from tests.core.cancelling import cancelled_after
from tests.providers.asking import FAST, asks, asks_at_once, asks_each, chats, say, traced, until

ENDLESS = Answer(chunks=["w "] * 2000, chunk_delay_s=0.01)


def tasks():
    """How many tasks the running loop has."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        import trio

        return trio.lowlevel.current_statistics().tasks_living


async def cut(server, engine, moment):
    """Cancel a run at a moment; return its tree. Nothing is left, and it can run again."""
    before = tasks()
    with capture_spans() as captured:
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run)
            await until(moment)
            group.cancel_scope.cancel()
    assert captured.open_spans == ()
    captured.tree.assert_sound()
    root = captured.tree.root.record
    assert root.outcome == "cancelled"
    assert root.attributes["hush.cancel.reason"] == "external"
    await until(lambda: server.open_connections == 0 and server.active == 0)
    assert tasks() == before
    return captured.tree


async def works(server, engine):
    """Whether an engine works again."""
    server.default("m", Answer("again"))
    server.script("m")
    result = await engine.run()
    return result["content"] == "again"


async def test_before_it_starts(server):
    engine = Hush(asks(), resources=server.resources("m"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.run()
    assert scope.cancelled_caught
    assert server.requests == []
    assert await works(server, engine)


@pytest.mark.parametrize("stream", [False, True])
async def test_while_waiting_for_the_answer_to_begin(server, stream):
    server.default("m", Hang())
    engine = Hush(asks(stream=stream), resources=server.resources("m"))
    tree = await cut(server, engine, lambda: server.active == 1)
    assert str(tree) == "run g cancelled\n  node ask cancelled\n    chat m cancelled"
    call = tree.one("chat m").record.attributes
    # What the model made of it is not known; that it was asked, is.
    assert call["hush.tokens.wasted"] > 0
    assert call["hush.tokens.complete"] is False
    assert call["hush.cancel.reason"] == "external"
    assert await works(server, engine)


async def test_in_mid_stream(server):
    server.default("m", ENDLESS)
    heard = []
    graph = asks(stream=True, on_chunk=heard.append)
    engine = Hush(graph, resources=server.resources("m"))
    tree = await cut(server, engine, lambda: len(heard) >= 4)
    call = tree.one("chat m").record.attributes
    assert call["hush.tokens.wasted"] >= 4
    assert tree.root.record.attributes["hush.tokens.wasted"] == call["hush.tokens.wasted"]
    assert tree.root.record.attributes["hush.tokens.complete"] is False
    assert await works(server, engine)


async def test_during_a_pause(server):
    server.default("m", ErrorReply(429, retry_after_s=30))
    engine = Hush(asks(), resources=server.resources("m"))
    tree = await cut(server, engine, lambda: len(server.requests) == 1 and server.active == 0)
    assert tree.one("node ask").record.outcome == "cancelled"
    server.default("m", Answer("again"))
    assert await works(server, engine)


async def test_while_waiting_for_a_limit(server):
    server.default("m", Hang())
    hub = ResourceHub.from_mapping(server.resources("m", max_concurrency=1))
    engine = Hush(asks_at_once("a", "b", "c"), resources=hub)
    limiter = engine._resources.endpoint("m").shared.limiter
    tree = await cut(server, engine, lambda: server.active == 1 and limiter.snapshot().waiting == 2)
    assert len(chats(tree)) == len(server.requests) == 1
    assert (limiter.snapshot().in_use, limiter.snapshot().waiting) == (0, 0)


async def test_many_items_at_once(server):
    server.default("m", Hang())
    engine = Hush(asks_each(range(60), 30), resources=server.resources("m"))
    tree = await cut(server, engine, lambda: server.active == 30)
    assert len(chats(tree)) == 30
    assert {call.outcome for call in chats(tree)} == {"cancelled"}


def everything():
    """A graph that passes through all that a call may pass through."""
    with GraphNode(name="g") as graph:
        made = [
            LLMNode("plain", "m", inputs={"messages": say("plain")}, outputs={"content": PARENT}),
            LLMNode("retried", "flaky", inputs={"messages": say("retried")}, retry=FAST),
            LLMNode("moved", "bad", fallback="m", inputs={"messages": say("moved")}, retry=FAST),
            LLMNode(
                "streamed",
                "m",
                inputs={"messages": say("some words to stream")},
                stream=True,
                on_chunk=lambda _: None,
            ),
            LLMNode("hedged", "slow", inputs={"messages": say("hedged")}, hedge_after_s=0.002),
            LLMNode(
                "both",
                "slow",
                inputs={"messages": say("both")},
                hedge_after_s=0.002,
                stream=True,
                timeout_s=30,
                deadline_s=60,
            ),
            LLMNode("limited", "one", inputs={"messages": say("limited")}),
            LLMNode("too", "one", inputs={"messages": say("too")}),
        ]
        START >> made >> END
    return graph


def scripted(server):
    server.default("m", Answer("m"))
    server.script("flaky", ErrorReply(500), Answer("f"), repeat=True)
    server.default("bad", ErrorReply(401))
    server.default("slow", Answer("s", delay_s=0.006))
    resources = server.resources("m", "flaky", "bad", "slow")
    return {**resources, **server.resources("one", max_concurrency=1)}


async def test_at_every_step_of_the_loop(server):
    engine = Hush(everything(), resources=scripted(server))
    await engine.run()
    before = tasks()
    steps = cancelled = finished = 0
    async with engine:
        while finished < 3:
            _, result = await cancelled_after(steps, engine)
            assert tasks() == before
            assert resting(engine)
            cancelled += result is None
            finished += result is not None
            # Finely at first, where the calls start; then wider, for the loop spins idly.
            steps += 1 if steps < 40 else steps // 8
            assert steps < 1_000_000
    # How many steps the answers take is the server's affair; less than this it never is.
    assert cancelled > 10
    # The garbage collector finds nothing that was left half-way: warnings are errors.
    gc.collect()


def resting(engine):
    found = (engine._resources.endpoint(name) for name in ("m", "flaky", "bad", "slow", "one"))
    limiters = [endpoint.shared.limiter.snapshot() for endpoint in found]
    return all((one.in_use, one.waiting) == (0, 0) for one in limiters)


@pytest.mark.parametrize("round_", range(3))
async def test_at_every_moment(server, round_):
    """The same by the clock, each run with connections of its own."""
    engine = Hush(everything(), resources=scripted(server))
    before = tasks()
    for i in range(25):
        with capture_spans() as captured:
            with anyio.move_on_after(0.0015 * i + 0.0005 * round_):
                await engine.run()
        assert captured.open_spans == ()
        if captured.spans:
            captured.tree.assert_sound()
        assert tasks() == before
        assert resting(engine)
        if i % 5 == 0:
            await until(lambda: server.open_connections == 0 and server.active == 0)
    assert (await engine.run())["content"] == "m"
    gc.collect()


@pytest.mark.parametrize("stream", [False, True])
def test_a_direct_cancel_of_the_task_comes_out(server, stream):
    server.default("m", ENDLESS if stream else Hang())
    engine = Hush(asks(stream=stream), resources=server.resources("m"))

    async def main():
        with capture_spans() as captured:
            task = asyncio.ensure_future(engine.run())
            await until(lambda: server.active == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        captured.tree.assert_sound()
        assert captured.tree.root.record.attributes["hush.cancel.reason"] == "external"
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


async def test_leaving_a_stream_of_events_in_the_middle(server):
    server.default("m", ENDLESS)
    engine = Hush(asks(stream=True), resources=server.resources("m"))
    before = tasks()
    with capture_spans() as captured:
        async with engine.stream() as events:
            chunks = 0
            async for event in events:
                chunks += type(event).__name__ == "ChunkReceived"
                if chunks == 3:
                    break
    assert captured.open_spans == ()
    captured.tree.assert_sound()
    assert captured.tree.one("chat m").record.outcome == "cancelled"
    assert tasks() == before
    await until(lambda: server.open_connections == 0)


async def test_an_error_in_the_block_comes_out_of_a_stream(server):
    server.default("m", ENDLESS)
    engine = Hush(asks(stream=True), resources=server.resources("m"))
    with pytest.raises(KeyError, match="mine"):
        async with engine.stream() as events:
            async for event in events:
                if type(event).__name__ == "ChunkReceived":
                    raise KeyError("mine")


async def test_a_race_of_two_nodes_cancels_the_losers_call(server):
    server.default("m", Hang())
    server.default("n", Answer("fast", delay_s=0.05))
    with GraphNode(name="g") as graph:
        racers = [
            LLMNode(
                name=f"ask_{model}",
                resource_key=model,
                inputs={"messages": say("hi")},
                outputs={"content": PARENT},
            )
            for model in "mn"
        ]
        START >> racers >> CodeNode(name="won", code_fn=lambda: {}, join=First()) >> END
    result, tree = await traced(Hush(graph, resources=server.resources("m", "n")))
    assert result["content"] == "fast"
    lost = tree.one("chat m").record
    assert lost.outcome == "cancelled"
    assert lost.attributes["hush.cancel.reason"] == "race_lost"
    assert result.usage.wasted_tokens == lost.attributes["hush.tokens.wasted"] > 0


async def test_a_sibling_that_fails_cancels_the_call(server):
    server.default("m", Hang())

    async def fails():
        await until(lambda: server.active == 1)
        raise ValueError("no")

    with GraphNode(name="g") as graph:
        ask = LLMNode(name="ask", resource_key="m", inputs={"messages": say("hi")})
        START >> [ask, CodeNode(name="bad", code_fn=fails)] >> END
    error, tree = await traced(Hush(graph, resources=server.resources("m")))
    assert error.path == "g.bad"
    call = tree.one("chat m").record
    assert call.attributes["hush.cancel.reason"] == "fail_fast"
    assert call.attributes["hush.cancel.cause"] == "g.bad"
    assert error.usage.wasted_tokens > 0


async def test_an_items_timeout_cancels_its_call(server):
    server.script("m", Hang())
    server.default("m", Answer("ok"))
    graph = asks_each(range(4), 1, {"on_error": "collect", "timeout_s": 0.2})
    result, tree = await traced(Hush(graph, resources=server.resources("m")))
    assert result["content"] == [None, "ok", "ok", "ok"]
    assert tree.item("each", 0).record.outcome == "timeout"
    call = tree.item("each", 0).children[0].children[0].record
    assert call.outcome == "cancelled"
    assert call.attributes["hush.cancel.reason"] == "timeout"
    assert call.attributes["hush.cancel.cause"] == "g.each[0]"


async def test_an_items_retry_calls_again(server):
    server.script("m", ErrorReply(401))
    with GraphNode(name="g") as graph:
        with MapNode(
            name="each",
            inputs={"text": Each(["a"])},
            retry=Retry(2, initial_s=0.001),
            outputs={"content": PARENT},
        ) as each:
            ask = LLMNode(
                name="ask",
                resource_key="m",
                inputs={"messages": PARENT["text"].apply(say)},
                outputs={"content": PARENT},
            )
            START >> ask >> END
        START >> each >> END
    result, tree = await traced(Hush(graph, resources=server.resources("m")))
    assert result["content"] == ["a"]
    assert len(tree.all("attempt each")) == len(chats(tree)) == 2
