"""Rules of structure: nodes, edges, branches and joins."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING

from hush.model.edge import Marker, Parent
from hush.model.join import First, Quorum
from hush.model.node import Node
from hush.model.ref import Ref
from hush.model.shown import shown
from hush.plan.telling import hint, listing, path_of

if TYPE_CHECKING:
    from hush.plan.draft import Draft
    from hush.plan.telling import Found
    from hush.plan.values import Values


__all__ = (
    "cycles",
    "duplicates",
    "empty",
    "joins",
    "never_runs",
    "stray_edges",
    "targets",
    "unreachable",
)


COMBINATIONS = 4_096
"""Of more choices of branches than this, not every one is looked at."""


def empty(draft: Draft, _values: Values) -> Found:
    """A graph without nodes."""
    if not draft.nodes:
        yield (
            draft.path,
            "the graph has no nodes",
            "Make nodes inside its 'with' block and connect them: START >> node >> END",
        )


def duplicates(draft: Draft, _values: Values) -> Found:
    """Two nodes of one name."""
    counts: dict[str, int] = defaultdict(int)
    for node in draft.nodes:
        counts[node.name] += 1
    for name, count in counts.items():
        if count > 1:
            yield (
                f"{draft.path}.{name}",
                f"{count} nodes have the name {name!r}",
                "Give each its own name=",
            )


def stray_edges(draft: Draft, _values: Values) -> Found:
    """Edges to nodes of other graphs, to what is no node, and backwards."""
    for edge in draft.stray_edges:
        said = f"edge {shown(edge.source)} >> {shown(edge.target)}"
        ours = [i for i in map(draft.find_node, (edge.source, edge.target)) if i is not None]
        where = path_of(draft, ours[0]) if ours else draft.path
        for side, backwards in ((edge.source, "END"), (edge.target, "START")):
            if isinstance(side, Marker):
                if repr(side) == backwards:
                    yield (
                        where,
                        f"{said} runs backwards",
                        "START stands only on the left of '>>', END only on the right",
                    )
            elif isinstance(side, (Ref, Parent)) or not isinstance(side, Node):
                yield (
                    where,
                    f"{said}: {shown(side)} is no node",
                    "Edges connect nodes; values are fed by node['y'] >> PARENT['z']",
                )
            elif id(side) not in draft.index:
                home = "no graph" if side.parent is None else f"the graph {side.parent.name!r}"
                yield (
                    where,
                    f"{said}: {side.name!r} belongs to {home}",
                    f"Make the node inside 'with' of {draft.graph.name!r}, or connect the graphs",
                )


def targets(draft: Draft, _values: Values) -> Found:
    """Branches to unknown targets."""
    for i, target in draft.unknown_targets:
        named = isinstance(target, (str, Node))
        name = target.name if isinstance(target, Node) else target
        yield (
            path_of(draft, i),
            f"branch to unknown target {shown(name)}",
            f"Name a node of {draft.graph.name!r}.{hint(name, draft.names) if named else ''}",
        )


def cycles(draft: Draft, _values: Values) -> Found:
    """Cycles, each with its path."""
    for cycle in draft.cycles:
        way = " >> ".join(str(draft.nodes[i].name) for i in cycle)
        yield (
            path_of(draft, cycle[0]),
            f"cycle: {way}",
            "Remove one of these edges; to repeat work use WhileLoopNode",
        )


def unreachable(draft: Draft, _values: Values) -> Found:
    """Nodes to which no way leads from START."""
    reached = draft.reachable() | {i for cycle in draft.cycles for i in cycle}
    for i, node in enumerate(draft.nodes):
        if i not in reached and i in draft.sorted:
            yield (
                path_of(draft, i),
                f"{node.name!r} cannot be reached from START",
                f"Add START >> {node.name}, or an edge from a node that is reached",
            )


def never_runs(draft: Draft, _values: Values) -> Found:
    """Nodes that wait for two targets of one branch."""
    for i, node in enumerate(draft.nodes):
        if not draft.can_run(i) and all(draft.can_run(p) for p in draft.predecessors(i)):
            yield (
                path_of(draft, i),
                f"{node.name!r} waits for nodes of which a branch always skips one",
                f"Make the edges soft: [...] >> ~{node.name}",
            )


def joins(draft: Draft, _values: Values) -> Found:
    """Joins that can never be met, and losers of races that something else needs."""
    for i, node in enumerate(draft.nodes):
        join = node.join
        if not isinstance(join, (Quorum, First)):
            continue
        every = draft.predecessors(i)
        path = path_of(draft, i)
        if draft.soft[i] or i in draft.soft_start:
            yield path, f"{shown(join)} on soft edges", "Use plain edges '>>' with join="
        if i in draft.from_start:
            yield path, f"{shown(join)} on an edge from START", "Remove START >> before it"
        if not isinstance(join.k, int) or isinstance(join.k, bool) or join.k < 1:
            yield path, f"{shown(join)} can never be met", "Give k a positive integer"
        elif join.k > len(every):
            yield (
                path,
                f"{join} can never be met: it has {len(every)} predecessors",
                "Lower k or add predecessors",
            )
        else:
            best = _most_at_once(draft, every)
            if join.k > best:
                yield (
                    path,
                    f"{join} can never be met: branches let at most {best} of its predecessors run",
                    "Lower k",
                )
        if join.cancel_rest:
            for p in every:
                others = [draft.nodes[j].name for j in draft.successors[p] if j != i]
                if others:
                    yield (
                        path_of(draft, p),
                        (
                            f"{draft.nodes[p].name!r} may lose the race of {node.name!r} and be "
                            f"cancelled, yet {listing(others)} needs it"
                        ),
                        f"Remove that edge, or give {node.name!r} cancel_rest=False",
                    )


def _most_at_once(draft: Draft, nodes: list[int]) -> int:
    """Return how many of the nodes branches let run at the most; never too few."""
    branches = sorted({branch for i in nodes for branch in draft.allowed[i]})
    choices = [sorted(set(draft.choices[branch].values())) for branch in branches]
    if math.prod(map(len, choices)) > COMBINATIONS:
        return len(nodes)
    return max(
        sum(
            all(chosen[branch] in targets for branch, targets in draft.allowed[i].items())
            for i in nodes
        )
        for chosen in (dict(zip(branches, picked, strict=True)) for picked in product(*choices))
    )
