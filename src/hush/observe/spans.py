"""Spans: an OpenTelemetry span for everything that the runtime observes.

Uses the OpenTelemetry API only. Spans are live: opened with their context current, so
that whatever user code opens nests below. Times follow one clock per run, and a parent
never ends before its children (see :mod:`hush.observe.clock`), because Jaeger draws its
critical path from timestamps alone.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from hush import semconv
from hush.observe.clock import AFTER_NS, RunClock
from hush.observe.describing import attributes_of, describe, ending_of, value_of
from hush.observe.messages import Content

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from opentelemetry.trace import Span, SpanContext, Tracer

    from hush.runtime.instrument import Ending, Observation, Scope

__all__ = ("TracingInstrument",)

NODE_LEVELS = frozenset(("node", "graph", "map", "loop"))
"""They begin the moment they become ready, whenever a task comes round to them."""

_open: ContextVar[_Live | None] = ContextVar("hush_open_span", default=None)


class TracingInstrument:
    """Makes spans with one tracer."""

    def __init__(self, tracer: Tracer) -> None:
        """Keep the tracer.

        Args:
            tracer: of any provider.
        """
        self._tracer = tracer

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Open a span for as long as the context manager is open."""
        return _Live(self._tracer, scope)


class _Token:
    """What outlives a span: its identity for links and its end for what it releases."""

    __slots__ = ("context", "end_ns")

    def __init__(self, context: SpanContext) -> None:
        self.context = context
        self.end_ns = 0


class _Live:
    """One open span."""

    __slots__ = (
        "_attached",
        "_clock",
        "_ending",
        "_known",
        "_last_child_ns",
        "_opened",
        "_outer",
        "_recording",
        "_scope",
        "_span",
        "_start_ns",
        "_tracer",
        "token",
    )

    _attached: Token[otel_context.Context]
    _clock: RunClock
    _opened: Token[_Live | None]
    _span: Span
    token: _Token

    def __init__(self, tracer: Tracer, scope: Scope) -> None:
        self._tracer = tracer
        self._scope = scope
        self._ending: Ending | None = None
        self._last_child_ns = 0
        self._outer = _open.get()
        self._start_ns = 0
        self._recording = False
        # What stands on the span by us, kept for where others push it off.
        self._known: dict[str, Any] = {}

    def __enter__(self) -> Self:
        scope, outer = self._scope, self._outer
        # A run inside a node of another run shares its clock: they share a trace.
        self._clock = RunClock() if outer is None else outer._clock  # noqa: SLF001  # same class
        self._start_ns = self._find_start()
        # Below a span that was not sampled hardly any is, so facts wait until one is. All
        # others have theirs from the start: samplers and processors look at them there.
        early = outer is None or outer._recording  # noqa: SLF001  # same class
        if early:
            self._known = self._facts()
        self._span = span = self._tracer.start_span(
            f"{scope.level} {scope.name}",
            kind=self._kind(),
            attributes=self._known or None,
            links=self._links() if early else None,
            start_time=self._start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._recording = span.is_recording()
        self.token = _Token(span.get_span_context())
        if self._recording and not early:
            self._known = self._facts()
            span.set_attributes(self._known)
            for link in self._links():
                span.add_link(link.context)
        self._attached = otel_context.attach(trace.set_span_in_context(self._span))
        self._opened = _open.set(self)
        return self

    def _facts(self) -> dict[str, Any]:
        scope = self._scope
        facts = attributes_of(scope.facts)
        if len(scope.links) > semconv.LINK_LIMIT:
            facts[semconv.LINKS_DROPPED] = len(scope.links) - semconv.LINK_LIMIT
        return facts

    def _links(self) -> list[Link]:
        tokens = self._scope.links[: semconv.LINK_LIMIT]
        return [Link(token.context) for token in tokens if isinstance(token, _Token)]

    def _find_start(self) -> int:
        scope, outer = self._scope, self._outer
        # Not only after what released it: where an event's listener was slow, another
        # predecessor may have ended later and settled earlier.
        ends = [
            token.end_ns for token in (scope.released_by, *scope.links) if isinstance(token, _Token)
        ]
        after = max(ends) + AFTER_NS if ends else 0
        if scope.level in NODE_LEVELS:
            if after:
                return after
            if scope.ready and outer is not None:
                return outer._start_ns  # noqa: SLF001  # same class
        return max(self._clock.now(), after)

    def _kind(self) -> SpanKind:
        if self._scope.level == "chat":
            return SpanKind.CLIENT
        if self._scope.level != "run":
            return SpanKind.INTERNAL
        parent = trace.get_current_span().get_span_context()
        return SpanKind.SERVER if not parent.is_valid or parent.is_remote else SpanKind.INTERNAL

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end_ns = max(self._clock.now(), self._start_ns, self._last_child_ns)
        self.token.end_ns = end_ns
        outer = self._outer
        if outer is not None:
            outer._last_child_ns = max(outer._last_child_ns, end_ns)  # noqa: SLF001  # same class
        # Each whatever becomes of the one before: a span that is left open is never seen,
        # and one that is left current takes in what does not belong to it.
        try:
            otel_context.detach(self._attached)
            _open.reset(self._opened)
        finally:
            try:
                if self._recording:
                    self._describe(
                        self._ending if self._ending is not None else ending_of(exc), end_ns
                    )
            finally:
                self._span.end(end_time=end_ns)

    def _describe(self, ending: Ending, end_ns: int) -> None:
        describe(self._span, self._put, ending, self._start_ns, end_ns)
        self._link_cause(ending)
        # A span holds so many attributes and drops the oldest: ours, where user code set many.
        if getattr(self._span, "dropped_attributes", 0):
            self._restore()

    def _restore(self) -> None:
        """Put back what is ours, at the expense of what is not."""
        span, known = self._span, self._known
        present = getattr(span, "attributes", None) or {}
        # First those that are there, which makes them the newest, so that none of them has
        # to make room for another one; by what a span is found last, where even ours are
        # too many.
        outcome = known.pop(semconv.OUTCOME)
        there = {name: value for name, value in known.items() if name in present}
        span.set_attributes(there)
        span.set_attributes({name: value for name, value in known.items() if name not in there})
        span.set_attribute(semconv.OUTCOME, outcome)

    @property
    def trace_id(self) -> str | None:
        context = self.token.context
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def annotate(self, name: str, value: Any) -> None:
        if not self._recording or value is None:
            return
        # What is private has been made fit to leave, or does not leave.
        if isinstance(value, Content):
            self._put(name, value.json)
        elif name not in semconv.CONTENT:
            self._put(name, value_of(value))

    def _put(self, name: str, value: Any) -> None:
        self._known[name] = value
        self._span.set_attribute(name, value)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        if self._recording:
            self._span.add_event(name, attributes_of(facts), timestamp=self._clock.now())

    def end(self, ending: Ending) -> None:
        self._ending = ending

    def _link_cause(self, ending: Ending) -> None:
        cause = ending.cause
        # A root that links into its own trace would be re-parented by Jaeger.
        if isinstance(cause, _Token) and cause is not self.token and self._scope.level != "run":
            self._span.add_link(cause.context)
