"""The collector with deploy/otel-collector/config.yaml: what it has accepted is not lost."""

from __future__ import annotations

import subprocess
import time
from itertools import count

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from tests.deploy.servers import (
    DEPLOY,
    DeployedCollector,
    DeployedJaeger,
    read_metrics,
    sum_of,
)
from tests.e2e.programs import wait_until

# Real servers are started and waited for, on machines that may be busy.
pytestmark = pytest.mark.timeout(150)

TRACES = 60
services = (f"queued-{number}" for number in count())


def test_the_collector_takes_the_configuration(collector_binary):
    done = subprocess.run(
        [
            str(collector_binary),
            "validate",
            "--config",
            str(DEPLOY / "otel-collector" / "config.yaml"),
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Acknowledged(SpanExporter):
    """Sends spans and remembers of which traces the receiver has said that it has them."""

    def __init__(self, url):
        self.inner = OTLPSpanExporter(f"{url}/v1/traces")
        self.traces = set()

    def export(self, spans):
        result = self.inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.traces |= {f"{span.context.trace_id:032x}" for span in spans}
        return result

    def shutdown(self):
        self.inner.shutdown()


class Sender:
    def __init__(self, url):
        self.service = next(services)
        self.exporter = Acknowledged(url)
        self.provider = TracerProvider(resource=Resource({"service.name": self.service}))
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def send(self, number):
        for _ in range(number):
            with self.provider.get_tracer("test").start_as_current_span("work"):
                pass


def in_jaeger(jaeger, service):
    found = jaeger.client._get(f"/api/traces?service={service}&limit=1000&lookback=1h")["data"]
    return {trace["traceID"] for trace in found}


@pytest.fixture
def pipeline(jaeger_binary, collector_binary, tmp_path):
    """A collector, and a Jaeger that is not started yet and keeps everything."""
    jaeger = DeployedJaeger(
        jaeger_binary, tmp_path, HUSH_SAMPLE_PERCENT="100", HUSH_DECISION_WAIT="1s"
    )
    with DeployedCollector(collector_binary, tmp_path, jaeger.ports["otlp_grpc"]) as collector:
        try:
            yield collector, jaeger
        finally:
            jaeger.stop()


def test_what_was_accepted_survives_a_kill_and_an_absent_jaeger(pipeline):
    collector, jaeger = pipeline
    sender = Sender(collector.otlp_http)
    sender.send(TRACES)
    assert len(sender.exporter.traces) == TRACES
    collector.kill()
    collector.begin()
    jaeger.begin()
    wait_until(
        lambda: in_jaeger(jaeger, sender.service) == sender.exporter.traces,
        "all accepted traces in Jaeger",
        timeout_s=45,
    )


def test_what_was_accepted_survives_kills_in_the_middle(pipeline):
    collector, jaeger = pipeline
    jaeger.begin()
    sender = Sender(collector.otlp_http)
    for _ in range(3):
        sender.send(TRACES // 3)
        collector.kill()
        collector.begin()
    sender.send(1)
    assert len(sender.exporter.traces) == TRACES + 1
    wait_until(
        lambda: in_jaeger(jaeger, sender.service) >= sender.exporter.traces,
        "all accepted traces in Jaeger",
        timeout_s=45,
    )
    assert in_jaeger(jaeger, sender.service) == sender.exporter.traces


def test_the_queue_is_seen_filling_and_emptying(pipeline):
    collector, jaeger = pipeline

    def queued():
        return sum_of(read_metrics(collector.ports["own"]), "otelcol_exporter_queue_size")

    sender = Sender(collector.otlp_http)
    sender.send(20)
    assert wait_until(queued, "something in the queue") > 0
    capacity = sum_of(read_metrics(collector.ports["own"]), "otelcol_exporter_queue_capacity")
    assert capacity == 1024**3
    jaeger.begin()
    wait_until(lambda: queued() == 0, "an empty queue", timeout_s=45)


def test_metrics_that_are_sent_are_served(pipeline):
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    collector, _ = pipeline
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{collector.otlp_http}/v1/metrics"), export_interval_millis=3_600_000
    )
    provider = MeterProvider([reader], resource=Resource({"service.name": "sends-metrics"}))
    histogram = provider.get_meter("hush").create_histogram("hush.run.duration", unit="s")
    histogram.record(2.0, {"hush.graph.name": "crawl", "hush.outcome": "ok"})
    provider.force_flush()
    provider.shutdown()
    text = wait_until(
        lambda: read_metrics(collector.ports["metrics"]), "metrics at the collector", timeout_s=10
    )
    # The same name as when the process is scraped.
    assert sum_of(text, "hush_run_duration_seconds_count", hush_graph_name="crawl") == 1
    assert 'job="sends-metrics"' in text


def test_a_full_queue_refuses_what_it_cannot_keep(jaeger_binary, collector_binary, tmp_path):
    # Refused is not lost: a sender with a spool tries again. Accepted and dropped would be.
    absent = DeployedJaeger(jaeger_binary, tmp_path)
    collector = DeployedCollector(collector_binary, tmp_path, absent.ports["otlp_grpc"])
    collector.variables = {"COLLECTOR_QUEUE_BYTES": "4000"}
    with collector:
        sender = Sender(collector.otlp_http)
        sender.exporter.inner._timeout = 1
        sender.send(1)
        assert len(sender.exporter.traces) == 1
        give_up = time.monotonic() + 30
        sent = 1
        while len(sender.exporter.traces) == sent:
            assert time.monotonic() < give_up
            sender.send(1)
            sent += 1
        refused = sum_of(
            read_metrics(collector.ports["own"]), "otelcol_receiver_refused_spans_total"
        )
        assert refused >= 1
