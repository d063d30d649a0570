"""Where the spans of a trace are: their paths, and the steps of the critical path among them.

The scheduler names steps by paths relative to the run's graph (``pages[6].fetch``), the
spans carry paths from the graph on (``crawl.pages[6].fetch``) or, as items do, none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.bounds import bounds_of
from hush.insight.rescheduling import static_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.insight.diagnosis import Finding
    from hush.insight.tree import TraceTree, TreeNode

_MORE: Final = re.compile(r" \(\d+ more items?\)$")

__all__ = ("Places", "Step", "path_steps")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a critical path."""

    label: str
    """As the scheduler wrote it: ``pages[6].fetch``, ``pages (12 more items)``."""
    seconds: float
    share: float
    """Of the run's time, 0 to 1."""
    node: TreeNode | None
    """The span that it is about; None for one that sums up others, or whose span is not there."""

    @property
    def kind(self) -> str:
        """``span`` for a span itself, ``part`` for some of its inside, ``wait`` for waiting."""
        if not self.label.endswith(")"):
            return "span"
        what = self.label.rpartition("(")[2]
        return "part" if what[:1].isdigit() or what == "itself)" else "wait"


class Places:
    """The path of each span, and the span of each path."""

    def __init__(self, tree: TraceTree) -> None:
        """Find all paths.

        Args:
            tree: of any size, also empty.
        """
        self._tree = tree
        self._paths: dict[str, str] = {}
        self._nodes: dict[str, TreeNode] = {}
        for node in tree:
            path = self._path_of(node)
            self._paths[node.record.span_id] = path
            if path:
                # Of the spans on one path (a node, its attempts, its calls) the outermost.
                self._nodes.setdefault(path, node)

    def _path_of(self, node: TreeNode) -> str:
        record = node.record
        own = record.attributes.get(semconv.NODE_PATH)
        if isinstance(own, str) and own:
            return own
        if record.prefix == semconv.SPAN_RUN:
            return str(record.attributes.get(semconv.GRAPH_NAME) or record.name.partition(" ")[2])
        around = "" if node.parent is None else self._paths[node.parent.record.span_id]
        if record.prefix is None or record.index is None or not around:
            return around
        return f"{around}[{record.index}]"

    def path(self, node: TreeNode) -> str:
        """Return a span's path; of a foreign span, and of a call, that of what contains it."""
        return self._paths.get(node.record.span_id, "")

    def bound(self, node: TreeNode) -> Finding | None:
        """Return what held a map up, as the diagnosis has it; None where nothing did."""
        return self._bounds.get(static_path(self.path(node)))

    @cached_property
    def _bounds(self) -> Mapping[str, Finding]:
        return bounds_of(self._tree)

    def find(self, path: str, graph: str = "") -> TreeNode | None:
        """Return the span at a path.

        Args:
            path: from the graph on, or relative to it.
            graph: that it may be relative to.

        Returns:
            None where there is none.
        """
        found = self._nodes.get(f"{graph}.{path}") if graph else None
        return found or self._nodes.get(path)


def path_steps(tree: TraceTree, places: Places) -> list[Step]:
    """Read the critical path that the scheduler left on the run's span.

    Args:
        tree: of any size, also empty.
        places: its paths.

    Returns:
        The steps in order; empty where the trace has none.
    """
    for node in tree:
        told = node.record.attributes.get(semconv.CRITICAL_PATH)
        if isinstance(told, list | tuple) and told:
            return _in_time(list(_steps(node, [str(text) for text in told], places)))
    return []


def _in_time(steps: list[Step]) -> list[Step]:
    """Move what sums up several items to where it was: it stands behind those told one by one."""
    for step in [one for one in steps if one.node is not None and _MORE.search(one.label)]:
        base = _MORE.sub("", step.label)
        others = [one for one in steps if one is not step]
        named = [
            (at, one.node.record)
            for at, one in enumerate(others)
            if one.node is not None and one.label.startswith(f"{base}[")
        ]
        if not named or step.node is None:
            continue
        # Where most time is between two of them; that before the first one counts as well.
        before_ns, widest_ns, place = step.node.record.start_ns, -1, named[0][0]
        for at, record in named:
            if record.start_ns - before_ns > widest_ns:
                widest_ns, place = record.start_ns - before_ns, at
            before_ns = max(before_ns, record.end_ns)
        if step.node.record.end_ns - before_ns > widest_ns:
            place = named[-1][0] + 1
        others.insert(place, step)
        steps = others
    return steps


def _steps(run: TreeNode, told: list[str], places: Places) -> Iterator[Step]:
    whole_s = run.duration_s or 1.0
    graph = places.path(run)
    for text in told:
        label, seconds = text, 0.0
        parts = text.rsplit(" ", 2)
        if len(parts) == 3:  # noqa: PLR2004  # label, seconds, share
            try:
                label, seconds = parts[0], float(parts[1].removesuffix("s"))
            except ValueError:
                label = text  # written by a version to come
        label = label.replace("(1 more items)", "(1 more item)")
        share = min(1.0, max(0.0, seconds / whole_s))
        base = label.rpartition(" (")[0] if label.endswith(")") else label
        yield Step(label, seconds, share, places.find(base, graph) if base else None)
