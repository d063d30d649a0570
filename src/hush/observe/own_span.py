"""A span of our own, where the provider is the SDK's: one that can wait, or end unseen.

It is made by the SDK's own tracer, which asks the sampler and tells the processors of the
start; then it becomes ours. So everything about it is what the SDK makes of it, whatever
the version, but for three things:

- Its end goes to its home, which decides whether it is kept, and only from there to the
  processors: a span that is omitted still ends for them, with the sampled flag cleared, so
  that they can pair starts with ends while none exports it.
- It notices when its identity is read. Reads by anyone but us pin its home: it is kept.
- Its identity, read once it is omitted, has the sampled flag cleared too. A child that
  somebody opens then is not sampled either, rather than being an orphan.

Imported only where there is an SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SpanProcessor, _Span
from opentelemetry.trace import SpanContext, TraceFlags

from hush.observe.pins import context_of, ours

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

    from hush.observe.budget import Count

__all__ = ("Home", "OwnSpan", "adopt", "gate", "unsampled")


class Home(Protocol):
    """Whoever decides on a span."""

    def read(self, span: OwnSpan) -> bool:
        """Take note that a span's identity is read, from any thread; say if it is kept."""

    def ended(self, span: OwnSpan) -> None:
        """Take a span that has ended."""


class OwnSpan(_Span):
    """A span whose home decides what becomes of it.

    Attributes:
        identity: its context, for us to read.
        home: decides; None where it is kept in any case.
        count: where it counts if it is omitted.
        processor: whom it was started for.
        omitted: whether it was decided to leave it out.
        elsewhere: whether processors in other threads are being told of it.
        causes: spans in other items that this one has links to.
    """

    identity: SpanContext
    home: Home | None
    count: Count
    processor: SpanProcessor
    omitted: bool = False
    elsewhere: bool = False
    causes: tuple[Span, ...] = ()

    # All that gives away the identity reads this, the SDK's own properties and methods too.
    @property
    def _context(self) -> SpanContext:  # type: ignore[override]  # nobody sets it any more
        home = self.home
        if ours.depth or self.elsewhere or home is None or home.read(self):
            return self.identity
        return unsampled(self.identity)

    def _readable_span(self) -> ReadableSpan:
        # For the gate, and nobody else: what is to be read is made once that is decided.
        return self

    def leave(self) -> None:
        """Hand the span to the processors, now that it is decided."""
        if self.causes:
            self._forget_omitted_causes()
        readable = _Span._readable_span(self)  # noqa: SLF001  # not this class's own
        if self.omitted:
            readable._context = unsampled(self.identity)  # noqa: SLF001  # has no setter
        self.processor.on_end(readable)

    def _forget_omitted_causes(self) -> None:
        # A link to a span that is nowhere helps nobody; the cause's path stands beside it.
        gone = {context_of(one).span_id for one in self.causes if getattr(one, "omitted", False)}
        if gone:
            links, dropped = self._links, self.dropped_links
            self._links = self._new_links([one for one in links if one.context.span_id not in gone])
            self._links.dropped = dropped  # type: ignore[attr-defined]  # a BoundedList


class _Gate(SpanProcessor):
    """Stands where the processors were: they see the end once it is decided."""

    def _on_ending(self, span: Any) -> None:
        processor = span.processor
        if isinstance(processor, ConcurrentMultiSpanProcessor):
            # It tells others in threads, where it cannot be seen that it is on our behalf.
            span.elsewhere = True
        try:
            with ours:
                processor._on_ending(span)  # noqa: SLF001  # the SDK's hook has this name
        finally:
            if span.elsewhere:
                span.elsewhere = False

    def on_end(self, span: Any) -> None:
        if span.home is None:
            span.leave()
        else:
            span.home.ended(span)


gate = _Gate()
"""One for all."""


def adopt(span: Span, context: SpanContext, home: Home, count: Count) -> OwnSpan | None:
    """Make a span, which was just started, one of ours.

    Args:
        span: any.
        context: its identity.
        home: decides on it from now on.
        count: where it counts if it is omitted.

    Returns:
        The span; None where it stays what it is: no span of the SDK's, or not exported anyway.
    """
    # The class itself: of what others derive from it nothing is known.
    if type(span) is not _Span or not context.trace_flags & TraceFlags.SAMPLED:
        return None
    processor = span._span_processor  # noqa: SLF001  # set by the SDK's tracer
    span._span_processor = gate  # noqa: SLF001  # as above
    span.__class__ = OwnSpan
    own = cast("OwnSpan", span)
    own.identity, own.home, own.count, own.processor = context, home, count, processor
    return own


def unsampled(context: SpanContext) -> SpanContext:
    """Return an identity with the sampled flag cleared."""
    flags = context.trace_flags
    cleared = _cleared.get(flags)
    if cleared is None:
        cleared = _cleared[flags] = TraceFlags(flags & ~TraceFlags.SAMPLED)
    return SpanContext(
        context.trace_id, context.span_id, context.is_remote, cleared, context.trace_state
    )


_cleared: dict[int, TraceFlags] = {}
"""Flags, of which there are 256, without the sampled one."""
