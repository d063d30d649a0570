"""Maps that were set or fed otherwise in another run: their limit, their items, their queues.

A map's own change is not the sum of its items' changes: with more slots every item takes as
long as before, and only waits less.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.rescheduling import static_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hush.insight.alignment import Pair
    from hush.insight.tree import TreeNode

__all__ = ("MapChange", "MapSide", "map_changes")


@dataclass(frozen=True, slots=True)
class MapSide:
    """A map in one of the runs."""

    max_concurrency: int | None
    """None where its span does not say it."""
    items: int
    """Of all its spans together."""
    seconds: float
    """Of all its spans together."""
    wait_p50_s: float
    """What an item waited for a slot, at the median."""
    queue_s: float
    """What all items waited for slots, as far as they have spans."""


@dataclass(frozen=True, slots=True)
class MapChange:
    """A map whose limit or number of items differs."""

    path: str
    """Without items: a map inside items is one map."""
    a: MapSide
    b: MapSide

    @property
    def seconds(self) -> float:
        """How much longer it took in the second run."""
        return self.b.seconds - self.a.seconds


def map_changes(pairs: Iterable[Pair]) -> tuple[MapChange, ...]:
    """Find the maps that were set or fed otherwise.

    Args:
        pairs: what is in both runs.

    Returns:
        Those that took longest more or less first.
    """
    sides: dict[str, tuple[list[TreeNode], list[TreeNode]]] = defaultdict(lambda: ([], []))
    for pair in pairs:
        if pair.b[-1].record.prefix == semconv.SPAN_MAP:
            for spans, found in zip(sides[static_path(pair.path)], (pair.a, pair.b), strict=True):
                spans.extend(found)
    changes = (MapChange(path, _side(a), _side(b)) for path, (a, b) in sides.items())
    differing = [
        one
        for one in changes
        if one.a.max_concurrency != one.b.max_concurrency or one.a.items != one.b.items
    ]
    return tuple(sorted(differing, key=lambda one: (-abs(one.seconds), one.path)))


def _side(spans: Sequence[TreeNode]) -> MapSide:
    limits = list(_numbers(spans, semconv.MAP_MAX_CONCURRENCY))
    items = [c for node in spans for c in node.children if c.record.prefix == semconv.SPAN_ITEM]
    waits = [item.record.seconds(semconv.WAIT_SLOT_S) for item in items]
    return MapSide(
        max_concurrency=max(limits, default=None),
        items=sum(_numbers(spans, semconv.MAP_ITEMS)) or len(items),
        seconds=sum(node.duration_s for node in spans),
        wait_p50_s=median(waits) if waits else 0.0,
        queue_s=sum(waits),
    )


def _numbers(spans: Iterable[TreeNode], name: str) -> Iterator[int]:
    for node in spans:
        value = node.record.attributes.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            yield value
