"""Without any runtime and without spans: a task for each item, held back by a limiter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from benchmarks.work import LIMIT, sleep_and_work, work

Work = Callable[[int], Awaitable[dict[str, int]]]


def mapping(size: int, call: Work = work) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        limiter = anyio.CapacityLimiter(LIMIT)
        results = [0] * size

        async def one(i: int) -> None:
            async with limiter:
                results[i] = (await call(i))["y"]

        async with anyio.create_task_group() as group:
            for i in range(size):
                group.start_soon(one, i)
        return results

    return run


def chain(size: int) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        x = 0
        for _ in range(size):
            x = (await work(x))["y"]
        return x

    return run


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        results = [0] * size

        async def one(i: int) -> None:
            results[i] = (await work(i))["y"]

        async with anyio.create_task_group() as group:
            for i in range(size):
                group.start_soon(one, i)
        return results

    return run


CASES = {
    "map": mapping,
    "chain": chain,
    "fan-out": fan_out,
    "sleeping": lambda size: mapping(size, sleep_and_work),
}
