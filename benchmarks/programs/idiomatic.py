"""What people write by hand: a task for each item, and ``start_as_current_span`` around each.

As OpenTelemetry's documentation shows it. Each span has five attributes, about what a span
of a runtime says of its item or node: who it is, where it belongs, and how it ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from opentelemetry import trace

from benchmarks.work import LIMIT, sleep_and_work, work

Work = Callable[[int], Awaitable[dict[str, int]]]


async def node(tracer: trace.Tracer, name: str, call: Work, x: int) -> dict[str, int]:
    known = {"node.name": name, "node.path": f"bench.{name}", "node.kind": "code", "attempts": 1}
    with tracer.start_as_current_span(f"node {name}", attributes=known) as span:
        answer = await call(x)
        span.set_attribute("outcome", "ok")
        return answer


def mapping(size: int, call: Work = work) -> Callable[[], Awaitable[object]]:
    tracer = trace.get_tracer("by hand")

    async def run() -> object:
        limiter = anyio.CapacityLimiter(LIMIT)
        results = [0] * size

        async def one(i: int) -> None:
            async with limiter:
                known = {"item.index": i, "map.path": "bench.items", "wait_s": 0.0, "attempts": 1}
                with tracer.start_as_current_span("item items", attributes=known) as span:
                    results[i] = (await node(tracer, "work", call, i))["y"]
                    span.set_attribute("outcome", "ok")

        with (
            tracer.start_as_current_span("run bench"),
            tracer.start_as_current_span("map items"),
        ):
            async with anyio.create_task_group() as group:
                for i in range(size):
                    group.start_soon(one, i)
        return results

    return run


def chain(size: int) -> Callable[[], Awaitable[object]]:
    tracer = trace.get_tracer("by hand")
    names = [f"n{i}" for i in range(size)]

    async def run() -> object:
        with tracer.start_as_current_span("run bench"):
            x = 0
            for name in names:
                x = (await node(tracer, name, work, x))["y"]
            return x

    return run


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    tracer = trace.get_tracer("by hand")

    async def run() -> object:
        results = [0] * size

        async def one(i: int) -> None:
            results[i] = (await node(tracer, f"n{i}", work, i))["y"]

        with tracer.start_as_current_span("run bench"):
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
