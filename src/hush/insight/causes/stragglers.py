"""Stragglers: items that took much longer than those beside them."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.causes.elsewhere import durations_without, own_s
from hush.insight.causes.finding import (
    APART,
    LEAST_ITEMS,
    STRAGGLERS,
    STRAGGLES,
    Candidate,
    Finding,
)
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import NODE_LEVELS, capital, listed, number, told
from hush.insight.computing import computing_of
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.causes.scene import MapGroup, Scene
    from hush.insight.tree import TreeNode

__all__ = ("stragglers",)


def stragglers(scene: Scene) -> Iterator[Candidate]:
    """Find maps that few long items held up."""
    for group in scene.maps:
        found = [one for node in group.nodes for one in _long_ones(scene, node)]
        if found:
            yield _told(scene, group, found)
        elif not group.items:
            yield from _untraced(scene, group)


_Long = tuple["TreeNode", float, float]
"""An item, and the median and the 95th percentile of those beside it."""


def _long_ones(scene: Scene, node: TreeNode) -> list[_Long]:
    turns = scene.replay.recorded_map(node).turns
    computing = computing_of(node)
    # Who computes waits for the others who do, some longer than others.
    times = STRAGGLES * (2.0 if computing is not None and computing.binds else 1.0)

    def ran_s(item: TreeNode) -> float:
        # Waiting for a loop that others hold makes nobody a straggler.
        turn = turns.get(item.record.span_id)
        return own_s(item) - (0.0 if turn is None else turn.waited_s)

    items = [child for child in node.children if child.record.prefix == semconv.SPAN_ITEM]
    if len(items) < LEAST_ITEMS:
        return []
    items.sort(key=lambda item: -ran_s(item))
    runs = [ran_s(item) for item in items]
    usual_s = median(runs)
    # Kept spans are not all spans, and rather the long ones.
    record = node.record
    if number(record, semconv.MAP_SPANS_OMITTED):
        usual_s = record.seconds(semconv.MAP_RUN_P50_S) or usual_s
    p95_s = record.seconds(semconv.MAP_RUN_P95_S) or quantiles(runs, n=20, method="inclusive")[-1]
    size = max(len(items), number(record, semconv.MAP_ITEMS) or 0)
    most = max(1, int(STRAGGLERS * size))
    long = [item for item in items if ran_s(item) > times * usual_s > 0.0]
    if len(long) > most and ran_s(long[most - 1]) < APART * ran_s(long[most]):
        return []
    return [(item, usual_s, p95_s) for item in long[:most]]


def _told(scene: Scene, group: MapGroup, found: Sequence[_Long]) -> Candidate:
    change = Change(durations_without({item: usual_s for item, usual_s, _ in found}))
    gain_s = scene.replay.gain_s(change)
    found = sorted(found, key=lambda one: -own_s(one[0]))
    item, usual_s, p95_s = found[0]
    run_s = own_s(item)
    around = item.parent or scene.run
    without_s = scene.replay.took_s(around, change)
    facts: dict[str, object] = {
        "index": item.record.index,
        "key": item.record.attributes.get(semconv.ITEM_KEY),
        "run_s": run_s,
        "run_p50_s": usual_s,
        "run_p95_s": p95_s,
        "map_s": around.duration_s,
        "map_without_s": without_s,
        "stragglers": [one.record.index for one, _, _ in found],
    }
    text = (
        f"{capital(scene.name(item))} took "
        f"{told(run_s)}, {run_s / usual_s:.1f} times the median of "
        f"{told(usual_s)}"
    )
    if p95_s < run_s:
        text += f" (95th percentile {told(p95_s)})"
    inside = _longest_inside(item)
    if inside is not None:
        facts["inside"] = scene.path(inside)
        name = clean(scene.path(inside).rpartition(".")[2])
        text += f", {told(inside.duration_s)} of it in '{name}'"
    if len(found) > 1:
        others = [str(one.record.index) for one, _, _ in found[1:]]
        text += (
            f"; item {others[0]} was slow too"
            if others[1:] == []
            else f"; items {listed(others)} were slow too"
        )
    text += (
        f". Had {'it' if len(found) == 1 else 'they'} taken the median, '{group.name}' would have "
        f"needed {told(without_s)} instead of {told(around.duration_s)}, and the run "
        f"{told(gain_s)} less."
    )
    remedy = (
        "Look at what is special about it; start the longest items first, split them, or give "
        "items a timeout_s with a retry where the time is spent waiting for others."
    )
    path = scene.path(item)
    return Candidate(Finding("straggler", path, gain_s, text, remedy, facts), change, depth=1)


def _untraced(scene: Scene, group: MapGroup) -> Iterator[Candidate]:
    """Tell a straggler of a map whose items have no spans from the map's own facts."""
    for node in group.nodes:
        record = node.record
        usual_s, longest_s = (
            record.seconds(name) for name in (semconv.MAP_RUN_P50_S, semconv.MAP_RUN_MAX_S)
        )
        slowest = record.attributes.get(semconv.MAP_SLOWEST)
        if not isinstance(slowest, list | tuple) or not slowest or longest_s <= STRAGGLES * usual_s:
            continue
        index = str(slowest[0]).partition(":")[0]
        # Nothing else was left to start in the tail: so much of it is the straggler's.
        over_s = min(record.seconds(semconv.MAP_IDLE_TAIL_S), longest_s - usual_s)
        change = Change({record.span_id: node.duration_s - over_s})
        gain_s = scene.replay.gain_s(change)
        text = (
            f"Item {clean(index)} of '{group.name}' took {told(longest_s)}, the median is "
            f"{told(usual_s)}. Had it taken the median, the run would have been about "
            f"{told(gain_s)} shorter."
        )
        facts = {"index": int(index) if index.isdecimal() else None, "run_s": longest_s}
        path = f"{scene.path(node)}[{clean(index)}]"
        remedy = "Look at what is special about it; start the longest items first or split them."
        yield Candidate(Finding("straggler", path, gain_s, text, remedy, facts), change, depth=1)


def _longest_inside(item: TreeNode) -> TreeNode | None:
    """Return the node in an item that took longest, as deep as one alone explains it."""
    inside: TreeNode | None = None
    at = item
    while True:
        attempts = [c for c in at.children if c.record.prefix == semconv.SPAN_ATTEMPT]
        # In a worker the nodes are one level deeper.
        inside_of = (at, *attempts) if at is item else (at,)
        nodes = [c for one in inside_of for c in one.children if c.record.prefix in NODE_LEVELS]
        longest = max(nodes, key=lambda node: node.duration_s, default=None)
        if longest is None or longest.duration_s < own_s(item) / 2:
            return inside
        inside = at = longest
