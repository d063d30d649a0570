"""The rules of a graph, as a table: each finds every place where it is broken.

A rule is a generator over one graph's draft. Rules do not stop each other, so that one
``GraphError`` shows everything that is wrong. Each problem names the node's path and
the remedy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from hush.errors import Problem
from hush.model.edge import Marker, Parent
from hush.model.join import First, Quorum
from hush.model.node import Node
from hush.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hush.plan.draft import Draft, Read
    from hush.plan.values import Values

__all__ = ("RULES", "Rule", "check")

LISTED = 12
"""Most names in one message."""
PAIR_LIMIT = 200
"""Beyond this many writers of one value not every pair is compared."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    find: Callable[[Draft, Values], Iterator[tuple[str, str, str]]]
    """Yields path, message and remedy."""


def _path(draft: Draft, i: int) -> str:
    return f"{draft.path}.{draft.nodes[i].name}"


def _hint(word: str, known: Any) -> str:
    close = get_close_matches(word, sorted(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _listing(names: Any) -> str:
    shown = sorted(names)
    if not shown:
        return "nothing"
    return ", ".join(shown[:LISTED]) + (", ..." if len(shown) > LISTED else "")


def _empty(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    if not draft.nodes:
        yield (
            draft.path,
            "the graph has no nodes",
            "Make nodes inside its 'with' block and connect them: START >> node >> END",
        )


def _duplicates(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
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


def _stray_edges(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for edge in draft.stray_edges:
        for side in (edge.source, edge.target):
            if isinstance(side, Marker):
                wrong = side is edge.source and repr(side) == "END"
                wrong = wrong or (side is edge.target and repr(side) == "START")
                if wrong:
                    yield (
                        draft.path,
                        f"edge {edge.source!r} >> {edge.target!r} runs backwards",
                        "START stands only on the left of '>>', END only on the right",
                    )
            elif isinstance(side, (Ref, Parent)) or not isinstance(side, Node):
                yield (
                    draft.path,
                    f"edge {edge.source!r} >> {edge.target!r}: {side!r} is no node",
                    "Edges connect nodes; values are fed by node['y'] >> PARENT['z']",
                )
            elif id(side) not in draft.index:
                home = "no graph" if side.parent is None else f"the graph {side.parent.name!r}"
                yield (
                    f"{draft.path}.{side.name}",
                    f"edge {edge.source!r} >> {edge.target!r}: {side.name!r} belongs to {home}",
                    f"Make the node inside 'with' of {draft.graph.name!r}, or connect the graphs",
                )


def _targets(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for i, target in draft.unknown_targets:
        name = target if isinstance(target, str) else getattr(target, "name", repr(target))
        yield (
            _path(draft, i),
            f"branch to unknown target {name!r}",
            f"Name a node of {draft.graph.name!r}.{_hint(str(name), draft.names)}",
        )


def _cycle(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    if draft.cycle:
        way = " >> ".join(draft.nodes[i].name for i in draft.cycle)
        yield (
            _path(draft, draft.cycle[0]),
            f"cycle: {way}",
            "Remove one of these edges; to repeat work use WhileLoopNode",
        )


def _unreachable(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    reached = draft.reachable() | set(draft.cycle)
    for i, node in enumerate(draft.nodes):
        if i not in reached and i in draft.order:
            yield (
                _path(draft, i),
                f"{node.name!r} cannot be reached from START",
                f"Add START >> {node.name}, or an edge from a node that is reached",
            )


def _never_runs(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for i, node in enumerate(draft.nodes):
        if not draft.can_run(i) and all(draft.can_run(p) for p in draft.predecessors(i)):
            yield (
                _path(draft, i),
                f"{node.name!r} waits for nodes of which a branch always skips one",
                f"Make the edges soft: [...] >> ~{node.name}",
            )


def _joins(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for i, node in enumerate(draft.nodes):
        join = node.join
        if not isinstance(join, (Quorum, First)):
            continue
        every = draft.predecessors(i)
        path = _path(draft, i)
        if draft.soft[i] or i in draft.soft_start:
            yield path, f"{join} on soft edges", "Use plain edges '>>' with join="
        if i in draft.from_start:
            yield path, f"{join} on an edge from START", "Remove START >> before it"
        if not isinstance(join.k, int) or isinstance(join.k, bool) or join.k < 1:
            yield path, f"{join} can never be met", "Give k a positive integer"
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
                        _path(draft, p),
                        (
                            f"{draft.nodes[p].name!r} may lose the race of {node.name!r} and be "
                            f"cancelled, yet {_listing(others)} needs it"
                        ),
                        f"Remove that edge, or give {node.name!r} cancel_rest=False",
                    )


def _most_at_once(draft: Draft, nodes: list[int]) -> int:
    # Nodes under different targets of one branch exclude each other; count one branch at
    # a time, which is exact for the usual single branch and never too low.
    best = len(nodes)
    for branch, choices in draft.choices.items():
        bound = [i for i in nodes if branch in draft.allowed[i]]
        free = len(nodes) - len(bound)
        most = max(
            (sum(t in draft.allowed[i][branch] for i in bound) for t in choices.values()),
            default=0,
        )
        best = min(best, free + most)
    return best


def _inputs_taken(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for i, node in enumerate(draft.nodes):
        parameters = node.parameters()
        for name in node.inputs:
            if not parameters.takes(name):
                known = parameters.required | parameters.optional
                yield (
                    _path(draft, i),
                    f"{node.name!r} does not take the input {name!r}; it takes: {_listing(known)}",
                    f"Rename or remove it.{_hint(name, known)}",
                )


def _inputs_given(draft: Draft, values: Values) -> Iterator[tuple[str, str, str]]:
    for i, node in enumerate(draft.nodes):
        body = values.bodies.get(i)
        if node.star_inputs:
            continue
        needed = draft.parameters(i).required
        if body is not None:
            needed |= node.body_reads(body.outputs)
        for name in sorted(needed - set(node.inputs)):
            where = f"{node.name!r} needs the input {name!r}"
            remedy = f"Add inputs={{{name!r}: ...}}"
            if body is not None:
                readers = ", ".join(values.body_readers(i, name)) or "its condition"
                where += f", which {readers} reads from PARENT"
                if node.carries():
                    remedy = f"Give its first round a value: inputs={{{name!r}: ...}}"
                else:
                    remedy += "; a nested graph sees only its inputs"
                remedy += f".{_hint(name, node.inputs)}"
            yield _path(draft, i), where, remedy


def _outputs_known(draft: Draft, values: Values) -> Iterator[tuple[str, str, str]]:
    for i, keys in draft.output_reads.items():
        known = values.outputs[i]
        if known is None:
            continue
        node = draft.nodes[i]
        for key in sorted(keys - known):
            if node.captures and key == "error":
                continue
            yield (
                _path(draft, i),
                f"unknown output {key!r} of node {node.name!r}; it declares: {_listing(known)}",
                f"Use a declared name.{_hint(key, known)}",
            )


def _reads_ordered(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for read in draft.reads:
        if isinstance(read.owner, Parent):
            continue
        owner = draft.index.get(id(read.owner))
        reader = draft.nodes[read.reader]
        name = read.owner.ref_name
        if owner is None:
            yield (
                _path(draft, read.reader),
                f"{read.label!r} reads {name}[{read.key!r}], a node of another graph",
                "Pass the value through inputs= and outputs= of the graphs between",
            )
        elif owner == read.reader:
            continue
        elif not draft.runs_before(owner, read.reader):
            if owner in draft.cycle and read.reader in draft.cycle:
                continue
            yield (
                _path(draft, read.reader),
                (
                    f"{read.label!r} reads {name}[{read.key!r}], but {name!r} does not run "
                    f"before {reader.name!r}"
                ),
                f"Add the edge {name} >> {reader.name}",
            )


def _reads_certain(draft: Draft, values: Values) -> Iterator[tuple[str, str, str]]:
    for read in draft.reads:
        if read.optional:
            continue
        if isinstance(read.owner, Parent):
            yield from _parent_read_certain(draft, values, read)
            continue
        owner = draft.index.get(id(read.owner))
        if owner is None or owner == read.reader or not draft.runs_before(owner, read.reader):
            continue
        if not draft.provided({owner}, read.reader):
            name = read.owner.ref_name
            yield _uncertain(draft, read, f"{name}[{read.key!r}]", name)


def _parent_read_certain(
    draft: Draft, values: Values, read: Read
) -> Iterator[tuple[str, str, str]]:
    if values.is_given(read.key):
        return
    writers = values.writers_of(read.key)
    before = {w for w in writers if draft.runs_before(w, read.reader)}
    if before and not draft.provided(before, read.reader):
        names = " or ".join(repr(draft.nodes[w].name) for w in sorted(before))
        yield _uncertain(draft, read, f"PARENT[{read.key!r}]", f"its writer {names}")


def _uncertain(draft: Draft, read: Read, what: str, whose: str) -> tuple[str, str, str]:
    return (
        _path(draft, read.reader),
        (
            f"{read.label!r} reads {what}, but {whose} may be skipped or unfinished when "
            f"{draft.nodes[read.reader].name!r} runs"
        ),
        f"Give a default: {what}.or_default(...), or wait for it with a hard edge",
    )


def _conflicts(draft: Draft, values: Values) -> Iterator[tuple[str, str, str]]:
    for key, writers in values.writers.items():
        ordered = sorted(writers, key=values.position)
        pair = _unordered_pair(draft, ordered)
        if pair is not None:
            first, second = (draft.nodes[i].name for i in pair)
            yield (
                _path(draft, pair[1]),
                (
                    f"{first!r} and {second!r} both write PARENT[{key!r}] and neither runs "
                    f"before the other"
                ),
                f"Connect them ({first} >> {second}) or write to different names",
            )
        for read in draft.parent_reads.get(key, ()):
            if read.reader in writers:
                continue
            for writer in ordered:
                if _clash(draft, writer, read.reader):
                    a, b = draft.nodes[writer].name, draft.nodes[read.reader].name
                    yield (
                        _path(draft, read.reader),
                        (
                            f"{b!r} reads PARENT[{key!r}], which {a!r} writes, and neither runs "
                            f"before the other"
                        ),
                        f"Add the edge {a} >> {b}",
                    )
                    break


def _unordered_pair(draft: Draft, ordered: list[int]) -> tuple[int, int] | None:
    if all(draft.runs_before(a, b) for a, b in pairwise(ordered)):
        return None
    for a, b in combinations(ordered[:PAIR_LIMIT], 2):
        if _clash(draft, a, b) and not draft.rivals(a, b):
            return a, b
    return None


def _clash(draft: Draft, a: int, b: int) -> bool:
    if draft.cycle and (a in draft.cycle or b in draft.cycle):
        return False
    return not (draft.runs_before(a, b) or draft.runs_before(b, a) or draft.exclusive(a, b))


def _own_flaws(draft: Draft, _values: Values) -> Iterator[tuple[str, str, str]]:
    for i, node in enumerate(draft.nodes):
        for flaw in node.flaws():
            yield _path(draft, i), flaw.message, flaw.remedy


RULES: tuple[Rule, ...] = (
    Rule("empty-graph", _empty),
    Rule("node", _own_flaws),
    Rule("duplicate-name", _duplicates),
    Rule("stray-edge", _stray_edges),
    Rule("unknown-target", _targets),
    Rule("cycle", _cycle),
    Rule("unreachable", _unreachable),
    Rule("never-runs", _never_runs),
    Rule("join", _joins),
    Rule("unknown-input", _inputs_taken),
    Rule("missing-input", _inputs_given),
    Rule("unknown-output", _outputs_known),
    Rule("read-order", _reads_ordered),
    Rule("read-certain", _reads_certain),
    Rule("conflict", _conflicts),
)


def check(draft: Draft, values: Values) -> Iterator[Problem]:
    """Find every problem of one graph.

    Args:
        draft: its structure.
        values: what is written and given in it.

    Yields:
        Problems in the order of the table.
    """
    for rule in RULES:
        for path, message, remedy in rule.find(draft, values):
            yield Problem(rule.name, path, message, remedy)
