"""A span of OpenTelemetry's SDK as a record, and what a record says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from hush import semconv
from hush.insight.record import SpanRecord, from_span


def record(name: str = "node a", status: Any = "unset", **attributes: Any) -> SpanRecord:
    return SpanRecord("t", "s", None, name, 0, 1_500_000_000, status, attributes=attributes)


def test_finished_span_is_read_whole():
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("some.scope")
    outer = tracer.start_span("run report", start_time=1)
    inner = tracer.start_span(
        "node rank",
        context=set_span_in_context(outer),
        kind=SpanKind.CLIENT,
        attributes={"a": 1},
        start_time=2,
    )
    inner.add_event("hush.retry", {"b": 2}, timestamp=3)
    inner.add_link(outer.get_span_context(), {"c": 3})
    inner.set_status(Status(StatusCode.ERROR, "it broke"))
    inner.end(end_time=4)

    read = from_span(inner)

    assert len(read.trace_id) == 32
    assert read.parent_id == f"{outer.get_span_context().span_id:016x}"
    assert (read.name, read.kind, read.scope) == ("node rank", "client", "some.scope")
    assert (read.start_ns, read.end_ns) == (2, 4)
    assert (read.status, read.status_description) == ("error", "it broke")
    assert read.attributes == {"a": 1}
    (event,) = read.events
    assert (event.name, event.time_ns, dict(event.attributes)) == ("hush.retry", 3, {"b": 2})
    (link,) = read.links
    assert (link.span_id, dict(link.attributes)) == (read.parent_id, {"c": 3})


def test_running_span_is_refused():
    span = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("node rank")

    with pytest.raises(ValueError, match="'node rank' has not ended"):
        from_span(span)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("item fetch", "item"),
        ("chat gpt-4o", "chat"),
        ("GET /a", None),
        ("item", None),
        ("", None),
    ],
)
def test_prefix_is_only_that_of_our_spans(name: str, prefix: str | None):
    assert record(name).prefix == prefix


def test_outcome_of_ours_and_of_foreign_spans():
    assert record(**{semconv.OUTCOME: "handled"}, status="error").outcome == "handled"
    assert record("GET", "error").outcome == "error"
    assert record("GET").outcome is None


def test_index_is_that_of_items_and_iterations_only():
    both = {semconv.ITEM_INDEX: 3, semconv.ITERATION_INDEX: 4}

    assert record("item f", **both).index == 3
    assert record("iteration f", **both).index == 4
    assert record("node f", **both).index is None
    assert record("item f", **{semconv.ITEM_INDEX: "3"}).index is None


@pytest.mark.parametrize(("value", "seconds"), [(2, 2.0), (0.5, 0.5), (-1, 0), ("1", 0), (True, 0)])
def test_seconds_from_attributes(value: object, seconds: float):
    assert record(**{semconv.RUN_S: value}).seconds(semconv.RUN_S) == seconds
    assert record().seconds(semconv.RUN_S) == 0.0


def test_duration():
    assert record().duration_s == 1.5
