"""A trace as a tree of containment, built from records alone.

Records may come from a backend that lost some or sent some twice: a span whose parent
is not there is a root, a duplicate is dropped, and a circle of parents (which no sound
trace has) is cut open. This module knows nothing of how a trace is shown or checked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hush.insight.record import SpanRecord

__all__ = ("TraceTree", "TreeNode", "group_traces")


class TreeNode:
    """A span at its place in the tree.

    Attributes:
        record: the span itself.
        parent: the span that contains it; None for a root.
        children: the spans inside it, by start, then item index, then name.
        depth: 0 for a root.
        offset_s: its start after its root's start, in seconds.
    """

    __slots__ = ("children", "depth", "offset_s", "parent", "record")

    def __init__(self, record: SpanRecord) -> None:
        """Stand alone; :class:`TraceTree` puts it into its place."""
        self.record = record
        self.parent: TreeNode | None = None
        self.children: tuple[TreeNode, ...] = ()
        self.depth = 0
        self.offset_s = 0.0

    @property
    def name(self) -> str:
        """The span's name."""
        return self.record.name

    @property
    def duration_s(self) -> float:
        """How long the span took, in seconds."""
        return self.record.duration_s

    def walk(self) -> Iterator[TreeNode]:
        """Yield this node and everything below it, containers before what they contain."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    def __repr__(self) -> str:
        return f"<TreeNode {self.record.name!r}, {len(self.children)} children>"


class TraceTree:
    """The spans of one trace.

    Attributes:
        trace_id: 32 hex digits; empty for a tree without spans.
        roots: the spans without a parent, and those whose parent is not among the
            records (a remote caller's, or one that was lost), in order of start.
    """

    __slots__ = ("_by_id", "roots", "trace_id")

    def __init__(self, records: Iterable[SpanRecord]) -> None:
        """Put records into a tree.

        Args:
            records: finished spans of one trace, in any order. Of several with one span
                id the first is kept.

        Raises:
            ValueError: the records belong to more than one trace.
        """
        nodes: dict[str, TreeNode] = {}
        traces: set[str] = set()
        for record in records:
            traces.add(record.trace_id)
            nodes.setdefault(record.span_id, TreeNode(record))
        if len(traces) > 1:
            raise ValueError(
                f"records of {len(traces)} traces cannot form one tree: group_traces() separates them"
            )
        self.trace_id = next(iter(traces), "")
        self._by_id = nodes
        self.roots = _arrange(nodes)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[TreeNode]:
        return self.walk()

    def walk(self) -> Iterator[TreeNode]:
        """Yield every node, containers before what they contain."""
        for root in self.roots:
            yield from root.walk()

    def get(self, span_id: str) -> TreeNode | None:
        """Return the node of a span, or None where it is not in this trace.

        Args:
            span_id: 16 hex digits.
        """
        return self._by_id.get(span_id)

    def _repr_html_(self) -> str:
        """Return the waterfall, which notebooks show."""
        from hush.insight.notebook import html_of  # noqa: PLC0415  # it reads trees

        return html_of(self)

    @property
    def start_ns(self) -> int:
        """Earliest start, in nanoseconds since the epoch; 0 without spans."""
        return min((node.record.start_ns for node in self._by_id.values()), default=0)

    @property
    def end_ns(self) -> int:
        """Latest end, in nanoseconds since the epoch; 0 without spans."""
        return max((node.record.end_ns for node in self._by_id.values()), default=0)

    @property
    def duration_s(self) -> float:
        """From the earliest start to the latest end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


def group_traces(records: Iterable[SpanRecord]) -> dict[str, TraceTree]:
    """Build one tree for each trace.

    Args:
        records: finished spans of any traces, in any order.

    Returns:
        Trees by trace id, in the order in which the traces first appear.
    """
    groups: dict[str, list[SpanRecord]] = {}
    for record in records:
        groups.setdefault(record.trace_id, []).append(record)
    return {trace_id: TraceTree(group) for trace_id, group in groups.items()}


def _order(node: TreeNode) -> tuple[int, float, str, str]:
    index = node.record.index
    # The span id only makes the order total.
    return (
        node.record.start_ns,
        math.inf if index is None else index,
        node.record.name,
        node.record.span_id,
    )


def _arrange(nodes: dict[str, TreeNode]) -> tuple[TreeNode, ...]:
    inside: dict[str, list[TreeNode]] = {}
    roots: list[TreeNode] = []
    for node in nodes.values():
        parent_id = node.record.parent_id
        if parent_id is None or parent_id not in nodes:
            roots.append(node)
        else:
            inside.setdefault(parent_id, []).append(node)

    # By loops, not by recursion: a trace may be deeper than Python's stack.
    seen: set[str] = set()
    for root in roots:
        _descend(root, inside, seen)
    for node in sorted(nodes.values(), key=_order):
        if node.record.span_id not in seen:  # part of a circle, or hanging below one
            roots.append(node)
            _descend(node, inside, seen)
    return tuple(sorted(roots, key=_order))


def _descend(root: TreeNode, inside: dict[str, list[TreeNode]], seen: set[str]) -> None:
    seen.add(root.record.span_id)
    pending = [root]
    while pending:
        node = pending.pop()
        children = [c for c in inside.get(node.record.span_id, ()) if c.record.span_id not in seen]
        for child in children:
            seen.add(child.record.span_id)
            child.parent = node
            child.depth = node.depth + 1
            child.offset_s = (child.record.start_ns - root.record.start_ns) / 1e9
        node.children = tuple(sorted(children, key=_order))
        pending.extend(children)
