"""The server and its client, with spans made by the OpenTelemetry SDK itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from tests.e2e.critical_path import critical_path
from tests.e2e.jaeger_server import JaegerServer, peak_overlap
from tests.e2e.programs import StartError

MS = 1_000_000
services = (f"hush-test-{number}" for number in itertools.count())


@pytest.fixture(params=["http", "grpc"])
def exporter(jaeger: JaegerServer, request: pytest.FixtureRequest) -> SpanExporter:
    if request.param == "http":
        return HttpSpanExporter(endpoint=f"{jaeger.otlp_http}/v1/traces")
    return GrpcSpanExporter(endpoint=jaeger.otlp_grpc, insecure=True)


@pytest.fixture
def service() -> str:
    return next(services)


@pytest.fixture
def tracer(exporter: SpanExporter, service: str) -> Iterator[trace.Tracer]:
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("tests")
    provider.shutdown()


def make_trace(tracer: trace.Tracer) -> str:
    """A root with two items, of which the second follows the first and fails."""
    start = time.time_ns() // MS * MS
    root = tracer.start_span("run", start_time=start, attributes={"hush.partial_failure": True})
    inside = trace.set_span_in_context(root)
    first = tracer.start_span("item", inside, start_time=start + 1 * MS)
    first.end(start + 4 * MS)
    second = tracer.start_span(
        "item",
        inside,
        start_time=start + 5 * MS,
        links=[trace.Link(first.get_span_context())],
        attributes={"hush.item.index": 1},
    )
    second.add_event("hush.retry", {"attempt": 2}, timestamp=start + 6 * MS)
    second.set_status(trace.StatusCode.ERROR, "it broke")
    second.end(start + 9 * MS)
    root.end(start + 10 * MS)
    return format(root.get_span_context().trace_id, "032x")


def test_what_was_exported_is_read_back(jaeger: JaegerServer, tracer: trace.Tracer, service: str):
    found = jaeger.client.trace(make_trace(tracer), spans=3)

    root = found.one("run")
    first, second = found.named("item")
    assert found.roots == (root,)
    assert found.children(root) == (first, second)
    assert found.parent(first) is root
    assert root.service == service
    assert (root.duration_us, first.duration_us, second.duration_us) == (10_000, 3_000, 4_000)
    assert [link.span_id for link in second.links] == [first.span_id]
    assert second.parent_id == root.span_id
    assert second.tags["hush.item.index"] == 1
    assert second.status_text == "it broke"
    assert found.red_leaves == (second,)
    assert [log.fields["event"] for log in second.logs] == ["hush.retry"]
    assert peak_overlap((first, second)) == 1
    assert [section.span for section in critical_path(found.spans)] == [
        root, first, root, second, root,
    ]  # fmt: skip


def test_search_finds_a_trace_by_a_tag(jaeger: JaegerServer, tracer: trace.Tracer, service: str):
    trace_id = make_trace(tracer)
    jaeger.client.trace(trace_id, spans=3)
    assert service in jaeger.client.services()
    found = jaeger.client.search(service, hush__partial_failure="true")
    assert [trace.trace_id for trace in found] == [trace_id]
    assert jaeger.client.search(service, hush__partial_failure="false") == []


def test_a_link_into_its_own_trace_takes_the_root_from_the_ui(
    jaeger: JaegerServer, tracer: trace.Tracer
):
    root = tracer.start_span("root")
    child = tracer.start_span("child", trace.set_span_in_context(root))
    child.end()
    root.add_link(child.get_span_context())
    root.end()
    found = jaeger.client.trace(format(root.get_span_context().trace_id, "032x"), spans=2)
    assert found.roots == ()


def test_a_trace_that_does_not_come_is_not_waited_for_for_ever(jaeger: JaegerServer):
    assert jaeger.client.find_trace("f" * 32) is None
    with pytest.raises(AssertionError, match="0 of 1 spans"):
        jaeger.client.trace("f" * 32, spans=1, timeout_s=0.2)


def test_more_spans_than_expected_are_a_failure(jaeger: JaegerServer, tracer: trace.Tracer):
    trace_id = make_trace(tracer)
    jaeger.client.trace(trace_id, spans=3)
    with pytest.raises(AssertionError, match="3 spans instead of 2"):
        jaeger.client.trace(trace_id, spans=2)


def test_the_server_ends_with_its_block(jaeger_binary: Path):
    with JaegerServer(jaeger_binary) as server:
        process = server.process
        assert process is not None
        assert server.client.services() == []
    assert process.returncode is not None


def test_a_server_that_does_not_start_says_why(tmp_path: Path):
    broken = tmp_path / "jaeger"
    broken.write_text("#!/bin/sh\necho 'no such store' >&2\nexit 3\n")
    broken.chmod(0o755)
    with (
        pytest.raises(StartError, match=r"exit code 3\n.*no such store"),
        JaegerServer(broken),
    ):
        pass
