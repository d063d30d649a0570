"""Draft: one graph's edges and values as sets and bit masks, for the rules to ask.

A draft is built from whatever the user wrote, right or wrong; what does not fit is left
out of the structure and reported by :mod:`hush.plan.rules`. Node sets are integers used
as bit masks, so that "does a run before b" costs one shift also in a chain of 10,000.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hush.model.contract import Parameters
from hush.model.each import Each
from hush.model.edge import END, START, Parent
from hush.model.join import First, Quorum
from hush.model.ref import Ref, parts, reads_in
from hush.plan.order import find_cycles, sort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hush.model.edge import Edge
    from hush.model.graph import Graph
    from hush.model.join import Join
    from hush.model.node import Node
    from hush.plan.plan import Plan

__all__ = ("Draft", "Read")


@dataclass(frozen=True, slots=True)
class Read:
    """One value that a node reads."""

    reader: int
    """Index of the reading node."""
    owner: Any
    """The node that is read, or PARENT."""
    key: str
    """Name of the output or value."""
    label: str
    """Name of the input that it goes to, for messages."""
    optional: bool
    """Whether the reader can do without it."""
    from_output: bool = False
    """Whether it is the reader's own output on its way out."""


class Draft:
    """The structure of one graph.

    Attributes:
        graph: the graph.
        path: its path from the top graph's name.
        nodes: its nodes in the order of writing.
        hard, soft: predecessor indices by node; START left out.
        successors: successor indices by node.
        from_start: nodes with an edge from START.
        choices: by choosing node, the successors among which it chooses.
        order: indices in topological order; nodes on a cycle are left out.
        cycles: indices of one cycle of each knot of cycles, first one repeated at the end.
        joins: by node, its Quorum or First; None where it has none, or none that can be met.
        before: by node, bit mask of all its ancestors.
        reads: every value that a node reads.
        parent_reads: those from PARENT, by name.
        output_reads: names of outputs that are read, by node.
        certain_reads: those of them that some reader cannot do without.
    """

    def __init__(self, graph: Graph, path: str, bodies: Mapping[int, Plan]) -> None:
        """Analyse a graph.

        Args:
            graph: the graph.
            path: its path.
            bodies: compiled bodies of its nodes, by index.
        """
        self.bodies = bodies
        self.graph = graph
        self.path = path
        self.nodes: list[Node] = list(graph.nodes)
        self.index: dict[int, int] = {id(node): i for i, node in enumerate(self.nodes)}
        self.names: dict[str, int] = {}
        for i, node in enumerate(self.nodes):
            if isinstance(node.name, str):
                self.names.setdefault(node.name, i)
        self.joins = [_valid(node.join) for node in self.nodes]
        size = len(self.nodes)
        self.hard: list[list[int]] = [[] for _ in range(size)]
        self.soft: list[list[int]] = [[] for _ in range(size)]
        self.successors: list[list[int]] = [[] for _ in range(size)]
        self.from_start: set[int] = set()
        self.soft_start: set[int] = set()
        self.to_end: set[int] = set()
        self.stray_edges: list[Edge] = []
        self.choices: dict[int, dict[str, int]] = {}
        self.unknown_targets: list[tuple[int, Any]] = []
        self._take_edges(graph.edges)
        self._take_targets()
        self._sort()
        self._find_allowed()
        self.reads: list[Read] = list(self._find_reads())
        self.output_reads: dict[int, set[str]] = defaultdict(set)
        self.certain_reads: dict[int, set[str]] = defaultdict(set)
        self.parent_reads: dict[str, list[Read]] = defaultdict(list)
        for read in self.reads:
            owner = self.index.get(id(read.owner))
            if isinstance(read.owner, Parent):
                self.parent_reads[read.key].append(read)
            elif owner is not None:
                self.output_reads[owner].add(read.key)
                if not read.optional:
                    self.certain_reads[owner].add(read.key)
        self._settled: dict[int, set[int]] = {}

    # --- edges ---------------------------------------------------------------------------

    def _take_edges(self, edges: Iterable[Edge]) -> None:
        seen: set[tuple[int, int]] = set()
        for edge in edges:
            source, target = self.index.get(id(edge.source)), self.index.get(id(edge.target))
            if edge.source is START and target is not None:
                self.from_start.add(target)
                if edge.soft:
                    self.soft_start.add(target)
            elif source is not None and edge.target is END:
                self.to_end.add(source)
            elif source is not None and target is not None:
                if (source, target) not in seen:
                    seen.add((source, target))
                    (self.soft if edge.soft else self.hard)[target].append(source)
                    self.successors[source].append(target)
                elif not edge.soft and source in self.soft[target]:
                    # Both kinds between two nodes: the hard one says more.
                    self.soft[target].remove(source)
                    self.hard[target].append(source)
            elif not (edge.source is START and edge.target is END):
                self.stray_edges.append(edge)
        self._edges_seen = seen

    def _take_targets(self) -> None:
        for i, node in enumerate(self.nodes):
            chosen: dict[str, int] = {}
            for target in node.targets():
                j = self.find(target)
                if j is None or j == i:
                    self.unknown_targets.append((i, target))
                    continue
                chosen[self.nodes[j].name] = j
                # A target that was not wired is meant to follow its branch.
                if (i, j) not in self._edges_seen:
                    self._edges_seen.add((i, j))
                    self.hard[j].append(i)
                    self.successors[i].append(j)
            if chosen:
                self.choices[i] = chosen

    def find(self, target: Any) -> int | None:
        """Return the index of a node given by name or by itself, None where there is none."""
        if isinstance(target, str):
            return self.names.get(target)
        return self.index.get(id(target))

    def find_node(self, node: Any) -> int | None:
        """Return the index of a node of this graph, None for anything else."""
        return self.index.get(id(node))

    def predecessors(self, i: int) -> list[int]:
        """Return hard and soft predecessors of a node."""
        return self.hard[i] + self.soft[i]

    # --- order ---------------------------------------------------------------------------

    def _sort(self) -> None:
        predecessors = [self.predecessors(i) for i in range(len(self.nodes))]
        self.order, self.before = sort(predecessors, self.successors)
        self.sorted = frozenset(self.order)
        self._hard_before = [0] * len(self.nodes)
        for i in self.order:
            if self.joins[i] is None:
                for p in self.hard[i]:
                    self._hard_before[i] |= self._hard_before[p] | 1 << p
        left = set(range(len(self.nodes))) - self.sorted
        self.cycles = find_cycles(left, predecessors, self.successors)

    def runs_before(self, a: int, b: int) -> bool:
        """Say whether there is a way of edges from ``a`` to ``b``."""
        return bool(self.before[b] >> a & 1)

    def reachable(self) -> set[int]:
        """Return the nodes to which a way leads from START."""
        found = set(self.from_start)
        pending = list(found)
        while pending:
            for j in self.successors[pending.pop()]:
                if j not in found:
                    found.add(j)
                    pending.append(j)
        return found

    # --- branches ------------------------------------------------------------------------

    def _find_allowed(self) -> None:
        """For each node, the choices that must have been made for it to run."""
        self.allowed: list[dict[int, frozenset[int]]] = [{} for _ in self.nodes]
        if not self.choices:
            return
        for i in self.order:
            merged: dict[int, frozenset[int]] = {}
            if self.joins[i] is None:
                for p in self.hard[i]:
                    for branch, targets in self._through(p, i).items():
                        merged[branch] = merged.get(branch, targets) & targets
                alternatives = [self._through(p, i) for p in self.soft[i]]
                if i in self.soft_start:
                    alternatives = []
            else:
                alternatives = [self._through(p, i) for p in self.predecessors(i)]
            if alternatives:
                common = set.intersection(*(set(a) for a in alternatives))
                for branch in common:
                    union = frozenset().union(*(a[branch] for a in alternatives))
                    merged[branch] = merged.get(branch, union) & union
            # Where any choice will do, none must be made: behind a ladder of branches this
            # would only pile up.
            self.allowed[i] = {
                branch: targets
                for branch, targets in merged.items()
                if len(targets) < len(self.choices[branch])
            }

    def _through(self, source: int, target: int) -> dict[int, frozenset[int]]:
        conditions = self.allowed[source]
        if target in self.choices.get(source, {}).values():
            return {**conditions, source: frozenset((target,))}
        return conditions

    def exclusive(self, a: int, b: int) -> bool:
        """Say whether no choice lets both nodes run."""
        if not (self.can_run(a) and self.can_run(b)):
            return True
        mine, other = self.allowed[a], self.allowed[b]
        return any(
            branch in other and not (targets & other[branch]) for branch, targets in mine.items()
        )

    def can_run(self, i: int) -> bool:
        """Say whether any choice lets the node run."""
        return all(self.allowed[i].values())

    def rivals(self, a: int, b: int) -> bool:
        """Say whether both are predecessors of one ``First``."""
        return any(
            isinstance(self.joins[j], First) and b in self.predecessors(j)
            for j in self.successors[a]
        )

    # --- values --------------------------------------------------------------------------

    def parameters(self, i: int) -> Parameters:
        """Return what a node takes; of a node with a body, what its body reads."""
        body = self.bodies.get(i)
        if body is None:
            return self.nodes[i].parameters()
        return Parameters(body.required, body.optional, open=True)

    def _find_reads(self) -> Iterator[Read]:
        for i, node in enumerate(self.nodes):
            parameters = self.parameters(i)
            for name, value in node.inputs.items():
                source = value.source if isinstance(value, Each) else value
                yield from self._reads_of(i, source, name, optional=name in parameters.optional)
            for condition in node.conditions():
                yield from self._reads_of(i, condition, "condition", optional=False)
            for output in node.output_maps:
                for read in self._reads_of(i, output.source, output.key, optional=False):
                    yield replace(read, from_output=read.owner is node)
            for owner in node.star_inputs:
                for name in sorted(parameters.required | parameters.optional):
                    if name not in node.inputs:
                        yield Read(i, owner, name, name, name in parameters.optional)

    def _reads_of(self, i: int, value: Any, label: str, *, optional: bool) -> Iterator[Read]:
        # Where the whole input is one reference, a parameter's own default stands for it.
        spared = optional and isinstance(value, Ref)
        for ref, covered in reads_in(value):
            inside = parts(ref)
            yield Read(i, inside.owner, inside.key, label, covered or spared)

    def provided(self, providers: set[int], reader: int) -> bool:
        """Say whether at least one provider has certainly run when ``reader`` runs.

        Args:
            providers: indices of nodes that give the value.
            reader: index of the node that reads it.

        Returns:
            True where every way in which the reader comes to run leads through one.
        """
        mask = sum(1 << p for p in providers) & self.before[reader]
        if not mask:
            return False
        if mask & self._hard_before[reader]:
            return True
        known: dict[int, bool] = {}
        relevant = [i for i in self.order if i == reader or self.runs_before(i, reader)]
        for i in relevant:
            known[i] = self._known_at(i, known, providers)
        return known[reader]

    def _known_at(self, i: int, known: dict[int, bool], providers: set[int]) -> bool:
        def after(p: int) -> bool:
            return p in providers or known.get(p, False)

        return self._certain(i, after)

    def _certain(self, i: int, after: Callable[[int], bool]) -> bool:
        """Say whether something is certain at ``i``, given what is certain after each node."""
        join = self.joins[i]
        if join is not None:
            every = self.predecessors(i)
            return sum(map(after, every)) > len(every) - join.k
        if any(map(after, self.hard[i])):
            return True
        soft = self.soft[i]
        return bool(soft) and i not in self.soft_start and all(map(after, soft))

    def settled_before(self, a: int, b: int) -> bool:
        """Say whether ``a`` is over, or will never run, whenever ``b`` starts."""
        if not self.runs_before(a, b):
            return False
        if self._hard_before[b] >> a & 1:
            return True
        if a not in self._settled:
            self._settled[a] = self._settled_after(a)
        return b in self._settled[a]

    def _settled_after(self, a: int) -> set[int]:
        """Return the nodes that start only when ``a`` is over, or will never run."""
        found: set[int] = set()

        def after(p: int) -> bool:
            return p == a or p in found or self.exclusive(a, p)

        for i in self.order:
            join = self.joins[i]
            over = join is not None and join.cancel_rest and a in self.predecessors(i)
            if over or self._certain(i, after):
                found.add(i)
        return found


def _valid(join: object) -> Join | None:
    """Return a join that can be reasoned about; the rules report any other."""
    if not isinstance(join, (Quorum, First)):
        return None
    return join if isinstance(join.k, int) and join.k >= 1 else None
