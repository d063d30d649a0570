"""What the spans of one map of the graph say of its slots and of what it waited for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import number
from hush.insight.timeline import in_flight_peak

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.insight.causes.scene import MapGroup, Scene
    from hush.insight.tree import TreeNode

__all__ = (
    "THREADS",
    "Waits",
    "ids_of",
    "limit_of",
    "most_items_of",
    "size_of",
    "waits_of",
    "was_reached",
)

THREADS: Final = semconv.LIMITER_THREADS
RATE_LIMITED: Final = 0.5
"""From this share of the items' time on, waiting for a shared limit is what bound a map."""


def ids_of(group: MapGroup) -> list[str]:
    """Return the span ids of a map."""
    return [node.record.span_id for node in group.nodes]


def limit_of(scene: Scene, group: MapGroup) -> int:
    """Return its ``max_concurrency``."""
    return max(scene.replay.recorded_map(node).limit for node in group.nodes)


def size_of(group: MapGroup) -> int:
    """Return how many items it had, in all its spans."""
    return sum(number(node.record, semconv.MAP_ITEMS) or 0 for node in group.nodes)


def most_items_of(scene: Scene, group: MapGroup) -> int:
    """Return how many items the largest of its spans had: more slots than that serve nobody."""
    return max(
        max(number(node.record, semconv.MAP_ITEMS) or 0, scene.replay.recorded_map(node).size)
        for node in group.nodes
    )


def was_reached(group: MapGroup, limit: int) -> bool:
    """Say whether all slots were ever taken; where nobody counted, the bars tell."""
    for node in group.nodes:
        peak = number(node.record, semconv.MAP_PEAK_CONCURRENCY)
        if peak is None:
            items = [c.record for c in node.children if c.record.prefix == semconv.SPAN_ITEM]
            peak = in_flight_peak(items)
        if peak >= limit:
            return True
    return False


class Waits:
    """What the items of a map waited for limits that they share with others.

    What an item waited is by how much shorter it would have been without: waits side by
    side count once, and those beside something longer not at all.

    Attributes:
        by_item: seconds by span id of items.
        busy_s: what the items took in all.
        limiter: what they waited for most; None where that is not known.
        change: what it would be without these waits.
    """

    def __init__(self, scene: Scene, group: MapGroup, nodes: list[TreeNode]) -> None:
        """Find out what the items would have taken.

        Args:
            scene: the run.
            group: the map.
            nodes: what waited in its items.
        """
        self.change = Change(
            {
                node.record.span_id: max(
                    0.0, node.duration_s - node.record.seconds(semconv.WAIT_LIMITER_S)
                )
                for node in nodes
            }
        )
        took: Mapping[str, float] = scene.replay.took(self.change) if nodes else {}
        self.by_item = {
            item.record.span_id: waited_s
            for item in group.items
            if (waited_s := item.duration_s - took.get(item.record.span_id, item.duration_s)) > 0.0
        }
        self.busy_s = sum(item.duration_s for item in group.items)
        self.limiter = _limiter(scene, group, nodes)

    @property
    def total_s(self) -> float:
        """Of all items."""
        return sum(self.by_item.values())

    @property
    def bind(self) -> bool:
        """Whether this is what held the map up."""
        return self.total_s > RATE_LIMITED * self.busy_s > 0.0


def waits_of(scene: Scene, group: MapGroup, *, own: bool) -> Waits:
    """Return what the items of a map waited for.

    Args:
        scene: the run.
        group: the map.
        own: only what is directly in its items, and not in a map inside them.
    """
    waiting: list[TreeNode] = []
    pending = group.items
    while pending:
        node = pending.pop()
        record = node.record
        if record.prefix == semconv.SPAN_NODE and record.seconds(semconv.WAIT_LIMITER_S):
            waiting.append(node)
        if not (own and record.prefix == semconv.SPAN_MAP):
            pending.extend(node.children)
    return Waits(scene, group, waiting)


def _limiter(scene: Scene, group: MapGroup, nodes: list[TreeNode]) -> str | None:
    for node in group.nodes:
        said = node.record.attributes.get(semconv.WAIT_LIMITER)
        if isinstance(said, str):
            return said
        gate = scene.replay.recorded_map(node).gate
        if gate is not None and gate.name:
            return gate.name
    seconds: Counter[str | None] = Counter()
    for node in nodes:
        said = node.record.attributes.get(semconv.WAIT_LIMITER)
        calls = any(child.record.prefix == semconv.SPAN_CHAT for child in node.walk())
        # Who asks no model and names no limit waited for a thread.
        name = said if isinstance(said, str) else None if calls else THREADS
        seconds[name] += node.record.seconds(semconv.WAIT_LIMITER_S)  # type: ignore[assignment]  # a Counter of seconds
    return max(seconds, key=seconds.__getitem__, default=None)
