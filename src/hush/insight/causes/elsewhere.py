"""Items that ran in workers: what of such a span is the item's own, and who shared its call.

An item's span lasts from when it was sent until its answer was there, and the answer comes when
all items of its call are over. How long it waited for the engine, and how long it ran, its
attributes say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hush.insight.tree import TreeNode

__all__ = ("durations_without", "own_s", "ran_elsewhere")


def ran_elsewhere(item: TreeNode) -> bool:
    """Say whether an item ran in a worker."""
    return semconv.WAIT_QUEUE_S in item.record.attributes


def own_s(item: TreeNode) -> float:
    """Return for how many seconds an item ran, without the way there and those beside it."""
    return item.record.seconds(semconv.RUN_S) if ran_elsewhere(item) else item.duration_s


def durations_without(usual_s: Mapping[TreeNode, float]) -> dict[str, float]:
    """Return how long spans of items would be if some of them took the usual time.

    Args:
        usual_s: what each of those would have taken, all of one map's.

    Returns:
        Seconds by span id, also of items that had to wait for them.
    """
    found = {
        item.record.span_id: took_s for item, took_s in usual_s.items() if not ran_elsewhere(item)
    }
    for item in usual_s:
        if not ran_elsewhere(item):
            continue
        call = [item, *_beside(item)]
        before_s = max(map(own_s, call))
        after_s = max(usual_s.get(one, own_s(one)) for one in call)
        for one in call:
            found[one.record.span_id] = max(0.0, one.duration_s - (before_s - after_s))
    return found


def _beside(item: TreeNode) -> Iterable[TreeNode]:
    """Yield the items of the same call: these waited for the engine to the nanosecond as long."""
    queue_s = item.record.attributes[semconv.WAIT_QUEUE_S]
    for child in item.parent.children if item.parent else ():
        if child is not item and child.record.attributes.get(semconv.WAIT_QUEUE_S) == queue_s:
            yield child
