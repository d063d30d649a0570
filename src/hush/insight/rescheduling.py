"""Rescheduling: what else of a run moves when a map in it takes another time.

Every span starts some gap after what released it, and everything that contains others ends
some gap after the last of them; the gaps stay as they were recorded, the rest follows.
What has no such map inside keeps its duration. This module reads structure; what a map
takes with other slots it asks of :mod:`hush.insight.simulation`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.recorded_map import RecordedMap
from hush.insight.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hush.insight.simulation import Load
    from hush.insight.tree import TreeNode

__all__ = ("Rescheduling", "Walls", "static_path")

_NODE_LEVELS: Final = frozenset(
    {semconv.SPAN_NODE, semconv.SPAN_GRAPH, semconv.SPAN_MAP, semconv.SPAN_LOOP}
)
_ENOUGH: Final = frozenset({semconv.FAN_IN_ANY, semconv.FAN_IN_FIRST, semconv.FAN_IN_QUORUM})
"""Joins that do not wait for everybody."""
_INDEX: Final = re.compile(r"\[\d+\]")


def static_path(path: str) -> str:
    """Return a path as the graph has it, without items: ``g.outer[3].inner`` is ``g.outer.inner``.

    Args:
        path: of a node.
    """
    return _INDEX.sub("", path)


@dataclass(frozen=True, slots=True)
class Walls:
    """What a limit comes to."""

    run_s: float
    map_s: float
    """Of all maps at the path together, whether or not one after the other."""
    used_s: float
    """Seconds for which their slots were taken."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A span within what contains it."""

    node: TreeNode
    after: Sequence[int]
    """Positions of those that it waited for; empty where it starts with its container."""
    needed: int
    """How many of those had to be over."""
    gap_s: float
    """From that instant, or the container's start, to its own start."""


@dataclass(frozen=True, slots=True)
class _Container:
    parts: Sequence[_Part]
    order: Sequence[int]
    """Positions, each after those that it waited for."""
    victims: Sequence[tuple[int, int, float]]
    """Who was cancelled, because of whom, and how much later it ended, in seconds."""
    tail_s: float
    """From the last one's end to the container's."""

    def wall_s(self, duration_s: Callable[[TreeNode], float]) -> float:
        """Return how long it takes, given how long its parts do."""
        starts, ends = [0.0] * len(self.parts), [0.0] * len(self.parts)
        for i in self.order:
            part = self.parts[i]
            starts[i] = part.gap_s
            if part.after:
                starts[i] += sorted(ends[j] for j in part.after)[part.needed - 1]
            ends[i] = starts[i] + duration_s(part.node)
        for victim, cause, lag_s in self.victims:
            ends[victim] = max(starts[victim], ends[cause] + lag_s)
        return max(0.0, max(ends, default=0.0) + self.tail_s)


class Rescheduling:
    """One run that can be replayed with other limits.

    Attributes:
        maps: those whose limit is varied.
        reasons: why the replay is not quite what would happen.
    """

    def __init__(self, run: TreeNode, maps: Sequence[TreeNode]) -> None:
        """Find out what depends on the maps.

        Args:
            run: what is to be replayed.
            maps: spans of maps below it, whose limit is varied.
        """
        self._run = run
        self._varied = frozenset(node.record.span_id for node in maps)
        moved: dict[str, TreeNode] = {}
        inside: set[str] = set()
        for node in maps:
            at = node
            moved.setdefault(at.record.span_id, at)
            while at is not run and at.parent is not None:
                at = at.parent
                if at.record.span_id in inside:
                    break
                inside.add(at.record.span_id)
                moved[at.record.span_id] = at
        # What is inside comes first.
        self._moved = sorted(moved.values(), key=lambda node: -node.depth)
        self.reasons: list[str] = []
        self._maps: dict[str, RecordedMap] = {}
        self._loads: dict[str, list[Load]] = {}
        self._containers: dict[str, _Container] = {}
        for span_id, node in moved.items():
            if node.record.prefix == semconv.SPAN_MAP:
                holds = span_id in inside
                self._maps[span_id] = recorded = RecordedMap(node, gated=not holds)
                self.reasons += recorded.reasons
                if not holds:
                    self._loads[span_id] = recorded.loads(lambda item: item.duration_s)
            else:
                self._containers[span_id] = self._contain(node)
        self.maps = [self._maps[node.record.span_id] for node in maps]
        self.reasons = list(dict.fromkeys(self.reasons))

    def replay(self, limit: int | None = None) -> Walls:
        """Replay the run.

        Args:
            limit: ``max_concurrency`` of the maps; None is the recorded one.

        Returns:
            How long it takes.
        """
        took: dict[str, float] = {}

        def duration_s(node: TreeNode) -> float:
            return took.get(node.record.span_id, node.duration_s)

        map_s = used_s = 0.0
        for node in self._moved:
            span_id = node.record.span_id
            recorded = self._maps.get(span_id)
            if recorded is None:
                took[span_id] = self._containers[span_id].wall_s(duration_s)
                continue
            varied = span_id in self._varied
            if recorded.items:
                workers = limit if varied and limit is not None else recorded.limit
                loads = self._loads.get(span_id) or recorded.loads(duration_s)
                schedule = simulate(loads, workers, recorded.costs)
                took[span_id] = schedule.wall_s
                used_s += schedule.used_s if varied else 0.0
            if varied:
                map_s += duration_s(node)
        return Walls(duration_s(self._run), map_s, used_s)

    # --- structure -----------------------------------------------------------------------

    def _contain(self, node: TreeNode) -> _Container:
        # A span that takes no time may start when the one that it releases does.
        children = sorted(node.children, key=lambda c: (c.record.start_ns, c.record.end_ns))
        position = {child.record.span_id: i for i, child in enumerate(children)}
        in_order = sorted(range(len(children)), key=lambda i: children[i].record.end_ns)
        ends = [children[i].record.end_ns for i in in_order]
        awaited: list[tuple[list[int], int]] = []
        for i, child in enumerate(children):
            before = [j for j in in_order[: bisect_right(ends, child.record.start_ns)] if j < i]
            if child.record.prefix in _NODE_LEVELS:
                awaited.append(self._awaited(child, children, position, before))
            else:
                # Attempts and rounds follow each other; of what users open nobody knows
                # better than that it comes after what had just ended.
                awaited.append((before[-1:], 1))
        order, awaited = _ordered(awaited)
        parts = []
        for child, (after, needed) in zip(children, awaited, strict=True):
            over = sorted(children[j].record.end_ns for j in after)
            released_ns = over[needed - 1] if over else node.record.start_ns
            parts.append(_Part(child, after, needed, (child.record.start_ns - released_ns) / 1e9))
        last_ns = ends[-1] if ends else node.record.start_ns
        tail_s = (node.record.end_ns - last_ns) / 1e9
        return _Container(parts, order, list(_victims(children)), tail_s)

    def _awaited(
        self,
        child: TreeNode,
        children: Sequence[TreeNode],
        position: Mapping[str, int],
        before: Sequence[int],
    ) -> tuple[list[int], int]:
        """Return whom a node waited for, and how many of them had to be over."""
        facts = child.record.attributes
        # A link to what ended later names who is to blame for a cancellation.
        over = frozenset(before)
        linked = [position.get(link.span_id, -1) for link in child.record.links]
        after = [i for i in dict.fromkeys(linked) if i in over]
        if facts.get(semconv.LINKS_DROPPED):
            self.reasons.append(
                f"{child.name} waited for more nodes than its span can name; it is taken to "
                f"have waited for all that were over by then"
            )
            after += [i for i in before if children[i].record.prefix in _NODE_LEVELS]
            after = list(dict.fromkeys(after))
            return after, len(after)
        needed, mode = len(after), facts.get(semconv.FAN_IN_MODE)
        late = facts.get(semconv.FAN_IN_LATE)
        # Where one is enough and several had come, all but one of them were hard edges, and
        # which of them the span does not say.
        enough = mode in _ENOUGH and not (mode == semconv.FAN_IN_ANY and needed > 1)
        if needed and enough and isinstance(late, list | tuple):
            # Who came late when recorded may be in time now.
            after += [i for i, other in enumerate(children) if _may_win(other, late)]
        return list(dict.fromkeys(after)), needed


def _ordered(
    awaited: list[tuple[list[int], int]],
) -> tuple[Sequence[int], list[tuple[list[int], int]]]:
    """Put each after those that it waits for; forget who came late where that is a circle."""
    try:
        return tuple(
            TopologicalSorter({i: a for i, (a, _) in enumerate(awaited)}).static_order()
        ), awaited
    except CycleError:
        timely = [(a[:needed], needed) for a, needed in awaited]
        return range(len(awaited)), timely


def _may_win(node: TreeNode, names: Sequence[object]) -> bool:
    record = node.record
    done = record.outcome == semconv.OUTCOME_OK
    return done and record.attributes.get(semconv.NODE_NAME) in names


def _victims(children: Sequence[TreeNode]) -> Iterator[tuple[int, int, float]]:
    """Yield who was cancelled because of a sibling, or of something inside one."""
    blamed = {
        i: child.record.links[-1].span_id
        for i, child in enumerate(children)
        if child.record.outcome == semconv.OUTCOME_CANCELLED and child.record.links
    }
    wanted = frozenset(blamed.values())
    if not wanted:
        return
    found = {
        inner.record.span_id: i
        for i, child in enumerate(children)
        for inner in child.walk()
        if inner.record.span_id in wanted
    }
    for i, span_id in blamed.items():
        cause = found.get(span_id, i)
        lag_ns = children[i].record.end_ns - children[cause].record.end_ns
        # What ended before it began was what it waited for, and not to blame.
        if cause != i and children[cause].record.end_ns > children[i].record.start_ns:
            yield i, cause, lag_ns / 1e9
