"""Cancellation and interrupts: at every checkpoint, they come out and nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunError,
    WhileLoopNode,
)
from hush.runtime.state import RunState
from hush.testing import capture_spans
from tests.core.cancelling import cancelled_after


def everything():
    """A graph that passes through every part of the scheduler."""

    async def short(x=0):
        await anyio.sleep(0)
        await anyio.sleep(0)
        return {"v": x}

    async def long():
        await anyio.sleep(0.001)
        return {"v": 1}

    tries = iter(range(10_000))

    async def flaky():
        await anyio.sleep(0)
        if next(tries) % 2 == 0:
            raise ValueError("flaky")
        return {"v": 1}

    async def items():
        for i in range(3):
            await anyio.sleep(0)
            yield i

    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=lambda: {"src": items()})
        with MapNode(name="m", inputs={"x": Each(a["src"])}, max_concurrency=2) as m:
            START >> CodeNode(name="w", code_fn=short, inputs={"x": PARENT}) >> END
        with GraphNode(name="inner") as inner:
            START >> [CodeNode(name=f"i{i}", code_fn=short) for i in range(2)] >> END
        with WhileLoopNode(name="loop", condition="n < 2", inputs={"n": 0}) as loop:
            (
                START
                >> CodeNode(
                    name="n",
                    code_fn=lambda n: {"n": n + 1},
                    inputs={"n": PARENT},
                    outputs={"n": PARENT},
                )
                >> END
            )
        with ForLoopNode(name="each", inputs={"x": Each([1, 2])}) as each:
            START >> CodeNode(name="e", code_fn=short, inputs={"x": PARENT}) >> END
        retried = CodeNode(name="retried", code_fn=flaky, retry=Retry(3, initial_s=0.001))
        timed = CodeNode(name="timed", code_fn=short, timeout_s=60, deadline_s=60)
        thread = CodeNode(name="thread", code_fn=lambda: {}, run_in="thread")
        r1 = CodeNode(name="r1", code_fn=short)
        r2 = CodeNode(name="r2", code_fn=long)
        won = CodeNode(name="won", code_fn=lambda: {}, join=First())
        START >> a >> m >> [inner, loop, each, retried, timed, thread]
        START >> [r1, r2] >> won
        [inner, loop, each, retried, timed, thread, won] >> END
    return graph


async def test_cancellation_at_every_checkpoint():
    """Cancel after 0, 1, 2, ... steps of the loop until the run gets through."""
    engine = Hush(everything())
    # Warm up: worker threads and lazily imported modules.
    await engine.run()
    steps = 0
    finished = cancelled = 0
    before = threading.active_count()
    while finished < 3:
        captured, result = await cancelled_after(steps, engine)
        if result is None:
            cancelled += 1
            if captured.spans:
                root = captured.tree.root.record
                assert root.outcome == "cancelled"
                assert root.attributes["hush.cancel.reason"] == "external"
                assert not any(
                    n.record.is_red and n.name != "attempt retried" for n in captured.tree
                )
        else:
            finished += 1
            assert captured.tree.root.record.outcome == "ok"
        steps += 1 if steps < 60 else 7
        assert steps < 20_000
    assert cancelled > 10
    assert threading.active_count() <= before + 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, BaseException])
@pytest.mark.parametrize("where", ["loop", "thread", "map", "alone"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_base_exceptions_come_out(kind, where, backend):
    # In a loop of its own: asyncio lets a KeyboardInterrupt fly through the whole loop.
    def interrupt():
        raise kind("stop")

    async def on_loop():
        raise kind("stop")

    with GraphNode(name="g") as graph:
        if where == "map":
            with MapNode(name="m", inputs={"x": Each([1, 2, 3])}, on_error="collect") as node:
                START >> CodeNode(name="w", code_fn=on_loop) >> END
        else:
            node = CodeNode(
                name="n",
                code_fn=interrupt if where == "thread" else on_loop,
                on_error="capture",
                retry=Retry(3),
            )
        START >> node >> END
        if where != "alone":
            START >> CodeNode(name="sibling", code_fn=anyio.sleep, inputs={"delay": 30}) >> END
    with capture_spans() as captured:
        began = time.perf_counter()
        with pytest.raises(BaseException) as caught:
            Hush(graph).run_sync(backend=backend)
        assert time.perf_counter() - began < 10
    assert holds(caught.value, kind)
    assert not isinstance(caught.value, RunError)
    assert captured.open_spans == ()
    captured.tree.assert_sound()


def holds(error, kind):
    if isinstance(error, BaseExceptionGroup):
        return any(holds(one, kind) for one in error.exceptions)
    return isinstance(error, kind)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_ends_a_run(backend):
    program = textwrap.dedent(
        f"""
        import anyio
        from hush.core import *

        async def sleeps():
            print("started", flush=True)
            await anyio.sleep(60)

        with GraphNode(name="g") as graph:
            START >> [CodeNode(name=f"n{{i}}", code_fn=sleeps) for i in range(3)] >> END
        try:
            Hush(graph).run_sync(backend={backend!r})
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # All of them: what an interrupt in the middle of starting a task does is trio's to say.
    assert [process.stdout.readline() for _ in range(3)] == ["started\n"] * 3
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out.endswith("interrupted\n")
    assert process.returncode == 0, err
    assert "Traceback" not in err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("line", [True, False])
def test_ctrl_c_between_two_lines_of_ours_comes_out(backend, at, line, monkeypatch):
    real, count = RunState.started, 0

    def started(self, frame, path):
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return real(self, frame, path)

    monkeypatch.setattr(RunState, "started", started)
    with GraphNode(name="g") as graph:
        nodes = [CodeNode(name=f"n{i}", code_fn=lambda: {}) for i in range(3)]
        START >> nodes[0]
        if line:
            nodes[0] >> nodes[1] >> nodes[2] >> END
        else:
            nodes[0] >> END
            START >> nodes[1:] >> END
    with capture_spans() as spans, pytest.raises(KeyboardInterrupt):
        Hush(graph).run_sync(backend=backend)
    assert spans.open_spans == ()


async def test_a_direct_cancel_of_the_task_comes_out(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio's tasks cannot be cancelled directly")
    import asyncio

    async def sleeps():
        await anyio.sleep(30)

    with GraphNode(name="g") as graph:
        START >> [CodeNode(name=f"n{i}", code_fn=sleeps) for i in range(2)] >> END
    with capture_spans() as captured:
        task = asyncio.ensure_future(Hush(graph).run())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    captured.tree.assert_sound()
    assert captured.tree.root.record.attributes["hush.cancel.reason"] == "external"


@pytest.mark.parametrize("kind", ["map", "graph"])
async def test_a_direct_cancel_comes_out_past_task_groups_in_nodes(kind, anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio's tasks cannot be cancelled directly")
    import asyncio

    async def lingers():
        try:
            await anyio.sleep(30)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)

    async def groups(x=0):
        async with anyio.create_task_group() as group:
            group.start_soon(lingers)
            await anyio.sleep(30)

    with GraphNode(name="g") as graph:
        if kind == "map":
            with MapNode(name="m", inputs={"x": Each([1, 2, 3])}) as nodes:
                START >> CodeNode(name="n", code_fn=groups, inputs={"x": PARENT["x"]}) >> END
        else:
            nodes = [CodeNode(name=f"n{i}", code_fn=groups) for i in range(2)]
        START >> nodes >> END
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await Hush(graph).run()
    task = asyncio.ensure_future(Hush(graph).run())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_move_on_after_around_a_run():
    async def sleeps():
        await anyio.sleep(30)

    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=sleeps) >> END
    with anyio.move_on_after(0.01) as scope:
        await Hush(graph).run()
    assert scope.cancelled_caught


async def test_clean_up_in_a_node_runs():
    cleaned = []

    async def careful():
        try:
            await anyio.sleep(30)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
                cleaned.append(True)

    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=careful) >> END
    with anyio.move_on_after(0.01):
        await Hush(graph).run()
    assert cleaned == [True]


async def test_a_node_that_swallows_its_cancellation_does_not_hang_the_run():
    async def stubborn():
        with anyio.move_on_after(30):
            try:
                await anyio.sleep(30)
            except anyio.get_cancelled_exc_class():
                pass  # wrong, yet it happens
        return {"v": 1}

    async def fails():
        await anyio.sleep(0.01)
        raise ValueError("no")

    with GraphNode(name="g") as graph:
        START >> [CodeNode(name="s", code_fn=stubborn), CodeNode(name="f", code_fn=fails)] >> END
    with pytest.raises(RunError, match=r"g\.f"):
        await Hush(graph).run()


async def test_an_error_while_being_cancelled_is_told_too():
    async def breaks():
        try:
            await anyio.sleep(30)
        finally:
            raise KeyError("while cleaning up")

    async def fails():
        await anyio.sleep(0.01)
        raise ValueError("no")

    with GraphNode(name="g") as graph:
        START >> [CodeNode(name="b", code_fn=breaks), CodeNode(name="f", code_fn=fails)] >> END
    with pytest.raises(RunError, match=r"g\.f") as caught:
        await Hush(graph).run()
    assert [f.path for f in caught.value.failures] == ["g.f", "g.b"]


async def test_what_fails_while_it_is_cancelled_is_not_to_blame():
    async def spoils():
        try:
            await anyio.sleep(30)
        finally:
            raise OSError("connection lost")

    async def sleeps():
        await anyio.sleep(30)
        return {}

    with GraphNode(name="g") as graph:
        nodes = [CodeNode(code_fn=spoils), CodeNode(code_fn=sleeps), CodeNode("s2", sleeps)]
        START >> nodes >> END
    with capture_spans() as captured, pytest.raises(RunError):
        await Hush(graph).run(deadline_s=0.05)
    for name in ("node sleeps", "node s2"):
        victim = captured.tree.one(name).record.attributes
        assert victim["hush.cancel.reason"] == "timeout"
        assert victim["hush.cancel.cause"] == "g"


async def test_a_limit_that_has_passed_in_an_earlier_attempt_is_forgotten():
    tries = []

    async def work():
        tries.append(None)
        if len(tries) == 1:
            await anyio.sleep(30)
        raise ValueError("second")

    async def sleeps():
        await anyio.sleep(0.02 if tries else 30)
        await anyio.sleep(30)
        return {}

    with GraphNode(name="g") as graph:
        with GraphNode(name="sub", retry=Retry(2, initial_s=0.0), timeout_s=0.1) as sub:
            START >> [CodeNode(code_fn=work), CodeNode(code_fn=sleeps)] >> END
        START >> sub >> END
    with capture_spans() as captured, pytest.raises(RunError, match="second"):
        await Hush(graph).run()
    reasons = [
        node.record.attributes["hush.cancel.reason"] for node in captured.tree.all("node sleeps")
    ]
    assert reasons == ["timeout", "fail_fast"]


async def test_an_observer_whose_exception_has_no_text_does_not_break_a_run():
    class SilentError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    def on_event(_event):
        raise SilentError

    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=lambda: {"x": 1}, outputs={"x": PARENT}) >> END
    assert (await Hush(graph).run(on_event=on_event))["x"] == 1
