"""Rows of items that run elsewhere: what computing gains, what an item costs, what waiting takes.

    python -m benchmarks.elsewhere ENGINE LOOP SIZE ROUNDS

is one engine's process: two workers, warm before anything is measured; each round measures all
maps once, those of this process beside them. Untraced.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.environment import environment
from benchmarks.outcomes import Outcome
from benchmarks.sampling import ratio, spread

__all__ = ("ENGINES", "measure_elsewhere")

ENGINES = ("processes", "dask", "ray")
WORKERS = 2
COMPUTE = 1_000_000
"""Additions of an item that computes: some 25 ms."""
SLEEP_S = 0.2
AT_ONCE = 100


def measure_elsewhere(size: int, rounds: int, loops: Sequence[str]) -> list[Outcome]:
    """Measure each engine that is installed.

    Args:
        size: items of the larger maps.
        rounds: how often each map is run.
        loops: some of asyncio and trio.
    """
    outcomes = []
    for engine in ENGINES:
        for loop in loops:
            arguments = ("-m", "benchmarks.elsewhere", engine, loop, str(size), str(rounds))
            done = subprocess.run(
                [sys.executable, *arguments], stdout=subprocess.PIPE, check=True, env=environment()
            )
            if said := json.loads(done.stdout.splitlines()[-1]):
                outcomes += _rows(engine, loop, size, said)
    return outcomes


def _rows(engine: str, loop: str, size: int, seconds: dict[str, list[float]]) -> list[Outcome]:
    ideal_s = -(-size // AT_ONCE) * SLEEP_S

    def row(title: str, key: str, items: int, limit: float | None, **more: Any) -> Outcome:
        each = spread(seconds[key]).times(1e6 / items)
        said = f"{title}, {engine}"
        return Outcome("elsewhere", said, loop, "µs per item", each, limit=limit, **more)

    computing = max(2, size // 10)
    return [
        row(
            f"{computing} items that compute, {WORKERS} workers",
            "computing", computing, 0.7, target="≤ 0.7 of here", reference_name="here",
            reference=spread(seconds["computing here"]).times(1e6 / computing),
            ratio=ratio(seconds["computing"], seconds["computing here"]),
        ),
        row(
            f"{size} items that sleep {SLEEP_S * 1e3:g} ms, {AT_ONCE} at a time",
            "sleeping", size, 1.5, target="≤ 1.5 of ideal", reference_name="ideal",
            reference=spread([ideal_s * 1e6 / size]),
            ratio=ratio(seconds["sleeping"], [ideal_s] * len(seconds["sleeping"])),
        ),
        row("trivial items, in chunks", "chunked", size, None, target=""),
        row("trivial items, one a call", "single", max(2, size // 10), None, target=""),
    ]  # fmt: skip


# --- one engine's process ---------------------------------------------------------------------


def compute(x: int) -> dict[str, int]:
    done = 0
    for number in range(COMPUTE):
        done += number
    return {"y": x + 1}


async def sleep(x: int) -> dict[str, int]:
    import anyio

    await anyio.sleep(SLEEP_S)
    return {"y": x + 1}


async def work(x: int) -> dict[str, int]:
    return {"y": x + 1}


def engine_of(call: Any, at_once: int, executor: Any) -> Any:
    from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode

    with GraphNode(name="bench") as graph:
        with MapNode(
            name="items",
            inputs={"x": Each(PARENT["xs"])},
            outputs={"y": PARENT},
            max_concurrency=at_once,
            executor=executor,
        ) as items:
            node = CodeNode(name="work", code_fn=call, inputs={"x": PARENT}, outputs={"y": PARENT})
            START >> node >> END
        START >> items >> END
    return Hush(graph)


async def measure(executor: Any, size: int, rounds: int) -> dict[str, list[float]]:
    few = max(2, size // 10)
    maps = {
        "computing": (engine_of(compute, 2 * WORKERS, executor), few),
        "computing here": (engine_of(compute, 2 * WORKERS, None), few),
        "sleeping": (engine_of(sleep, AT_ONCE, executor), size),
        "chunked": (engine_of(work, AT_ONCE * WORKERS, executor), size),
        "single": (engine_of(work, WORKERS, executor), few),
    }
    seconds: dict[str, list[float]] = {name: [] for name in maps}
    async with executor:
        for number in range(rounds + 1):
            for name, (engine, items) in maps.items():
                began = time.perf_counter()
                result = await engine.run({"xs": range(items)})
                took = time.perf_counter() - began
                if result["y"] != list(range(1, items + 1)):
                    raise ValueError(f"{name} gave {str(result['y'])[:200]}")
                if number:
                    seconds[name].append(took)
    return seconds


def main(engine: str, loop: str, size: int, rounds: int) -> None:
    import anyio

    from hush.executors import DaskExecutor, Processes, RayExecutor

    makers: dict[str, Any] = {
        "processes": lambda: Processes(WORKERS),
        "dask": lambda: DaskExecutor(max_workers=WORKERS),
        "ray": lambda: RayExecutor(max_workers=WORKERS),
    }
    try:
        if engine != "processes":
            __import__({"dask": "distributed"}.get(engine, engine))
    except ImportError:
        print("{}")
        return
    said = anyio.run(measure, makers[engine](), size, rounds, backend=loop)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
