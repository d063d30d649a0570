"""What makes the lean spans of a run, and what is handed to the processors of them.

Knows what all spans of a run have in common, and what each processor of the provider would
do with them. Imported only where there is an SDK.
"""

from __future__ import annotations

from random import getrandbits
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, Tracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from hush.export.span_queue import QueuedSpanProcessor
from hush.observe.lean_span import UNSET, LeanSpan
from hush.observe.own_span import unsampled
from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

__all__ = ("EMPTY", "Maker", "link_to")

NO_STARTS: Final = (
    SpanProcessor.on_start,
    BatchSpanProcessor.on_start,
    SimpleSpanProcessor.on_start,
)
"""What does nothing when a span starts."""
NO_ENDINGS: Final = (
    SpanProcessor._on_ending,  # noqa: SLF001  # the SDK's hook has this name
    BatchSpanProcessor._on_ending,  # noqa: SLF001  # likewise
    SimpleSpanProcessor._on_ending,  # noqa: SLF001  # likewise
)
"""What does nothing when a span is about to end."""
NO_UNSAMPLED: Final = (
    BatchSpanProcessor.on_end,
    SimpleSpanProcessor.on_end,
    QueuedSpanProcessor.on_end,
)
"""What does nothing when a span ends that is not sampled."""


EMPTY: Final = BoundedAttributes()
"""Attributes of what has none."""

_new = object.__new__
_new_tuple = tuple.__new__


class Maker:
    """What the spans of one run have in common.

    Attributes:
        context: identity of the run's own span.
        endings: whether processors want to be told that a span is ending.
        processor: is told of each span.
        limits: of the provider.
    """

    def __init__(self, tracer: Tracer, context: SpanContext) -> None:
        """Look at what is the same for all.

        Args:
            tracer: makes spans as expected, see :mod:`hush.observe.lean_choice`.
            context: identity of the run's own span, which is sampled.
        """
        self.tracer = tracer
        self.processor: SpanProcessor = tracer.span_processor
        self.limits = tracer._span_limits  # noqa: SLF001  # has no public name
        self._metrics = tracer._tracer_metrics  # noqa: SLF001  # likewise
        self._metrics_kept = type(self._metrics) is not NoOpTracerMetrics
        self.new_id = tracer.id_generator.generate_span_id
        self._random = type(tracer.id_generator) is RandomIdGenerator
        self._belong_to(context)
        self._info = tracer.instrumentation_info
        self._scope = tracer._instrumentation_scope  # noqa: SLF001  # as the SDK's tracer
        self._resource = tracer.resource
        # Nobody adds to the lists of a span that has ended.
        self._nothing_happened: BoundedList[Event] = BoundedList(self.limits.max_events)
        self._no_links: BoundedList[Link] = BoundedList(self.limits.max_links)
        self._listeners: tuple[Any, ...] | None = None
        self._starts = self.endings = self._unheard = False
        self._ends: tuple[Callable[[ReadableSpan], None], ...] = ()
        self._ends_of_omitted: tuple[Callable[[ReadableSpan], None], ...] = ()

    def _belong_to(self, context: SpanContext) -> None:
        self.context = context
        self._trace_id = context.trace_id
        flags = TraceFlags.SAMPLED
        if context.trace_flags.random_trace_id:
            flags |= TraceFlags.RANDOM_TRACE_ID
        self._flags, self._state = TraceFlags(flags), context.trace_state

    def of_another_run(self, context: SpanContext) -> Self:
        """Return one for another run of the same tracer.

        Args:
            context: identity of that run's own span, which is sampled.
        """
        other: Self = _new(type(self))
        other.__dict__ = self.__dict__.copy()
        other._belong_to(context)
        return other

    def identity(self) -> SpanContext:
        """Return the identity of another span of the run."""
        if self._random and (number := getrandbits(64)):
            # As the SDK's generator and the constructor do it, which would look if both ids
            # are valid.
            return _new_tuple(
                SpanContext, (self._trace_id, number, False, self._flags, self._state, True)
            )
        return SpanContext(
            self._trace_id,
            self.new_id(),
            is_remote=False,
            trace_flags=self._flags,
            trace_state=self._state,
        )

    def fits(self, context: SpanContext) -> bool:
        """Say whether what is below another span is as what is below the run's."""
        own = self.context
        return context[0] == own[0] and not context.is_remote and context[3:5] == own[3:5]

    def make(
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext,
        attributes: dict[str, Any],
        links: Sequence[Link] | None,
        start_ns: int,
        context: Context | None,
    ) -> LeanSpan:
        """Make a span and tell the processors of its start.

        Args:
            name: its name.
            kind: its kind.
            parent: identity of the span around it.
            attributes: stay shared with the caller; values as the SDK would have them.
            links: to other spans.
            start_ns: when it starts, in nanoseconds since the epoch.
            context: in which the processors are told; None for the current one.
        """
        span = _new(LeanSpan)
        span.__dict__ = {
            "identity": self.identity(),
            "_maker": self,
            "_name": name,
            "_parent": parent,
            "_start_time": start_ns,
            "_held": attributes,
            "processor": self.processor,
        }
        if kind is not SpanKind.INTERNAL:
            span._kind = kind  # noqa: SLF001  # as the SDK's constructor
        if links:
            span._held_links = links  # noqa: SLF001  # this module's own
        if self._metrics_kept:
            span._record_end_metrics = self._metrics.start_span(parent, Decision.RECORD_AND_SAMPLE)  # noqa: SLF001  # as the SDK's tracer
        processor: Any = self.processor
        if processor._span_processors is not self._listeners:  # noqa: SLF001  # has no public name
            self._look()
        if self._starts:
            # They read identities on our behalf.
            with ours:
                if context is None:
                    processor.on_start(span, parent_context=None)
                else:
                    context.run(processor.on_start, span, parent_context=None)
        return span

    def heard(self) -> bool:
        """Say whether processors have to be told of starts."""
        if self.processor._span_processors is not self._listeners:  # type: ignore[attr-defined]  # noqa: SLF001  # has no public name
            self._look()
        return self._starts

    def plain(self) -> bool:
        """Say whether nobody is told of a span before it has ended."""
        if self.processor._span_processors is not self._listeners:  # type: ignore[attr-defined]  # noqa: SLF001  # has no public name
            self._look()
        return self._unheard

    def hand_on(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, Any],
        links: Sequence[Link],
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        omitted: bool = False,
    ) -> None:
        """Tell the processors of a span that has ended.

        Args:
            name: its name.
            context: its identity.
            parent: identity of the span around it.
            start_ns: when it started, in nanoseconds since the epoch.
            end_ns: when it ended, likewise.
            attributes: its own; values as the SDK would have them.
            links: to other spans.
            kind: its kind.
            omitted: whether it is only to be known that it has ended.
        """
        if self.processor._span_processors is not self._listeners:  # type: ignore[attr-defined]  # noqa: SLF001  # has no public name
            self._look()
        ends = self._ends
        if omitted:
            ends = self._ends_of_omitted
            if not ends:
                return
            context = unsampled(context)
        readable = _new(ReadableSpan)
        # One by one, so that no dictionary is made of them: the garbage collector looks at
        # all that waits for the exporter.
        readable._name = name  # noqa: SLF001  # as the SDK's constructor, and so all below
        readable._context = context  # noqa: SLF001
        readable._kind = kind  # noqa: SLF001
        readable._instrumentation_info = self._info  # noqa: SLF001
        readable._instrumentation_scope = self._scope  # noqa: SLF001
        readable._parent = parent  # noqa: SLF001
        readable._start_time = start_ns  # noqa: SLF001
        readable._end_time = end_ns  # noqa: SLF001
        # As immutable as the SDK's, which costs three times as much and the exporters more.
        readable._attributes = MappingProxyType(attributes)  # noqa: SLF001
        readable._events = self._nothing_happened  # noqa: SLF001
        readable._links = tuple(links) if links else self._no_links  # noqa: SLF001
        readable._resource = self._resource  # noqa: SLF001
        readable._status = UNSET  # noqa: SLF001
        for end in ends:
            end(readable)

    def _look(self) -> None:
        """Find out whom starts and endings have to be told."""
        processor: Any = self.processor
        self._listeners = listeners = processor._span_processors  # noqa: SLF001  # has no public name
        self._starts = any(_has(one, "on_start", NO_STARTS) for one in listeners)
        self.endings = any(_has(one, "_on_ending", NO_ENDINGS) for one in listeners)
        self._ends = tuple(_end_of(one) for one in listeners)
        self._ends_of_omitted = tuple(
            one.on_end for one in listeners if _has(one, "on_end", NO_UNSAMPLED)
        )
        self._unheard = not (self._starts or self.endings or self._metrics_kept)


def link_to(context: SpanContext) -> Link:
    """Return a link without attributes, as the class makes it, for a third of the time."""
    link = _new(Link)
    link._context = context  # noqa: SLF001  # as the SDK's constructor
    link._attributes = EMPTY  # noqa: SLF001  # likewise
    return link


def _end_of(processor: Any) -> Callable[[ReadableSpan], None]:
    """Return what takes a sampled span that has ended."""
    end: Callable[[ReadableSpan], None] = processor.on_end
    if type(processor) is BatchSpanProcessor and not _has(processor, "on_end", NO_UNSAMPLED):
        # It would ask once more whether the span is sampled: 0.7 µs.
        inside = getattr(processor, "_batch_processor", None)
        end = getattr(inside, "emit", end)
    return end


def _has(processor: Any, hook: str, nothing: tuple[Any, ...]) -> bool:
    """Say whether a processor does anything at a hook."""
    own = getattr(processor, "__dict__", {})
    return hook in own or getattr(type(processor), hook, None) not in nothing
