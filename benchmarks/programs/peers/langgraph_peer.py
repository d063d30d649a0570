"""langgraph, untraced: a Send for each item with ``max_concurrency``, edges for the rest.

Its documented map is a conditional edge that returns a list of Send; values are gathered by
a reducer in the state. No checkpointer.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Annotated, Any, TypedDict

os.environ["LANGSMITH_TRACING"] = "false"

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.work import LIMIT, work

VERSIONS = {"langgraph": version("langgraph")}


class Values(TypedDict):
    """The state of what runs side by side."""

    x: int
    count: int
    ys: Annotated[list[int], operator.add]


class Number(TypedDict):
    """The state of a chain, and what an item is sent."""

    x: int


async def collected(state: Number) -> dict[str, Any]:
    return {"ys": [(await work(state["x"]))["y"]]}


async def passed_on(state: Number) -> dict[str, Any]:
    return {"x": (await work(state["x"]))["y"]}


def mapping(size: int) -> Callable[[], Awaitable[object]]:
    graph = StateGraph(Values)
    graph.add_node("work", collected)
    graph.add_conditional_edges(
        START, lambda state: [Send("work", {"x": i}) for i in range(state["count"])], ["work"]
    )
    graph.add_edge("work", END)
    compiled = graph.compile()

    async def run() -> object:
        start = {"count": size, "ys": []}
        return (await compiled.ainvoke(start, {"max_concurrency": LIMIT}))["ys"]

    return run


def chain(size: int) -> Callable[[], Awaitable[object]]:
    compiled = chain_of(size)

    async def run() -> object:
        return (await compiled.ainvoke({"x": 0}, {"recursion_limit": size + 10}))["x"]

    return run


def chain_of(size: int) -> Any:
    graph = StateGraph(Number)
    last = START
    for i in range(size):
        graph.add_node(f"n{i}", passed_on)
        graph.add_edge(last, f"n{i}")
        last = f"n{i}"
    graph.add_edge(last, END)
    return graph.compile()


def fan_out(size: int) -> Callable[[], Awaitable[object]]:
    graph = StateGraph(Values)

    def of(i: int) -> Callable[[Values], Awaitable[dict[str, Any]]]:
        async def node(state: Values) -> dict[str, Any]:
            del state
            return {"ys": [(await work(i))["y"]]}

        return node

    for i in range(size):
        graph.add_node(f"n{i}", of(i))
        graph.add_edge(START, f"n{i}")
        graph.add_edge(f"n{i}", END)
    compiled = graph.compile()

    async def run() -> object:
        return set((await compiled.ainvoke({"ys": []}))["ys"])

    return run


CASES = {
    "map": mapping,
    "chain": chain,
    "fan-out": fan_out,
    "build": lambda size: lambda: chain_of(size),
}
