"""Metrics and logs by way of the spool, and what the export says of itself."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader

from hush import semconv
from hush.export import counts as counts_module
from hush.export.counts import counts, create_instruments
from hush.export.options import SpoolOptions
from hush.export.outbox import open_outbox
from hush.export.route import route_of, speaks_http
from hush.export.signal_exporters import SpoolingLogExporter, SpoolingMetricExporter
from tests.export.collector import NOBODY, Collector, Reply, collecting
from tests.export.spans import assert_all_once, sending, wait_for


def outbox_of(signal: str, url: str, path: Path):
    return open_outbox(signal, url, SpoolOptions(path=path, exit_s=0.3))


def sums_of(collector: Collector) -> list[int]:
    return [
        point.as_int
        for request in collector.requests
        if request.path == "/v1/metrics"
        for resource in request.message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.sum.data_points
    ]


def bodies_of(collector: Collector) -> list[str]:
    return [
        record.body.string_value
        for request in collector.requests
        if request.path == "/v1/logs"
        for resource in request.message.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def test_metrics_wait_for_the_receiver(tmp_path: Path):
    counts.__init__()
    collector = Collector()
    exporter = SpoolingMetricExporter(outbox_of("metrics", collector.url, tmp_path))
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counter = provider.get_meter("t").create_counter("c")
    for _ in range(3):
        counter.add(5)
        reader.collect()
    assert exporter.outbox.spooled()["metrics"][0] > 0
    collector.start()
    wait_for(lambda: sums_of(collector) == [5, 10, 15])
    provider.shutdown()
    collector.stop()
    assert counts.sent["metrics"] >= 3


def test_metrics_of_the_standard_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    with collecting() as collector:
        exporter = SpoolingMetricExporter(outbox_of("metrics", collector.url, tmp_path))
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        provider = MeterProvider([reader], shutdown_on_exit=False)
        counter = provider.get_meter("t").create_counter("c")
        for _ in range(3):
            counter.add(5)
            reader.collect()
        assert exporter.force_flush(20_000)
        assert sums_of(collector) == [5, 5, 5]
        provider.shutdown()


def test_logs_wait_for_the_receiver(tmp_path: Path):
    counts.__init__()
    collector = Collector()
    exporter = SpoolingLogExporter(outbox_of("logs", collector.url, tmp_path))
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=65_536))
    logger = provider.get_logger("t")
    for number in range(2_000):
        logger.emit(LogRecord(body=f"line {number}", severity_number=SeverityNumber.INFO))
    provider.force_flush()
    assert exporter.outbox.spooled()["logs"][0] > 0
    collector.start()
    wait_for(lambda: counts.sent["logs"] == 2_000)
    assert sorted(bodies_of(collector)) == sorted(f"line {number}" for number in range(2_000))
    provider.shutdown()
    collector.stop()


def test_a_signal_that_fails_holds_up_no_other(tmp_path: Path):
    """Jaeger takes traces and nothing else: metrics get a 404 for ever."""

    def script(request: object, number: int) -> Reply:
        return Reply() if request.path.endswith("traces") else Reply(404, store=False)

    with collecting(script) as collector, sending(collector, tmp_path) as source:
        outbox = outbox_of("metrics", collector.url, tmp_path)
        assert outbox is source.outbox
        outbox.put("metrics", b"", 1)
        wait_for(lambda: counts.failures[("metrics", "404")])
        source.end(1_000)
        wait_for(lambda: len(collector.stored) == 1_000)
        assert_all_once(collector, source)
        assert outbox.spooled()["metrics"][0] > 0


def test_receivers_are_shared_by_signals_and_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://two:4318/logs")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://one:4318/v1/metrics")
    options = SpoolOptions(path=tmp_path)
    traces, metrics, logs = (open_outbox(s, None, options) for s in ("traces", "metrics", "logs"))
    assert traces is metrics
    assert traces is not logs
    assert route_of("logs").url == "http://two:4318/logs"
    assert route_of("traces").url == "http://one:4318/v1/traces"
    for outbox in (traces, logs):
        outbox.close()


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://h:4318", "http://h:4318/v1/metrics"),
        ("http://h:4318/", "http://h:4318/v1/metrics"),
        ("http://h:4318/v1/traces", "http://h:4318/v1/metrics"),
        ("https://h/otlp?key=1", "https://h/otlp/v1/metrics?key=1"),
    ],
)
def test_where_a_signal_goes(endpoint: str, url: str):
    assert route_of("metrics", endpoint).url == url


def test_the_standard_variables(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    for name, value in {
        "HEADERS": "api-key=a%20b,other=c",
        "TRACES_HEADERS": "api-key=mine",
        "TIMEOUT": "3",
        "LOGS_TIMEOUT": "soon",
        "COMPRESSION": "gzip",
        "METRICS_COMPRESSION": "zstd",
        "CERTIFICATE": "/ca.pem",
        "CLIENT_CERTIFICATE": "/me.pem",
        "CLIENT_KEY": "/me.key",
        "LOGS_PROTOCOL": "grpc",
    }.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with caplog.at_level(logging.WARNING, "hush.export"):
        traces, metrics, logs = map(route_of, ("traces", "metrics", "logs"))
    assert traces.headers == {"api-key": "mine"}
    assert metrics.headers == {"api-key": "a b", "other": "c"}
    assert (traces.timeout_s, logs.timeout_s) == (3.0, 10.0)
    assert (traces.compression, metrics.compression) == ("gzip", "none")
    assert (traces.verify, traces.cert) == ("/ca.pem", ("/me.pem", "/me.key"))
    assert speaks_http("traces")
    assert not speaks_http("logs")
    assert "mine" not in repr(traces)
    assert "soon" in caplog.text
    assert "zstd" in caplog.text


# --- the export's own metrics ---------------------------------------------------------------------


def told() -> dict[str, dict[tuple[str, ...], float]]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    create_instruments(provider.get_meter("t"))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = {
                    tuple(sorted(point.attributes.values())): point.value
                    for point in metric.data.data_points
                }
    provider.shutdown()
    return found


def test_metrics_of_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counts_module, "_watched", type(counts_module._watched)())

    def script(request: object, number: int) -> Reply:
        return [Reply(503, store=False), Reply(), Reply(400, store=False)][min(number, 2)]

    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(30)
        assert source.outbox.place
        wait_for(lambda: len(collector.stored) == 30)
        source.end(20)
        wait_for(lambda: counts.dropped)
        collector.stop()
        source.end(10)
        source.processor.force_flush(10_000)
        wait_for(source.files)
        found = told()
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in source.files())
    assert found[semconv.METRIC_EXPORT_SPOOLED_BYTES] == {
        ("traces",): size,
        ("metrics",): 0,
        ("logs",): 0,
    }
    assert 0 <= found[semconv.METRIC_EXPORT_OLDEST_AGE][("traces",)] < 60
    assert found[semconv.METRIC_EXPORT_SENT] == {("traces",): 30, ("metrics",): 0, ("logs",): 0}
    dropped = found[semconv.METRIC_EXPORT_DROPPED]
    assert {key: count for key, count in dropped.items() if count} == {("rejected", "traces"): 20}
    failures = found[semconv.METRIC_EXPORT_FAILURES]
    assert failures[("503", "traces")] == failures[("400", "traces")] == 1
    assert found[semconv.METRIC_EXPORT_QUEUED] == {("traces",): 0, ("metrics",): 0, ("logs",): 0}
    assert found[semconv.METRIC_EXPORT_HELD_RUNS] == {(): 0}


def test_counters_begin_at_zero_so_that_their_first_growth_can_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(counts_module, "_watched", type(counts_module._watched)())
    with sending(NOBODY, tmp_path) as source:
        assert source.outbox.place
        found = told()
    dropped = found[semconv.METRIC_EXPORT_DROPPED]
    assert set(dropped.values()) == {0}
    assert set(dropped) == {
        tuple(sorted((why, signal)))
        for why, signals in counts_module.REASONS.items()
        for signal in signals
    }
    assert found[semconv.METRIC_EXPORT_SENT] == dict.fromkeys(
        [("traces",), ("metrics",), ("logs",)], 0
    )


def test_every_reason_is_known_and_documented():
    # What the code counts, what begins at zero, and what people look up are the same.
    root = Path(counts_module.__file__).parents[3]
    said = set()
    for path in Path(counts_module.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        said |= set(re.findall(r'counts\.drop\([^()]*?, "(\w+)", ', text))
    assert said
    table = (root / "docs" / "export.md").read_text(encoding="utf-8")
    table = table.partition("| `hush.export.reason` |")[2].partition("\n\n")[0]
    documented = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if line.startswith("|") else "")
    }
    assert said <= documented == set(counts_module.REASONS)


def test_what_waits_in_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counts_module, "_watched", type(counts_module._watched)())
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)
    with sending(NOBODY, None) as source:
        source.end(10)
        wait_for(lambda: source.outbox.memory.count == 10)
        assert told()[semconv.METRIC_EXPORT_QUEUED][("traces",)] == 10
