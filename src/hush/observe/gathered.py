"""Gathered: the spans of one attempt in a worker wait here, and leave for the driver together.

A provider that each worker process has makes real spans, live while user code runs, so that
the user's own nest below them. Ours wait in the attempt as those of an item do in a map; the
user's are found by the context in which they were started. Nothing is exported from here.
Imported only where there is an SDK.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from hush import semconv
from hush.log import log_fault
from hush.observe import spans
from hush.observe.budget import Around, Count, RunBudget, emit
from hush.observe.carriers import context_from
from hush.observe.clock import RunClock
from hush.observe.item_spans import Item, State
from hush.observe.lean_choice import maker_below
from hush.observe.links import Token
from hush.observe.own_span import OwnSpan
from hush.observe.seen_elsewhere import SeenAttempt, data_of
from hush.observe.spans import _Live, _open
from hush.observe.tracing import tracer_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import SpanContext

    from hush.observe.lean_maker import Maker
    from hush.observe.seen_elsewhere import SpanData

__all__ = ("GatheredAttempt", "Gathering", "gathering_processor")

OURS: Final = "hush"
"""Name of the tracer that makes our spans."""


class _Home(Item):
    """Where the spans of an attempt wait until it is over; it keeps them all, or sheds some."""

    __slots__ = ("left",)

    def __init__(self, around: Around) -> None:
        super().__init__(_Owner(around))  # type: ignore[arg-type]  # all that it is asked for
        self.left: list[OwnSpan] = []
        """Spans that need not wait any more; None is handed to processors before the end."""

    def finish(self, index: int, seconds: float, *, failed: bool, retried: bool) -> None:
        del index, seconds, failed, retried
        with self._run.lock:
            self._run.open -= 1
            self._flush([])
            self.state = State.KEPT

    def _flush(self, out: list[OwnSpan]) -> None:
        del out
        if self.state is State.OPEN:
            self._run.waiting -= self.direct
            self.left += self._clear()
        else:
            # Somebody left it running: the attempt has been told without it.
            self._clear()


class _Owner:
    """What an item asks of its map."""

    def __init__(self, around: Around) -> None:
        self.around = around


class _Afar(_Live):
    """What an attempt is inside of: a span that is open in another process."""

    __slots__ = ()

    def __init__(self, context: Context, home: _Home, around: Around, makers: Gathering) -> None:
        identity = trace.get_current_span(context).get_span_context()
        self.token = Token(identity)
        self.current = context
        self._clock = RunClock()
        self._start_ns = self._last_child_ns = 0
        self._items = None
        self._recording = identity.is_valid and identity.trace_flags.sampled
        self._around = Around(around.run, around.counts, home) if self._recording else None
        self.maker = makers.maker(identity) if spans.LEAN and self._recording else None


class Gathering:
    """What the attempts of one call have in common."""

    def __init__(self, provider: TracerProvider) -> None:
        """Gather nothing yet.

        Args:
            provider: makes their spans.
        """
        self.resource = tuple(provider.resource.attributes.items())
        self._tracer = tracer_of(provider)
        self._makers: dict[tuple[Any, ...], Maker | None] = {}

    def attempt(self, carrier: Mapping[str, str]) -> GatheredAttempt:
        """Return what is going to be observed of an attempt.

        Args:
            carrier: headers of the span that it is inside of, in another process.
        """
        return GatheredAttempt(self, carrier)

    def maker(self, identity: SpanContext) -> Maker | None:
        """Return what makes the spans below another process's; None where the SDK has to."""
        # As a rule they are all of one trace.
        key = identity.trace_id, identity.trace_flags, identity.trace_state.to_header()
        if key not in self._makers:
            self._makers[key] = maker_below(self._tracer, identity)
        return self._makers[key]


class GatheredAttempt:
    """What is observed of one attempt, while it is entered."""

    def __init__(self, gathering: Gathering, carrier: Mapping[str, str]) -> None:
        """Gather nothing yet.

        Args:
            gathering: of the call.
            carrier: headers of the span that it is inside of, in another process.
        """
        self._resource = gathering.resource
        self._count = Count(None)
        around = Around(RunBudget(), self._count, None)
        self._home = _Home(around)
        self._others: list[ReadableSpan] = []
        """Of the user's, as they ended."""
        self._started: list[int] = []
        """Ids of these; some may never end."""
        self._over = False
        self._context = context_from(carrier)
        self._afar = _Afar(self._context, self._home, around, gathering)

    def expect(self, span_id: int) -> None:
        """Take note that a span of the user's has started."""
        self._started.append(span_id)

    def add(self, span: ReadableSpan) -> None:
        """Take a span of the user's that has ended."""
        if not self._over:
            self._others.append(span)

    def __enter__(self) -> Self:
        self._home.begin()
        self._attached = otel_context.attach(self._context)
        self._opened = _open.set(self._afar)
        self._gathering = _gathering.set(self)
        return self

    def __exit__(self, *_details: object) -> None:
        self._over = True
        gathering_processor.forget(self._started)
        _gathering.reset(self._gathering)
        _open.reset(self._opened)
        otel_context.detach(self._attached)
        self._home.finish(0, 0.0, failed=False, retried=False)

    def packed(self) -> bytes | None:
        """Return all that was observed; None where nothing was, or it cannot be told."""
        try:
            return self._packed()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            log_fault("hush.telemetry", "an attempt's spans cannot be sent; it goes unseen", error)
            return None

    def _packed(self) -> bytes | None:
        home = self._home
        own: list[ReadableSpan] = []
        with _into(own):
            emit(home.left)
        if not own:
            return None
        # The attempt's own ends after all that is in it.
        root = data_of(own[-1])
        if home.lost:
            root.attributes[semconv.SPANS_OMITTED] = home.lost
        ended = [*map(data_of, own[:-1]), root]
        if self._others:
            ended += map(data_of, self._others)
            ended.sort(key=lambda one: one.end_ns)
        if self._started:
            ended = list(_without_gaps(ended, root))
        seen = SeenAttempt(
            resource=self._resource,
            spans=tuple(ended),
            root_id=root.span_id,
            omitted=self._count.omitted,
            pinned=home.pinned,
        )
        return seen.packed()


def _without_gaps(spans: Sequence[SpanData], root: SpanData) -> Iterator[SpanData]:
    """Yield spans; those below one that has not ended, as if they were the attempt's own."""
    known = {one.span_id for one in spans}
    for one in spans:
        lost = one.parent_id not in known and one.parent_id and one.trace_id == root.trace_id
        if lost and one is not root:
            yield one._replace(parent_id=root.span_id, parent_remote=False)
        else:
            yield one


_gathering: ContextVar[GatheredAttempt | None] = ContextVar("hush_gathering", default=None)
"""What takes the user's spans here."""


class _Sink(threading.local):
    spans: list[ReadableSpan] | None = None


_sink = _Sink()


class _into:  # noqa: N801  # reads as a phrase
    """A block inside which our spans end into a list, in this thread."""

    def __init__(self, spans: list[ReadableSpan]) -> None:
        self._spans = spans

    def __enter__(self) -> None:
        _sink.spans = self._spans

    def __exit__(self, *_details: object) -> None:
        _sink.spans = None


class _Gathering(SpanProcessor):
    """Leads each span to the attempt in which it was started."""

    def __init__(self) -> None:
        self._open: dict[int, GatheredAttempt] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        del parent_context
        # Asking one of ours for anything makes it more than it is.
        if isinstance(span, OwnSpan):
            return
        scope = span.instrumentation_scope
        if scope is not None and scope.name == OURS:
            return
        attempt = _gathering.get()
        if attempt is not None:
            span_id = span.get_span_context().span_id
            self._open[span_id] = attempt
            attempt.expect(span_id)

    def forget(self, span_ids: Iterable[int]) -> None:
        """Wait no longer for the ends of spans."""
        for span_id in span_ids:
            self._open.pop(span_id, None)

    def on_end(self, span: ReadableSpan) -> None:
        context, spans = span.context, _sink.spans
        if context is None:
            return
        if spans is None:
            attempt = self._open.pop(context.span_id, None)
            if attempt is not None and context.trace_flags.sampled:
                attempt.add(span)
        elif context.trace_flags.sampled:
            spans.append(span)


gathering_processor: Final = _Gathering()
"""One for all providers."""
