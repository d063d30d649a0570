"""The entry to a worker: calls in, reports out, whatever the items do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    MapNode,
    NodeTimeoutError,
    PayloadError,
    RemoteError,
    Retry,
)
from hush.runtime.remote.faults import INTERRUPT, interrupt_of, unpack_fault
from hush.runtime.remote.packing import pack_call, pack_values, unpack_report
from hush.worker import bodies
from hush.worker.entry import run_call
from tests.worker.calls import call_for, outputs, run_elsewhere, run_here


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: Any) -> str:
    return str(request.param)


def graph_of(function: Any, **options: Any) -> Any:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"y": PARENT}) as m:
            node = CodeNode("f", function, inputs={"x": PARENT}, outputs={"y": PARENT}, **options)
            START >> node >> END
        START >> m >> END
    return graph


def items(count: int) -> list[dict[str, Any]]:
    return [{"x": i} for i in range(count)]


def first_failure(report: Any, position: int = 0) -> Any:
    return unpack_fault(report.items[position].faults[0])


# --- what items do ----------------------------------------------------------------------------------


def test_runs_items_and_gives_their_outputs_in_order(backend: str) -> None:
    factor = 3

    def times(x: int) -> dict[str, int]:
        return {"y": x * factor}

    call = call_for(graph_of(times), "g.m", items(5), backend=backend)
    for run in (run_here, run_elsewhere):
        report = run(call)
        assert outputs(report) == [{"y": 3 * i} for i in range(5)]
        assert [one.started for one in report.items] == [1] * 5
        assert report.items[3].order == ("g.m[3].f",)
        for one in report.items:
            assert report.received_ns <= one.began_ns <= one.ended_ns <= report.answered_ns
            assert one.spans is None
        assert report.metrics is None


def test_broadcast_inputs_reach_every_item(backend: str) -> None:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"]), "b": PARENT["b"]}) as m:
            node = CodeNode(
                "f", lambda x, b: {"y": x + b}, inputs={"*": PARENT}, outputs={"y": PARENT}
            )
            START >> node >> END
        START >> m >> END
    call = call_for(graph, "g.m", items(3), broadcast={"b": 100}, backend=backend)
    assert outputs(run_here(call)) == [{"y": 100}, {"y": 101}, {"y": 102}]


def test_a_failing_item_fails_alone_with_its_own_exception(backend: str) -> None:
    async def picky(x: int) -> dict[str, int]:
        if x == 1:
            raise KeyError("no one")
        return {"y": x}

    report = run_here(call_for(graph_of(picky), "g.m", items(3), backend=backend))
    assert outputs(report) == [{"y": 0}, None, {"y": 2}]
    fault = report.items[1].faults[0]
    assert (fault.path, fault.kind, fault.error_type) == ("g.m[1].f", "raised", "KeyError")
    assert "in picky" in fault.traceback
    assert "During handling" not in fault.traceback
    assert first_failure(report, 1).exception.__context__ is None


def test_an_exception_of_a_class_of_the_script_arrives_as_that_class(backend: str) -> None:
    class MineError(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a}+{b}")
            self.a = a

    class PlainError(Exception):
        pass

    def fails(x: int) -> dict[str, int]:
        raise MineError(1, 2) if x else PlainError("plain")

    for run in (run_here, run_elsewhere):
        report = run(call_for(graph_of(fails), "g.m", items(2), backend=backend))
        plain, mine = first_failure(report, 0).exception, first_failure(report, 1).exception
        assert type(plain) is PlainError
        assert isinstance(mine, MineError)
        assert isinstance(mine, RemoteError)
        assert (str(mine), mine.a) == ("1+2", 1)


def test_results_that_cannot_be_pickled_fail_their_item_only(backend: str) -> None:
    def locked(x: int) -> dict[str, Any]:
        return {"y": {"held": threading.Lock()} if x == 1 else x}

    report = run_here(call_for(graph_of(locked), "g.m", items(3), backend=backend))
    assert outputs(report) == [{"y": 0}, None, {"y": 2}]
    failure = first_failure(report, 1)
    assert isinstance(failure.exception, PayloadError)
    assert failure.path == "g.m[1]"
    assert "its output 'y'['held'] is a _thread.lock" in failure.message


def test_inputs_that_cannot_be_unpickled_fail_their_item_only(backend: str) -> None:
    call = call_for(graph_of(lambda x: {"y": x}), "g.m", items(3), backend=backend)
    broken = replace(call.items[1], values=b"cnosuchmodule\nThing\n.")
    call = replace(call, items=(call.items[0], broken, call.items[2]))
    report = run_here(call)
    assert outputs(report) == [{"y": 0}, None, {"y": 2}]
    assert "nosuchmodule" in first_failure(report, 1).message


def test_concurrency_is_what_the_call_says(backend: str) -> None:
    running: list[int] = []
    most: list[int] = []

    async def watch(x: int) -> dict[str, Any]:
        running.append(x)
        most.append(len(running))
        await anyio.sleep(0.02)
        running.remove(x)
        return {"y": 0}

    # By the same objects, which a pickle would not give.
    graph = graph_of(watch)
    for concurrency in (1, 3):
        most.clear()
        call = call_for(graph, "g.m", items(7), backend=backend, concurrency=concurrency)
        plan = bodies.plan_of(call.body, call.path)
        function = plan.nodes[0].node.code_fn  # type: ignore[attr-defined]
        seen = dict(
            zip(
                function.__code__.co_freevars,
                (cell.cell_contents for cell in function.__closure__),
                strict=True,
            )
        )
        outputs(run_here(call))
        assert max(seen["most"]) == concurrency
        seen["most"].clear()


def test_defs_run_in_threads_at_the_same_time(backend: str) -> None:
    def meet(x: int) -> dict[str, Any]:
        import threading

        barrier = globals().setdefault("barrier_of_test", threading.Barrier(4))
        barrier.wait(20)
        return {"y": threading.get_ident()}

    report = run_here(call_for(graph_of(meet), "g.m", items(4), backend=backend))
    assert len({one["y"] for one in outputs(report) if one}) == 4


def test_context_variables_do_not_leak_between_items(backend: str) -> None:
    def leaky(x: int) -> dict[str, Any]:
        from contextvars import ContextVar

        var = globals().setdefault("var_of_test", ContextVar("var_of_test", default=None))
        before = var.get()
        var.set(x)
        return {"y": before}

    graph = graph_of(leaky, run_in="loop")
    report = run_here(call_for(graph, "g.m", items(4), backend=backend, concurrency=1))
    assert [one and one["y"] for one in outputs(report)] == [None] * 4


def test_maps_loops_and_retries_inside_run_here(backend: str) -> None:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"n": Each(PARENT["ns"])}) as m:
            with MapNode(
                name="inner", inputs={"i": Each(PARENT["n"])}, outputs={"d": PARENT}
            ) as inner:
                double = CodeNode(
                    "double", lambda i: {"d": 2 * i}, inputs={"i": PARENT}, outputs={"d": PARENT}
                )
                START >> double >> END

            def flaky(d: list[int]) -> dict[str, int]:
                tries = globals().setdefault("tries_of_test", {})
                tries[len(d)] = tries.get(len(d), 0) + 1
                if tries[len(d)] < 3:
                    raise ConnectionError("again")
                return {"total": sum(d)}

            add = CodeNode(
                "add",
                flaky,
                inputs={"d": inner},
                outputs={"total": PARENT},
                retry=Retry(3, initial_s=0.001),
            )
            START >> inner >> add >> END
        START >> m >> END
    call = call_for(graph, "g.m", [{"n": [1, 2]}, {"n": []}, {"n": [5]}], backend=backend)
    assert [one and one["total"] for one in outputs(run_elsewhere(call))] == [6, 0, 10]


def test_a_graph_as_a_whole(backend: str) -> None:
    with GraphNode(name="g") as graph:
        with GraphNode(name="sub", inputs={"x": PARENT}, outputs={"y": PARENT}) as sub:
            node = CodeNode(
                "f", lambda x: {"y": x + 1}, inputs={"x": PARENT}, outputs={"y": PARENT}
            )
            START >> node >> END
        START >> sub >> END
    call = call_for(graph, "g.sub", [{"x": 1}], backend=backend, level="graph")
    report = run_here(replace(call, path="g.sub"))
    assert outputs(report) == [{"y": 2}]
    assert report.items[0].order == ("g.sub.f",)


def test_captured_and_collected_failures_are_noted(backend: str) -> None:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}) as m:
            node = CodeNode("f", lambda x: {"y": 1 / x}, inputs={"x": PARENT}, on_error="capture")
            read = CodeNode(
                "r",
                lambda error: {"said": error and error["type"]},
                inputs={"error": node["error"]},
                outputs={"said": PARENT},
            )
            START >> node >> read >> END
        START >> m >> END
    report = run_here(call_for(graph, "g.m", items(2), backend=backend))
    assert [one and one["said"] for one in outputs(report)] == ["ZeroDivisionError", None]
    one = report.items[0]
    assert one.partial
    assert one.noted_count == 1
    assert unpack_fault(one.noted[0]).kind == "captured"


SCRIPT = """
import os
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.executors import Processes

class Point:
    def __init__(self, x):
        self.x = x

def elsewhere(x):
    return {"y": Point(x.x + 1), "pid": os.getpid()}

if __name__ == "__main__":
    with GraphNode(name="g", inputs={"xs": PARENT["xs"]}, outputs={"y": PARENT}) as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"y": PARENT}, executor=Processes(1)
        ) as m:
            node = CodeNode(
                "f", elsewhere, inputs={"x": PARENT}, outputs={"y": PARENT}, run_in="process"
            )
            START >> node >> END
        START >> m >> END
    result = Hush(graph).run_sync({"xs": [Point(1), Point(2)]})
    print([(type(one) is Point, one.x) for one in result["y"]])
"""


def test_functions_and_classes_of_a_script_work_in_processes_of_workers(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, check=False, text=True, timeout=50
    )
    assert done.stdout.strip() == "[(True, 2), (True, 3)]", done.stderr


# --- limits and interrupts ---------------------------------------------------------------------------


def test_a_time_limit_of_an_item_ends_that_item(backend: str) -> None:
    async def slow(x: int) -> dict[str, Any]:
        await anyio.sleep(60 if x == 1 else 0)
        return {"y": x}

    call = call_for(graph_of(slow), "g.m", items(3), backend=backend, timeout_s=0.2)
    report = run_here(call)
    assert outputs(report) == [{"y": 0}, None, {"y": 2}]
    failure = first_failure(report, 1)
    assert isinstance(failure.exception, NodeTimeoutError)
    assert (failure.path, failure.kind) == ("g.m[1]", "timeout")
    assert "timeout_s=0.2 was exceeded" in failure.message
    assert not report.items[1].cut_off


def test_a_thread_that_exceeds_the_limit_is_left_behind(backend: str) -> None:
    def stuck(x: int) -> dict[str, Any]:
        time.sleep(1.5)
        return {"y": x}

    began = time.monotonic()
    call = call_for(graph_of(stuck), "g.m", items(1), backend=backend, timeout_s=0.1)
    report = run_here(call)
    assert isinstance(first_failure(report).exception, NodeTimeoutError)
    assert time.monotonic() - began < 1.4


def test_the_chunks_deadline_cuts_off_what_runs_and_what_waits(backend: str) -> None:
    async def slow(x: int) -> dict[str, Any]:
        await anyio.sleep(0 if x == 0 else 60)
        return {"y": x}

    call = call_for(graph_of(slow), "g.m", items(4), backend=backend, deadline_s=0.3, concurrency=2)
    report = run_here(call)
    assert outputs(report) == [{"y": 0}, None, None, None]
    assert [one.cut_off for one in report.items] == [False, True, True, True]
    assert [one.index for one in report.items] == [0, 1, 2, 3]
    assert not report.items[1].faults


@pytest.mark.parametrize("place", ["loop", "thread"])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_no_exception_comes_back_to_come_out_of_the_run(
    backend: str, kind: Any, place: str
) -> None:
    def leave(x: int) -> dict[str, Any]:
        if x == 1:
            raise kind(3)
        return {"y": x}

    call = call_for(graph_of(leave, run_in=place), "g.m", items(3), backend=backend, concurrency=1)
    for run in (run_here, run_elsewhere):
        report = run(call)
        assert report.refused is None
        assert report.items[0].outputs is not None
        assert [one.kind for one in report.items[1].faults] == [INTERRUPT]
        error = interrupt_of(report.items[1].faults)
        assert type(error) is kind
        assert error.args == (3,)
        assert report.items[2].cut_off


def test_a_cancellation_that_nobody_asked_for_fails_its_item() -> None:
    async def made_up(x: int) -> dict[str, Any]:
        if x == 1:
            raise asyncio.CancelledError
        return {"y": x}

    report = run_here(call_for(graph_of(made_up), "g.m", items(3)))
    assert outputs(report) == [{"y": 0}, None, {"y": 2}]
    assert "UnexpectedCancellationError" in first_failure(report, 1).error_type


INTERRUPTED = """
import os, signal, sys, threading
from hush.worker.entry import run_call
data = sys.stdin.buffer.read()
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    run_call(data)
except KeyboardInterrupt:
    print("out")
"""


def test_ctrl_c_from_outside_comes_out(backend: str) -> None:
    async def slow(x: int) -> dict[str, Any]:
        await anyio.sleep(30)
        return {"y": x}

    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        input=pack_call(call_for(graph_of(slow), "g.m", items(2), backend=backend)),
        capture_output=True,
        check=False,
        timeout=50,
    )
    assert done.stdout.strip() == b"out", done.stderr


# --- where it is called ------------------------------------------------------------------------------


def test_several_calls_at_once_in_threads(backend: str) -> None:
    async def where(x: int) -> dict[str, Any]:
        return {"y": threading.get_ident()}

    call = call_for(graph_of(where), "g.m", items(2), backend=backend)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(run_here(call))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for report in found:
        assert all(one is not None for one in outputs(report))


async def test_a_call_from_inside_an_event_loop() -> None:
    report = run_here(call_for(graph_of(lambda x: {"y": x}), "g.m", items(2)))
    assert outputs(report) == [{"y": 0}, {"y": 1}]


def test_what_is_no_call_is_refused() -> None:
    report = unpack_report(run_call(b"nonsense"))
    assert report.refused is not None
    assert report.items == ()
    failure = unpack_fault(report.refused)
    assert isinstance(failure.exception, PayloadError)
    assert "hush-runtime" in failure.message
    assert report.worker.pid == os.getpid()


def test_a_body_that_cannot_be_loaded_is_refused() -> None:
    call = call_for(graph_of(lambda x: {"y": x}), "g.m", items(2))
    report = run_here(replace(call, body=replace(call.body, python=(3, 1))))
    assert report.refused is not None
    assert "pickled by Python 3.1" in report.refused.message
    assert run_here(call).refused is None


def test_a_loop_that_is_not_installed_is_refused() -> None:
    call = call_for(graph_of(lambda x: {"y": x}), "g.m", items(2), backend="curio")
    report = run_here(call)
    assert report.refused is not None
    assert "curio" in report.refused.message


def test_bodies_are_unpacked_once_and_few_are_kept() -> None:
    def counted(x: int) -> dict[str, Any]:
        calls = globals().setdefault("calls_of_test", [])
        calls.append(x)
        return {"y": len(calls)}

    call = call_for(graph_of(counted), "g.m", items(1))
    assert outputs(run_here(call)) == [{"y": 1}]
    assert outputs(run_here(call)) == [{"y": 2}], "its globals are still there"
    for i in range(bodies.LIMIT + 1):
        other = call_for(graph_of(lambda x, i=i: {"y": i}), "g.m", items(1))
        assert outputs(run_here(other)) == [{"y": i}]
    assert len(bodies._plans) == bodies.LIMIT
    assert outputs(run_here(call)) == [{"y": 1}], "and now they are new"


def test_a_payload_shows_no_values() -> None:
    call = call_for(graph_of(lambda x: {"y": x}), "g.m", [{"x": "sk-secret"}], resources=b"sk-key")
    assert "sk-" not in repr(call)
    report = replace(run_here(replace(call, resources=None)))
    assert "sk-" not in repr(report)
    assert pack_values("g", {}) is not None
