"""Random workflows of every kind as plain data.

What a node does when it runs (how long, whether it fails, how slowly it stops) is drawn from
its path and the number of its try, so that the real run and a simulation of it, each by itself,
come to the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields

CONTAINERS = ("graph", "map", "while", "for")
SHARED = 2
"""How many may hold the shared limit at the same time."""


@dataclass(frozen=True)
class Script:
    """What a leaf does in one try."""

    before_s: float
    hold_s: float | None
    """How long it holds the shared limit after that; None where it does not ask for it."""
    after_s: float
    fails: bool
    stop_s: float
    """How long it takes to stop, where it is cancelled."""


@dataclass
class Planned:
    """A node."""

    name: str
    kind: str
    """``leaf``, ``branch``, or one of :data:`CONTAINERS`."""
    hard: list[int] = field(default_factory=list)
    soft: list[int] = field(default_factory=list)
    quorum: int = 0
    """How many predecessors it needs, where it is a join."""
    cancels: bool = False
    """Whether it cancels the others then."""
    race: bool = False
    """Whether it is a ``First``."""
    targets: list[int] = field(default_factory=list)
    """Of a branch: its successors that it chooses from."""
    chosen: int | None = None
    captures: bool = False
    tries: int = 1
    pause_s: float = 0.0
    timeout_s: float | None = None
    inner: list[Planned] = field(default_factory=list)
    items: int = 0
    """Of a map or loop: items or rounds."""
    limit: int = 1
    source: str = "list"
    """``list``, ``iterator`` (no length), ``slow`` (asynchronous), ``slow sized``."""
    pauses: list[float] = field(default_factory=list)
    """Of a slow source: before each item, and before it ends."""
    collects: bool = False
    tolerated: int | None = None
    item_tries: int = 1
    item_pause_s: float = 0.0
    fails: float = 0.0
    """How likely a try fails."""
    limited: bool = False
    """Whether it asks for the shared limit."""
    slow_to_stop: bool = False
    plain: bool = False
    """Whether it is a function, that goes the straight way where its policies let it."""
    counts: bool = False
    """Whether it counts the rounds of the loop around it."""

    @property
    def before(self) -> list[int]:
        return [*self.hard, *self.soft]

    def script(self, seed: str, path: str, attempt: int) -> Script:
        rng = random.Random(f"{seed} {path} {attempt}")
        return Script(
            before_s=rng.uniform(0.01, 1.0),
            hold_s=rng.uniform(0.1, 2.0) if self.limited else None,
            after_s=rng.uniform(0.01, 0.2) if self.limited else 0.0,
            fails=rng.random() < self.fails,
            stop_s=rng.uniform(0.05, 0.5) if self.slow_to_stop else 0.0,
        )


@dataclass
class Workflow:
    """A whole graph, and how its run ends."""

    seed: str
    nodes: list[Planned]
    deadline_s: float | None = None
    left_after_s: float | None = None
    """When the caller goes away."""


def draw_workflow(seed: str) -> Workflow:
    """Return one of all workflows.

    Args:
        seed: decides everything.
    """
    rng = random.Random(seed)
    faulty = rng.random() < 0.6
    flow = Workflow(seed, draw_nodes(rng, 0, faulty=faulty))
    if rng.random() < 0.15:
        flow.deadline_s = rng.uniform(0.3, 4.0)
    elif rng.random() < 0.05:
        flow.left_after_s = rng.uniform(0.3, 4.0)
    return flow


def draw_nodes(rng: random.Random, depth: int, *, faulty: bool) -> list[Planned]:
    if rng.random() < (0.35 if depth else 0.05):
        return draw_line(rng, faulty=faulty)
    nodes: list[Planned] = []
    taken: set[int] = set()
    """Racers, which nothing else may need."""
    for _ in range(rng.randint(1, 6 if depth == 0 else 3)):
        kind = rng.choices(["leaf", "branch", "race", *CONTAINERS], [5, 1, 1.5, 1, 2, 0.5, 0.5])[0]
        if kind in CONTAINERS and depth >= 2:
            kind = "leaf"
        if kind == "race":
            add_race(rng, nodes, taken, depth, faulty=faulty)
            continue
        if kind == "branch":
            # It takes no time: one of its own comes before, so that nothing happens at once.
            nodes.append(draw_node(rng, f"n{len(nodes)}", "leaf", depth, faulty=faulty))
            add_edges(rng, nodes, taken, nodes[-1])
            taken.add(len(nodes) - 1)
            nodes.append(Planned(f"n{len(nodes)}", "branch", hard=[len(nodes) - 1]))
            continue
        node = draw_node(rng, f"n{len(nodes)}", kind, depth, faulty=faulty)
        add_edges(rng, nodes, taken, node)
        if len(node.before) > 1 and not node.soft and rng.random() < 0.2:
            node.quorum = rng.randint(1, len(node.hard))
        nodes.append(node)
    settle_branches(rng, nodes)
    return nodes


def draw_line(rng: random.Random, *, faulty: bool) -> list[Planned]:
    """Return functions, one after the other."""
    nodes = []
    for i in range(rng.randint(1, 4)):
        node = Planned(f"n{i}", "leaf", hard=[i - 1] if i else [], plain=True)
        node.slow_to_stop = rng.random() < 0.2
        node.fails = 0.2 if faulty and rng.random() < 0.3 else 0.0
        nodes.append(node)
    return nodes


def add_edges(rng: random.Random, nodes: list[Planned], taken: set[int], node: Planned) -> None:
    before = [i for i, one in enumerate(nodes) if i not in taken and one is not node]
    chosen = sorted(rng.sample(before, rng.randint(0, min(4, len(before)))))
    how = rng.random()
    if len(chosen) > 1 and how < 0.2:
        node.soft = chosen
    elif len(chosen) > 2 and how < 0.6:
        cut = rng.randint(1, len(chosen) - 2)
        rng.shuffle(chosen)
        node.hard, node.soft = sorted(chosen[:cut]), sorted(chosen[cut:])
    else:
        node.hard = chosen


def add_race(
    rng: random.Random, nodes: list[Planned], taken: set[int], depth: int, *, faulty: bool
) -> None:
    racers = []
    for _ in range(rng.randint(2, 4)):
        kinds = ["leaf", "leaf", "leaf", "map", "graph"] if depth < 2 else ["leaf"]
        racer = draw_node(rng, f"n{len(nodes)}", rng.choice(kinds), depth, faulty=faulty)
        racer.slow_to_stop = rng.random() < 0.4
        add_edges(rng, nodes, taken, racer)
        racer.hard, racer.soft = racer.hard[:1], []
        racers.append(len(nodes))
        taken.add(len(nodes))
        nodes.append(racer)
    join = draw_node(rng, f"n{len(nodes)}", "leaf", depth, faulty=faulty)
    join.hard = racers
    join.race = rng.random() < 0.5
    join.quorum = 1 if join.race else rng.randint(1, len(racers))
    join.cancels = rng.random() < 0.75
    nodes.append(join)


def draw_node(rng: random.Random, name: str, kind: str, depth: int, *, faulty: bool) -> Planned:
    node = Planned(name, kind)
    node.slow_to_stop = rng.random() < 0.2
    if faulty and rng.random() < 0.3:
        node.tries, node.pause_s = rng.randint(2, 3), rng.uniform(0.1, 1.0)
    if faulty and rng.random() < 0.1:
        node.timeout_s = rng.uniform(0.3, 3.0)
    node.captures = faulty and rng.random() < 0.4
    if kind == "leaf":
        node.limited = rng.random() < 0.25
        node.plain = not node.limited and rng.random() < 0.5
        node.fails = 0.0 if not faulty or rng.random() < 0.6 else 0.3
        return node
    node.inner = draw_nodes(rng, depth + 1, faulty=faulty)
    if kind == "graph":
        return node
    most = 12 if depth == 0 else 5
    node.items = rng.randint(1, most)
    if kind == "while":
        node.items = rng.randint(1, 6)
        # It counts beside the others, and nobody waits for it but the round's end.
        node.inner.append(Planned(f"n{len(node.inner)}", "leaf", counts=True))
        return node
    if faulty and rng.random() < 0.4:
        node.item_tries, node.item_pause_s = rng.randint(2, 3), rng.uniform(0.1, 1.0)
    node.collects = faulty and rng.random() < 0.5
    if node.collects and rng.random() < 0.3:
        node.tolerated = rng.randint(0, 3)
    # Of these, policies are for each item.
    node.tries, node.captures = 1, node.captures and not node.collects
    if kind == "map":
        node.limit = rng.randint(1, 5)
        node.source = rng.choice(["list", "iterator", "slow", "slow sized"])
        most_s = rng.choice([0.05, 0.3, 1.5])
        node.pauses = [rng.uniform(0.001, most_s) for _ in range(node.items)]
        node.pauses.append(rng.uniform(0.001, rng.choice([0.05, 3.0])))
    return node


def settle_branches(rng: random.Random, nodes: list[Planned]) -> None:
    for i, node in enumerate(nodes):
        if node.kind != "branch":
            continue
        after = [j for j, one in enumerate(nodes) if i in one.before]
        if not after:
            node.kind = "leaf"
            continue
        node.targets = sorted(rng.sample(after, rng.randint(1, len(after))))
        node.chosen = rng.choice([*node.targets, None])


def shown(flow: Workflow) -> str:
    """Return a workflow as text for people."""
    lines = [f"deadline {flow.deadline_s}, caller leaves {flow.left_after_s}"]
    usual = {one.name: one.default for one in fields(Planned)}

    def show(nodes: list[Planned], indent: str) -> None:
        for node in nodes:
            said = {
                name: value
                for name, value in vars(node).items()
                if value and value != usual[name] and name not in ("name", "kind", "inner")
            }
            lines.append(f"{indent}{node.name} {node.kind} {said}")
            show(node.inner, indent + "  ")

    show(flow.nodes, "  ")
    return "\n".join(lines)
