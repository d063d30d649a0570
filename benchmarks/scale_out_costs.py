"""What a driver and a worker cost, measured on this machine, for the simulation.

A map over one worker, several times: with chunks of one item and of many, untraced and traced,
with few spans and with many, kept (encoded and written to a file) and left out. What the driver costs is the processor's time of
this process, the engine's part in it included; what the worker costs is that of its process. Both
do not depend on how busy the machine is, nearly.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from benchmarks.scale_out_model import DEFAULTS, Costs
from benchmarks.tracing import Sink, trace_into
from hush.executors import Capabilities, Executor, Processes

__all__ = ("Counted", "measure_costs")

ITEMS = 2_000
ROUNDS = 3
CHUNK = 100
NODES = 5


class Counted:
    """An executor that counts the calls of another one."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.calls = 0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @property
    def slots(self) -> int:
        return self.inner.slots

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc, traceback)

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        self.calls += 1
        return await self.inner.call(function, payload)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One map."""

    calls: float
    driver_s: float
    worker_s: float


def measure_costs(items: int = ITEMS, rounds: int = ROUNDS) -> Costs:
    """Measure with one process of this machine as the worker.

    Args:
        items: of each map.
        rounds: of which the median counts.
    """
    few, many = 1, NODES
    # What is set up for tracing stays, so what is untraced goes first.
    single = _median(items // 4, few, 1, rounds)
    chunked = _median(items, few, CHUNK, rounds)
    sink = trace_into("encoded")
    kept_few = _median(items, few, CHUNK, rounds, sink=sink)
    kept_many = _median(items, many, CHUNK, rounds, sink=sink)
    out_few = _median(items, few, CHUNK, rounds, 1, sink)
    out_many = _median(items, many, CHUNK, rounds, 1, sink)

    per_item = chunked.driver_s / items
    calls_each = chunked.calls / items
    # Two equations: a call's costs and an item's, from chunks of one and of many.
    call_s = (single.driver_s / (items // 4) - per_item) / (1 - calls_each)
    worker_call_s = (single.worker_s / (items // 4) - chunked.worker_s / items) / (1 - calls_each)
    more = items * (many - few)
    span_s = (kept_many.driver_s - kept_few.driver_s) / more
    omitted_s = (out_many.driver_s - out_few.driver_s) / more
    # What an item costs traced, without the spans that came from the worker: its own is in it.
    item_s = kept_few.driver_s / items - calls_each * call_s - (few + 1) * span_s
    return Costs(
        call_s=max(call_s, 0.0),
        item_s=max(item_s, per_item - calls_each * call_s),
        span_s=max(span_s, 0.0),
        omitted_s=max(omitted_s, 0.0),
        worker_call_s=max(worker_call_s, 0.0),
        worker_item_s=max(kept_few.worker_s / items - calls_each * worker_call_s, 0.0),
        latency_s=DEFAULTS.latency_s,
    )


def _median(
    items: int,
    nodes: int,
    chunk: int,
    rounds: int,
    budget: int | None = None,
    sink: Sink | None = None,
) -> _Seen:
    seen = [_map(items, nodes, chunk, budget, sink or Sink()) for _ in range(rounds)]
    return _Seen(
        statistics.median(one.calls for one in seen),
        statistics.median(one.driver_s for one in seen),
        statistics.median(one.worker_s for one in seen),
    )


def _map(items: int, nodes: int, chunk: int, budget: int | None, sink: Sink) -> _Seen:
    """Run one map over one worker that has been warmed, and look at what it took."""
    import anyio

    from hush.core import Hush

    counted = Counted(Processes(1))
    engine = Hush(_graph(counted, nodes, chunk, budget))

    async def main() -> tuple[int, float]:
        async with counted:
            # Starting the worker, importing in it and unpacking the body are not what is asked.
            await engine.run({"xs": range(2 * chunk)})
            sink.flush()
            calls, began = counted.calls, time.process_time()
            result = await engine.run({"xs": range(items)})
            if result["ys"] != list(range(1, items + 1)):
                raise RuntimeError("the map did not do its work")
            sink.flush()
            return counted.calls - calls, time.process_time() - began

    def children_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = children_s()
    calls, driver_s = anyio.run(main)
    return _Seen(calls, driver_s, children_s() - before - _start_s())


_START: list[float] = []


def _start_s() -> float:
    """Return what a worker's start and first call take of the processor, measured once."""
    if not _START:
        _START.append(0.0)
        counted = Counted(Processes(1))
        import anyio

        from hush.core import Hush

        engine = Hush(_graph(counted, 1, 1, None))

        async def main() -> None:
            async with counted:
                await engine.run({"xs": range(2)})

        def children_s() -> float:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime

        before = children_s()
        anyio.run(main)
        _START[0] = children_s() - before
    return _START[0]


def _graph(executor: Any, nodes: int, chunk: int, budget: int | None) -> Any:
    from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, MapNode

    with GraphNode(name="costs") as graph:
        with MapNode(
            name="items",
            inputs={"x": Each(PARENT["xs"])},
            outputs={"y": PARENT["ys"]},
            max_concurrency=chunk,
            executor=executor,
            span_budget=budget,
        ) as over:
            last: Any = START
            for number in range(nodes):
                node = CodeNode(
                    name=f"n{number}",
                    code_fn=lambda x: {"y": x + 1},
                    inputs={"x": PARENT["x"]},
                    **({"outputs": {"y": PARENT["y"]}} if number == nodes - 1 else {}),
                )
                last >> node
                last = node
            last >> END
        START >> over >> END
    return graph
