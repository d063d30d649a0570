"""Clean-up that raises: what had been asked for happens all the same, and is what is told.

A cancellation is not lost because code that it ended raised instead, or caught it; nor is
a time limit. What was raised is told besides.
"""

from __future__ import annotations

import asyncio

import anyio
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
    NodeTimeoutError,
    Retry,
    RunError,
    UnexpectedCancellationError,
    WhileLoopNode,
)
from hush.testing import capture_spans


@pytest.fixture
def asyncio_only(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio's tasks cannot be cancelled directly")


BEGUN = []
"""What has begun to wait for its end, of the test that is running."""


@pytest.fixture(autouse=True)
def nothing_has_begun():
    BEGUN.clear()


async def until_begun(count=1):
    with anyio.fail_after(30):
        while len(BEGUN) < count:
            await anyio.sleep(0)


async def spoils():
    BEGUN.append("spoils")
    try:
        await anyio.sleep(30)
    finally:
        raise OSError("connection lost")


async def swallows():
    BEGUN.append("swallows")
    try:
        await anyio.sleep(30)
    except anyio.get_cancelled_exc_class():
        pass  # wrong, yet it happens
    return {}


def followed(code_fn, *, beside=None, **options):
    """A node, another after it, perhaps one beside it; and what ran after it."""
    ran = []

    def after():
        ran.append("after")

    with GraphNode(name="g") as graph:
        node = CodeNode(name="n", code_fn=code_fn, **options)
        START >> node >> CodeNode(name="after", code_fn=after) >> END
        if beside is not None:
            START >> CodeNode(name="beside", code_fn=beside) >> END
    return Hush(graph), ran


async def brief():
    await anyio.sleep(0.001)


async def long():
    await anyio.sleep(30)


WAYS = pytest.mark.parametrize(
    "options",
    [{}, {"on_error": "capture"}, {"retry": Retry(3, initial_s=0.0)}],
    ids=["plain", "captured", "retried"],
)


# --- a direct cancellation of the task, asyncio's ------------------------------------------


@WAYS
@pytest.mark.parametrize("beside", [None, brief, long], ids=["alone", "after another", "beside"])
@pytest.mark.usefixtures("asyncio_only")
async def test_a_direct_cancellation_comes_out_past_a_clean_up_that_raises(options, beside):
    engine, ran = followed(spoils, beside=beside, **options)
    with capture_spans() as captured:
        task = asyncio.ensure_future(engine.run())
        await until_begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ran == []
    captured.tree.assert_sound()
    assert captured.tree.root.record.outcome == "cancelled"
    # What the node raised instead is on its span.
    assert captured.tree.one("node n").record.is_red


@WAYS
@pytest.mark.usefixtures("asyncio_only")
async def test_wait_for_is_not_kept_waiting_by_a_clean_up_that_raises(options):
    engine, ran = followed(spoils, **options)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.run(), 0.02)
    assert ran == []


@WAYS
@pytest.mark.usefixtures("asyncio_only")
async def test_a_timeout_of_asyncio_around_a_run_is_one(options):
    engine, ran = followed(spoils, **options)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await engine.run()
    assert ran == []
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("beside", [None, brief], ids=["alone", "after another"])
@pytest.mark.usefixtures("asyncio_only")
async def test_a_direct_cancellation_that_a_node_catches_ends_the_run(beside):
    engine, ran = followed(swallows, beside=beside)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.run(), 0.02)
    assert ran == []


@pytest.mark.usefixtures("asyncio_only")
async def test_a_direct_cancellation_that_the_last_node_catches_comes_out():
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=swallows) >> END
    task = asyncio.ensure_future(Hush(graph).run())
    await until_begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("max_concurrency", [1, 2])
@pytest.mark.parametrize("code_fn", [spoils, swallows])
@pytest.mark.usefixtures("asyncio_only")
async def test_a_map_that_collects_stops_on_a_direct_cancellation(max_concurrency, code_fn):
    begun = []

    async def item(x):
        begun.append(x)
        return await code_fn()

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(range(50))},
            max_concurrency=max_concurrency,
            on_error="collect",
        ) as m:
            START >> CodeNode(name="w", code_fn=item, inputs={"x": PARENT}) >> END
        START >> m >> END
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Hush(graph).run(), 0.02)
    assert len(begun) <= max_concurrency


@pytest.mark.usefixtures("asyncio_only")
async def test_a_loop_stops_on_a_direct_cancellation():
    begun = []

    async def step(n):
        begun.append(n)
        await swallows()
        return {"n": n + 1}

    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="l", condition="n < 50", inputs={"n": 0}) as loop:
            node = CodeNode(name="s", code_fn=step, inputs={"n": PARENT}, outputs={"n": PARENT})
            START >> node >> END
        START >> loop >> END
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Hush(graph).run(), 0.02)
    assert begun == [0]


@pytest.mark.parametrize("waits_for", ["source", "item"])
@pytest.mark.parametrize("options", [{}, {"on_error": "capture"}])
@pytest.mark.usefixtures("asyncio_only")
async def test_a_direct_cancellation_comes_out_past_a_source_that_raises(waits_for, options):
    async def source():
        try:
            yield 1
            await anyio.sleep(30)
        finally:
            raise KeyError("closing")

    async def item():
        await anyio.sleep(30 if waits_for == "item" else 0)

    async def after():
        return {"ran": True}

    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, max_concurrency=1, **options) as m:
            START >> CodeNode(name="w", code_fn=item) >> END
        START >> m >> CodeNode(code_fn=after) >> END
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Hush(graph).run({"xs": source()}), 0.02)


@pytest.mark.usefixtures("asyncio_only")
async def test_what_was_asked_of_the_task_before_the_run_is_not_the_runs():
    async def makes_up():
        raise asyncio.CancelledError

    with GraphNode(name="g") as graph:
        node = CodeNode(name="n", code_fn=makes_up, on_error="capture", outputs={"*": PARENT})
        START >> node >> END

    async def main():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            # Cleaning up with a workflow, under a count that stays where it is.
            return await Hush(graph).run()

    task = asyncio.ensure_future(main())
    await asyncio.sleep(0)
    task.cancel()
    assert (await task)["error"]["type"] == "hush.errors.UnexpectedCancellationError"


@pytest.mark.usefixtures("asyncio_only")
async def test_a_cancellation_that_is_on_its_way_when_the_run_begins_comes_out():
    async def main():
        asyncio.current_task().cancel()
        await followed(brief)[0].run()

    task = asyncio.ensure_future(main())
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.usefixtures("asyncio_only")
async def test_a_timeout_of_asyncio_inside_a_node_is_the_nodes_own():
    async def times_out():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)

    engine, ran = followed(times_out, on_error="capture")
    result = await engine.run()
    assert [f.error_type for f in result.failures] == ["TimeoutError"]
    assert ran == ["after"]


# --- a cancel scope around the run ---------------------------------------------------------


async def cancelled_once_begun(engine):
    """Run, cancel when a node waits, and say whether that came out."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel():
                await until_begun()
                scope.cancel()

            group.start_soon(cancel)
            await engine.run()
            pytest.fail("it gave a result")
    return scope.cancelled_caught


@WAYS
@pytest.mark.parametrize("beside", [None, long], ids=["alone", "beside"])
async def test_a_scopes_cancellation_comes_out_past_a_clean_up_that_raises(options, beside):
    engine, ran = followed(spoils, beside=beside, **options)
    with capture_spans() as captured:
        assert await cancelled_once_begun(engine)
    assert ran == []
    assert captured.tree.root.record.outcome == "cancelled"


async def test_a_captured_clean_up_in_the_last_node_is_no_result():
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=spoils, on_error="capture") >> END
    assert await cancelled_once_begun(Hush(graph))


# --- time limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"timeout_s": 0.02}, {"deadline_s": 0.02}])
@pytest.mark.parametrize("beside", [None, long], ids=["alone", "beside"])
async def test_a_limit_of_a_node_is_told_although_its_clean_up_raises(limit, beside):
    engine, _ = followed(spoils, beside=beside, **limit)
    with capture_spans() as captured, pytest.raises(RunError, match=r"g\.n.*0\.02") as caught:
        await engine.run()
    timeout = caught.value.__cause__
    assert isinstance(timeout, NodeTimeoutError)
    assert isinstance(timeout.__cause__, OSError)
    assert [f.error_type for f in caught.value.failures][-1] == "OSError"
    node = captured.tree.one("node n").record
    assert node.outcome == "timeout"


@pytest.mark.parametrize("options", [{}, {"on_error": "capture"}], ids=["plain", "captured"])
@pytest.mark.parametrize("beside", [None, long], ids=["alone", "beside"])
async def test_a_runs_deadline_is_told_although_a_clean_up_raises(beside, options):
    engine, _ = followed(spoils, beside=beside, **options)
    with capture_spans() as captured, pytest.raises(RunError, match="deadline_s") as caught:
        await engine.run(deadline_s=0.2)
    timeout = caught.value.__cause__
    assert isinstance(timeout, NodeTimeoutError)
    told = [(f.path, f.kind) for f in caught.value.failures]
    if options:
        # What the node captures stays in it.
        assert told == [("g", "timeout")]
    else:
        assert told == [("g", "timeout"), ("g.n", "raised")]
        assert isinstance(timeout.__cause__, OSError)
    assert captured.tree.one("node n").record.is_red
    assert captured.tree.root.record.outcome == "timeout"


async def test_a_retry_on_timeouts_sees_one_although_the_clean_up_raises():
    tries = []

    async def work():
        tries.append(None)
        if len(tries) == 1:
            await spoils()
        return {}

    retry = Retry(2, on=TimeoutError, initial_s=0.0)
    engine, ran = followed(work, timeout_s=0.05, retry=retry)
    result = await engine.run()
    assert len(tries) == 2
    assert ran == ["after"]
    assert result.failures == ()


async def test_a_limit_of_a_graph_is_told_although_a_clean_up_in_it_raises():
    with GraphNode(name="g") as graph:
        with GraphNode(name="sub", timeout_s=0.2) as sub:
            START >> [CodeNode(code_fn=spoils), CodeNode(code_fn=long)] >> END
        START >> sub >> END
    with pytest.raises(RunError, match=r"g\.sub.*timeout_s") as caught:
        await Hush(graph).run()
    assert [f.path for f in caught.value.failures] == ["g.sub", "g.sub.spoils"]


async def test_a_limit_of_an_item_is_told_although_its_clean_up_raises():
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each([1, 2])},
            timeout_s=0.2,
            on_error="collect",
            outputs={"errors": PARENT},
        ) as m:
            START >> CodeNode(name="w", code_fn=spoils) >> END
        START >> m >> END
    result = await Hush(graph).run()
    kinds = [error["type"] for error in result["errors"]]
    assert kinds == ["hush.errors.NodeTimeoutError"] * 2
    assert [f.kind for f in result.failures] == ["collected"] * 2
    assert {type(f.exception.__cause__) for f in result.failures} == {OSError}


# --- what the run itself cancels -----------------------------------------------------------


@pytest.mark.parametrize("retry", [None, Retry(3, initial_s=0.0)])
async def test_clean_up_of_a_failures_siblings_is_told(retry):
    async def fails():
        await until_begun(2)
        raise ValueError("no")

    with GraphNode(name="g") as graph:
        with GraphNode(name="sub") as sub:
            START >> [CodeNode("deep", spoils, retry=retry), CodeNode(code_fn=long)] >> END
        nodes = [CodeNode("s", spoils, retry=retry), sub, CodeNode(code_fn=fails)]
        START >> nodes >> END
    with pytest.raises(RunError, match=r"g\.fails") as caught:
        await Hush(graph).run()
    assert caught.value.failures[0].path == "g.fails"
    assert sorted(f.path for f in caught.value.failures[1:]) == ["g.s", "g.sub.deep"]


async def test_clean_up_of_who_lost_a_race_is_told():
    with GraphNode(name="g") as graph:
        won = CodeNode(name="won", code_fn=lambda: {}, join=First())
        START >> [CodeNode(code_fn=spoils), CodeNode(code_fn=until_begun)] >> won >> END
    result = await Hush(graph).run()
    assert [(f.path, f.kind) for f in result.failures] == [("g.spoils", "tolerated")]


# --- groups --------------------------------------------------------------------------------


@pytest.mark.usefixtures("asyncio_only")
async def test_a_group_with_a_made_up_cancellation_is_a_failure_of_the_node():
    async def both():
        raise BaseExceptionGroup("x", [asyncio.CancelledError(), ValueError("v")])

    engine, ran = followed(both)
    with pytest.raises(RunError, match=r"g\.n") as caught:
        await engine.run()
    assert isinstance(caught.value.__cause__, UnexpectedCancellationError)
    assert isinstance(caught.value.__cause__.__cause__, BaseExceptionGroup)
    assert ran == []

    tries = []

    async def once():
        tries.append(None)
        if len(tries) == 1:
            await both()

    engine, ran = followed(once, retry=Retry(2, initial_s=0.0))
    await engine.run()
    assert ran == ["after"]
    engine, ran = followed(both, on_error="capture")
    assert len((await engine.run()).failures) == 1
    assert ran == ["after"]


async def test_a_group_that_holds_a_cancellation_and_an_error_is_the_cancellation():
    async def both():
        try:
            await anyio.sleep(30)
        except anyio.get_cancelled_exc_class() as error:
            raise BaseExceptionGroup("x", [error, ValueError("v")]) from None

    engine, _ = followed(both, timeout_s=0.2)
    with pytest.raises(RunError, match="timeout_s") as caught:
        await engine.run()
    assert isinstance(caught.value.__cause__, NodeTimeoutError)
    assert len(caught.value.failures) == 2


# --- the same at every point ---------------------------------------------------------------


@pytest.mark.usefixtures("asyncio_only")
async def test_a_direct_cancellation_at_every_checkpoint():
    async def step(x=0):
        await anyio.sleep(0)
        try:
            await anyio.sleep(0)
        except asyncio.CancelledError:
            raise OSError("clean-up") from None

    async def items():
        try:
            for i in range(3):
                await anyio.sleep(0)
                yield i
        finally:
            await anyio.sleep(0)

    class Items:
        def __aiter__(self):
            return items()

    with GraphNode(name="g") as graph:
        first = CodeNode(name="a", code_fn=step, retry=Retry(2, initial_s=0.0))
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, max_concurrency=1, on_error="collect"
        ) as m:
            START >> CodeNode(name="w", code_fn=step, inputs={"x": PARENT}) >> END
        with GraphNode(name="sub") as sub:
            START >> [CodeNode(name=f"s{i}", code_fn=step) for i in range(2)] >> END
        last = CodeNode(name="z", code_fn=step, on_error="capture", timeout_s=60)
        START >> first >> m >> sub >> last >> END
    engine = Hush(graph)
    await engine.run({"xs": Items()})
    cancelled = 0
    for steps in range(400):
        with capture_spans() as captured:
            task = asyncio.ensure_future(engine.run({"xs": Items()}))
            for _ in range(steps):
                await asyncio.sleep(0)
            if not task.cancel():
                break
            with pytest.raises(asyncio.CancelledError):
                await task
            cancelled += 1
        assert captured.open_spans == ()
        if captured.spans:
            assert captured.tree.root.record.outcome == "cancelled"
    assert cancelled > 20
    assert (await task).outcome == "ok"
