"""Critical paths and fan-ins against the truth: random graphs with planted delays.

Every node sleeps for a time of its own on a virtual clock, so that what each waited for is
known exactly. Expected are the facts on the spans; a naive simulation of the plan says what
they must be. Beside it: how often the path that Jaeger would draw differs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

import hush.observe.spans
import hush.runtime.state
from hush import semconv
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe.clock import RunClock
from hush.testing import capture_spans
from tests.e2e.critical_path import critical_path
from tests.runtime.virtual_time import run_virtually

GRAPHS = 150
"""For each loop."""


@dataclass
class Planned:
    """A node, and what is known of it."""

    name: str
    kind: str
    seconds: float = 0.0
    """Of a leaf."""
    inner: list[Planned] = field(default_factory=list)
    """Of a graph: its nodes, in an order in which they may run."""
    items: list[float] = field(default_factory=list)
    limit: int = 1
    hard: list[int] = field(default_factory=list)
    soft: list[int] = field(default_factory=list)


Draw = Callable[[random.Random], float]


def distinct(rng: random.Random) -> float:
    return rng.uniform(0.01, 1.0)


def nearly_tied(rng: random.Random) -> float:
    """Return a duration such that many sums differ by less than a microsecond only."""
    return rng.randint(1, 4) / 10 + rng.randint(1, 999) * 1e-9


def plan_graph(rng: random.Random, depth: int, draw: Draw) -> list[Planned]:
    nodes: list[Planned] = []
    for i in range(rng.randint(1, 7)):
        kind = rng.choice(["leaf"] * 5 + ["graph", "map"]) if depth < 2 else "leaf"
        node = Planned(f"n{i}", kind)
        if kind == "leaf":
            node.seconds = draw(rng)
        elif kind == "graph":
            node.inner = plan_graph(rng, depth + 1, draw)
        else:
            node.items = [draw(rng) for _ in range(rng.randint(1, 9))]
            node.limit = rng.randint(1, 4)
        before = list(range(i))
        if before:
            chosen = rng.sample(before, rng.randint(0, min(3, len(before))))
            if len(chosen) > 1 and rng.random() < 0.25:
                node.soft = sorted(chosen)
            else:
                node.hard = sorted(chosen)
        nodes.append(node)
    return nodes


@dataclass
class Truth:
    start: list[float]
    end: list[float]
    by: list[int | None]
    inner: dict[int, tuple[list[str], float]]


def simulate(nodes: list[Planned], at: float) -> Truth:
    truth = Truth([], [], [], {})
    for i, node in enumerate(nodes):
        start, by = at, None
        if node.hard:
            by = max(node.hard, key=lambda p: truth.end[p])
            start = truth.end[by]
        if node.soft:
            by = min(node.soft, key=lambda p: truth.end[p])
            start = truth.end[by]
        truth.start.append(start)
        truth.by.append(by)
        path, end = duration(node, start)
        truth.end.append(end)
        truth.inner[i] = (path, end)
    return truth


def duration(node: Planned, start: float) -> tuple[list[str], float]:
    """Return the labels that a node puts on a path, and its end."""
    if node.kind == "leaf":
        return [node.name], start + node.seconds
    if node.kind == "graph":
        inner = simulate(node.inner, start)
        return [f"{node.name}.{label}" for label in path_of(node.inner, inner)], max(inner.end)
    free = [start] * node.limit
    did: list[list[int]] = [[] for _ in free]
    for index, seconds in enumerate(node.items):
        worker = min(range(node.limit), key=free.__getitem__)
        free[worker] += seconds
        did[worker].append(index)
    last = max(range(node.limit), key=free.__getitem__)
    return [f"{node.name}[{index}].work" for index in did[last]], max(free)


def path_of(nodes: list[Planned], truth: Truth) -> list[str]:
    i: int | None = max(range(len(nodes)), key=lambda j: truth.end[j])
    groups = []
    while i is not None:
        groups.append(truth.inner[i][0])
        i = truth.by[i]
    return [label for group in reversed(groups) for label in group]


def build(nodes: list[Planned]) -> None:
    made: list[Any] = []
    for node in nodes:
        if node.kind == "leaf":
            made.append(CodeNode(node.name, anyio.sleep, inputs={"delay": node.seconds}))
        elif node.kind == "graph":
            with GraphNode(name=node.name) as inner:
                build(node.inner)
            made.append(inner)
        else:
            with MapNode(
                name=node.name, inputs={"delay": Each(node.items)}, max_concurrency=node.limit
            ) as items:
                work = CodeNode("work", anyio.sleep, inputs={"delay": PARENT["delay"]})
                START >> work >> END
            made.append(items)
    for one, node in zip(made, nodes, strict=True):
        if node.hard:
            [made[p] for p in node.hard] >> one
        elif node.soft:
            [made[p] for p in node.soft] >> ~one
        else:
            START >> one
    used = {p for node in nodes for p in (*node.hard, *node.soft)}
    [one for i, one in enumerate(made) if i not in used] >> END


def virtual_clock() -> RunClock:
    def now_ns() -> int:
        return 10**18 + round(anyio.current_time() * 1e9)

    return RunClock(wall=now_ns, ticks=now_ns)


@dataclass
class Timed:
    span_id: str
    parent_id: str | None
    start_us: int
    end_us: int
    name: str


def run(nodes: list[Planned], backend: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    with GraphNode(name="g") as graph:
        build(nodes)
    engine = Hush(graph)
    monkeypatch.setattr(hush.runtime.state, "CLOCK", anyio.current_time)
    monkeypatch.setattr(hush.observe.spans, "RunClock", virtual_clock)
    with capture_spans() as captured:
        run_virtually(engine.run, backend)
    return captured.tree


def labels(texts: list[str]) -> list[str]:
    return [text.rsplit(" ", 2)[0] for text in texts]


@pytest.mark.parametrize("draw", [distinct, nearly_tied])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_paths_and_fan_ins_are_the_true_ones(backend, draw, monkeypatch, record_property):
    jaegers = 0
    compared = 0
    for seed in range(GRAPHS):
        rng = random.Random(f"{backend}{seed}")
        nodes = plan_graph(rng, 0, draw)
        truth = simulate(nodes, 0.0)
        expected = path_of(nodes, truth)
        tree = run(nodes, backend, monkeypatch)
        told = labels(tree.root.record.attributes[semconv.CRITICAL_PATH])
        if len(expected) <= 20 and not any("more item" in label for label in told):
            assert told == expected, f"seed {seed}"
            compared += 1
        else:
            # A worker with many items tells of the longest; all that is told is true.
            assert {x for x in told if "(" not in x} <= set(expected), f"seed {seed}"
        assert tree.root.duration_s == pytest.approx(max(truth.end), abs=1e-4)
        check_fan_ins(tree, nodes, truth, seed)
        jaegers += jaeger_differs(tree, expected)
    record_property("jaeger_differs", f"{jaegers} of {GRAPHS}")
    print(
        f"{backend}, {draw.__name__}: {compared} whole paths; Jaeger's differs in {jaegers} of {GRAPHS}"
    )
    assert compared > GRAPHS / 2


def check_fan_ins(tree: Any, nodes: list[Planned], truth: Truth, seed: int) -> None:
    by_path = {
        node.record.attributes[semconv.NODE_PATH]: node.record.attributes
        for node in tree.walk()
        if semconv.NODE_PATH in node.record.attributes
    }
    for node in nodes:
        facts = by_path[f"g.{node.name}"]
        if node.soft:
            ends = sorted((truth.end[p], nodes[p].name) for p in node.soft)
            assert facts[semconv.FAN_IN_MODE] == "any"
            assert facts[semconv.FAN_IN_LAST] == ends[0][1], f"seed {seed}"
            assert set(facts[semconv.FAN_IN_LATE]) == {name for _, name in ends[1:]}
        elif len(node.hard) > 1:
            ends = sorted((truth.end[p], nodes[p].name) for p in node.hard)
            assert facts[semconv.FAN_IN_MODE] == "all"
            assert facts[semconv.FAN_IN_COUNT] == len(ends)
            assert facts[semconv.FAN_IN_LAST] == ends[-1][1], f"seed {seed}"
            assert facts[semconv.FAN_IN_LEAD_S] == pytest.approx(
                ends[-1][0] - ends[-2][0], abs=1e-6
            )
            assert facts[semconv.FAN_IN_SPREAD_S] == pytest.approx(
                ends[-1][0] - ends[0][0], abs=1e-6
            )
            arrived = [text.split(" ")[0] for text in facts[semconv.FAN_IN_ARRIVALS]]
            assert arrived == [name for _, name in ends]
        else:
            assert semconv.FAN_IN_COUNT not in facts


def jaeger_differs(tree: Any, expected: list[str]) -> bool:
    """Say whether the path that Jaeger would draw misses a true step or has a false one."""
    spans = [
        Timed(
            node.record.span_id,
            node.record.parent_id,
            node.record.start_ns // 1000,
            node.record.end_ns // 1000,
            node.record.attributes.get(semconv.NODE_PATH, ""),
        )
        for node in tree.walk()
    ]
    inside = {span.parent_id for span in spans}
    drawn = {
        section.span.name.removeprefix("g.")
        for section in critical_path(spans)
        if section.span.name and section.span.span_id not in inside
    }
    return drawn != set(expected)
