"""The same work on Hush. Whether it is traced is a matter of the provider that is set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.work import LIMIT, sleep_and_work, work
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode


def mapping(size: int, call: Callable[..., Any] = work) -> Callable[[], Awaitable[object]]:
    with GraphNode(name="bench") as graph:
        with MapNode(
            name="items",
            inputs={"x": Each(PARENT["xs"])},
            max_concurrency=LIMIT,
            # Every span is kept, so that both sides trace the same.
            span_budget=None,
            outputs={"y": PARENT},
        ) as items:
            node = CodeNode(
                name="work", code_fn=call, inputs={"x": PARENT["x"]}, outputs={"y": PARENT}
            )
            START >> node >> END
        START >> items >> END
    engine = Hush(graph)

    async def run() -> object:
        return (await engine.run({"xs": range(size)}))["y"]

    return run


def streamed(size: int) -> Callable[[], Awaitable[object]]:
    """A map over a generator, none of whose outputs are read: nothing has to be kept."""
    with GraphNode(name="bench") as graph:
        with MapNode(
            name="items", inputs={"x": Each(PARENT["xs"])}, max_concurrency=LIMIT
        ) as items:
            START >> CodeNode(name="work", code_fn=work, inputs={"x": PARENT["x"]}) >> END
        START >> items >> END
    engine = Hush(graph)

    async def run() -> object:
        return (await engine.run({"xs": (i for i in range(size))})).outcome

    return run


def chain_of(size: int) -> GraphNode:
    with GraphNode(name="bench") as graph:
        last: Any = START
        source: Any = PARENT["x"]
        for i in range(size):
            outputs = {"y": PARENT} if i == size - 1 else None
            node = CodeNode(name=f"n{i}", code_fn=work, inputs={"x": source}, outputs=outputs)
            last = last >> node
            source = node["y"]
        last >> END
    return graph


def chain(size: int) -> Callable[[], Awaitable[object]]:
    engine = Hush(chain_of(size))

    async def run() -> object:
        return (await engine.run({"x": 0}))["y"]

    return run


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    with GraphNode(name="bench") as graph:
        nodes = [
            CodeNode(name=f"n{i}", code_fn=work, inputs={"x": i}, outputs={"y": PARENT[f"y{i}"]})
            for i in range(size)
        ]
        START >> nodes >> END
    engine = Hush(graph)

    async def run() -> object:
        result = await engine.run()
        return [result[f"y{i}"] for i in range(size)]

    return run


def build(size: int) -> Callable[[], object]:
    return lambda: Hush(chain_of(size))


CASES = {
    "map": mapping,
    "chain": chain,
    "fan-out": fan_out,
    "sleeping": lambda size: mapping(size, sleep_and_work),
    "streamed": streamed,
    "build": build,
}
