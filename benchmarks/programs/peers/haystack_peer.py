"""haystack, untraced: components in a Pipeline, ``run_async`` with ``concurrency_limit``.

It has no map: a pipeline of one component is run for each item, 100 at a time, as one would
do by hand. A chain is a pipeline whose components are connected; a fan-out one whose
components are not.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"

from haystack import Pipeline, component

from benchmarks.work import LIMIT, work

VERSIONS = {"haystack-ai": version("haystack-ai")}


@component
class Work:
    """One node."""

    @component.output_types(y=int)
    def run(self, x: int) -> dict[str, int]:
        """The framework wants one; only the other is called here."""
        return {"y": x + 1}

    @component.output_types(y=int)
    async def run_async(self, x: int) -> dict[str, int]:
        return await work(x)


def mapping(size: int) -> Callable[[], Awaitable[object]]:
    pipeline = chain_of(1)

    async def run() -> object:
        slots = asyncio.Semaphore(LIMIT)
        results = [0] * size

        async def one(i: int) -> None:
            async with slots:
                results[i] = (await pipeline.run_async({"n0": {"x": i}}))["n0"]["y"]

        async with asyncio.TaskGroup() as group:
            for i in range(size):
                group.create_task(one(i))
        return results

    return run


def chain_of(size: int) -> Any:
    pipeline = Pipeline()
    for i in range(size):
        pipeline.add_component(f"n{i}", Work())
    for i in range(1, size):
        pipeline.connect(f"n{i - 1}.y", f"n{i}.x")
    return pipeline


def chain(size: int) -> Callable[[], Awaitable[object]]:
    pipeline = chain_of(size)

    async def run() -> object:
        return (await pipeline.run_async({"n0": {"x": 0}}))[f"n{size - 1}"]["y"]

    return run


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    pipeline = Pipeline()
    for i in range(size):
        pipeline.add_component(f"n{i}", Work())
    inputs = {f"n{i}": {"x": i} for i in range(size)}

    async def run() -> object:
        results = await pipeline.run_async(inputs, concurrency_limit=size)
        return [results[f"n{i}"]["y"] for i in range(size)]

    return run


CASES = {
    "map": mapping,
    "chain": chain,
    "fan-out": fan_out,
    "build": lambda size: lambda: chain_of(size),
}
