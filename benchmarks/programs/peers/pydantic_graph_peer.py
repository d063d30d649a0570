"""pydantic-graph, untraced: steps, ``map()`` and a join that collects, by its builder.

Its map starts a task for every item; it has no limit of how many at once. The order of what
it collects is that of completion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from pydantic_graph import GraphBuilder, StepContext, reduce_list_append

from benchmarks.work import work

VERSIONS = {"pydantic-graph": version("pydantic-graph")}


def builder(taken: type, given: Any) -> GraphBuilder[None, None, Any, Any]:
    return GraphBuilder(input_type=taken, output_type=given, auto_instrument=False)


async def one(ctx: StepContext[None, None, int]) -> int:
    return (await work(ctx.inputs))["y"]


def mapping(size: int) -> Callable[[], Awaitable[object]]:
    build = builder(int, list[int])

    async def source(ctx: StepContext[None, None, int]) -> list[int]:
        return list(range(ctx.inputs))

    start, step = build.step(source), build.step(one)
    collect = build.join(reduce_list_append, initial_factory=list[int])
    build.add(
        build.edge_from(build.start_node).to(start),
        build.edge_from(start).map().to(step),
        build.edge_from(step).to(collect),
        build.edge_from(collect).to(build.end_node),
    )
    graph = build.build()

    async def run() -> object:
        return set(await graph.run(inputs=size))

    return run


def chain(size: int) -> Callable[[], Awaitable[object]]:
    graph = chain_of(size)

    async def run() -> object:
        return await graph.run(inputs=0)

    return run


def chain_of(size: int) -> Any:
    build = builder(int, int)
    last: Any = build.start_node
    for i in range(size):
        step = build.step(one, node_id=f"n{i}")
        build.add(build.edge_from(last).to(step))
        last = step
    build.add(build.edge_from(last).to(build.end_node))
    return build.build()


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    build = builder(int, list[int])

    def of(i: int) -> Callable[[StepContext[None, None, int]], Awaitable[int]]:
        async def node(ctx: StepContext[None, None, int]) -> int:
            del ctx
            return (await work(i))["y"]

        return node

    steps = [build.step(of(i), node_id=f"n{i}") for i in range(size)]
    collect = build.join(reduce_list_append, initial_factory=list[int])
    build.add(
        build.edge_from(build.start_node).to(*steps),
        build.edge_from(*steps).to(collect),
        build.edge_from(collect).to(build.end_node),
    )
    graph = build.build()

    async def run() -> object:
        return set(await graph.run(inputs=0))

    return run


CASES = {
    "map": mapping,
    "chain": chain,
    "fan-out": fan_out,
    "build": lambda size: lambda: chain_of(size),
}
