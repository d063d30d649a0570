"""Gathered: the spans of one attempt in a worker wait here, and leave for the driver together.

A provider that each worker process has makes real spans, live while user code runs, so that
the user's own nest below them. Ours wait in the attempt as those of an item do in a map; the
user's are found by the context in which they were started. Nothing is exported from here.
Imported only where there is an SDK.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from hush import semconv
from hush.observe.budget import Around, Count, RunBudget, emit
from hush.observe.carriers import context_from
from hush.observe.item_spans import Item, State
from hush.observe.own_span import OwnSpan
from hush.observe.seen_elsewhere import SeenAttempt, data_of, drives
from hush.observe.spans import gathering

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from hush.observe.seen_elsewhere import SpanSettings
    from hush.observe.spans import Gatherer
    from hush.runtime.remote.call import Worker

__all__ = ("GatheredAttempt", "provider_for")

OURS: Final = "hush"
"""Name of the tracer that makes our spans."""
PROVIDERS: Final = 8
"""Drivers with settings of their own whose providers a worker keeps."""


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


class GatheredAttempt:
    """What is observed of one attempt, while it is entered."""

    def __init__(self, provider: TracerProvider, carrier: Mapping[str, str]) -> None:
        """Gather nothing yet.

        Args:
            provider: makes its spans.
            carrier: headers of the span that it is inside of, in another process.
        """
        self._provider = provider
        self._carrier = carrier
        self._budget = RunBudget()
        self._count = Count(None)
        self._home: _Home | None = None
        self._others: list[ReadableSpan] = []
        """Of the user's, as they ended."""
        self._over = False

    def begin(self) -> tuple[Item, Around]:
        """Return what decides on its spans, and what those inside are in."""
        self._home = home = _Home(Around(self._budget, self._count, None))
        return home, Around(self._budget, self._count, home)

    def add(self, span: ReadableSpan) -> None:
        """Take a span of the user's that has ended."""
        if not self._over:
            self._others.append(span)

    def __enter__(self) -> Self:
        self._attached = otel_context.attach(context_from(self._carrier))
        self._gathering: Token[Gatherer | None] = gathering.set(self)
        return self

    def __exit__(self, *_details: object) -> None:
        self._over = True
        gathering.reset(self._gathering)
        otel_context.detach(self._attached)

    def packed(self) -> bytes | None:
        """Return all that was observed; None where nothing was."""
        home = self._home
        if home is None or not home.left:
            return None
        own: list[ReadableSpan] = []
        with _into(own):
            emit(home.left)
        if not own:
            return None
        spans = sorted([*own, *self._others], key=lambda one: one.end_time or 0)
        root = own[-1].context
        assert root is not None  # noqa: S101  # it was made by a tracer
        seen = SeenAttempt(
            resource=tuple(self._provider.resource.attributes.items()),
            spans=tuple(map(data_of, spans)),
            root_id=root.span_id,
            omitted=self._count.omitted,
            pinned=home.pinned,
        )
        return seen.packed()


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
        scope = span.instrumentation_scope
        if isinstance(span, OwnSpan) or (scope is not None and scope.name == OURS):
            return
        attempt = gathering.get()
        if isinstance(attempt, GatheredAttempt):
            self._open[span.get_span_context().span_id] = attempt

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


class _Ids(IdGenerator):
    """Ids that user code does not repeat by seeding the standard generator for each item."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


_processor: Final = _Gathering()
_lock = threading.Lock()
_providers: OrderedDict[tuple[SpanSettings, Worker], TracerProvider] = OrderedDict()


def provider_for(settings: SpanSettings, worker: Worker) -> TracerProvider:
    """Return what makes the spans of a driver's calls in this process.

    The first one becomes the process's provider where none is set, so that the user's own
    spans are made by it too.

    Args:
        settings: the driver's.
        worker: this one.
    """
    key = settings, worker
    with _lock:
        provider = _providers.get(key)
        if provider is None:
            provider = _made(settings, worker)
            _providers[key] = provider
            if len(_providers) > PROVIDERS:
                _providers.popitem(last=False)
            unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
            if unset and not drives():
                trace.set_tracer_provider(provider)
        _providers.move_to_end(key)
    return provider


def _made(settings: SpanSettings, worker: Worker) -> TracerProvider:
    # What this process's variables say of it, but not whose it is: that is the driver's to say.
    own = {
        name: value
        for name, value in OTELResourceDetector().detect().attributes.items()
        if not name.startswith("service.")
    }
    identity: dict[str, Any] = {
        semconv.HOST_NAME: worker.host,
        semconv.PROCESS_PID: worker.pid,
        semconv.WORKER_NAME: worker.name,
    }
    provider = TracerProvider(
        resource=Resource({**dict(settings.resource), **own, **identity}),
        sampler=ParentBased(ALWAYS_ON),
        id_generator=_Ids(),
        span_limits=settings.span_limits(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(_processor)
    return provider
