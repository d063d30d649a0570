"""Events: typed, in order, bounded; callbacks that raise and consumers that are slow."""

from __future__ import annotations

import dataclasses
import logging

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    ItemEnded,
    ItemStarted,
    MapNode,
    NodeEnded,
    NodeStarted,
    RunEnded,
    RunError,
    RunNotFinishedError,
    RunStarted,
)
from hush.testing import capture_spans


def mapped(code_fn=lambda x: {"y": x}, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(PARENT["xs"])},
            key=lambda i: f"k{i['x']}",
            outputs={"y": PARENT},
            max_concurrency=1,
            **options,
        ) as m:
            (
                START
                >> CodeNode(name="w", code_fn=code_fn, inputs={"x": PARENT}, outputs={"y": PARENT})
                >> END
            )
        START >> m >> END
    return Hush(graph)


EXPECTED = [
    (RunStarted, "g"),
    (NodeStarted, "g.m"),
    (ItemStarted, "g.m[0]"),
    (NodeStarted, "g.m[0].w"),
    (NodeEnded, "g.m[0].w"),
    (ItemEnded, "g.m[0]"),
    (ItemStarted, "g.m[1]"),
    (NodeStarted, "g.m[1].w"),
    (NodeEnded, "g.m[1].w"),
    (ItemEnded, "g.m[1]"),
    (NodeEnded, "g.m"),
    (RunEnded, "g"),
]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_callback_gets_every_event_in_order(is_async):
    events = []

    async def later(event):
        await anyio.sleep(0)
        events.append(event)

    with capture_spans():
        result = await mapped().run({"xs": [5, 6]}, on_event=later if is_async else events.append)
    assert [(type(e), e.path) for e in events] == EXPECTED
    assert events[0].run_id == result.run_id
    assert events[0].trace_id == result.trace_id
    item = events[5]
    assert (item.index, item.key, item.total, item.outcome, item.node) == (0, "k5", 2, "ok", "g.m")
    assert item.run_s >= 0
    assert events[-1].outcome == "ok"
    with pytest.raises(dataclasses.FrozenInstanceError):
        item.index = 3


async def test_a_raising_callback_is_logged_once_and_the_run_goes_on(caplog):
    def broken(event):
        raise ValueError("observer")

    with caplog.at_level(logging.ERROR, "hush"):
        result = await mapped().run({"xs": [1, 2]}, on_event=broken)
    assert result["y"] == [1, 2]
    assert [r for r in caplog.records if "on_event raised" in r.getMessage()].__len__() == 1


async def test_failures_are_told():
    def fails(x):
        raise ValueError("no")

    events = []
    with pytest.raises(RunError):
        await mapped(fails).run({"xs": [1]}, on_event=events.append)
    ended = {e.path: e for e in events if isinstance(e, (NodeEnded, ItemEnded, RunEnded))}
    assert ended["g.m[0]"].outcome == "error"
    assert ended["g.m[0]"].error == "ValueError: no"
    assert ended["g"].outcome == "error"


async def test_cancelled_work_is_told():
    async def sleeps(x):
        await anyio.sleep(30)

    events = []
    with anyio.move_on_after(0.02):
        await mapped(sleeps).run({"xs": [1]}, on_event=events.append)
    ended = {e.path: e.outcome for e in events if isinstance(e, (NodeEnded, ItemEnded, RunEnded))}
    assert ended == dict.fromkeys(("g.m[0].w", "g.m[0]", "g.m", "g"), "cancelled")


async def test_a_stream_gives_the_same_events_and_the_result():
    async with mapped().stream({"xs": [5, 6]}) as events:
        with pytest.raises(RunNotFinishedError):
            events.result
        got = [(type(e), e.path) async for e in events]
        assert events.result["y"] == [5, 6]
    assert got == EXPECTED
    assert events.result["y"] == [5, 6]


async def test_a_stream_raises_the_runs_error_at_its_end():
    def fails(x):
        raise ValueError("no")

    got = []
    async with mapped(fails).stream({"xs": [1]}) as events:
        with pytest.raises(RunError, match="no"):
            async for event in events:
                got.append(type(event))
        with pytest.raises(RunError, match="no"):
            events.result
    assert got[-1] is RunEnded


async def test_leaving_the_block_cancels_the_run():
    async def sleeps(x):
        await anyio.sleep(30)

    with capture_spans() as captured:
        async with mapped(sleeps).stream({"xs": [1]}) as events:
            async for event in events:
                if isinstance(event, ItemStarted):
                    break
        with pytest.raises(RunNotFinishedError):
            events.result
    assert captured.open_spans == ()
    assert captured.tree.root.record.outcome == "cancelled"


async def test_the_blocks_own_error_comes_out_bare():
    with pytest.raises(KeyError, match="mine"):
        async with mapped().stream({"xs": [1]}) as events:
            async for _event in events:
                raise KeyError("mine")


async def test_a_slow_consumer_slows_the_run():
    done = []
    consumed = 0

    async def work(x):
        done.append(x)
        return {"y": x}

    async with mapped(work).stream({"xs": range(300)}) as events:
        async for _event in events:
            consumed += 1
            if consumed == 10:
                for _ in range(200):
                    await anyio.sleep(0)
                # Four events an item: the buffer's 64 and the 10 taken bound what was done.
                assert len(done) <= (64 + 10) / 4 + 2
    assert len(done) == 300


async def test_a_stream_must_be_entered():
    stream = mapped().stream({"xs": [1]})
    with pytest.raises(RunNotFinishedError, match="async with"):
        async for _ in stream:
            pass


async def test_cancelling_the_consumer_cancels_the_run():
    async def sleeps(x):
        await anyio.sleep(30)

    with capture_spans() as captured:
        with anyio.move_on_after(0.02) as scope:
            async with mapped(sleeps).stream({"xs": [1]}) as events:
                async for _ in events:
                    pass
        assert scope.cancelled_caught
    assert captured.tree.root.record.outcome == "cancelled"


async def test_a_callback_that_awaits_something_cancelled_is_logged(caplog, anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio has no cancellation without a scope")
    import asyncio

    async def broken(_event):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def grouped(_event):
        raise BaseExceptionGroup("x", [asyncio.CancelledError(), ValueError("v")])

    for callback in (broken, grouped):
        caplog.clear()
        with caplog.at_level(logging.ERROR, "hush"):
            result = await mapped().run({"xs": [1, 2]}, on_event=callback)
        assert result["y"] == [1, 2]
        assert len([r for r in caplog.records if "on_event raised" in r.getMessage()]) == 1


async def test_a_cancellation_that_reaches_a_callback_comes_out(caplog):
    scope = anyio.CancelScope()

    async def slow(_event):
        scope.cancel()
        await anyio.sleep(30)

    with scope:
        await mapped().run({"xs": [1]}, on_event=slow)
    assert scope.cancelled_caught
    assert not caplog.records


async def test_a_direct_cancellation_that_reaches_a_callback_comes_out(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio's tasks cannot be cancelled directly")
    import asyncio

    async def slow(event):
        if isinstance(event, ItemStarted):
            await anyio.sleep(30)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(mapped().run({"xs": [1]}, on_event=slow), 0.02)


async def test_a_stream_that_was_left_says_so():
    async def sleeps(x):
        await anyio.sleep(30)

    async with mapped(sleeps).stream({"xs": [1]}) as events:
        await anext(events)
    with pytest.raises(RunNotFinishedError, match="has been left"):
        await anext(events)


async def test_a_stream_that_is_at_its_end_stays_there():
    async with mapped().stream({"xs": [1]}) as events:
        async for _ in events:
            pass
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_an_item_that_was_cancelled_while_cleaning_up_is_told_with_its_error():
    scope = anyio.CancelScope()

    async def spoils(x):
        scope.cancel()
        try:
            await anyio.sleep(30)
        finally:
            raise OSError("lost")

    events = []
    with scope:
        await mapped(spoils).run({"xs": [1]}, on_event=events.append)
    ended = {e.path: e for e in events if isinstance(e, (NodeEnded, ItemEnded, RunEnded))}
    assert (ended["g.m[0].w"].outcome, ended["g.m[0].w"].error) == ("error", "OSError: lost")
    assert ended["g.m[0]"].outcome == ended["g"].outcome == "cancelled"
