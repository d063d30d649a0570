"""Waits: when a span did, and so did what shares its line in a picture.

Instants only; this module knows neither cells nor words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.calls import is_call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = ("waits_in", "waits_of")

_WAITING: Final = frozenset({semconv.SPAN_NODE, semconv.SPAN_ITEM, semconv.SPAN_ATTEMPT})


def waits_in(node: TreeNode, *merged: TreeNode) -> list[tuple[int, int]]:
    """Return the stretches in which a span waited, in any order; they may overlap.

    Args:
        node: the span.
        *merged: spans inside it, each the only one in the one before, that share its line.

    Returns:
        From when to when, in nanoseconds.
    """
    record, parent = node.record, node.parent
    not_before_ns = record.start_ns if parent is None else parent.record.start_ns
    last = merged[-1] if merged else node
    # A hedge waits beside the call that it is to overtake, and holds nobody up.
    calls = [
        child.record
        for child in last.children
        if is_call(child.record) and semconv.LLM_HEDGE not in child.record.attributes
    ]
    waits = waits_of(record, not_before_ns, calls)
    for inner in merged:
        waits += waits_of(inner.record, record.start_ns, calls)
    return waits


def waits_of(
    record: SpanRecord, not_before_ns: int, calls: Iterable[SpanRecord] = ()
) -> list[tuple[int, int]]:
    """Return when a span waited, as far as it says so.

    An item's waits for a slot and for the source come before its start, and so does a
    call's for a limiter; a node's for a limiter is at its start unless its calls say better.
    The pause before another attempt follows the event that announced it.

    Args:
        record: the span.
        not_before_ns: start of what contains it; no wait is taken to begin earlier.
        calls: the calls to language models directly inside it.

    Returns:
        Stretches from and to, in nanoseconds since the epoch.
    """
    waits: list[tuple[int, int]] = []
    lead_s = record.seconds(semconv.WAIT_SLOT_S) + record.seconds(semconv.WAIT_SOURCE_S)
    if lead_s:
        waits.append((max(not_before_ns, record.start_ns - round(lead_s * 1e9)), record.start_ns))
    limiter_s = record.seconds(semconv.WAIT_LIMITER_S)
    before = [
        (max(not_before_ns, call.start_ns - round(call_s * 1e9)), call.start_ns)
        for call in ((record,) if record.prefix == semconv.SPAN_CHAT else calls)
        if (call_s := call.seconds(semconv.WAIT_LIMITER_S))
    ]
    waits += before
    # Of what runs several things side by side, the sum of their waits is no stretch of time.
    if limiter_s and not before and record.prefix in _WAITING:
        waits.append((record.start_ns, record.start_ns + round(limiter_s * 1e9)))
    for event in record.events:
        pause_s = event.attributes.get(semconv.BACKOFF_S)
        if event.name == semconv.EVENT_RETRY and isinstance(pause_s, int | float):
            waits.append((event.time_ns, event.time_ns + round(pause_s * 1e9)))
    return waits
