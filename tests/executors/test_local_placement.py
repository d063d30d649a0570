"""Where plain functions run: threads that are awaited or left behind, processes, the loop."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import anyio
import anyio.from_thread
import pytest
from opentelemetry import trace

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphError,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunError,
    code_node,
)
from hush.executors.threads import abandoned_threads
from hush.testing import capture_spans


def graph_of(code_fn, **options):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=code_fn, **options) >> END
    return graph


def where():
    return {"thread": threading.current_thread(), "pid": os.getpid()}


async def where_async():
    return where()


@pytest.mark.parametrize(
    ("code_fn", "run_in", "on_loop"),
    [
        (where, None, False),
        (where_async, None, True),
        (lambda: where(), None, True),
        (where, "loop", True),
        (lambda: where(), "thread", False),
    ],
    ids=["def", "async def", "lambda", "def on the loop", "lambda in a thread"],
)
async def test_where_a_callable_runs(code_fn, run_in, on_loop):
    graph = graph_of(code_fn, run_in=run_in, outputs={"*": PARENT})
    result = await Hush(graph).run()
    assert (result["thread"] is threading.current_thread()) == on_loop
    assert result["pid"] == os.getpid()


async def test_in_a_process():
    graph = graph_of(os.getpid, run_in="process", return_keys=["pid"], outputs={"pid": PARENT})
    assert (await Hush(graph).run())["pid"] != os.getpid()


@code_node(run_in="process")
def decorated(x):
    return {"y": x * 2, "pid": os.getpid()}


async def test_a_decorated_function_in_a_process():
    with GraphNode(name="g") as graph:
        START >> decorated(inputs={"x": 4}, outputs={"*": PARENT}) >> END
    result = await Hush(graph).run()
    assert result["y"] == 8
    assert result["pid"] != os.getpid()


def nap(x):
    time.sleep(0.2)
    return {"pid": os.getpid()}


def over_processes(**options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"pid": PARENT}, max_concurrency=6
        ) as m:
            node = CodeNode(
                name="n",
                code_fn=nap,
                run_in="process",
                inputs={"x": PARENT},
                outputs={"pid": PARENT},
            )
            START >> node >> END
        START >> m >> END
    return Hush(graph, **options)


async def test_a_map_over_processes_has_as_many_as_it_asks_for():
    result = await over_processes().run({"xs": range(6)})
    assert len(set(result["pid"])) == 6


async def test_waiting_for_a_process_is_recorded():
    with capture_spans() as captured:
        result = await over_processes(max_threads=1).run({"xs": range(2)})
    assert len(set(result["pid"])) == 1
    waits = [
        node.record.attributes.get("hush.wait.limiter_s", 0.0)
        for node in captured.tree.all("node n")
    ]
    assert sorted(wait > 0.1 for wait in waits) == [False, True]


@pytest.mark.parametrize(
    ("run_in", "width", "max_threads", "expected"),
    [
        ("process", 300, None, 300),
        ("process", 300, 50, 50),
        ("process", 1, None, os.cpu_count()),
        ("thread", 300, None, os.cpu_count()),
    ],
)
def test_how_many_processes_there_are(run_in, width, max_threads, expected):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each([1])}, max_concurrency=width) as m:
            with GraphNode(name="sub") as sub:
                START >> CodeNode(name="n", code_fn=where, run_in=run_in) >> END
            START >> sub >> END
        with MapNode(name="other", inputs={"x": Each([1])}, max_concurrency=500) as other:
            START >> CodeNode(name="n", code_fn=where) >> END
        START >> m >> other >> END
    assert Hush(graph, max_threads=max_threads)._placement.max_processes == expected


async def test_an_engine_takes_its_limits_with_it():
    engine = Hush(graph_of(where))
    await engine.run()
    limits = weakref.ref(engine._placement._limits().threads)
    del engine
    gc.collect()
    assert limits() is None


def sleeper(seconds):
    time.sleep(seconds)


async def test_what_runs_in_a_process_is_killed_on_timeout():
    graph = graph_of(
        sleeper, run_in="process", inputs={"seconds": 60}, timeout_s=2.0, return_keys=["x"]
    )
    began = time.perf_counter()
    with pytest.raises(RunError, match="timeout_s"):
        await Hush(graph).run()
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize(
    "options",
    [
        {"run_in": "cloud"},
        {"code_fn": where_async, "run_in": "thread"},
        {"code_fn": where_async, "run_in": "process"},
        {"code_fn": lambda: {}, "run_in": "process"},
    ],
)
def test_wrong_places_are_found_when_built(options):
    with pytest.raises(GraphError, match="run_in"):
        Hush(graph_of(**{"code_fn": where, **options}))


async def test_spans_in_a_thread_nest_under_the_node():
    with capture_spans() as captured:

        def work():
            assert trace.get_current_span().is_recording()
            with captured.tracer.start_as_current_span("mine"):
                return {}

        await Hush(graph_of(work)).run()
    assert captured.tree.one("mine").parent.name == "node n"
    captured.tree.assert_sound()


async def test_a_thread_is_awaited_on_cancellation():
    done = threading.Event()
    scope = anyio.CancelScope()

    def work():
        anyio.from_thread.run_sync(scope.cancel)
        time.sleep(0.05)
        done.set()

    with scope:
        await Hush(graph_of(work)).run()
    assert scope.cancelled_caught
    assert done.is_set()


@pytest.mark.parametrize("options", [{"timeout_s": 0.02}, {"deadline_s": 0.02}])
async def test_with_a_time_limit_the_thread_is_left_behind(options):
    release = threading.Event()
    before = abandoned_threads()
    with capture_spans() as captured:
        began = time.perf_counter()
        with pytest.raises(RunError, match=r"0\.02"):
            await Hush(graph_of(lambda: release.wait(30), run_in="thread", **options)).run()
        assert time.perf_counter() - began < 10
    assert abandoned_threads() == before + 1
    node = captured.tree.one("node n").record
    assert node.outcome == "timeout"
    assert node.attributes["hush.abandoned"] is True
    release.set()
    for _ in range(500):
        if abandoned_threads() == before:
            break
        await anyio.sleep(0.01)
    assert abandoned_threads() == before


async def test_abandon_on_cancel():
    release = threading.Event()

    def work():
        release.wait(30)

    began = time.perf_counter()
    with anyio.move_on_after(0.02):
        await Hush(graph_of(work, abandon_on_cancel=True)).run()
    assert time.perf_counter() - began < 10
    release.set()


async def test_an_abandoned_thread_frees_its_slot():
    release = threading.Event()
    calls = []

    def work():
        calls.append(1)
        if len(calls) == 1:
            release.wait(30)
        return {"y": len(calls)}

    graph = graph_of(work, timeout_s=0.5, retry=Retry(2, initial_s=0), outputs={"y": PARENT})
    result = await Hush(graph, max_threads=1).run()
    assert result["y"] == 2
    release.set()


async def test_stop_iteration_in_a_thread_is_an_ordinary_failure():
    def work():
        raise StopIteration

    with pytest.raises(RunError, match=r"g\.n.*StopIteration"):
        await Hush(graph_of(work)).run()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_abandoned_thread_does_not_hold_up_the_exit(backend):
    program = textwrap.dedent(
        f"""
        import time
        from hush.core import *

        def stuck():
            time.sleep(120)

        with GraphNode(name="g") as graph:
            START >> CodeNode(name="n", code_fn=stuck, timeout_s=0.05) >> END
        try:
            Hush(graph).run_sync(backend={backend!r})
        except RunError as error:
            print(error.outcome)
        """
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert time.perf_counter() - began < 40
    assert (done.stdout, done.stderr, done.returncode) == ("timeout\n", "", 0)


async def test_a_direct_cancel_of_the_task_awaits_the_thread_too(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio's tasks cannot be cancelled directly")
    import asyncio

    begun, done = threading.Event(), threading.Event()

    def work():
        begun.set()
        time.sleep(0.1)
        done.set()

    with capture_spans() as captured:
        task = asyncio.ensure_future(Hush(graph_of(work)).run())
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done.is_set()
    captured.tree.assert_sound()
    assert captured.tree.root.record.outcome == "cancelled"


async def test_wait_for_around_a_run(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("asyncio's")
    import asyncio

    begun, done = threading.Event(), threading.Event()

    def work():
        begun.set()
        time.sleep(0.5)
        done.set()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Hush(graph_of(work)).run(), 0.2)
    assert done.is_set() or not begun.is_set()


async def test_a_cancellation_goes_before_a_failure_that_came_with_it():
    scope = anyio.CancelScope()

    def work():
        anyio.from_thread.run_sync(scope.cancel)
        time.sleep(0.05)
        raise ValueError("late")

    with capture_spans() as captured, scope:
        await Hush(graph_of(work)).run()
    assert scope.cancelled_caught
    assert captured.tree.one("node n").record.is_red
