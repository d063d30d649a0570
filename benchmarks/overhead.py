"""What a node and a map item cost, as ratios to the same work by hand, in one run.

    python benchmarks/overhead.py [--items 5000] [--nodes 1000] [--rounds 5]

The same trivial coroutine is run by hand on anyio and by Hush, untraced and traced, on both
loops. "By hand, traced" is what the OpenTelemetry documentation shows:
``start_as_current_span`` around each piece of work. Every trace goes into an exporter that
discards it, through the SDK's own processor. Rounds are interleaved, so that a noisy machine
is noisy for all, and the median of each is taken; absolute times are of this machine, only
the ratios travel.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe.tracing import override_provider

LIMIT = 100


class Discard(SpanProcessor):
    """Takes finished spans and forgets them: what an exporter does later is not measured."""

    def on_end(self, span: ReadableSpan) -> None:
        del span


PROVIDER = TracerProvider(shutdown_on_exit=False)
PROVIDER.add_span_processor(Discard())
TRACER = PROVIDER.get_tracer("by hand")


async def work(x: int) -> dict[str, int]:
    await anyio.lowlevel.checkpoint()
    return {"y": x}


# --- a map of trivial items ---------------------------------------------------------------


async def map_by_hand(count: int) -> None:
    """A task for each item, held back by a limiter: what people write."""
    limiter = anyio.CapacityLimiter(LIMIT)
    results: list[dict[str, int] | None] = [None] * count

    async def one(i: int) -> None:
        async with limiter:
            results[i] = await work(i)

    async with anyio.create_task_group() as group:
        for i in range(count):
            group.start_soon(one, i)


async def map_by_hand_traced(count: int) -> None:
    """The same with a span for the map, each item and each call."""
    limiter = anyio.CapacityLimiter(LIMIT)
    results: list[dict[str, int] | None] = [None] * count

    async def one(i: int) -> None:
        async with limiter:
            with (
                TRACER.start_as_current_span("item", attributes={"index": i}),
                TRACER.start_as_current_span("node", attributes={"name": "work"}),
            ):
                results[i] = await work(i)

    with TRACER.start_as_current_span("map"):
        async with anyio.create_task_group() as group:
            for i in range(count):
                group.start_soon(one, i)


def map_engine() -> Hush:
    with GraphNode(name="bench") as graph:
        with MapNode(
            name="items",
            inputs={"x": Each(PARENT["xs"])},
            max_concurrency=LIMIT,
            outputs={"y": PARENT},
        ) as items:
            node = CodeNode(
                name="work", code_fn=work, inputs={"x": PARENT["x"]}, outputs={"y": PARENT}
            )
            START >> node >> END
        START >> items >> END
    return Hush(graph)


# --- nodes one after the other, and side by side --------------------------------------------


async def chain_by_hand(count: int) -> None:
    for i in range(count):
        await work(i)


async def chain_by_hand_traced(count: int) -> None:
    with TRACER.start_as_current_span("run"):
        for i in range(count):
            with TRACER.start_as_current_span("node", attributes={"name": f"n{i}"}):
                await work(i)


async def fan_out_by_hand(count: int) -> None:
    async with anyio.create_task_group() as group:
        for i in range(count):
            group.start_soon(work, i)


async def fan_out_by_hand_traced(count: int) -> None:
    async def one(i: int) -> None:
        with TRACER.start_as_current_span("node", attributes={"name": f"n{i}"}):
            await work(i)

    with TRACER.start_as_current_span("run"):
        async with anyio.create_task_group() as group:
            for i in range(count):
                group.start_soon(one, i)


def nodes_engine(count: int, *, chain: bool) -> Hush:
    with GraphNode(name="bench") as graph:
        nodes = [CodeNode(name=f"n{i}", code_fn=work, inputs={"x": i}) for i in range(count)]
        if chain:
            last: object = START
            for node in nodes:
                last = last >> node
            nodes[-1] >> END
        else:
            START >> nodes >> END
    return Hush(graph)


# --- measuring --------------------------------------------------------------------------------

Case = Callable[[], Awaitable[object]]


def traced(case: Case) -> Case:
    async def run() -> None:
        with override_provider(PROVIDER):
            await case()

    return run


async def measure(cases: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        await case()
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            began = time.perf_counter()
            await case()
            times[name].append(time.perf_counter() - began)
    return times


def table(title: str, count: int, times: dict[str, list[float]]) -> None:
    floor = statistics.median(times["by hand"])
    hand_traced = statistics.median(times["by hand, traced"])
    print(f"\n{title}")
    print(f"  {'':24}{'µs each':>9}{'spread':>13}{'to by hand':>12}{'to by hand, traced':>20}")
    for name, values in times.items():
        middle = statistics.median(values)
        low, high = min(values) / count * 1e6, max(values) / count * 1e6
        spread = f"{low:.0f}-{high:.0f}"
        print(
            f"  {name:24}{middle / count * 1e6:9.1f}{spread:>13}"
            f"{middle / floor:12.2f}{middle / hand_traced:20.2f}"
        )


async def main(backend: str, options: argparse.Namespace) -> None:
    items, nodes = options.items, options.nodes
    mapped = map_engine()
    xs = range(items)

    async def run_map() -> None:
        await mapped.run({"xs": xs})

    cases: dict[str, Case] = {
        "by hand": lambda: map_by_hand(items),
        "hush": run_map,
        "by hand, traced": lambda: map_by_hand_traced(items),
        "hush, traced": traced(run_map),
    }
    title = f"{backend}: map of {items} items, {LIMIT} at a time, two spans an item"
    table(title, items, await measure(cases, options.rounds))
    for chain in (True, False):
        engine = nodes_engine(nodes, chain=chain)
        hand, hand_traced = (
            (chain_by_hand, chain_by_hand_traced)
            if chain
            else (fan_out_by_hand, fan_out_by_hand_traced)
        )
        cases = {
            "by hand": lambda hand=hand: hand(nodes),  # type: ignore[misc]
            "hush": engine.run,
            "by hand, traced": lambda hand=hand_traced: hand(nodes),  # type: ignore[misc]
            "hush, traced": traced(engine.run),
        }
        title = f"{backend}: {'chain' if chain else 'fan-out'} of {nodes} nodes"
        table(title, nodes, await measure(cases, options.rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for loop in ("asyncio", "trio"):
        anyio.run(main, loop, arguments, backend=loop)
