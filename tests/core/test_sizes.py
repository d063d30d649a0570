"""Sizes: deep nesting, long chains, wide fan-outs, and memory that does not grow."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, WhileLoopNode
from hush.testing import capture_spans


async def test_fifty_nested_graphs():
    def nest(depth):
        if depth == 0:
            return CodeNode(
                name="leaf",
                code_fn=lambda x: {"y": x + 1},
                inputs={"x": PARENT},
                outputs={"y": PARENT},
            )
        with GraphNode(name=f"level{depth}", inputs={"x": PARENT}, outputs={"y": PARENT}) as level:
            START >> nest(depth - 1) >> END
        return level

    with GraphNode(name="g") as graph:
        START >> nest(50) >> END
    with capture_spans() as captured:
        assert (await Hush(graph).run({"x": 1}))["y"] == 2
    captured.tree.assert_sound()
    assert captured.tree.one("node leaf").depth == 51


@pytest.mark.parametrize("kind", ["map", "loop"])
async def test_twenty_nested_maps_and_loops(kind):
    def nest(depth):
        if depth == 0:
            return CodeNode(
                name="leaf", code_fn=lambda x: {"x": x}, inputs={"x": PARENT}, outputs={"x": PARENT}
            )
        if kind == "map":
            node = MapNode(
                name=f"m{depth}", inputs={"x": PARENT, "i": Each([1])}, outputs={"x": PARENT["x"]}
            )
        else:
            node = WhileLoopNode(
                name=f"m{depth}", inputs={"x": PARENT}, stop_condition="True", outputs={"x": PARENT}
            )
        with node:
            START >> nest(depth - 1) >> END
        return node

    with GraphNode(name="g") as graph:
        START >> nest(20) >> END
    with capture_spans() as captured:
        await Hush(graph).run({"x": 1})
    captured.tree.assert_sound()
    assert captured.tree.one("node leaf").depth == 41


async def test_a_chain_of_ten_thousand():
    with GraphNode(name="g") as graph:
        last = START
        for i in range(10_000):
            node = CodeNode(name=f"n{i}", code_fn=lambda: {})
            last >> node
            last = node
        last >> END
    result = await Hush(graph).run()
    assert len(result.state.execution_order) == 10_000


async def test_a_fan_out_of_five_thousand():
    with GraphNode(name="g") as graph:
        nodes = [
            CodeNode(name=f"n{i}", code_fn=lambda i=i: {"y": i}, outputs={"y": PARENT[f"y{i}"]})
            for i in range(5_000)
        ]
        total = CodeNode(
            name="sum",
            code_fn=lambda ys: {"total": sum(ys)},
            inputs={"ys": [node["y"] for node in nodes]},
            outputs={"total": PARENT},
        )
        START >> nodes >> total >> END
    with capture_spans() as captured:
        result = await Hush(graph).run()
    assert result["total"] == sum(range(5_000))
    fan_in = captured.tree.one("node sum").record
    assert len(fan_in.links) == 32
    assert fan_in.attributes["hush.links.dropped"] == 5_000 - 32


MEMORY = """
import sys, resource
import anyio
from hush.core import *

items, backend, traced = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "traced"

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20

with GraphNode(name="g") as graph:
    with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, max_concurrency=100) as m:
        node = CodeNode(name="w", code_fn=lambda x: {"y": x}, inputs={"x": PARENT}, outputs={"y": PARENT})
        START >> node >> END
    START >> m >> END
engine = Hush(graph)

if traced:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry import trace
    class Discard(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Discard()))
    trace.set_tracer_provider(provider)

def source(n):
    for i in range(n):
        yield i

async def main():
    await engine.run({"xs": source(1_000)})
    start = resident()
    await engine.run({"xs": source(items)})
    print(resident() - start)

anyio.run(main, backend=backend)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("traced", ["untraced", "traced"])
def test_memory_does_not_grow_with_the_items(backend, traced):
    """A map over a generator; python -m benchmarks memory does it with more."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "20000", backend, traced],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Anything kept for each item, were it one small dict, would be more than this.
    assert float(done.stdout) < 8


async def test_results_are_not_kept_where_nothing_reads_them():
    class Value:
        pass

    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(50))}) as m:
            (
                START
                >> CodeNode(
                    name="w",
                    code_fn=lambda x: {"y": Value()},
                    inputs={"x": PARENT},
                    outputs={"y": PARENT},
                )
                >> END
            )
        START >> m >> END
    result = await Hush(graph).run()
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Value)]
    assert result.outcome == "ok"
