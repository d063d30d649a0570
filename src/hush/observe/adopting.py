"""Adopting: spans of a worker become spans of the driver's, below the item's.

They wait in the item like its own, within the budgets of its map and run, and leave whole or
not at all through the same processors, with the worker's resource. Imported only where there
is an SDK.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, _Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from hush import semconv
from hush.observe.budget import emit
from hush.observe.own_span import unsampled
from hush.observe.pins import ours
from hush.observe.seen_elsewhere import SeenAttempt

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from hush.observe.budget import Around, Count
    from hush.observe.seen_elsewhere import SpanData
    from hush.runtime.remote.passage import Passage

__all__ = ("adopt_spans",)

NO_STARTS: Final = (
    SpanProcessor.on_start,
    BatchSpanProcessor.on_start,
    SimpleSpanProcessor.on_start,
)
"""What does nothing when a span starts."""


NO_STATE: Final = TraceState()
UNSET: Final = Status(StatusCode.UNSET)
KINDS: Final = {kind.value: kind for kind in SpanKind}


def adopt_spans(tracer: Tracer, around: Around | None, data: bytes, passage: Passage) -> int:
    """Take in the spans of an attempt.

    Args:
        tracer: the SDK's, whose processors get them.
        around: what the item's span makes those inside be in; None where nothing is omitted.
        data: as the worker has packed it.
        passage: when the call went there and back.

    Returns:
        When the last of them ended, in nanoseconds since the epoch.
    """
    seen = SeenAttempt.unpacked(data)
    processor: Any = tracer.span_processor  # type: ignore[attr-defined]  # the SDK's
    resource = _resource(seen.resource)
    starts = _tells_starts(processor)
    skew_ns = passage.skew_ns
    spans = []
    for one in seen.spans:
        told = _with_passage(one, passage) if one.span_id == seen.root_id else one
        spans.append(_Adopted(told, skew_ns, resource, processor, starts=starts))
    _place(spans, seen, around)
    return max((span.end_ns for span in spans), default=0)


@functools.lru_cache(maxsize=1_024)
def _scope(facts: tuple[str, str | None, str | None]) -> InstrumentationScope:
    """Return who made spans; exporters group them by it, too."""
    return InstrumentationScope(*facts)


@functools.lru_cache(maxsize=1_024)
def _resource(attributes: tuple[tuple[str, Any], ...]) -> Resource:
    """Return the resource of a worker; exporters group spans by it."""
    return Resource(dict(attributes))


def _place(spans: list[_Adopted], seen: SeenAttempt, around: Around | None) -> None:
    if around is None:
        emit(spans)  # type: ignore[arg-type]  # they leave as ours do
        return
    with around.run.lock:
        around.counts.add(seen.omitted)
    home = around.home
    if home is None:
        emit(spans)  # type: ignore[arg-type]  # likewise
        return
    for span in spans:
        span.count = around.counts
    if seen.pinned and spans:
        home.read(spans[0])  # type: ignore[arg-type]  # asked whether it was omitted
    for span in spans:
        home.ended(span)  # type: ignore[arg-type]  # it waits as ours do


def _with_passage(root: SpanData, passage: Passage) -> SpanData:
    """Return the attempt's own span, with what its way tells."""
    facts = {
        semconv.WAIT_QUEUE_S: passage.queue_s,
        semconv.WAIT_CHUNK_S: passage.chunk_s(root.start_ns),
        semconv.WAIT_ANSWER_S: passage.answer_s(root.end_ns),
    }
    if passage.skew_ns:
        facts[semconv.CLOCK_SKEW_S] = passage.skew_ns / 1e9
    return root._replace(attributes={**root.attributes, **facts})


def _tells_starts(processor: Any) -> bool:
    """Say whether any processor does something when a span starts."""
    inside = getattr(processor, "_span_processors", None)
    listeners = (processor,) if inside is None else inside
    return any(
        "on_start" in getattr(one, "__dict__", {})
        or getattr(type(one), "on_start", None) not in NO_STARTS
        for one in listeners
    )


class _Adopted:
    """A span of a worker's that waits for the processors; to its home it is one of ours."""

    __slots__ = ("_readable", "_span", "causes", "count", "end_ns", "omitted", "processor")

    count: Count

    def __init__(
        self, data: SpanData, skew_ns: int, resource: Resource, processor: Any, *, starts: bool
    ) -> None:
        self.omitted = False
        self.causes: tuple[Span, ...] = ()
        self.processor = processor
        self.end_ns = data.end_ns - skew_ns
        flags = TraceFlags(data.flags)
        state = TraceState.from_header([data.state]) if data.state else NO_STATE
        context = SpanContext(data.trace_id, data.span_id, False, flags, state)  # noqa: FBT003  # not remote
        parent = None
        if data.parent_id:
            parent = SpanContext(data.trace_id, data.parent_id, data.parent_remote, flags, state)
        facts: dict[str, Any] = {
            "name": data.name,
            "context": context,
            "parent": parent,
            "resource": resource,
            "attributes": data.attributes,
            "events": tuple(
                Event(name, attributes, at - skew_ns) for name, at, attributes in data.events
            ),
            "links": tuple(
                Link(SpanContext(trace, span, True, TraceFlags(bits)), attributes)  # noqa: FBT003  # as it may be
                for trace, span, bits, attributes in data.links
            ),
            "kind": KINDS[data.kind],
            "instrumentation_scope": _scope(data.scope),
        }
        status = Status(StatusCode(data.status), data.description) if data.status else UNSET
        start_ns = data.start_ns - skew_ns
        self._span: Any = None
        if starts:
            # Somebody pairs starts with ends, or adds to each span that starts.
            self._span = span = _Span(**facts)
            span._start_time = start_ns  # noqa: SLF001  # as its own method, which tells another processor
            with ours:
                processor.on_start(span, parent_context=None)
            span._status, span._end_time = status, self.end_ns  # noqa: SLF001  # as at its own end
        else:
            self._readable = ReadableSpan(
                **facts, status=status, start_time=start_ns, end_time=self.end_ns
            )

    def leave(self) -> None:
        """Hand the span to the processors, now that it is decided."""
        readable = self._readable if self._span is None else self._span._readable_span()  # noqa: SLF001  # the SDK's own way
        if self.omitted:
            readable._context = unsampled(readable.context)  # noqa: SLF001  # has no setter
        self.processor.on_end(readable)
