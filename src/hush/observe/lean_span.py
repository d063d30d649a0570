"""A lean span: one of the SDK's, of which only that is made which somebody looks at.

Most spans of a run are opened and closed by us and read by exporters, and nobody else ever
touches them. Such a span needs no lock, no bounded lists and no cleaning of what is known to
be clean. So its record is made at its end; and whoever does touch it before, finds a span of
the SDK's, which it becomes at that moment.

A :class:`Maker` knows what all spans of a run have in common; where there may be one is known
to :mod:`hush.observe.lean_choice`. Imported only where there is an SDK.
"""

from __future__ import annotations

import os
import threading
from random import getrandbits
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import (
    Event,
    ReadableSpan,
    SpanProcessor,
    Tracer,
)
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from hush.export.span_queue import QueuedSpanProcessor
from hush.observe.own_span import OwnSpan, gate, unsampled
from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from opentelemetry.trace import Span

    from hush.observe.budget import Count
    from hush.observe.own_span import Home

__all__ = ("EMPTY", "LAZY", "LeanSpan", "Maker", "link_to", "place")

LAZY: Final = frozenset(
    (
        "_attributes",
        "_events",
        "_instrumentation_info",
        "_instrumentation_scope",
        "_limits",
        "_links",
        "_lock",
        "_record_end_metrics",
        "_resource",
        "_sampler",
        "_span_processor",
    )
)
"""What a span of the SDK's has and this one gets once it is asked for."""
CONTENTS: Final = frozenset(
    (
        "_held",
        "_maker",
        "_name",
        "_parent",
        "_start_time",
        "identity",
        "processor",
    )
)
"""What a hull finds where it is known."""
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

UNSET: Final = Status(StatusCode.UNSET)
EMPTY: Final = BoundedAttributes()
"""Attributes of what has none."""

becoming = threading.RLock()
"""Held where it is decided what a span is. The same thread may come again: finalisers and
signal handlers write on spans too, wherever they find it."""
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


class Sight(Protocol):
    """What a hull is the span of."""

    became: bool
    """Whether the hull has become one of the SDK's."""

    def contents(self) -> dict[str, Any]:
        """Return what it holds."""

    def leave(self, *, omitted: bool) -> None:
        """Hand the span to the processors.

        Args:
            omitted: whether it is only to be known that it has ended.
        """


class LeanSpan(OwnSpan):
    """A span that becomes one of the SDK's once anybody but us does anything with it."""

    # What the SDK's constructor sets, where it is the same for most.
    _kind = SpanKind.INTERNAL
    _status = UNSET
    _end_time: int | None = None
    _record_exception = False
    _set_status_on_exception = False
    _trace_config = None
    _held: dict[str, Any]
    _held_links: Sequence[Link] = ()
    _maker: Maker
    home: Home | None = None
    sight: Sight | None = None
    """Where a hull finds what it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if self.sight is not None:
            self._fill(self.sight)
            if name in self.__dict__:
                return self.__dict__[name]
        if name not in LAZY:
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        self._become()
        return self.__dict__[name]

    def _fill(self, sight: Sight) -> None:
        """Hold what it would have been made with; whatever it has by now stays."""
        mine = self.__dict__
        for name, value in sight.contents().items():
            mine.setdefault(name, value)

    @property
    def touched(self) -> bool:
        """Whether it has become one of the SDK's."""
        return "_lock" in self.__dict__

    def _become(self) -> None:
        # Made before the lock is taken: whatever makes objects may set off the collection of
        # garbage, and that may run anybody's code.
        made = self._made()
        with becoming:
            mine = self.__dict__
            if "_lock" not in mine:
                mine.update(made)
            if self.sight is not None:
                self.sight.became = True

    def _made(self) -> dict[str, Any]:
        """Return what makes it one of the SDK's."""
        maker = self._maker
        tracer, limits = maker.tracer, maker.limits
        self.__dict__["_limits"] = limits  # asked for by what makes the links
        attributes = BoundedAttributes(
            limits.max_span_attributes,
            immutable=False,
            max_value_len=limits.max_span_attribute_length,
        )
        attributes._dict.update(self._held)  # noqa: SLF001  # they are clean
        attributes._immutable = self._end_time is not None  # noqa: SLF001  # as at the SDK's end
        return {
            "_resource": tracer.resource,
            "_instrumentation_scope": tracer._instrumentation_scope,  # noqa: SLF001  # as the SDK's tracer
            "_instrumentation_info": tracer.instrumentation_info,
            "_sampler": tracer.sampler,
            "_span_processor": gate,
            "_record_end_metrics": self.__dict__.get("_record_end_metrics"),
            "_attributes": attributes,
            "_events": BoundedList(limits.max_events),
            "_links": self._new_links(self._held_links),
            "_lock": threading.Lock(),
        }

    def finish(self, end_ns: int) -> None:
        """End, as far as we are concerned.

        Args:
            end_ns: when, in nanoseconds since the epoch.
        """
        mine = self.__dict__
        if self.sight is not None:
            self._fill(self.sight)
        with becoming:
            # From here on nobody else can end it; or somebody did something with it.
            bare = "_lock" not in mine
            if bare:
                mine["_end_time"] = end_ns
        if not bare:
            there = self._attributes or {}
            late = {name: value for name, value in self._held.items() if name not in there}
            if late and self._end_time is None:
                # Written while it was becoming another.
                self.set_attributes(late)
            self.end(end_time=end_ns)
            return
        if "_record_end_metrics" in mine:
            mine["_record_end_metrics"]()
        if self._maker.endings:
            gate._on_ending(self)  # noqa: SLF001  # as the SDK's span
        if self.home is None:
            self.leave()
        else:
            self.home.ended(self)

    def leave(self) -> None:
        """Hand the span to the processors, now that it is decided."""
        sight = self.sight
        if sight is not None and not sight.became and not self.causes:
            sight.leave(omitted=self.omitted)
            return
        mine = self.__dict__
        if "_lock" in mine or self.causes:
            super().leave()
            return
        self._maker.hand_on(
            mine["_name"],
            mine["identity"],
            mine["_parent"],
            mine["_start_time"],
            mine["_end_time"],
            mine["_held"],
            mine.get("_held_links", ()),
            mine.get("_kind", SpanKind.INTERNAL),
            omitted=self.omitted,
        )


def _renew() -> None:
    """Be as new in a forked child: whoever held a lock there is not in it."""
    becoming._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001  # as the standard library's own do it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def place(span: Span, context: SpanContext, home: Home, count: Count) -> OwnSpan | None:
    """Give a lean span its home; arguments as for :func:`hush.observe.own_span.adopt`."""
    del context
    assert isinstance(span, LeanSpan)  # noqa: S101  # only such spans are asked for
    span.home, span.count = home, count
    return span
