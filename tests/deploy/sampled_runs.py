"""A program whose runs are to be sampled: prints their trace ids by kind as JSON.

    python tests/deploy/sampled_runs.py SERVICE ORDINARY OF_EACH SLOW_S LATE_S

The last of them never ends: the process is gone before it does.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

import anyio

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, RunError, code_node
from hush.observe import configure


@code_node
async def step(n: int):
    return {"n": n}


@code_node
async def fail(n: int):
    raise ValueError("on purpose")


@code_node
async def linger(n: int, seconds: float):
    await anyio.sleep(seconds)
    return {"n": n}


@code_node
async def sometimes(x: int):
    return {"x": None, "error": "503"} if x == 1 else {"x": x, "error": None}


@code_node
async def vanish(n: int, telemetry: object):
    # The span of "before" has ended and is sent; this node's and the run's never will be.
    await anyio.to_thread.run_sync(telemetry.flush)
    os._exit(0)


def graph_of(name: str, *nodes) -> GraphNode:
    with GraphNode(name=name) as graph:
        previous = START
        for node in nodes:
            previous = previous >> node()
        previous >> END
    return graph


ordinary = graph_of("ordinary", lambda: step(inputs={"n": PARENT["n"]}))
failing = graph_of("failing", lambda: fail(inputs={"n": PARENT["n"]}))
slow = graph_of("slow", lambda: linger(inputs={"n": PARENT["n"], "seconds": PARENT["seconds"]}))
late = graph_of(
    "late",
    lambda: step(name="early", inputs={"n": PARENT["n"]}),
    lambda: linger(name="long", inputs={"n": PARENT["n"], "seconds": PARENT["seconds"]}),
    lambda: fail(inputs={"n": PARENT["n"]}),
)
lost = graph_of(
    "lost",
    lambda: step(name="before", inputs={"n": PARENT["n"]}),
    lambda: vanish(inputs={"n": PARENT["n"], "telemetry": PARENT["telemetry"]}),
)
with GraphNode(name="partial") as partial:
    # The failures are captured below the run: nothing of it ends as an error but the item.
    with MapNode(name="items", inputs={"x": Each(PARENT["xs"])}) as items:
        one = sometimes(inputs={"x": PARENT["x"]}, outputs={"x": PARENT, "error": PARENT})
        START >> one >> END
    START >> items >> END


@code_node
async def always(x: int):
    raise ValueError("on purpose")


@code_node
async def finish(fails: bool):
    if fails:
        raise ValueError("on purpose")
    return {}


with GraphNode(name="mixed") as mixed:
    # An item fails in each of them, and is collected; few of the runs fail.
    with MapNode(name="tried", inputs={"x": Each([1])}, on_error="collect") as tried:
        START >> always(inputs={"x": PARENT["x"]}) >> END
    START >> tried >> finish(inputs={"fails": PARENT["fails"]}) >> END


async def main(service: str, ordinary_count: int, count: int, slow_s: float, late_s: float) -> None:
    telemetry = configure(service_name=service)
    ids: dict[str, list[str]] = {
        "ordinary": [],
        "failing": [],
        "partial": [],
        "slow": [],
        "mixed": [],
    }
    for number in range(ordinary_count):
        ids["ordinary"].append((await Hush(ordinary).run({"n": number})).trace_id)
    for number in range(count):
        with suppress(RunError):
            await Hush(failing).run({"n": number})
        with suppress(RunError):
            # The ids are of those that end well.
            result = await Hush(mixed).run({"fails": number % 4 == 0})
            ids["mixed"].append(result.trace_id)
        ids["partial"].append((await Hush(partial).run({"xs": range(3)})).trace_id)

    async def run_slow() -> None:
        result = await Hush(slow).run({"n": 0, "seconds": slow_s})
        ids["slow"].append(result.trace_id)

    async def run_late() -> None:
        with suppress(RunError):
            await Hush(late).run({"n": 0, "seconds": late_s})

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(run_slow)
            group.start_soon(run_late)
    telemetry.flush()
    print(json.dumps(ids), flush=True)
    await Hush(lost).run({"n": 0, "telemetry": telemetry})


anyio.run(
    main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
)
