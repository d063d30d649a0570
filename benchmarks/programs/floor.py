"""How little it can cost: workers that pull, one checkpoint for each item, lean spans.

No graph, no failures, no limits, no diagnosis; only what a runtime cannot do without. The
spans go through the SDK's own processors, which cannot tell them from the SDK's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from benchmarks.programs.lean_span import Lean, lean
from benchmarks.work import LIMIT, sleep_and_work, work

Work = Callable[[int], Awaitable[dict[str, int]]]


async def node(make: Lean, name: str, call: Work, x: int) -> dict[str, int]:
    with make(f"node {name}", {"node.name": name, "node.path": name, "attempts": 1, "k": "code"}):
        return await call(x)


def mapping(size: int, call: Work = work) -> Callable[[], Awaitable[object]]:
    make = lean()

    async def run() -> object:
        results = [0] * size
        indices = iter(range(size))

        async def worker() -> None:
            for i in indices:
                await anyio.lowlevel.checkpoint()
                if make is None:
                    results[i] = (await call(i))["y"]
                    continue
                with make("item items", {"i": i, "map": "bench", "wait_s": 0.0, "attempts": 1}):
                    results[i] = (await node(make, "work", call, i))["y"]

        async def pool() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(min(LIMIT, size)):
                    group.start_soon(worker)

        if make is None:
            await pool()
        else:
            with make("run bench", {}), make("map items", {}):
                await pool()
        return results

    return run


def chain(size: int) -> Callable[[], Awaitable[object]]:
    make = lean()
    names = [f"n{i}" for i in range(size)]

    async def run() -> object:
        x = 0
        if make is None:
            for _ in names:
                x = (await work(x))["y"]
            return x
        with make("run bench", {}):
            for name in names:
                x = (await node(make, name, work, x))["y"]
        return x

    return run


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    make = lean()

    async def run() -> object:
        results = [0] * size

        async def one(i: int) -> None:
            if make is None:
                results[i] = (await work(i))["y"]
            else:
                results[i] = (await node(make, f"n{i}", work, i))["y"]

        async def group_of_all() -> None:
            async with anyio.create_task_group() as group:
                for i in range(size):
                    group.start_soon(one, i)

        if make is None:
            await group_of_all()
        else:
            with make("run bench", {}):
                await group_of_all()
        return results

    return run


CASES = {
    "map": mapping,
    "chain": chain,
    "fan-out": fan_out,
    "sleeping": lambda size: mapping(size, sleep_and_work),
}
