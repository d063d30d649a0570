"""Slots: maps that their limit, a shared limit or their source held up.

What other slots come to is what :func:`~hush.insight.whatif.what_if` predicts. Where no item
has a span, list scheduling's own bound stands in for the simulation: with W seconds of work
in all, k slots and a longest item of m seconds, no schedule is shorter than ``max(W / k, m)``
(R. L. Graham, "Bounds for certain multiprocessing anomalies", 1966).
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import number, plural, share, told
from hush.insight.timeline import in_flight_peak
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.insight.causes.scene import MapGroup, Scene
    from hush.insight.tree import TreeNode
    from hush.insight.whatif import WhatIf

__all__ = ("limits", "shared_limits", "sources")

_THREADS: Final = "threads"
_RATE_LIMITED: Final = 0.5
"""From this share of the items' time on, waiting for a shared limit is what bound a map."""


# --- max_concurrency -------------------------------------------------------------------------


def limits(scene: Scene) -> Iterator[Candidate]:
    """Find maps that more slots would have made faster."""
    for group in scene.maps:
        limit = _limit(scene, group)
        if _waits_for_shared_limit(group) or not _was_reached(group, limit):
            continue
        if group.items:
            yield from _simulated(scene, group, limit)
        else:
            yield from _estimated(scene, group, limit)


def _simulated(scene: Scene, group: MapGroup, limit: int) -> Iterator[Candidate]:
    change = Change(limits=dict.fromkeys(_ids(group), 2 * limit))
    twice_s = scene.replay.gain_s(change)
    if twice_s < scene.worth_s:
        return
    found = scene.predicted(group, 2 * limit)
    # While a node holds the loop nobody else goes on, however many slots there are.
    blocked_s = sum(
        node.record.seconds(semconv.LOOP_BLOCKED_S)
        for item in group.items
        for node in item.walk()
        if node.record.prefix == semconv.SPAN_NODE
    )
    most_s = max(0.0, found.recorded.map_s - blocked_s)
    gain_s = min(twice_s, most_s)
    all_s = min(max(0.0, found.replayed.run_s - found.floor.run_s), scene.wall_s, most_s)
    finding = _too_low(scene, group, limit, gain_s, max(gain_s, all_s), found)
    yield Candidate(finding, change)


def _estimated(scene: Scene, group: MapGroup, limit: int) -> Iterator[Candidate]:
    twice: dict[str, float] = {}
    alone: dict[str, float] = {}
    for node in group.nodes:
        record = node.record
        longest_s = record.seconds(semconv.MAP_RUN_MAX_S)
        size = number(record, semconv.MAP_ITEMS) or 0
        # What is missing of the exact sum, the median stands for.
        work_s = record.seconds(semconv.MAP_UTILISATION) * limit * node.duration_s
        work_s = work_s or size * record.seconds(semconv.MAP_RUN_P50_S)
        if longest_s and work_s:
            twice[record.span_id] = max(work_s / (2 * limit), longest_s)
            alone[record.span_id] = max(work_s / max(size, 1), longest_s)
    change = Change(twice)
    gain_s = scene.replay.gain_s(change)
    all_s = max(gain_s, scene.replay.gain_s(Change(alone)))
    yield Candidate(_too_low(scene, group, limit, gain_s, all_s, None), change)


def _too_low(
    scene: Scene, group: MapGroup, limit: int, gain_s: float, all_s: float, found: WhatIf | None
) -> Finding:
    size = found.items if found is not None else _size(group)
    facts: dict[str, object] = {
        "max_concurrency": limit,
        "items": size,
        "maps": len(group.nodes),
        "gain_twice_s": gain_s,
        "gain_unlimited_s": all_s,
    }
    where = f"The map '{group.name}'"
    if group.outer is not None:
        where = (
            f"The nested map '{group.name}', which ran {plural(len(group.nodes), 'time')} "
            f"inside items of {scene.name(group.outer)},"
        )
    text = f"{where} was held up by its limit: {plural(size, 'item')} had to share {plural(limit, 'slot')}"
    waits = [s for item in group.items if (s := item.record.seconds(semconv.WAIT_SLOT_S))]
    if waits:
        facts["wait_slot_p50_s"] = median(waits)
        text += f" and waited {told(median(waits))} for one, at the median"
    at_limit_s, took_s = (
        group.total_s(semconv.MAP_AT_LIMIT_S),
        sum(n.duration_s for n in group.nodes),
    )
    if at_limit_s:
        facts["at_limit_s"] = at_limit_s
        text += f"; all slots were taken for {share(at_limit_s, took_s)} of its {told(took_s)}"
    about = "about " if found is None or found.approximate else ""
    text += f". Twice as many would save {about}{told(gain_s)} of the run, a slot for each item {about}{told(all_s)}."
    remedy = f"Raise max_concurrency of '{group.name}' to {2 * limit}"
    if found is not None:
        facts |= {"knee": found.knee.max_concurrency, "cautions": [c.kind for c in found.cautions]}
        if found.knee.max_concurrency > 2 * limit:
            remedy += f" or more ({found.knee.max_concurrency} bring nearly all there is to gain)"
    remedy += ", if what its items call can bear it."
    for caution in () if found is None else found.cautions:
        remedy += f" But {clean(caution.text)}."
    kind = "limit_too_low" if group.outer is None else "nested_map"
    return Finding(kind, group.path, gain_s, text, remedy, facts)  # type: ignore[arg-type]  # one of two kinds


# --- shared limits -----------------------------------------------------------------------------


def shared_limits(scene: Scene) -> Iterator[Candidate]:
    """Find maps with more slots than a rate limit or the threads can serve."""
    for group in scene.maps:
        limiter = _limiter(scene, group)
        if limiter is not None and _waits_for_shared_limit(group):
            yield _too_high(scene, group, limiter)


def _too_high(scene: Scene, group: MapGroup, limiter: str) -> Candidate:
    limit = _limit(scene, group)
    waited = [s for item in group.items if (s := _waited_s(item))]
    waited_s = sum(waited) or group.total_s(semconv.WAIT_LIMITER_S)
    busy_s = sum(item.duration_s for item in group.items)
    change = _without_waits(scene, group)
    gain_s = scene.replay.gain_s(change)
    enough = _sufficient(scene, group, limit, busy_s - waited_s)
    facts: dict[str, object] = {
        "limiter": limiter,
        "max_concurrency": limit,
        "sufficient": enough,
        "waited_s": waited_s,
        "wait_max_s": max(waited, default=0.0),
    }
    threads = limiter == _THREADS
    what = "the limit on threads" if threads else f"the rate limit {clean(limiter)}"
    text = f"The items of '{group.name}' waited {told(waited_s)} in all for {what}"
    if busy_s:
        text += f", {share(waited_s, busy_s)} of their time (the longest {told(max(waited))})"
    text += f". More slots than its {limit} would only make more of them wait"
    if enough < limit:
        text += f"; {plural(enough, 'slot')} would have been nearly as fast"
    text += f". Without that limit the run would have been {told(gain_s)} shorter."
    if threads:
        remedy = "Give Hush(..., max_threads=) as many threads as the map has slots."
        return Candidate(Finding("thread_limit", group.path, gain_s, text, remedy, facts), change)
    remedy = (
        f"To be faster raise {clean(limiter)}, if the provider allows it, or ask a second resource"
    )
    if enough < limit:
        remedy += f"; max_concurrency={enough} of '{group.name}' is enough for the limit as it is"
    return Candidate(Finding("rate_limit", group.path, gain_s, text, f"{remedy}.", facts), change)


def _without_waits(scene: Scene, group: MapGroup) -> Change:
    gated = {n.record.span_id for n in group.nodes if scene.replay.recorded_map(n).gate is not None}
    others = {
        item.record.span_id: max(0.0, item.duration_s - _waited_s(item))
        for item in group.items
        if item.record.parent_id not in gated and _waited_s(item)
    }
    return Change(durations=others, ungated=frozenset(gated))


def _sufficient(scene: Scene, group: MapGroup, limit: int, work_s: float) -> int:
    """Return how many slots would do: the least that the replay finds no slower.

    Without a pace that could be replayed, by Little's law: slots are work over time.
    """
    if any(scene.replay.recorded_map(node).gate is not None for node in group.nodes):
        return min(limit, scene.predicted(group).knee.max_concurrency)
    took_s = sum(node.duration_s for node in group.nodes)
    return (
        min(limit, max(1, math.ceil(work_s / took_s))) if took_s > 0.0 and work_s > 0.0 else limit
    )


# --- sources -------------------------------------------------------------------------------------


def sources(scene: Scene) -> Iterator[Candidate]:
    """Find maps whose source gave items more slowly than these were worked on."""
    for group in scene.maps:
        waits = [item.record.seconds(semconv.WAIT_SOURCE_S) for item in group.items]
        waited_s = sum(waits)
        if waited_s < scene.worth_s and not group.says(
            semconv.MAP_BOUND_BY, semconv.BOUND_BY_SOURCE
        ):
            continue
        change = Change(instant=frozenset(_ids(group)))
        if not waits:
            change = Change(_worked_only(group))
        gain_s = scene.replay.gain_s(change)
        facts = {"source_s": waited_s, "items": len(waits), "gain_s": gain_s}
        text = f"The source of the map '{group.name}' was slow"
        if waits:
            facts["source_p50_s"] = median(waits)
            took_s = sum(node.duration_s for node in group.nodes)
            text += (
                f": it took {told(median(waits))} for an item at the median, {told(waited_s)} in "
                f"all, which is {share(waited_s, took_s)} of the map's {told(took_s)}; more slots "
                f"would not help"
            )
        text += f". Had it given each item at once, the run would have been {told(gain_s)} shorter."
        remedy = (
            f"Let the source of '{group.name}' read ahead (pages at once, a buffer that a task of "
            f"its own fills), or move its slow part into the map's body."
        )
        yield Candidate(Finding("slow_source", group.path, gain_s, text, remedy, facts), change)


def _worked_only(group: MapGroup) -> Mapping[str, float]:
    return {
        node.record.span_id: max(
            node.record.seconds(semconv.MAP_RUN_MAX_S),
            node.record.seconds(semconv.MAP_UTILISATION) * node.duration_s,
        )
        for node in group.nodes
        if node.record.seconds(semconv.MAP_RUN_MAX_S)
    }


# --- what the spans say ----------------------------------------------------------------------------


def _ids(group: MapGroup) -> list[str]:
    return [node.record.span_id for node in group.nodes]


def _limit(scene: Scene, group: MapGroup) -> int:
    return max(scene.replay.recorded_map(node).limit for node in group.nodes)


def _size(group: MapGroup) -> int:
    return sum(number(node.record, semconv.MAP_ITEMS) or 0 for node in group.nodes)


def _was_reached(group: MapGroup, limit: int) -> bool:
    """Say whether all slots were ever taken; where nobody counted, the bars tell."""
    for node in group.nodes:
        peak = number(node.record, semconv.MAP_PEAK_CONCURRENCY)
        if peak is None:
            items = [c.record for c in node.children if c.record.prefix == semconv.SPAN_ITEM]
            peak = in_flight_peak(items)
        if peak >= limit:
            return True
    return False


def _waited_s(item: TreeNode) -> float:
    """Return what an item waited for shared limits; calls side by side wait side by side."""
    waited_s = item.record.seconds(semconv.WAIT_LIMITER_S) or sum(
        node.record.seconds(semconv.WAIT_LIMITER_S)
        for node in item.walk()
        if node.record.prefix == semconv.SPAN_NODE
    )
    return min(waited_s, item.duration_s)


def _waits_for_shared_limit(group: MapGroup) -> bool:
    if group.says(semconv.MAP_BOUND_BY, semconv.BOUND_BY_RATE_LIMIT):
        return True
    items = group.items
    busy_s = sum(item.duration_s for item in items)
    return sum(map(_waited_s, items)) > _RATE_LIMITED * busy_s > 0.0


def _limiter(scene: Scene, group: MapGroup) -> str | None:
    """Return the name of what the items waited for most."""
    for node in group.nodes:
        limiter = node.record.attributes.get(semconv.WAIT_LIMITER)
        if isinstance(limiter, str):
            return limiter
        gate = scene.replay.recorded_map(node).gate
        if gate is not None:
            return gate.name
    inside = (node for item in group.items for node in item.walk())
    waits = [node.record for node in inside if node.record.seconds(semconv.WAIT_LIMITER_S)]
    names = [
        str(w.attributes[semconv.WAIT_LIMITER])
        for w in waits
        if semconv.WAIT_LIMITER in w.attributes
    ]
    return names[0] if names else _THREADS if waits else None
