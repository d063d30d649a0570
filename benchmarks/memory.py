"""How much memory a map over a generator takes: growth over its start, by number of items.

    python benchmarks/memory.py [--items 1000000]

Each case runs in a process of its own: asyncio and trio, untraced and traced into an
exporter that discards, none of the map's outputs read. With --results the results are read
and compared to a bare list of the same values. Linux only: it reads /proc/self/statm.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode


class Discard(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: object) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def engine(*, results: bool) -> Hush:
    with GraphNode(name="bench") as graph:
        with MapNode(
            name="items",
            inputs={"x": Each(PARENT["xs"])},
            max_concurrency=100,
            outputs={"y": PARENT} if results else None,
        ) as items:
            node = CodeNode(
                name="work",
                code_fn=lambda x: {"y": x},
                inputs={"x": PARENT["x"]},
                outputs={"y": PARENT},
            )
            START >> node >> END
        START >> items >> END
    return Hush(graph)


def source(count: int) -> Iterator[int]:
    yield from range(count)


def one(items: int, backend: str, *, traced: bool, results: bool) -> dict[str, float]:
    if traced:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(Discard()))
        trace.set_tracer_provider(provider)
    workflow = engine(results=results)
    report: dict[str, float] = {}

    async def main() -> None:
        await workflow.run({"xs": source(1_000)})
        start, began = resident_mb(), time.perf_counter()
        peak = 0.0

        def watched() -> Iterator[int]:
            nonlocal peak
            for i in range(items):
                if i % 10_000 == 0:
                    peak = max(peak, resident_mb())
                yield i

        kept = await workflow.run({"xs": watched()})
        report["seconds"] = time.perf_counter() - began
        report["growth_mb"] = max(peak, resident_mb()) - start
        if results:
            before = resident_mb()
            copy = [int(str(y)) for y in kept["y"]]
            report["bare_list_mb"] = resident_mb() - before
            del copy

    anyio.run(main, backend=backend)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--results", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("BACKEND", "TRACED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        loop, how = options.one
        print(json.dumps(one(options.items, loop, traced=how == "traced", results=options.results)))
        sys.exit()
    print(f"{options.items:,} items, 100 at a time; growth over the start")
    for loop in ("asyncio", "trio"):
        for how in ("untraced", "traced"):
            command = [sys.executable, __file__, "--items", str(options.items), "--one", loop, how]
            if options.results:
                command.append("--results")
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            facts = json.loads(done.stdout)
            said = f"{loop:8}{how:10}{facts['growth_mb']:7.1f} MB  {facts['seconds']:7.1f} s"
            if "bare_list_mb" in facts:
                said += f"  (a bare list of the same: {facts['bare_list_mb']:.1f} MB)"
            print(said, flush=True)
