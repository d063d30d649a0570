"""Tracing: makes an OpenTelemetry span of everything that the runtime observes.

Uses the OpenTelemetry API only. Spans are live: opened with their context current, so
that whatever user code opens nests below. Times follow one clock per run, and a parent
never ends before its children (see :mod:`hush.observe.clock`), because Jaeger draws its
critical path from timestamps alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from hush import __version__, semconv
from hush.observe.clock import AFTER_NS, RunClock
from hush.observe.describing import describe, ending_of, value_of
from hush.observe.metrics import register_gauges
from hush.runtime.instrument import NULL_INSTRUMENT, Ending, Guard, Instrument, Observation, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

__all__ = (
    "TracingInstrument",
    "collect_faults",
    "current_instrument",
    "override_provider",
)

NODE_LEVELS = frozenset(("node", "graph", "map", "loop"))
"""They begin the moment they become ready, whenever a task comes round to them."""

_override: ContextVar[TracerProvider | None] = ContextVar("hush_tracer_provider", default=None)
_faults: ContextVar[list[Exception] | None] = ContextVar("hush_faults", default=None)
_open: ContextVar[_Live | None] = ContextVar("hush_open_span", default=None)
_guards: WeakKeyDictionary[TracerProvider, Instrument] = WeakKeyDictionary()


@contextmanager
def override_provider(provider: TracerProvider) -> Iterator[None]:
    """Use ``provider`` for runs that are started in this context.

    Args:
        provider: takes the place of the global one.
    """
    token = _override.set(provider)
    try:
        yield
    finally:
        _override.reset(token)


@contextmanager
def collect_faults() -> Iterator[list[Exception]]:
    """Collect what goes wrong in telemetry instead of logging it.

    Yields:
        A list that grows with each fault of runs started in this context.
    """
    found: list[Exception] = []
    token = _faults.set(found)
    try:
        yield found
    finally:
        _faults.reset(token)


def current_instrument() -> Instrument:
    """Return what watches a run that starts here and now.

    Returns:
        An instrument on the provider that the application has set; one that does
        nothing where there is none or it is disabled.
    """
    faults = _faults.get()
    try:
        return _choose(faults)
    except Exception as error:  # noqa: BLE001  # a provider's fault is no fault of the run
        if faults is None:
            _no_tracer.fault(error)
        else:
            faults.append(error)
        return NULL_INSTRUMENT


_no_tracer = Guard(NULL_INSTRUMENT)
"""Logs, once, that a provider could not even give a tracer."""


def _choose(faults: list[Exception] | None) -> Instrument:
    register_gauges()
    provider = _override.get() or trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return NULL_INSTRUMENT
    if faults is not None:
        return Guard(TracingInstrument(_tracer(provider)), faults.append)
    guard = _guards.get(provider)
    if guard is None:
        tracer = _tracer(provider)
        if isinstance(tracer, trace.NoOpTracer):
            return NULL_INSTRUMENT
        guard = _guards[provider] = Guard(TracingInstrument(tracer))
    return guard


def _tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("hush", __version__)


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

    def __enter__(self) -> Self:
        scope, outer = self._scope, self._outer
        # A run inside a node of another run shares its clock: they share a trace.
        self._clock = RunClock() if outer is None else outer._clock  # noqa: SLF001  # same class
        self._start_ns = self._find_start()
        attributes = {name: value_of(value) for name, value in scope.facts.items()}
        links = [
            Link(token.context)
            for token in scope.links[: semconv.LINK_LIMIT]
            if isinstance(token, _Token)
        ]
        if len(scope.links) > semconv.LINK_LIMIT:
            attributes[semconv.LINKS_DROPPED] = len(scope.links) - semconv.LINK_LIMIT
        self._span = self._tracer.start_span(
            f"{scope.level} {scope.name}",
            kind=self._kind(),
            attributes=attributes,
            links=links,
            start_time=self._start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._recording = self._span.is_recording()
        self.token = _Token(self._span.get_span_context())
        self._attached = otel_context.attach(trace.set_span_in_context(self._span))
        self._opened = _open.set(self)
        return self

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
        # First what must happen whatever the processors do.
        otel_context.detach(self._attached)
        _open.reset(self._opened)
        end_ns = max(self._clock.now(), self._start_ns, self._last_child_ns)
        self.token.end_ns = end_ns
        outer = self._outer
        if outer is not None:
            outer._last_child_ns = max(outer._last_child_ns, end_ns)  # noqa: SLF001  # same class
        if self._recording:
            ending = self._ending if self._ending is not None else ending_of(exc)
            describe(self._span, ending, self._start_ns, end_ns)
            self._link_cause(ending)
        self._span.end(end_time=end_ns)

    @property
    def trace_id(self) -> str | None:
        context = self.token.context
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def annotate(self, name: str, value: Any) -> None:
        if self._recording and value is not None:
            self._span.set_attribute(name, value_of(value))

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        if self._recording:
            attributes = {key: value_of(value) for key, value in facts.items()}
            self._span.add_event(name, attributes, timestamp=self._clock.now())

    def end(self, ending: Ending) -> None:
        self._ending = ending

    def _link_cause(self, ending: Ending) -> None:
        cause = ending.cause
        # A root that links into its own trace would be re-parented by Jaeger.
        if isinstance(cause, _Token) and cause is not self.token and self._scope.level != "run":
            self._span.add_link(cause.context)
