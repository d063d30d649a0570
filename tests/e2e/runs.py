"""Runs of workflows as Jaeger shows them: exported as in production, read back by trace id."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from hush.core import GraphNode, Hush, RunError, RunResult
from hush.observe.tracing import override_provider
from tests.e2e.critical_path import critical_path
from tests.e2e.jaeger_server import JaegerLog, JaegerServer, JaegerSpan, JaegerTrace

Backend = Literal["asyncio", "trio"]

ARRIVAL_S = 10.0
"""How long a trace may take to arrive."""
LEVELS = ("run", "node", "graph", "map", "item", "loop", "iteration", "attempt")
OUTCOMES = {"ok", "handled", "error", "timeout", "cancelled"}
RED = {"error", "timeout", "handled"}

_services = (f"hush-runs-{number}" for number in itertools.count())


class _Tally(SpanProcessor):
    """Counts spans by trace, so that the test knows for how many to wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        with self._lock:
            self.started[_trace_id(span)] += 1

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            self.ended[_trace_id(span)] += 1


def _trace_id(span: ReadableSpan) -> str:
    return format(span.get_span_context().trace_id, "032x")


class Exported:
    """A tracer provider of one test, whose spans go to Jaeger over OTLP/HTTP."""

    def __init__(self, jaeger: JaegerServer) -> None:
        self.jaeger = jaeger
        self.service = next(_services)
        self.provider = TracerProvider(
            resource=Resource({"service.name": self.service}), shutdown_on_exit=False
        )
        self._tally = _Tally()
        self.provider.add_span_processor(self._tally)
        exporter = OTLPSpanExporter(endpoint=f"{jaeger.otlp_http}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer("users")
        """Opens spans as an application or its libraries would."""

    def run(
        self, graph: GraphNode, inputs: Any = None, *, backend: Backend, **options: Any
    ) -> tuple[RunResult, JaegerTrace]:
        """Run a graph that must not fail."""
        with override_provider(self.provider):
            result = Hush(graph).run_sync(inputs, backend=backend, **options)
        assert result.trace_id is not None
        return result, self.read(result.trace_id)

    def fail(
        self, graph: GraphNode, inputs: Any = None, *, backend: Backend, **options: Any
    ) -> tuple[RunError, JaegerTrace]:
        """Run a graph that must fail."""
        with override_provider(self.provider), pytest.raises(RunError) as caught:
            Hush(graph).run_sync(inputs, backend=backend, **options)
        assert caught.value.trace_id is not None
        return caught.value, self.read(caught.value.trace_id)

    def read(self, trace_id: str) -> JaegerTrace:
        """Wait for a trace whose spans have all ended, and check what holds for every one."""
        ended = self._tally.ended[trace_id]
        assert self._tally.started[trace_id] == ended, "spans were left open"
        self.provider.force_flush()
        trace = self.jaeger.client.trace(trace_id, spans=ended, timeout_s=ARRIVAL_S)
        assert_sound(trace)
        return trace


@contextlib.contextmanager
def exporting(jaeger: JaegerServer) -> Iterator[Exported]:
    exported = Exported(jaeger)
    try:
        yield exported
    finally:
        exported.provider.shutdown()


# --- reading a trace ------------------------------------------------------------------------


def level(span: JaegerSpan) -> str | None:
    """Return what a span of ours stands for, None for a user's span."""
    first = span.name.partition(" ")[0]
    return first if first in LEVELS and span.tags.get("otel.scope.name") == "hush" else None


def index(span: JaegerSpan) -> int | None:
    for name in ("hush.item.index", "hush.iteration.index", "hush.attempt"):
        if name in span.tags:
            return span.tags[name]
    return None


def label(span: JaegerSpan) -> str:
    """Return what names a span in its trace: the path of a node, else name and index."""
    path = span.tags.get("hush.node.path")
    if path is not None:
        return path
    number = index(span)
    return span.name if number is None else f"{span.name}[{number}]"


def outline(trace: JaegerTrace) -> str:
    """Return the trace as an indented tree, the same for every run that does the same.

    One line a span, with its index and its outcome unless that is ``ok``; siblings by
    index, then in the order of their starts.
    """
    lines: list[str] = []
    stack = [(0, root) for root in reversed(trace.roots)]
    while stack:
        depth, span = stack.pop()
        number = index(span)
        said = span.name if number is None else f"{span.name}[{number}]"
        outcome = span.tags.get("hush.outcome", "ok")
        lines.append("  " * depth + said + ("" if outcome == "ok" else f" {outcome}"))
        below = sorted(trace.children(span), key=lambda s: (index(s) or 0, s.start_us, s.name))
        stack.extend((depth + 1, child) for child in reversed(below))
    return "\n".join(lines)


def events(span: JaegerSpan, name: str) -> list[JaegerLog]:
    return [log for log in span.logs if log.fields.get("event") == name]


def raised_at(trace: JaegerTrace) -> tuple[JaegerSpan, ...]:
    """Return the spans that carry a recorded exception."""
    return tuple(span for span in trace.spans if events(span, "exception"))


def ancestors(trace: JaegerTrace, span: JaegerSpan) -> list[JaegerSpan]:
    """Return what contains a span, from the inside out."""
    found = []
    above = trace.parent(span)
    while above is not None:
        found.append(above)
        above = trace.parent(above)
    return found


def at(trace: JaegerTrace, path: str) -> JaegerSpan:
    """Return the only span of the node with that path."""
    found = [span for span in trace.spans if span.tags.get("hush.node.path") == path]
    assert len(found) == 1, f"{len(found)} spans of {path} in:\n{outline(trace)}"
    return found[0]


def item(trace: JaegerTrace, name: str, number: int) -> JaegerSpan:
    found = [span for span in trace.named(name) if index(span) == number]
    assert len(found) == 1, f"{len(found)} spans of {name}[{number}] in:\n{outline(trace)}"
    return found[0]


def linked(trace: JaegerTrace, span: JaegerSpan) -> list[str]:
    """Return the labels of the spans to which a span links, in order."""
    return [label(trace.by_id[link.span_id]) for link in span.links]


def on_path(trace: JaegerTrace) -> list[JaegerSpan]:
    """Return the innermost spans on the critical path that Jaeger draws, in order of time."""
    containers = {span.parent_id for span in trace.spans}
    leaves = [
        section.span
        for section in critical_path(trace.spans)
        if section.span.span_id not in containers
    ]
    return [leaf for leaf, _ in itertools.groupby(leaves)]


def path_labels(trace: JaegerTrace) -> list[str]:
    return [label(span) for span in on_path(trace)]


# --- what holds for every trace ---------------------------------------------------------------


def assert_sound(trace: JaegerTrace) -> None:
    """Check what holds for every trace of a run, as Jaeger has it, in whole microseconds."""
    wrong = [f"{label(span)} {said}" for span in trace.spans for said in _wrong(trace, span)]
    if len(trace.roots) != 1:
        wrong.append(f"{len(trace.roots)} roots")
    assert not wrong, "\n".join([*wrong, "in:", outline(trace)])


def _wrong(trace: JaegerTrace, span: JaegerSpan) -> Iterator[str]:
    if span.warnings:
        yield f"has warnings of Jaeger's: {span.warnings}"
    if span.duration_us < 0:
        yield "ends before it starts"
    yield from _misplaced(trace, span)
    if level(span) is not None:
        yield from _misdescribed(span)
        yield from _mislinked(trace, span)


def _misplaced(trace: JaegerTrace, span: JaegerSpan) -> Iterator[str]:
    parent = trace.parent(span)
    if parent is None:
        if any(ref.trace_id == trace.trace_id for ref in span.links):
            yield "is a root and links into its own trace"
        return
    # A start and a duration are cut to whole microseconds each, and so an end that Jaeger adds
    # up from them may be one too early.
    if span.start_us < parent.start_us:
        yield f"starts {parent.start_us - span.start_us} µs before {label(parent)}"
    if span.end_us > parent.end_us + 1:
        yield f"ends {span.end_us - parent.end_us} µs after {label(parent)}"


def _misdescribed(span: JaegerSpan) -> Iterator[str]:
    outcome = span.tags.get("hush.outcome")
    if outcome not in OUTCOMES:
        yield f"has the outcome {outcome!r}"
    if span.is_red != (outcome in RED):
        yield f"is {outcome}, yet its status is {span.tags.get('otel.status_code')}"
    if span.is_red and not span.status_text:
        yield "is red and does not say why"
    if span.is_red and "error.type" not in span.tags:
        yield "is red and has no error.type"
    if not span.is_red and "otel.status_code" in span.tags:
        yield f"is not red and has the status {span.tags['otel.status_code']}"
    if (outcome == "cancelled") != ("hush.cancel.reason" in span.tags):
        yield f"is {outcome}, cancelled because of {span.tags.get('hush.cancel.reason')}"


def _mislinked(trace: JaegerTrace, span: JaegerSpan) -> Iterator[str]:
    links = [trace.by_id.get(link.span_id) for link in span.links]
    if None in links:
        yield "links to a span that is not in the trace"
    # Cancelled spans link to their culprit too, which may have ended at any time.
    if span.tags.get("hush.outcome") == "cancelled":
        return
    for other in links:
        if other is not None and other.end_us >= span.start_us:
            yield f"starts {other.end_us - span.start_us} µs before its predecessor {label(other)} ends"
