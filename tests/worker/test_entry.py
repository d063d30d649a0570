"""The entry to a worker: calls in, reports out, whatever the items do."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, MapNode
from tests.worker.calls import call_for, outputs, run_elsewhere, run_here


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: Any) -> str:
    return str(request.param)


def graph_of(function: Any, **options: Any) -> Any:
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"y": PARENT}, **options
        ) as m:
            node = CodeNode("f", function, inputs={"x": PARENT}, outputs={"y": PARENT})
            START >> node >> END
        START >> m >> END
    return graph


def items(count: int) -> list[dict[str, Any]]:
    return [{"x": i} for i in range(count)]


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
        assert report.received_ns <= report.items[0].began_ns <= report.items[0].ended_ns
        assert report.items[0].ended_ns <= report.answered_ns


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
