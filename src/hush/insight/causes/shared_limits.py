"""Shared limits: maps with more slots than a rate limit or the threads can serve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.map_facts import THREADS, limit_of, waits_of
from hush.insight.causes.scene import plural, share, told
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.insight.causes.map_facts import Waits
    from hush.insight.causes.scene import MapGroup, Scene

__all__ = ("shared_limits",)


def shared_limits(scene: Scene) -> Iterator[Candidate]:
    """Find maps whose items spent most of their time waiting for a limit that all share."""
    for group in scene.maps:
        waits = waits_of(scene, group, own=True)
        if waits.limiter is not None and waits.bind:
            yield _too_high(scene, group, waits, waits.limiter)


def _too_high(scene: Scene, group: MapGroup, waits: Waits, limiter: str) -> Candidate:
    limit = limit_of(scene, group)
    waited_s = waits.total_s
    gain_s = scene.replay.gain_s(waits.change)
    enough = _sufficient(scene, group, limit, waits.busy_s - waited_s)
    longest_s = max(waits.by_item.values())
    text = (
        f"The items of '{group.name}' waited {told(waited_s)} in all for {_called(limiter)}, "
        f"{share(waited_s, waits.busy_s)} of their time (the longest {told(longest_s)}). More slots "
        f"than its {limit} would only make more of them wait"
    )
    if enough < limit:
        text += f"; {plural(enough, 'slot')} would have been nearly as fast"
    text += f". Without that limit the run would have been {told(gain_s)} shorter."
    facts: dict[str, object] = {
        "limiter": limiter,
        "max_concurrency": limit,
        "sufficient": enough,
        "waited_s": waited_s,
        "wait_max_s": longest_s,
    }
    if limiter == THREADS:
        remedy = "Give Hush(..., max_threads=) as many threads as the map has slots."
        finding = Finding("thread_limit", group.path, gain_s, text, remedy, facts)
        return Candidate(finding, waits.change)
    remedy = (
        f"To be faster raise {clean(limiter)}, if the provider allows it, or ask a second resource"
    )
    if enough < limit:
        remedy += f"; max_concurrency={enough} of '{group.name}' is enough for the limit as it is"
    finding = Finding("rate_limit", group.path, gain_s, text, f"{remedy}.", facts)
    return Candidate(finding, waits.change)


def _called(limiter: str) -> str:
    return "the limit on threads" if limiter == THREADS else f"the rate limit {clean(limiter)}"


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
