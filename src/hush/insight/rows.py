"""Which spans of a trace get a line of their own, and which are summed up.

A trace has any number of spans, a screen has few lines. What went wrong comes first,
then what ended last, then what took longest. This module knows nothing of terminals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush, nlargest
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.calls import notes_of, was_overcome
from hush.insight.wording import error_text, raised_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("Fold", "Line", "Row", "choose_lines")

_MAX_SIBLINGS = 40  # a graph of so many nodes is still read node by node
_OPENED = 3  # so many troubled and so many slow items show what is inside them
_SAME_SHARE = 50  # bars that differ by less than this part of the trace look the same
_TROUBLE = {
    semconv.OUTCOME_ERROR: 0,
    semconv.OUTCOME_TIMEOUT: 0,
    semconv.OUTCOME_HANDLED: 1,
}
_TROUBLE_BELOW = 2
_MERGED = frozenset(
    {
        (semconv.SPAN_ITEM, semconv.SPAN_NODE),
        (semconv.SPAN_ITEM, semconv.SPAN_ATTEMPT),
        (semconv.SPAN_ITERATION, semconv.SPAN_NODE),
        (semconv.SPAN_ITERATION, semconv.SPAN_ATTEMPT),
        (semconv.SPAN_NODE, semconv.SPAN_ATTEMPT),
        (semconv.SPAN_NODE, semconv.SPAN_CHAT),
        (semconv.SPAN_ATTEMPT, semconv.SPAN_CHAT),
    }
)
"""Prefixes of a span and of the only one in it, which may share a line."""


@dataclass(slots=True)
class Row:
    """A span with a line of its own."""

    node: TreeNode
    merged: tuple[TreeNode, ...] = ()
    """Spans inside it, each the only one in the one before, that share its line."""
    children: list[Row] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    hidden: int = 0
    """How many spans are below it without being shown or summed up."""
    error: str = ""
    """What went wrong, not yet made safe; empty where that stands elsewhere."""
    notes: tuple[str, ...] = ()
    """What else happened, not yet made safe."""
    last: bool = False
    """Whether it ended last of the items of its map."""
    origin: bool = False
    """Whether what went wrong here did not come from a row below."""

    @property
    def chain(self) -> tuple[TreeNode, ...]:
        """The span and those that share its line."""
        return (self.node, *self.merged)


@dataclass(frozen=True, slots=True)
class Fold:
    """A line that sums up siblings."""

    nodes: Sequence[TreeNode]
    """Those that are not shown."""
    everyone: Sequence[TreeNode]
    """Those and the siblings of the same kind that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row or a fold at its place in the picture."""

    content: Row | Fold
    stems: tuple[bool, ...]
    """For each level from below the roots to this one: whether siblings follow."""


def choose_lines(tree: TraceTree, *, max_items: int, max_lines: int) -> list[Line]:
    """Choose what is shown of a trace.

    Args:
        tree: of any size, also empty.
        max_items: at most so many items are shown of each map, and iterations of each loop.
        max_lines: about so many lines in all; an error's text counts as one.

    Returns:
        The lines from top to bottom.
    """
    top = _Chooser(tree, max_items, max_lines).choose()
    _place_errors(top)
    return list(_flatten(top))


class _Chooser:
    """Opens one span after another, the most telling first, until the lines are used up."""

    def __init__(self, tree: TraceTree, max_items: int, max_lines: int) -> None:
        self._tree = tree
        self._max_items = max(0, max_items)
        self._left = max_lines
        self._slack_ns = (tree.end_ns - tree.start_ns) // _SAME_SHARE
        self._sizes: dict[str, int] = {}
        self._red_below: set[str] = set()
        for node in reversed(list(tree)):  # contained spans before their containers
            span_id = node.record.span_id
            self._sizes[span_id] = 1 + sum(self._sizes[c.record.span_id] for c in node.children)
            if any(c.record.is_red or c.record.span_id in self._red_below for c in node.children):
                self._red_below.add(span_id)
        # What leads to trouble, then what is near the root, then what took long.
        self._waiting: list[tuple[bool, int, int, int, Row]] = []
        self._number = 0

    def choose(self) -> Row | None:
        if not self._tree.roots:
            return None
        # Stands around the roots and is never shown.
        top = Row(self._tree.roots[0])
        self._show(top, self._tree.roots)
        while self._waiting:
            row = heappop(self._waiting)[-1]
            inside = row.chain[-1].children
            if self._left < min(len(inside), 2):
                continue
            row.hidden = 0
            self._show(row, inside)
        return top

    def _show(self, row: Row, nodes: Sequence[TreeNode]) -> None:
        items = [node for node in nodes if node.record.index is not None]
        others = [node for node in nodes if node.record.index is None]
        for group, limit in ((others, _MAX_SIBLINGS), (items, self._max_items)):
            if not group:
                continue
            shown = self._select(group, limit)
            while len(shown) > 1 and sum(map(_cost, shown)) + 1 > self._left:
                shown = self._select(group, len(shown) // 2)
            if group is items:
                shown.sort(key=lambda node: node.record.index or 0)
                opened = self._to_open(shown)
            else:
                opened = {node.record.span_id for node in shown}
            rows = [self._row(node, node.record.span_id in opened) for node in shown]
            if len(group) > 1:
                last = _last_of(row.chain[-1], group)
                for child in rows:
                    child.last = (
                        child.node is last and child.node.record.prefix == semconv.SPAN_ITEM
                    )
            row.children += rows
            self._left -= sum(map(_cost, shown))
            if len(shown) < len(group):
                ids = {node.record.span_id for node in shown}
                rest = [node for node in group if node.record.span_id not in ids]
                row.folds.append(Fold(rest, group))
                self._left -= 1

    def _row(self, node: TreeNode, opened: bool) -> Row:  # noqa: FBT001  # private, one caller
        merged: list[TreeNode] = []
        inner = node
        while (child := self._mergeable(inner)) is not None:
            merged.append(child)
            inner = child
        row = Row(node, tuple(merged), notes=notes_of((node, *merged)))
        row.hidden = self._sizes[node.record.span_id] - len(row.chain)
        if opened and inner.children:
            self._number += 1
            calm = node.record.span_id not in self._red_below
            took_ns = node.record.end_ns - node.record.start_ns
            heappush(self._waiting, (calm, node.depth, -took_ns, self._number, row))
        return row

    def _mergeable(self, node: TreeNode) -> TreeNode | None:
        """Return the only span in another, if a line of its own would say nothing new."""
        if len(node.children) != 1:
            return None
        outer, inner = node.record, node.children[0].record
        same = (
            (outer.prefix, inner.prefix) in _MERGED
            and abs(inner.start_ns - outer.start_ns) <= self._slack_ns
            and abs(inner.end_ns - outer.end_ns) <= self._slack_ns
            and (outer.is_red or not inner.is_red)
        )
        return node.children[0] if same else None

    def _trouble(self, node: TreeNode) -> int | None:
        rank = _TROUBLE.get(node.record.outcome or "")
        if rank is None and node.record.span_id in self._red_below:
            return _TROUBLE_BELOW
        return rank

    def _troubled(self, nodes: Sequence[TreeNode]) -> list[TreeNode]:
        ranked = [(rank, node) for node in nodes if (rank := self._trouble(node)) is not None]
        return [node for _, node in sorted(ranked, key=lambda pair: (pair[0], _place(pair[1])))]

    def _select(self, nodes: Sequence[TreeNode], limit: int) -> list[TreeNode]:
        """Return the most telling nodes in their order."""
        if len(nodes) <= limit:
            return list(nodes)
        chosen = self._troubled(nodes)[: (limit + 1) // 2]
        ids = {node.record.span_id for node in chosen}
        rest = [node for node in nodes if node.record.span_id not in ids]
        last = max(rest, key=_end_ns)
        # The last one first, whatever it took: it is what everybody waited for.
        slow = nlargest(limit - len(chosen), rest, key=lambda node: (node is last, _took_ns(node)))
        ids.update(node.record.span_id for node in slow)
        return [node for node in nodes if node.record.span_id in ids]

    def _to_open(self, nodes: Sequence[TreeNode]) -> set[str]:
        if not nodes:
            return set()
        opened = [max(nodes, key=_end_ns), *self._troubled(nodes)[:_OPENED]]
        opened += nlargest(_OPENED - 1, nodes, key=_took_ns)
        return {node.record.span_id for node in opened}


def _last_of(around: TreeNode, group: Sequence[TreeNode]) -> TreeNode | None:
    """Return who ended last, as the map itself says: it knows also of those without spans."""
    told = around.record.attributes.get(semconv.MAP_LAST_INDEX)
    if not isinstance(told, int):
        return max(group, key=_end_ns)
    return next((node for node in group if node.record.index == told), None)


def _end_ns(node: TreeNode) -> int:
    return node.record.end_ns


def _took_ns(node: TreeNode) -> int:
    return node.record.end_ns - node.record.start_ns


def _place(node: TreeNode) -> tuple[int, int]:
    return (node.record.index or 0, node.record.start_ns)


def _cost(node: TreeNode) -> int:
    """Return how many lines a span takes at most, itself and what stands below it."""
    return 1 + node.record.is_red + len(notes_of((node, *node.children[:1])))


def _error_of(row: Row) -> str:
    """Return the text of where it was raised, which says more than its containers'."""
    own = error_text(row.node.record)
    if row.node.record.outcome == semconv.OUTCOME_HANDLED and own:
        return own
    raised = (error_text(n.record) for n in reversed(row.merged) if raised_here(n.record))
    return next((text for text in raised if text), own)


def _place_errors(top: Row | None) -> None:
    """Give each error's text to the deepest row that shows it."""
    if top is None:
        return
    rows = [top]
    for row in rows:  # grows: containers come before what they contain
        rows.extend(row.children)
    told: dict[int, set[str]] = {}
    for row in reversed(rows[1:]):
        below: set[str] = set().union(*(told.pop(id(child), ()) for child in row.children))
        if row.node.record.is_red:
            own = row.node.record.outcome == semconv.OUTCOME_HANDLED or any(
                raised_here(node.record) for node in row.chain
            )
            red_below = any(child.node.record.is_red for child in row.children) or bool(below)
            text = _error_of(row)
            row.origin = own or not red_below
            if row.origin and text not in below and not was_overcome(row.node):
                row.error = text
                below.add(text)
        told[id(row)] = below


def _flatten(top: Row | None) -> Iterator[Line]:
    """Yield lines from top to bottom; by a loop, for a trace may be deep."""
    pending: list[Line] = [] if top is None else _inside(top, None)
    while pending:
        line = pending.pop()
        yield line
        if isinstance(line.content, Row):
            pending.extend(_inside(line.content, line.stems))


def _inside(row: Row, stems: tuple[bool, ...] | None) -> list[Line]:
    """Return the lines directly below a row, the last one first."""
    inside: list[Row | Fold] = [*row.children, *row.folds]
    last = len(inside) - 1
    return [
        Line(content, () if stems is None else (*stems, number < last))
        for number, content in reversed(list(enumerate(inside)))
    ]
