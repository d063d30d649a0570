"""What held a map up, in a sentence: the diagnosis's verdict, or else what the map was doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.causes.scene import number
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from hush.insight.diagnosis import Finding
    from hush.insight.record import SpanRecord

__all__ = ("bound_words",)

_SOURCE = "Bound by its source: slots were free, and the source had not given the next item."


def bound_words(record: SpanRecord, finding: Finding | None) -> str:
    """Say what held a map up.

    Args:
        record: the map's span.
        finding: what the diagnosis says of it; None where nothing would have been worth
            changing: then only what it was doing is told.

    Returns:
        A sentence or two, not yet made safe; empty where the span does not say it.
    """
    if finding is None:
        return _at_work(record)
    full = _of_all(record, record.seconds(semconv.MAP_AT_LIMIT_S))
    match finding.kind:
        case "limit_too_low" | "nested_map":
            return (
                f"Bound by its limit: every slot was taken for {full} while items waited. "
                f"More slots would help."
            )
        case "straggler":
            tail = _of_all(record, record.seconds(semconv.MAP_IDLE_TAIL_S))
            return (
                f"Bound by stragglers: for the last {tail} nothing was left to start, and all "
                "waited for the last items."
            )
        case "slow_source":
            return _SOURCE
        case "cpu_bound":
            used = format_duration(record.seconds(semconv.CPU_S))
            return (
                f"Bound by what it computes: the process used {used} of CPU meanwhile, and "
                "one Python process computes one thing at a time. More slots would not help."
            )
        case "blocking_node":
            held = format_duration(float(finding.facts["blocked_s"]))
            return (
                f"Bound by the event loop, which its items held for {held}, one after the "
                "other. More slots would not help."
            )
        case _:
            return _limited(record, str(finding.facts.get("limiter") or ""))


def _at_work(record: SpanRecord) -> str:
    """Say where its time went, of a map for which nothing would have been worth changing."""
    match record.attributes.get(semconv.MAP_BOUND_BY):
        case semconv.BOUND_BY_LIMIT:
            full = _of_all(record, record.seconds(semconv.MAP_AT_LIMIT_S))
            return f"Every slot was taken for {full} while items waited."
        case semconv.BOUND_BY_STRAGGLER | None if _at_once(record):
            return "All items ran at once; the longest decides."
        case semconv.BOUND_BY_STRAGGLER:
            tail = _of_all(record, record.seconds(semconv.MAP_IDLE_TAIL_S))
            return f"For the last {tail} nothing was left to start; the last items decided."
        case semconv.BOUND_BY_SOURCE:
            return _SOURCE
        case semconv.BOUND_BY_RATE_LIMIT:
            return _limited(record, str(record.attributes.get(semconv.WAIT_LIMITER) or ""))
        case None:
            return ""
        case other:
            return f"Bound by {other}."


def _at_once(record: SpanRecord) -> bool:
    names = (semconv.MAP_PEAK_CONCURRENCY, semconv.MAP_ITEMS)
    peak, items = (number(record, name) or 0 for name in names)
    return peak >= items > 0


def _limited(record: SpanRecord, limiter: str) -> str:
    names = {"": "a shared limit", semconv.LIMITER_THREADS: "the limit on threads"}
    limiter = names.get(limiter, limiter)
    waited_s = record.seconds(semconv.WAIT_LIMITER_S)
    waited = f": items waited {format_duration(waited_s)} in all" if waited_s else ""
    return f"Bound by {limiter}{waited}. More slots would only make more items wait."


def _of_all(record: SpanRecord, seconds: float) -> str:
    """Write a part of the span's time and its share."""
    return f"{format_duration(seconds)} ({seconds / (record.duration_s or 1.0):.0%})"
