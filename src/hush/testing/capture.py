"""capture_spans(): keep the spans of the runs inside a ``with`` block, in memory.

Nothing global is set: only runs that are started in the block's context are captured, so
tests can capture at the same time. What goes wrong in telemetry, which production only
logs, is raised at the end of the block.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from hush.errors import TelemetryError, text_of
from hush.insight.record import SpanRecord, from_span
from hush.insight.tree import group_traces
from hush.observe.tracing import collect_faults, override_provider
from hush.testing.span_tree import SpanTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import Tracer

__all__ = ("Capture", "capture_spans")


class _Keeper(SpanProcessor):
    """Keeps finished spans and knows which have not ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, str] = {}
        self.finished: list[SpanRecord] = []
        self.ended_twice: list[str] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        del parent_context
        with self._lock:
            self._open[span.get_span_context().span_id] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        record = from_span(span)
        # As exporters do: what is not sampled, or was omitted by a budget, is not seen.
        seen = span.context is not None and span.context.trace_flags.sampled
        with self._lock:
            if self._open.pop(int(record.span_id, 16), None) is None:
                self.ended_twice.append(record.name)
            if seen:
                self.finished.append(record)

    @property
    def open_names(self) -> list[str]:
        with self._lock:
            return list(self._open.values())


class Capture:
    """What was captured; readable inside the block and after it.

    Attributes:
        provider: the provider whose spans are kept; hand it to instrumentations.
        tracer: opens spans of a test's own, which are kept too.
        faults: what went wrong in telemetry so far.
    """

    def __init__(self, provider: TracerProvider, keeper: _Keeper, faults: list[Exception]) -> None:
        """Look at a provider's spans; made by :func:`capture_spans`."""
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer("hush.testing")
        self.faults = faults
        self._keeper = keeper

    @property
    def spans(self) -> tuple[SpanRecord, ...]:
        """Finished spans in the order in which they ended."""
        return tuple(self._keeper.finished)

    @property
    def open_spans(self) -> tuple[str, ...]:
        """Names of spans that were started and have not ended."""
        return tuple(self._keeper.open_names)

    @property
    def trees(self) -> dict[str, SpanTree]:
        """One tree for each trace, by trace id, in order of the first span that ended."""
        return {
            trace_id: SpanTree(node.record for node in tree)
            for trace_id, tree in group_traces(self.spans).items()
        }

    @property
    def tree(self) -> SpanTree:
        """The tree of the only trace.

        Raises:
            LookupError: there is none, or more than one; ask for ``trees`` then.
        """
        trees = self.trees
        if len(trees) != 1:
            raise LookupError(f"{len(trees)} traces were captured, expected one: see .trees")
        return next(iter(trees.values()))


@contextmanager
def capture_spans(
    *, sampler: Sampler = ALWAYS_ON, processors: Sequence[SpanProcessor] = ()
) -> Iterator[Capture]:
    """Capture the spans of every run that is started inside the block.

    Args:
        sampler: decides which traces are recorded; all by default.
        processors: further span processors, such as an exporter's.

    Yields:
        What was captured so far.

    Raises:
        TelemetryError: at the end of the block, if anything went wrong in telemetry that
            production would only have logged, unless the block itself raised.
    """
    # Without limits of its own: what a test sees is what was emitted.
    limits = SpanLimits(
        max_span_attributes=SpanLimits.UNSET,
        max_events=SpanLimits.UNSET,
        max_links=SpanLimits.UNSET,
    )
    provider = TracerProvider(sampler=sampler, span_limits=limits, shutdown_on_exit=False)
    keeper = _Keeper()
    provider.add_span_processor(keeper)
    for processor in processors:
        provider.add_span_processor(processor)
    try:
        with override_provider(provider), collect_faults() as faults:
            yield Capture(provider, keeper, faults)
    finally:
        provider.shutdown()
    if faults:
        first = faults[0]
        raise TelemetryError(
            f"telemetry failed {len(faults)} times; first {type(first).__name__}: {text_of(first)}"
        ) from first
