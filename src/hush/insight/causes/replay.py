"""Replay: how long a run would have taken had something in it been different.

What a change is worth is never read off a single span, for a shorter span may only mean a
longer wait for another. The whole run is put together anew from its own structure
(:class:`~hush.insight.rescheduling.Rescheduling`), once as recorded and once changed; the
difference is the gain. So only what lies on the critical path counts, what several items
of one worker gain adds up, and no gain exceeds the run.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.recorded_map import RecordedMap
from hush.insight.rescheduling import Rescheduling
from hush.insight.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hush.insight.tree import TreeNode

__all__ = ("NO_CHANGE", "Change", "Replay", "both")


@dataclass(frozen=True, slots=True)
class Change:
    """What is different; everything by span id."""

    durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds that these spans take at most."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Slots of these maps."""
    instant: frozenset[str] = frozenset()
    """Maps whose source gives every item at once."""
    off_loop: frozenset[str] = frozenset()
    """Maps whose items hold the event loop no more."""

    @property
    def touched(self) -> frozenset[str]:
        """Spans that it is about."""
        return frozenset((*self.durations, *self.limits)) | self.instant | self.off_loop


NO_CHANGE: Final = Change()


def both(one: Change, other: Change) -> Change:
    """Return both changes at once: the shorter durations, the larger limits."""
    durations = {
        span_id: min(
            changed[span_id] for changed in (one.durations, other.durations) if span_id in changed
        )
        for span_id in ChainMap(dict(one.durations), dict(other.durations))
    }
    limits = {
        span_id: max(one.limits.get(span_id, 0), other.limits.get(span_id, 0))
        for span_id in ChainMap(dict(one.limits), dict(other.limits))
    }
    return Change(
        durations,
        limits,
        one.instant | other.instant,
        one.off_loop | other.off_loop,
    )


class Replay(Rescheduling):
    """One run that can be replayed with changes of any kind."""

    def __init__(self, run: TreeNode, nodes: Iterable[TreeNode]) -> None:
        """Prepare; structure is looked at where a change needs it.

        Args:
            run: what is replayed.
            nodes: the spans in it.
        """
        super().__init__(run, [])
        self._nodes = {node.record.span_id: node for node in nodes}
        self._walls: dict[str, Callable[[Callable[[TreeNode], float]], float]] = {}
        self._recorded: dict[tuple[str, bool], RecordedMap] = {}

    def node(self, span_id: str) -> TreeNode | None:
        """Return a span of the run by its id."""
        return self._nodes.get(span_id)

    def gain_s(self, change: Change, beyond: Change = NO_CHANGE) -> float:
        """Return what a change is worth.

        Args:
            change: what is different.
            beyond: what has been changed already.

        Returns:
            Seconds by which the run gets shorter, from 0.0 to what it took.
        """
        touched = change.touched | beyond.touched
        gain_s = self._run_s(beyond, touched) - self._run_s(both(beyond, change), touched)
        return min(max(0.0, gain_s), self._run.duration_s)

    def took_s(self, node: TreeNode, change: Change) -> float:
        """Return how long a span takes with a change, in seconds."""
        took = self._replayed(change, change.touched)
        return took.get(node.record.span_id, node.duration_s)

    def took(self, change: Change) -> Mapping[str, float]:
        """Return how long spans take with a change, by span id; others take as long as they did."""
        return self._replayed(change, change.touched)

    def recorded_map(self, node: TreeNode, *, gated: bool = True) -> RecordedMap:
        """Return what a map's span and the items in it say.

        Args:
            node: the map's.
            gated: whether to look for a shared limit.
        """
        key = (node.record.span_id, gated)
        if key not in self._recorded:
            self._recorded[key] = RecordedMap(node, gated=gated)
        return self._recorded[key]

    def _run_s(self, change: Change, touched: Iterable[str]) -> float:
        run_id = self._run.record.span_id
        return self._replayed(change, touched).get(run_id, self._run.duration_s)

    def _replayed(self, change: Change, touched: Iterable[str]) -> Mapping[str, float]:
        """Return the durations of whatever may have another one, by span id.

        Both sides of a comparison put the same spans together anew, so that what the model
        gets wrong it gets wrong on both.
        """
        around = self._around(touched)
        affected = around | {span_id for span_id in touched if span_id in self._nodes}
        took: dict[str, float] = {}

        def duration_s(node: TreeNode) -> float:
            return took.get(node.record.span_id, node.duration_s)

        for span_id in sorted(affected, key=lambda one: -self._nodes[one].depth):
            node = self._nodes[span_id]
            seconds = node.duration_s
            if node.record.prefix == semconv.SPAN_MAP and self.recorded_map(node).items:
                seconds = self._map_s(node, change, duration_s, holds=span_id in around)
            elif span_id in around:
                seconds = self._wall_of(node)(duration_s)
            took[span_id] = min(seconds, change.durations.get(span_id, seconds))
        return took

    def _around(self, touched: Iterable[str]) -> set[str]:
        """Return what contains these spans, up to the run."""
        around: set[str] = set()
        for span_id in touched:
            node = self._nodes.get(span_id)
            while node is not None and node is not self._run:
                node = node.parent
                if node is None or node.record.span_id in around:
                    break
                around.add(node.record.span_id)
        return around

    def _wall_of(self, node: TreeNode) -> Callable[[Callable[[TreeNode], float]], float]:
        span_id = node.record.span_id
        if span_id not in self._walls:
            self._walls[span_id] = self._contain(node).wall_s
        return self._walls[span_id]

    def _map_s(
        self,
        node: TreeNode,
        change: Change,
        duration_s: Callable[[TreeNode], float],
        *,
        holds: bool,
    ) -> float:
        span_id = node.record.span_id
        # Where something inside an item changes, waits in there are part of its duration.
        recorded = self.recorded_map(node, gated=not holds)
        loads = recorded.loads(duration_s, on_loop=span_id not in change.off_loop)
        if span_id in change.instant:
            loads = [replace(load, source_s=0.0) for load in loads]
        workers = change.limits.get(span_id, recorded.limit)
        return simulate(loads, workers, recorded.costs).wall_s
