"""Makes a planned workflow real: its nodes, its sources, and what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphNode,
    MapNode,
    Quorum,
    Retry,
    WhileLoopNode,
)
from hush.model.node import Node
from tests.runtime.truth_plan import Planned


class PlannedError(Exception):
    """A failure that was planned."""


@dataclass
class Stage:
    """What the nodes of one run share."""

    seed: str
    tries: Counter[str] = field(default_factory=Counter)
    limiter: anyio.CapacityLimiter | None = None


class Work(Node):
    """Does what its script says."""

    kind = "work"

    def __init__(self, planned: Planned, stage: Stage, **options: Any) -> None:
        super().__init__(planned.name, **options)
        self.planned = planned
        self.stage = stage

    async def execute(self, inputs: dict[str, Any], ctx: Any) -> Mapping[str, Any]:
        stage = self.stage
        stage.tries[ctx.path] += 1
        script = self.planned.script(stage.seed, ctx.path, stage.tries[ctx.path])
        try:
            await anyio.sleep(script.before_s)
            if script.hold_s is not None:
                assert stage.limiter is not None
                asked = anyio.current_time()
                async with stage.limiter:
                    ctx.waited("test/limit", anyio.current_time() - asked)
                    await anyio.sleep(script.hold_s)
                await anyio.sleep(script.after_s)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(script.stop_s)
            raise
        if script.fails:
            raise PlannedError(ctx.path)
        return {"left": inputs["left"] - 1} if self.planned.counts else {}


def act(planned: Planned, stage: Stage) -> Callable[..., Any]:
    """Return a function that does what a script says."""

    async def function(here: str) -> dict[str, Any]:
        path = f"{here}.{planned.name}"
        stage.tries[path] += 1
        script = planned.script(stage.seed, path, stage.tries[path])
        try:
            await anyio.sleep(script.before_s)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(script.stop_s)
            raise
        if script.fails:
            raise PlannedError(path)
        return {}

    return function


class Items:
    """A source without a length."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.planned.items))


class SlowItems:
    """A source that takes its time, and has no length."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned

    async def __aiter__(self) -> AsyncIterator[int]:
        *pauses, last_s = self.planned.pauses
        for i, pause_s in enumerate(pauses):
            await anyio.sleep(pause_s)
            yield i
        await anyio.sleep(last_s)


class SlowSizedItems(SlowItems):
    """A source that takes its time, although it knows how many there are."""

    def __len__(self) -> int:
        return self.planned.items


SOURCES = {"iterator": Items, "slow": SlowItems, "slow sized": SlowSizedItems}


def build(nodes: list[Planned], stage: Stage, here: Any) -> None:
    """Make the nodes in the graph that is open now.

    Args:
        nodes: as data.
        stage: what they share.
        here: a reference to the graph's path; None where it cannot be read.
    """
    made = [make(node, nodes, stage, here) for node in nodes]
    after: set[int] = set()
    for one, node in zip(made, nodes, strict=True):
        after |= set(node.before)
        if node.hard:
            [made[p] for p in node.hard] >> one
        if node.soft:
            [made[p] for p in node.soft] >> ~one
        if not node.before:
            START >> one
    [one for i, one in enumerate(made) if i not in after] >> END


def make(node: Planned, nodes: list[Planned], stage: Stage, here: Any) -> Node:
    options: dict[str, Any] = {
        "on_error": "capture" if node.captures else "raise",
        "timeout_s": node.timeout_s,
    }
    if node.tries > 1:
        options["retry"] = Retry(node.tries, initial_s=node.pause_s, jitter=0.0)
    if node.quorum:
        join = First if node.race else lambda cancel_rest: Quorum(node.quorum, cancel_rest)
        options["join"] = join(cancel_rest=node.cancels)
    if node.kind == "leaf":
        if node.counts:
            options |= {"inputs": {"left": PARENT}, "outputs": {"left": PARENT}}
        if node.plain and here is not None:
            return CodeNode(node.name, act(node, stage), inputs={"here": here}, **options)
        return Work(node, stage, **options)
    if node.kind == "branch":
        cases = {f"pick == {target}": nodes[target].name for target in node.targets}
        return BranchNode(node.name, cases=cases, inputs={"pick": node.chosen})
    made: Any
    inside: Any = None if here is None else PARENT["here"]
    if inside is not None and node.kind != "while":
        options["inputs"] = {"here": here + f".{node.name}"}
    if node.kind == "graph":
        made = GraphNode(name=node.name, **options)
    elif node.kind == "while":
        inside = None
        made = WhileLoopNode(
            node.name, condition="left > 0", inputs={"left": node.items}, **options
        )
    else:
        made = make_map(node, options)
        if inside is not None:
            inside = inside + PARENT["x"].apply(lambda x: f"[{x}]")
    with made:
        build(node.inner, stage, inside)
    return made  # type: ignore[no-any-return]


def make_map(node: Planned, options: dict[str, Any]) -> Any:
    options["inputs"] = {
        **options.get("inputs", {}),
        "x": Each(list(range(node.items)) if node.source == "list" else SOURCES[node.source](node)),
    }
    if node.item_tries > 1:
        options["retry"] = Retry(node.item_tries, initial_s=node.item_pause_s, jitter=0.0)
    if node.collects:
        options |= {"on_error": "collect", "max_failures": node.tolerated}
    if node.kind == "for":
        return ForLoopNode(node.name, **options)
    return MapNode(node.name, max_concurrency=node.limit, **options)
