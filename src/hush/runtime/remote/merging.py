"""Merging: what happened in a worker becomes a part of the run, as if it had happened here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hush import semconv
from hush.runtime.failing import BodyFailedError
from hush.runtime.remote.faults import unpack_fault

if TYPE_CHECKING:
    from hush.runtime.instrument import Observation
    from hush.runtime.lineage import Lineage
    from hush.runtime.remote.call import ItemReport
    from hush.runtime.state import Run

__all__ = ("error_of", "merge", "merge_skipped")


def merge(report: ItemReport, run: Run, lineage: Lineage, *, in_item: bool) -> None:
    """Book what an attempt came to, whether or not it is the one that counts.

    Args:
        report: of the attempt.
        run: gets starts and the failures that did not fail it.
        lineage: of the item or graph; gets what was used and waited for.
        in_item: whether all of that was in an item.
    """
    run.started += report.started
    run.state.started_elsewhere(report.order, report.started, in_item=in_item)
    for fault in report.noted:
        run.note(unpack_fault(fault))
    run.failure_count += max(0, report.noted_count - len(report.noted))
    if report.partial:
        lineage.mark_partial()
    for model, usage in report.usage.items():
        lineage.book(usage, model)
    for limiter, seconds in report.waits.items():
        lineage.waited(limiter, seconds)


def merge_skipped(
    report: ItemReport, run: Run, path: str, seen: Observation, *, in_item: bool
) -> None:
    """Record what was skipped in the attempt that counts.

    Args:
        report: of that attempt.
        run: gets the paths.
        path: of the item or graph.
        seen: its observation.
        in_item: whether all of that was in an item.
    """
    names: list[str] = []
    for skipped in report.skipped:
        run.skip(skipped, in_item=in_item)
        around, _, name = skipped.rpartition(".")
        if around == path:
            names.append(name)
    if names:
        seen.annotate(semconv.SKIPPED, names[: semconv.SKIPPED_LIMIT])
        if len(names) > semconv.SKIPPED_LIMIT:
            seen.annotate(semconv.SKIPPED_COUNT, len(names))


def error_of(report: ItemReport, path: str, attempts: int, token: object) -> BodyFailedError:
    """Return what an attempt failed with.

    Args:
        report: of the attempt; it has failed.
        path: of the item or graph.
        attempts: how many there were, this one included.
        token: of the item's observation.
    """
    failures = [unpack_fault(fault) for fault in report.faults]
    failures = [
        replace(failure, attempts=attempts) if failure.path == path else failure
        for failure in failures
    ]
    return BodyFailedError(failures, token, report.trail)
