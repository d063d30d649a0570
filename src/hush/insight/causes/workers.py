"""Workers: maps that ran elsewhere, whose items waited longer for workers than they ran."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.elsewhere import own_s, ran_elsewhere
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import plural, share, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.insight.causes.scene import MapGroup, Scene

__all__ = ("wait_for_workers", "workers")

_MOSTLY: Final = 0.5
"""From this share of their time on items wait for workers and not for slots."""


def wait_for_workers(group: MapGroup) -> bool:
    """Say whether more slots would only make more items wait for the workers.

    Args:
        group: a map, all times that it ran.
    """
    sent = [item for item in group.items if ran_elsewhere(item)]
    there_s = sum(item.duration_s for item in sent)
    return bool(sent) and there_s - sum(map(own_s, sent)) > _MOSTLY * there_s


def workers(scene: Scene) -> Iterator[Candidate]:
    """Find maps whose items had been sent and no worker began with them."""
    for group in scene.maps:
        sent = [item for item in group.items if ran_elsewhere(item)]
        queues = [item.record.seconds(semconv.WAIT_QUEUE_S) for item in sent]
        if not sent or sum(queues) < scene.worth_s:
            continue
        at_once = {
            item.record.span_id: max(0.0, item.duration_s - queue_s)
            for item, queue_s in zip(sent, queues, strict=True)
        }
        change = Change(at_once)
        gain_s = scene.replay.gain_s(change)
        if gain_s < scene.worth_s:
            continue
        there_s = sum(item.duration_s for item in sent)
        text = (
            f"{plural(len(sent), 'item')} of '{group.name}' had been sent to workers and waited "
            f"{told(median(queues))} at the median until one began with them, {told(max(queues))} "
            f"at most: that is {share(sum(queues), there_s)} of their time. Workers were starting, "
            f"or all were busy. Had one been free at once, the run would have been "
            f"{told(gain_s)} shorter."
        )
        remedy = (
            "Keep the workers between runs ('async with Hush(...) as engine:'), or give the "
            "executor more of them; more slots would only make more items wait."
        )
        facts = {
            "queue_p50_s": median(queues),
            "queue_max_s": max(queues),
            "items": len(sent),
            "gain_s": gain_s,
        }
        finding = Finding("workers", group.path, gain_s, text, remedy, facts)
        yield Candidate(finding, change)
