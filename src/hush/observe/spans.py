"""Spans: an OpenTelemetry span for everything that the runtime observes.

Uses the OpenTelemetry API only. Spans are live: opened with their context current, so
that whatever user code opens nests below. Times follow one clock per run, and a parent
never ends before its children (see :mod:`hush.observe.clock`), because Jaeger draws its
critical path from timestamps alone.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from hush import semconv
from hush.observe.budget import Around, Count, RunBudget
from hush.observe.clock import AFTER_NS, RunClock
from hush.observe.describing import attributes_of, describe, ending_of, value_of
from hush.observe.item_spans import Item
from hush.observe.links import Token, link_cause, links_of
from hush.observe.messages import Content
from hush.observe.pins import context_of, ours
from hush.observe.selection import MapBudget

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from opentelemetry.trace import Span, SpanContext, Tracer

    from hush.observe.lean_choice import Makers
    from hush.observe.lean_live import LeanLive
    from hush.observe.lean_lookout import LeanLookout
    from hush.observe.lean_maker import Maker
    from hush.observe.own_span import OwnSpan
    from hush.runtime.instrument import Ending, Observation, Scope
    from hush.runtime.remote.passage import Passage

__all__ = ("TracingInstrument",)

Adopt: TypeAlias = "Callable[[Span, SpanContext, Item, Count], OwnSpan | None]"

LEAN = True
"""Whether spans may be lean; a test may compare both kinds."""

NODE_LEVELS = frozenset(("node", "graph", "map", "loop"))
"""They begin the moment they become ready, whenever a task comes round to them."""

FAILED = frozenset((semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT, semconv.OUTCOME_HANDLED))
"""Outcomes of items that a budget keeps first."""


_open: ContextVar[_Live | None] = ContextVar("hush_open_span", default=None)


class TracingInstrument:
    """Makes spans with one tracer.

    Where that is the SDK's, maps keep the spans of their items within their budgets. Of
    spans of another kind it is not known how to leave them out: all are kept.
    """

    def __init__(self, tracer: Tracer) -> None:
        """Keep the tracer.

        Args:
            tracer: of any provider.
        """
        self._tracer = tracer
        self._adopt: Adopt | None = None
        self._makers: Makers | None = None
        self.observe_safely: Callable[..., LeanLive | None] | None = None
        """Opens a span that never raises, where a lean one can be had, and gives None where
        not; takes the scope and what gets faults."""
        self.lookout_safely: Callable[..., LeanLookout | None] | None = None
        """Looks out from the current context, likewise; takes what gets faults."""
        if type(tracer).__module__.startswith("opentelemetry.sdk."):
            from hush.observe.lean_choice import Makers  # noqa: PLC0415  # there need not be an SDK
            from hush.observe.lean_live import open_lean  # noqa: PLC0415  # likewise
            from hush.observe.lean_lookout import lean_lookout  # noqa: PLC0415  # likewise
            from hush.observe.own_span import adopt  # noqa: PLC0415  # likewise

            self._adopt, self._makers = adopt, Makers()
            self.observe_safely = partial(open_lean, tracer)
            self.lookout_safely = partial(lean_lookout, tracer)

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Open a span for as long as the context manager is open."""
        return _Live(self._tracer, scope, self._adopt, self._makers)

    def elsewhere(self) -> Mapping[str, Any]:
        """Return how spans are made in workers; empty where they could not be taken in here."""
        if self._adopt is None:
            return {}
        from hush.observe.seen_elsewhere import span_facts  # noqa: PLC0415  # there need not be an SDK

        return span_facts(self._tracer)

    def absorb(self, counted_elsewhere: bytes) -> None:
        """Count nothing."""


class _Live:
    """One open span."""

    __slots__ = (
        "_adopt",
        "_around",
        "_attached",
        "_clock",
        "_ending",
        "_item",
        "_items",
        "_known",
        "_last_child_ns",
        "_late",
        "_makers",
        "_opened",
        "_outer",
        "_recording",
        "_scope",
        "_span",
        "_start_ns",
        "_tracer",
        "current",
        "maker",
        "token",
    )

    _adopt: Adopt | None
    _attached: contextvars.Token[otel_context.Context]
    _clock: RunClock
    _opened: contextvars.Token[_Live | None]
    _span: Span
    token: Token

    def __init__(
        self, tracer: Tracer, scope: Scope, adopt: Adopt | None, makers: Makers | None
    ) -> None:
        self._tracer = tracer
        self._makers = makers
        self._scope = scope
        self._adopt = adopt
        self._ending: Ending | None = None
        self._last_child_ns = 0
        self._outer = _open.get()
        self._start_ns = 0
        self._recording = False
        self.current: otel_context.Context | None = None
        """The context that it has made current."""
        self.maker: Maker | None = None
        """What makes the spans inside; None where the SDK does."""
        self._around: Around | None = None
        """What opens inside is in this; None where nothing is ever omitted."""
        self._item: Item | None = None
        """The item that this span stands for, where that has a budget."""
        self._items: MapBudget | None = None
        """The budget of a map, once it has items."""
        # What stands on the span by us, kept for where others push it off.
        self._known: dict[str, Any] = {}
        # What was said since the start: all at once costs half as much as one by one.
        self._late: dict[str, Any] = {}

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
        # The SDK, its sampler and its processors read the parent's identity on our behalf.
        with ours:
            self._span = span = self._tracer.start_span(
                f"{scope.level} {scope.name}",
                kind=self._kind(),
                attributes=self._known or None,
                links=links_of(scope) if early else None,
                start_time=self._start_ns,
                record_exception=False,
                set_status_on_exception=False,
            )
        self._recording = span.is_recording()
        self.token = Token(span.get_span_context())
        self.maker = self._find_maker()
        if self._adopt is not None:
            self._find_place(self._adopt)
        if self._recording and not early:
            self._known = self._facts()
            span.set_attributes(self._known)
            for link in links_of(scope):
                span.add_link(link.context)
        self.current = trace.set_span_in_context(self._span)
        self._attached = otel_context.attach(self.current)
        self._opened = _open.set(self)
        return self

    def _find_maker(self) -> Maker | None:
        """Choose what makes the spans inside."""
        outer, context = self._outer, self.token.context
        if self._scope.level != "run":
            maker = None if outer is None else outer.maker
            return maker if maker is not None and maker.fits(context) else None
        if self._makers is None or not LEAN or not self._recording:
            return None
        return self._makers.of(self._tracer, self._span, context)

    def _find_place(self, adopt: Adopt) -> None:
        """Find what the span and those inside it are in."""
        scope, outer, token = self._scope, self._outer, self.token
        around = None if outer is None else outer._around  # noqa: SLF001  # same class
        if outer is None or around is None:
            if scope.level == "run" and self._recording:
                self._around = Around(RunBudget(), Count(None), None)
            return
        self._around = around
        if scope.level == "run":
            # A run inside a node of another one: the same trace, a count of its own.
            self._around = Around(around.run, Count(around.counts), around.home)
        elif scope.budget is not None:
            items = outer._items  # noqa: SLF001  # same class
            if items is None:
                items = outer._items = MapBudget(scope.budget, scope.total, around)  # noqa: SLF001  # same class
            item = Item(items)
            token.span = adopt(self._span, token.context, item, items.count)
            if token.span is not None:
                item.begin()
                self._item = item
                self._around = Around(around.run, items.count, item)
                return
        if around.home is not None:
            token.span = adopt(self._span, token.context, around.home, around.counts)

    def _facts(self) -> dict[str, Any]:
        scope = self._scope
        facts = attributes_of(scope.facts)
        if len(scope.links) > semconv.LINK_LIMIT:
            facts[semconv.LINKS_DROPPED] = len(scope.links) - semconv.LINK_LIMIT
        return facts

    def _find_start(self) -> int:
        scope, outer = self._scope, self._outer
        # Not only after what released it: where an event's listener was slow, another
        # predecessor may have ended later and settled earlier.
        ends = [
            token.end_ns for token in (scope.released_by, *scope.links) if isinstance(token, Token)
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
        parent = context_of(trace.get_current_span())
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
        if outer is not None and outer._last_child_ns < end_ns:  # noqa: SLF001  # same class
            outer._last_child_ns = end_ns  # noqa: SLF001  # likewise
        ending = self._ending if self._ending is not None else ending_of(exc)
        # Each whatever becomes of the one before: a span that is left open is never seen,
        # and one that is left current takes in what does not belong to it.
        try:
            otel_context.detach(self._attached)
            _open.reset(self._opened)
            # They lead to the context, and that to this.
            del self._attached, self._opened
            self.current = None
        finally:
            try:
                if self._items is not None:
                    self._items.close()
            finally:
                self._close(ending, end_ns)

    def _close(self, ending: Ending, end_ns: int) -> None:
        try:
            if self._recording:
                self._describe(ending, end_ns)
        finally:
            try:
                self._span.end(end_time=end_ns)
            finally:
                if self._item is not None:
                    self._finish(self._item, ending, end_ns)

    def _finish(self, item: Item, ending: Ending, end_ns: int) -> None:
        known = self._known
        item.finish(
            known.get(semconv.ITEM_INDEX, known.get(semconv.ITERATION_INDEX, 0)),
            known.get(semconv.RUN_S, (end_ns - self._start_ns) / 1e9),
            failed=ending.outcome in FAILED or semconv.PARTIAL_FAILURE in known,
            retried=known.get(semconv.ATTEMPTS, 1) > 1,
        )

    def _describe(self, ending: Ending, end_ns: int) -> None:
        try:
            self._tell_omitted()
            describe(self._span, self._put, ending, self._start_ns, end_ns)
            # A root that links into its own trace would be re-parented by Jaeger.
            if self._scope.level != "run":
                link_cause(self._span, self.token, ending.cause)
        finally:
            if self._late:
                self._span.set_attributes(self._late)
        # A span holds so many attributes and drops the oldest: ours, where user code set many.
        if getattr(self._span, "touched", True) and getattr(self._span, "dropped_attributes", 0):
            self._restore()

    def _tell_omitted(self) -> None:
        """Say how many spans are missing inside."""
        items, item, around = self._items, self._item, self._around
        if items is not None:
            if items.count.omitted:
                self._put(semconv.MAP_SPANS_OMITTED, items.count.omitted)
            if items.pinned:
                self._put(semconv.MAP_SPANS_PINNED, items.pinned)
        elif item is not None:
            if item.lost:
                self._put(semconv.SPANS_OMITTED, item.lost)
        elif self._scope.level == "run" and around is not None and around.counts.omitted:
            self._put(semconv.SPANS_OMITTED, around.counts.omitted)

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
    def unseen(self) -> bool:
        """Whether nothing that opens inside is seen by anybody."""
        if self._recording or self._adopt is None or not LEAN:
            return False
        from hush.observe.lean_choice import nothing_below  # noqa: PLC0415  # there need not be an SDK

        return nothing_below(self._tracer, self.token.context)

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
        self._known[name] = self._late[name] = value

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        if self._recording:
            self._span.add_event(name, attributes_of(facts), timestamp=self._clock.now())

    def end(self, ending: Ending) -> None:
        self._ending = ending

    def carrier(self) -> Mapping[str, str]:
        from hush.observe.carriers import headers_of  # noqa: PLC0415  # only where items run elsewhere

        return headers_of(self.current) if self.current is not None else {}

    def adopt(self, seen_elsewhere: bytes, passage: Passage) -> None:
        if self._recording and self._adopt is not None:
            self._take_in(self._tracer, seen_elsewhere, passage)

    def _take_in(self, tracer: Tracer, seen_elsewhere: bytes, passage: Passage) -> None:
        from hush.observe.adopting import adopt_spans  # noqa: PLC0415  # there need not be an SDK

        end_ns = adopt_spans(tracer, self._around, seen_elsewhere, passage)
        self._last_child_ns = max(self._last_child_ns, end_ns)
