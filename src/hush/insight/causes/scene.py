"""Scene: a run as the causes look at it: its spans by place, in words, and its replay."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.insight.causes.finding import TOLD, worth_s
from hush.insight.causes.replay import Replay
from hush.insight.rescheduling import static_path
from hush.insight.tree import TraceTree
from hush.insight.whatif import what_if
from hush.insight.wording import clean, format_duration, item_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode
    from hush.insight.whatif import WhatIf

__all__ = (
    "CONTAINERS",
    "NODE_LEVELS",
    "MapGroup",
    "Scene",
    "capital",
    "ended",
    "find_run",
    "listed",
    "number",
    "plural",
    "share",
    "told",
)

NODE_LEVELS: Final = frozenset(
    {semconv.SPAN_NODE, semconv.SPAN_GRAPH, semconv.SPAN_MAP, semconv.SPAN_LOOP}
)
CONTAINERS: Final = frozenset({semconv.SPAN_GRAPH, semconv.SPAN_MAP, semconv.SPAN_LOOP})
_NUMBERED: Final = frozenset({semconv.SPAN_ITEM, semconv.SPAN_ITERATION})


def find_run(tree: TraceTree) -> TreeNode | None:
    """Return what is diagnosed: the longest outermost run.

    Args:
        tree: of any size.

    Returns:
        The longest root where no run's span is there; None for a tree without spans.
    """
    runs: list[TreeNode] = []
    pending = list(tree.roots)
    while pending:
        node = pending.pop()
        if node.record.prefix == semconv.SPAN_RUN:
            runs.append(node)
        else:
            pending.extend(node.children)
    return max(runs or tree.roots, key=lambda node: node.duration_s, default=None)


@dataclass(frozen=True, slots=True)
class MapGroup:
    """One map of the graph: all its spans, of which there are several inside items."""

    path: str
    """Without indices."""
    nodes: Sequence[TreeNode]
    outer: TreeNode | None
    """The map in whose items it is; None where it is in none."""

    @property
    def name(self) -> str:
        """Its name."""
        return clean(self.path.rpartition(".")[2])

    @property
    def items(self) -> list[TreeNode]:
        """Spans of items, of all its spans."""
        return [
            child
            for node in self.nodes
            for child in node.children
            if child.record.prefix == semconv.SPAN_ITEM
        ]

    def total_s(self, name: str) -> float:
        """Return the sum of a duration on the map's spans."""
        return sum(node.record.seconds(name) for node in self.nodes)

    def says(self, name: str, value: object) -> bool:
        """Say whether one of the map's spans has an attribute with this value."""
        return any(node.record.attributes.get(name) == value for node in self.nodes)


class Scene:
    """One run of a trace.

    Attributes:
        run: the run's span.
        nodes: it and all below it, containers first.
        wall_s: what it took.
        worth_s: from how many seconds on a gain is told.
        replay: what changes are worth.
        maps: the maps of the graph.
        whole: whether the run's own span is there; without it the run goes on, or was killed.
        cut: whether the run was ended at an instant that has nothing to do with its work, so
            that nothing in it would have made it shorter.
        paths: the path of each span, by span id.
    """

    def __init__(self, run: TreeNode) -> None:
        """Look at a run.

        Args:
            run: the run's span in its tree.
        """
        self.run = run
        self.nodes = list(run.walk())
        self.wall_s = run.duration_s
        self.worth_s = worth_s(self.wall_s)
        self.replay = Replay(run, self.nodes)
        self.paths: dict[str, str] = {}
        for node in self.nodes:
            self.paths[node.record.span_id] = self._find_path(node)
        self.maps = self._find_maps()
        self.whole = run.record.prefix == semconv.SPAN_RUN
        self.cut = not self.whole or self._was_cut()
        self._alone: TraceTree | None = None

    def _was_cut(self) -> bool:
        record = self.run.record
        deadline = record.attributes.get(semconv.FAILED_NODE) == self.path(self.run)
        late = record.outcome == semconv.OUTCOME_TIMEOUT and deadline
        return late or record.outcome == semconv.OUTCOME_CANCELLED

    def node(self, span_id: str) -> TreeNode | None:
        """Return a span of the run by its id."""
        return self.replay.node(span_id)

    def path(self, node: TreeNode) -> str:
        """Return a span's path with items: ``g.pages[3].fetch``."""
        return self.paths.get(node.record.span_id, node.name)

    def static(self, node: TreeNode) -> str:
        """Return a span's path without items: ``g.pages.fetch``."""
        return static_path(self.path(node))

    def predicted(self, group: MapGroup, *limits: int) -> WhatIf:
        """Predict what other limits of a map come to.

        Args:
            group: the map.
            *limits: values of ``max_concurrency``; without any floor and knee are found.
        """
        if self._alone is None:
            # Of a trace with several runs, the map of this one is meant.
            self._alone = TraceTree(node.record for node in self.nodes)
        said = group.nodes[0].record.attributes.get(semconv.NODE_PATH)
        path = said if isinstance(said, str) else group.nodes[0].name.partition(" ")[2]
        return what_if(self._alone, limits, map_path=path)

    def grouped(self, nodes: Iterable[TreeNode]) -> Mapping[str, list[TreeNode]]:
        """Return spans by their path without items, in their order."""
        groups: dict[str, list[TreeNode]] = defaultdict(list)
        for node in nodes:
            groups[self.static(node)].append(node)
        return groups

    def name(self, node: TreeNode) -> str:
        """Say what a span is: ``'fetch' in item 3 (key 'b.pdf') of 'pages'``."""
        record, around = node.record, node.parent
        if record.prefix == semconv.SPAN_RUN:
            return f"the run '{_tail(self.path(node))}'"
        if record.index is not None:
            key = item_key(record)
            told_key = f" (key '{clean(key)}')" if key else ""
            kind = "item" if record.prefix == semconv.SPAN_ITEM else "iteration"
            return f"{kind} {record.index}{told_key} of '{_tail(static_path(self.path(node)))}'"
        while around is not None and around is not self.run:
            if around.record.index is not None:
                return f"'{_tail(self.path(node))}' in {self.name(around)}"
            around = around.parent
        return f"'{_tail(self.path(node))}'"

    def _find_path(self, node: TreeNode) -> str:
        record = node.record
        outer = "" if node.parent is None else self.paths.get(node.parent.record.span_id, "")
        said = record.attributes.get(semconv.NODE_PATH)
        if record.prefix in NODE_LEVELS:
            mine = record.name.partition(" ")[2]
            return said if isinstance(said, str) else f"{outer}.{mine}" if outer else mine
        if record.prefix in _NUMBERED:
            return f"{outer or record.name.partition(' ')[2]}[{record.index}]"
        if record.prefix == semconv.SPAN_RUN:
            graph = record.attributes.get(semconv.GRAPH_NAME)
            return str(graph) if graph else record.name.partition(" ")[2]
        # Attempts, calls and what users open belong to the node that they are in.
        return outer or record.name

    def _find_maps(self) -> list[MapGroup]:
        maps = [node for node in self.nodes if node.record.prefix == semconv.SPAN_MAP]
        return [
            MapGroup(path, nodes, self._outer_map(nodes[0]))
            for path, nodes in self.grouped(maps).items()
        ]

    def _outer_map(self, node: TreeNode) -> TreeNode | None:
        around = node.parent
        while around is not None and around is not self.run:
            if around.record.prefix == semconv.SPAN_MAP:
                return around
            around = around.parent
        return None


def number(record: SpanRecord, name: str) -> int | None:
    """Return a whole number from the attributes; None where there is none."""
    value: Any = record.attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def told(seconds: float) -> str:
    """Write a duration."""
    return format_duration(seconds)


def share(part_s: float, whole_s: float) -> str:
    """Write a share: ``49 %``."""
    return f"{part_s / whole_s:.0%}".replace("%", " %") if whole_s > 0.0 else "0 %"


def plural(count: int, noun: str) -> str:
    """Write a number of things: ``1 item``, ``2 items``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = TOLD) -> str:
    """Write names one after the other: ``a, b, c and 5 more``."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def capital(text: str) -> str:
    """Return a text with its first letter large, as a sentence begins."""
    return text[:1].upper() + text[1:]


def ended(text: str) -> str:
    """Return a text with a full stop, unless it ends as a sentence already: errors often do."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _tail(path: str) -> str:
    return clean(path.rpartition(".")[2])
