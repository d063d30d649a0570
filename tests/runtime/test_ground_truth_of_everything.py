"""Every fact about time against the truth, on random workflows of every kind.

Maps over slow sources, retries, time limits, captured failures, joins and races, loops,
branches, a shared limit, runs that fail or are cut off: what their spans tell is compared with
a simulation that knows only who waits for whom. Few plans are passed over: those in which two
things happen at the same instant, so that two answers would be right.
"""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

import hush.observe.spans
import hush.runtime.state
from hush.core import PARENT, GraphError, GraphNode, Hush, RunError
from hush.testing import capture_spans
from tests.runtime.test_ground_truth import virtual_clock
from tests.runtime.truth_comparison import compare
from tests.runtime.truth_paths import jaeger_differs
from tests.runtime.truth_plan import SHARED, Workflow, draw_workflow, shown
from tests.runtime.truth_simulation import Truth
from tests.runtime.truth_stage import Stage, build
from tests.runtime.virtual_time import run_virtually

GRAPHS = 400
"""For each loop."""


def really(flow: Workflow, backend: str):
    """Run a workflow; return the tree of its spans.

    Raises:
        GraphError: its branches skip what something needs.
    """
    stage = Stage(flow.seed)
    with GraphNode(name="g", inputs={"here": PARENT}) as graph:
        build(flow.nodes, stage, PARENT["here"])
    engine = Hush(graph)

    async def go():
        stage.limiter = anyio.CapacityLimiter(SHARED)
        with capture_spans() as captured:
            try:
                with anyio.move_on_after(flow.left_after_s or 1e6):
                    await engine.run({"here": "g"}, deadline_s=flow.deadline_s)
            except RunError:
                pass
        return captured.tree

    return run_virtually(go, backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_fact_is_the_true_one(backend, monkeypatch, record_property):
    monkeypatch.setattr(hush.runtime.state, "CLOCK", anyio.current_time)
    monkeypatch.setattr(hush.observe.spans, "RunClock", virtual_clock)
    compared: Counter[str] = Counter()
    number = 0
    while compared["graphs"] < GRAPHS:
        flow = draw_workflow(f"{backend} {number}")
        number += 1
        truth = Truth(flow)
        if truth.world.unclear:
            compared["unclear"] += 1
            continue
        try:
            tree = really(flow, backend)
        except GraphError:
            compared["refused"] += 1
            continue
        wrong = compare(tree, truth, compared)
        assert not wrong, "\n".join([f"seed {flow.seed!r}", shown(flow), *wrong])
        compared["graphs"] += 1
        compared[f"ended {truth.end.outcome}"] += 1
        if jaeger_differs(tree, truth):
            compared["Jaeger differs"] += 1
            compared[f"Jaeger differs, ended {truth.end.outcome}"] += 1
    print(backend, dict(sorted(compared.items())))
    record_property("compared", dict(compared))
