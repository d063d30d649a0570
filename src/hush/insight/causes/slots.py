"""Slots: maps that their limit held up, and maps that no slots would have helped.

What other slots come to is what :func:`~hush.insight.whatif.what_if` predicts. Where no item
has a span, list scheduling's own bound stands in for the simulation: with W seconds of work
in all, k slots and a longest item of m seconds, no schedule is shorter than ``max(W / k, m)``
(R. L. Graham, "Bounds for certain multiprocessing anomalies", 1966). Of a map whose items compute
no gain is promised: one Python process computes one thing at a time.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.map_facts import (
    ids_of,
    limit_of,
    most_items_of,
    size_of,
    waits_of,
    was_reached,
)
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import number, plural, share, told
from hush.insight.causes.workers import wait_for_workers
from hush.insight.computing import computing_of
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.causes.scene import MapGroup, Scene
    from hush.insight.computing import Computing
    from hush.insight.whatif import WhatIf

__all__ = ("limits",)

_TINY_S: Final = 0.002
"""An item that computes for less costs about as much to run as it does."""
_NOTICED: Final = 0.01
"""From this share of a map's time on, a wait for a slot is one."""


def limits(scene: Scene) -> Iterator[Candidate]:
    """Find maps that more slots would have made faster."""
    for group in scene.maps:
        computing = computing_of(group.nodes[0])
        if computing is not None and computing.binds:
            if group.outer is None:
                yield from _cpu_bound(scene, group, computing)
            continue
        limit = limit_of(scene, group)
        if not was_reached(group, limit) or _waits_for_others(scene, group):
            continue
        if group.items:
            yield from _simulated(scene, group, limit)
        else:
            yield from _estimated(scene, group, limit)


def _simulated(scene: Scene, group: MapGroup, limit: int) -> Iterator[Candidate]:
    more = min(2 * limit, most_items_of(scene, group))
    change = Change(limits=dict.fromkeys(ids_of(group), more))
    gain_s = scene.replay.gain_s(change)
    if gain_s < scene.worth_s:
        return
    found = scene.predicted(group, more)
    all_s = min(max(0.0, found.recorded.run_s - found.floor.run_s), scene.wall_s)
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
    size = found.items if found is not None else size_of(group)
    more = min(2 * limit, most_items_of(scene, group))
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
        facts |= {"wait_slot_p50_s": median(waits), "wait_slot_max_s": max(waits)}
        text += _waited(group, waits)
    at_limit_s, took_s = (
        group.total_s(semconv.MAP_AT_LIMIT_S),
        sum(n.duration_s for n in group.nodes),
    )
    if at_limit_s:
        facts["at_limit_s"] = at_limit_s
        text += f"; all slots were taken for {share(at_limit_s, took_s)} of its {told(took_s)}"
    about = "about " if found is None or found.approximate else ""
    if more < 2 * limit:
        text += f". A slot for each item would save {about}{told(gain_s)} of the run"
    else:
        text += f". Twice as many would save {about}{told(gain_s)} of the run, a slot for each item {about}{told(all_s)}"
    text += ", if items stay as fast beside more of them."
    remedy = f"Raise max_concurrency of '{group.name}' to {more}"
    if found is not None:
        facts |= {"knee": found.knee.max_concurrency, "cautions": [c.kind for c in found.cautions]}
        if found.knee.max_concurrency > more:
            remedy += f" or more ({found.knee.max_concurrency} bring nearly all there is to gain)"
    remedy += ", if what its items call can bear it."
    for caution in () if found is None else found.cautions:
        if caution.kind != "load_unknown":  # that is what was just said
            remedy += f" But {clean(caution.text)}."
    kind = "limit_too_low" if group.outer is None else "nested_map"
    return Finding(kind, group.path, gain_s, text, remedy, facts)  # type: ignore[arg-type]  # one of two kinds


def _waited(group: MapGroup, waits: Sequence[float]) -> str:
    took_s = max(node.duration_s for node in group.nodes)
    noticed = [wait for wait in waits if wait > _NOTICED * took_s]
    if 2 * len(noticed) > len(group.items):
        return f" and waited {told(median(noticed))} for one, at the median"
    if len(noticed) == 1:
        return f"; one waited {told(noticed[0])}"
    return f"; {len(noticed)} waited, the longest {told(max(noticed))}" if noticed else ""


def _waits_for_others(scene: Scene, group: MapGroup) -> bool:
    """Say whether more slots would only make more items wait for what all share."""
    if group.items:
        return wait_for_workers(group) or waits_of(scene, group, own=False).bind
    return group.says(semconv.MAP_BOUND_BY, semconv.BOUND_BY_RATE_LIMIT)


# --- computing -----------------------------------------------------------------------------------


def _cpu_bound(scene: Scene, group: MapGroup, computing: Computing) -> Iterator[Candidate]:
    took_s = sum(node.duration_s for node in group.nodes)
    held_s = sum(
        node.record.seconds(semconv.LOOP_BLOCKED_S)
        for item in group.items
        for node in item.walk()
        if node.record.prefix == semconv.SPAN_NODE
    )
    if took_s < scene.worth_s or held_s > took_s / 2:  # who holds the loop is told for that
        return
    size = max(1, size_of(group))
    cpu_s = group.total_s(semconv.CPU_S)
    text = (
        f"The map '{group.name}' was held up by what it computes: the process used {computing.used}, "
        f"and one Python process computes one thing at a time, in threads and on the loop"
    )
    text += (
        ". More slots would not make it faster."
        if computing.full
        else f". More slots would save at most {told(computing.rest_s)}, and nothing where the "
        f"machine was busy with others."
    )
    remedy = (
        "Give what computes run_in='process', which uses the other cores, or leave it to code that "
        "computes outside of Python."
    )
    if cpu_s / size < _TINY_S:
        remedy = (
            f"An item costs {told(cpu_s / size)} of CPU, about what it costs to run one: let each "
            f"item do several at once."
        )
    facts = {"cpu_s": cpu_s, "cores": computing.cores, "items": size, "most_s": computing.rest_s}
    yield Candidate(Finding("cpu_bound", group.path, 0.0, text, remedy, facts))
