"""Sources: maps whose source gave items more slowly than these were worked on."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.map_facts import ids_of
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import share, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.insight.causes.scene import MapGroup, Scene

__all__ = ("sources",)


def sources(scene: Scene) -> Iterator[Candidate]:
    """Find maps whose source gave items more slowly than these were worked on."""
    for group in scene.maps:
        waits = [item.record.seconds(semconv.WAIT_SOURCE_S) for item in group.items]
        waited_s = sum(waits)
        if waited_s < scene.worth_s and not group.says(
            semconv.MAP_BOUND_BY, semconv.BOUND_BY_SOURCE
        ):
            continue
        change = Change(instant=frozenset(ids_of(group)))
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
