"""The driver with real worker processes: killed, frozen, poisoned, and cancelled."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import anyio
import pytest

import hush.runtime.remote.exchange
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.executors import Processes
from hush.testing import capture_spans
from tests.executors.engines import alive, kill, wait_gone

pytestmark = pytest.mark.anyio

PATIENCE_S = 60


def one_map(function, executor, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(PARENT["xs"]), "folder": PARENT},
            outputs={"*": PARENT, "errors": PARENT},
            executor=executor,
            **options,
        ) as m:
            n = CodeNode(
                "n",
                function,
                inputs={"x": PARENT, "folder": PARENT},
                return_keys=("y", "pid"),
                outputs={"*": PARENT},
            )
            START >> n >> END
        START >> m >> END
    return graph


def once(x, folder):
    """Say that it has begun, and stay if it is the first time for this item."""
    mark = Path(folder, f"{x}-{os.getpid()}")
    first = not list(Path(folder).glob(f"{x}-*"))
    mark.touch()
    if x == 5 and first:
        time.sleep(600)
    return {"y": x * x, "pid": os.getpid()}


async def pid_of(x, folder):
    with anyio.fail_after(PATIENCE_S):
        while not (found := list(Path(folder).glob(f"{x}-*"))):
            await anyio.sleep(0.01)
    first = min(found, key=lambda file: file.stat().st_mtime_ns)
    return int(first.name.split("-")[1])


async def test_a_killed_worker_costs_its_items_an_attempt(tmp_path):
    engine = Hush(one_map(once, Processes(2), max_concurrency=8))
    with capture_spans() as spans, anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:

            async def run():
                results.append(await engine.run({"xs": range(40), "folder": str(tmp_path)}))

            results = []
            group.start_soon(run)
            kill(await pid_of(5, tmp_path))
    (result,) = results
    assert result["y"] == [x * x for x in range(40)]
    spans.tree.assert_sound()
    items = spans.tree.all("item m")
    assert len(items) == 40
    lost = [one for one in items if one.record.attributes.get("hush.attempts", 1) > 1]
    assert 5 in {one.record.attributes["hush.item.index"] for one in lost}
    for one in lost:
        assert [event.name for event in one.record.events] == ["hush.worker_lost"]
        (attempt,) = one.children
        assert attempt.name == "attempt m"
        assert attempt.record.attributes["hush.attempt"] == 2
    for one in items:
        (attempt,) = one.children
        assert [node.name for node in attempt.children] == ["node n"]


async def test_a_poison_item_fails_alone(tmp_path):
    def poison(x, folder):
        if x == 3:
            os._exit(1)
        return {"y": x, "pid": os.getpid()}

    engine = Hush(one_map(poison, Processes(2), on_error="collect"))
    with anyio.fail_after(PATIENCE_S):
        result = await engine.run({"xs": range(12), "folder": str(tmp_path)})
    assert result["y"] == [None if x == 3 else x for x in range(12)]
    (error,) = result["errors"]
    assert (error["index"], error["attempts"]) == (3, 3)
    assert error["type"] == "hush.errors.WorkerLostError"


async def test_a_frozen_worker_is_replaced_and_what_it_says_later_is_not_heard(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(hush.runtime.remote.exchange, "PATIENCE_S", 4.0)

    def stop_once(x, folder):
        first = not list(Path(folder).glob(f"{x}-*"))
        Path(folder, f"{x}-{os.getpid()}").touch()
        if x == 2 and first:
            os.kill(os.getpid(), signal.SIGSTOP)
        return {"y": x, "pid": os.getpid()}

    engine = Hush(one_map(stop_once, Processes(2), timeout_s=1.0, max_concurrency=4))
    with anyio.fail_after(PATIENCE_S):
        async with engine:
            result = await engine.run({"xs": range(8), "folder": str(tmp_path)})
            frozen = await pid_of(2, tmp_path)
            assert result["y"] == list(range(8))
            assert result["pid"][2] != frozen
            # Its call was cancelled, and with it the worker.
            await wait_gone(frozen)


async def test_cancelling_kills_what_computes(tmp_path):
    def spin(x, folder):
        Path(folder, f"{x}-{os.getpid()}").touch()
        while True:
            pass

    engine = Hush(one_map(spin, Processes(2), max_concurrency=2))
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.run, {"xs": range(9), "folder": str(tmp_path)})
            pids = {await pid_of(0, tmp_path), await pid_of(1, tmp_path)}
            group.cancel_scope.cancel()
        assert len(pids) == 2
        assert not any(map(alive, pids))
        assert len(list(tmp_path.iterdir())) == 2


def with_a_lock(x, folder):
    return {"y": x, "lock": threading.Lock(), "error": "odd" if x % 2 else None}


@pytest.mark.parametrize("rule", ["error", lambda outputs: outputs["lock"] and outputs["error"]])
async def test_what_nobody_reads_need_not_travel(rule):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(PARENT["xs"]), "folder": None},
            outputs={"y": PARENT, "iteration_metrics": PARENT},
            failed_when=rule,
            on_error="collect",
            executor=Processes(1),
        ) as m:
            n = CodeNode(
                "n",
                with_a_lock,
                inputs={"x": PARENT, "folder": PARENT},
                return_keys=("y", "lock", "error"),
                outputs={"*": PARENT},
            )
            START >> n >> END
        START >> m >> END
    result = await Hush(graph).run({"xs": range(4)})
    if callable(rule):  # it may look at anything, so all has to come back
        assert result["iteration_metrics"]["error_count"] == 4
        return
    assert result["y"] == [0, 1, 2, 3]
    assert result["iteration_metrics"]["handled_count"] == 2
