"""What is said of maps that waited for their workers, really run."""

from __future__ import annotations

import anyio

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, code_node
from hush.executors import Processes
from hush.insight.diagnosis import diagnose
from hush.testing import capture_spans


@code_node
async def nap(s: float):
    await anyio.sleep(s)
    return {"done": s}


def naps(limit: int) -> Hush:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"s": Each(PARENT["naps"])}, max_concurrency=limit) as each:
            START >> nap(inputs={"s": PARENT}) >> END
        START >> each >> END
    return Hush(graph, executor=Processes(1))


async def found_in(engine: Hush, times: list[float]):
    with capture_spans() as captured:
        await engine.run({"naps": times})
    return diagnose(captured.tree)


async def test_the_start_of_workers_is_told_and_a_limit_is_not():
    found = await found_in(naps(2), [0.001] * 4)
    assert found.first.kind == "workers"
    assert found.first.path == "g.m"
    assert found.first.gain_s > 0.02
    assert "limit_too_low" not in {finding.kind for finding in found.findings}


async def test_workers_that_are_kept_cost_nothing_and_the_limit_is_to_blame():
    async with naps(2) as engine:
        await engine.run({"naps": [0.001]})
        found = await found_in(engine, [0.3] * 6)
    assert found.first.kind == "limit_too_low"
