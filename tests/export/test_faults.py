"""Faults of the receiver and of the way there: nothing lost, nothing invented, by span id."""

from __future__ import annotations

import email.utils
import logging
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hush.export.counts import counts
from hush.export.picker import Picker
from hush.export.route import route_of
from tests.export.collector import Collector, Reply, always, collecting, first, partial
from tests.export.spans import assert_all_once, sending, wait_for


def arrived(collector: Collector, source: object) -> None:
    wait_for(lambda: len(collector.stored) >= len(source.ids) and not source.files())


def test_all_is_well(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(3_000)
        assert source.processor.force_flush(30_000)
        assert_all_once(collector, source)
    assert counts.sent == {"traces": 3_000}
    assert counts.failures == {}
    assert source.files() == []


def test_down_for_a_whole_run_and_up_later(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    collector = Collector()
    with caplog.at_level(logging.INFO, "hush.export"), sending(collector, tmp_path) as source:
        source.end(5_000)
        assert not source.processor.force_flush(30_000)
        assert source.spans_on_disk() == 5_000
        collector.start()
        arrived(collector, source)
        assert_all_once(collector, source)
        # What had piled up in small batches went together.
        assert len(collector.requests) <= len(source.ids) / 512 + 3
        wait_for(lambda: "takes traces again" in caplog.text)
    collector.stop()
    assert caplog.text.count("the receiver does not take traces") == 1


def test_killed_in_the_middle_and_back(tmp_path: Path):
    collector = Collector()
    collector.start()
    with sending(collector, tmp_path, batch_size=50) as source:
        source.end(2_000)
        wait_for(lambda: len(collector.stored) >= 300)
        collector.stop()
        source.end(2_000)
        source.written()
        assert source.files()
        collector.start()
        arrived(collector, source)
        # A request whose answer was cut off may have been stored: that batch comes twice.
        assert sorted(collector.stored) == sorted(source.ids)
        assert collector.twice <= 50
        assert sum(counts.dropped.values()) == 0
    collector.stop()


@pytest.mark.parametrize(("delay_s", "spans", "batch"), [(0.1, 1_000, 100), (5.0, 60, 30)])
def test_slow(tmp_path: Path, delay_s: float, spans: int, batch: int):
    slow = always(Reply(delay_s=delay_s))
    with collecting(slow) as collector, sending(collector, tmp_path, batch_size=batch) as source:
        began = time.monotonic()
        source.end(spans)
        took = time.monotonic() - began
        source.written()
        arrived(collector, source)
        assert_all_once(collector, source)
        slept = delay_s * len(collector.requests)
    # The run did not wait for the receiver.
    assert took < slept


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 401, 403, 404, 408])
def test_statuses_that_are_tried_again(tmp_path: Path, status: int):
    script = first(2, Reply(status, store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(700)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", str(status)): 2}
    assert counts.sent == {"traces": 700}


def test_5xx_is_tried_again_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("hush.export.backoff.LONGEST_S", 0.02)
    script = first(60, Reply(503, store=False))
    with (
        caplog.at_level(logging.INFO, "hush.export"),
        collecting(script) as collector,
        sending(collector, tmp_path) as source,
    ):
        source.end(700)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", "503"): 60}
    assert caplog.text.count("the receiver does not take traces") == 1


def test_429_is_left_alone_for_as_long_as_it_asks(tmp_path: Path):
    script = first(1, Reply(429, {"Retry-After": "2"}, store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        arrived(collector, source)
        assert_all_once(collector, source)
        refused, taken = (request.at for request in collector.requests)
    assert taken - refused >= 2.0


def test_503_with_a_date_is_left_alone_until_then(tmp_path: Path):
    until = time.time() + 3

    def script(request: object, number: int) -> Reply:
        if time.time() < until - 1:
            when = email.utils.formatdate(until, usegmt=True)
            return Reply(503, {"Retry-After": when}, store=False)
        return Reply()

    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        arrived(collector, source)
        assert_all_once(collector, source)
    # Once too early, then when it was time; a date has no fractions of a second.
    assert len(collector.requests) == 2


def test_an_hour_is_an_hour_and_the_end_of_the_process_does_not_wait_for_it(tmp_path: Path):
    script = always(Reply(429, {"Retry-After": "3600"}, store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        assert not source.processor.force_flush(20_000)
        source.end(100)
        source.written()
        time.sleep(0.5)
        began = time.monotonic()
        source.provider.shutdown()
        took = time.monotonic() - began
        assert len(collector.requests) == 1
        assert source.spans_on_disk() == 200
    assert took < 5


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_is_refused_is_set_aside_and_the_rest_is_sent(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
):
    bad: set[str] = set()

    def script(request: object, number: int) -> Reply:
        return Reply(status, body=b"no good", store=False) if bad & set(request.spans) else Reply()

    # Only a flush ends a batch, however long a busy machine takes to end ten spans.
    options = {"batch_size": 100, "interval_s": 30.0}
    with collecting(script) as collector, sending(collector, tmp_path, **options) as source:
        collector.stop()
        for _ in range(5):
            source.end(10)
            source.written()
        bad.add(source.ids[25])  # in the third of five batches, which would go together
        assert len(source.files()) == 5
        collector.start()
        with caplog.at_level(logging.WARNING, "hush.export"):
            wait_for(lambda: not source.files())
            wait_for(lambda: counts.dropped)
        assert sorted(collector.stored) == sorted(source.ids[:20] + source.ids[30:])
        assert collector.twice == 0
        (aside,) = source.files("rejected")
        assert source.spans_on_disk("rejected") == 10
        assert aside.stat().st_mode & 0o777 == 0o600
    assert counts.dropped == {("traces", "rejected"): 10}
    assert counts.sent == {"traces": 40}
    assert caplog.text.count("the receiver refused traces") == 1
    assert "no good" in caplog.text


def test_partial_success_is_counted_and_not_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    script = first(1, partial(3, "three are too long", store=97))
    with (
        caplog.at_level(logging.WARNING, "hush.export"),
        collecting(script) as collector,
        sending(collector, tmp_path, batch_size=100) as source,
    ):
        source.end(100)
        wait_for(lambda: counts.dropped)
        source.end(100)
        wait_for(lambda: len(collector.stored) == 197 and not source.files())
        assert collector.twice == 0
        assert set(collector.stored) < set(source.ids)
    assert counts.dropped == {("traces", "partial_success"): 3}
    assert counts.sent == {"traces": 197}
    assert "rejected=3" in caplog.text
    assert "three are too long" in caplog.text


def test_no_more_is_rejected_than_was_sent(tmp_path: Path):
    script = always(partial(10**15, store=0))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        wait_for(lambda: counts.dropped)
    assert counts.dropped == {("traces", "partial_success"): 100}
    assert counts.sent == {"traces": 0}


@pytest.mark.parametrize(
    ("said", "timeout_s"), [("2.5", 2.5), ("10000", 10.0), ("inf", 10.0), ("-1", 10.0), ("x", 10.0)]
)
def test_seconds_and_milliseconds(monkeypatch: pytest.MonkeyPatch, said: str, timeout_s: float):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", said)
    assert route_of("traces", "http://h").timeout_s == timeout_s


def test_a_full_success_may_come_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    script = always(partial(0, "please upgrade", store=True))
    with (
        caplog.at_level(logging.WARNING, "hush.export"),
        collecting(script) as collector,
        sending(collector, tmp_path) as source,
    ):
        source.end(50)
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)
    assert "please upgrade" in caplog.text


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_never_followed(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
):
    with collecting() as elsewhere:
        target = {"Location": f"{elsewhere.url}/v1/traces?key=secret"}
        script = first(2, Reply(status, target, store=False))
        with (
            caplog.at_level(logging.WARNING, "hush.export"),
            collecting(script) as collector,
            sending(collector, tmp_path) as source,
        ):
            source.end(300)
            arrived(collector, source)
            assert_all_once(collector, source)
        assert elsewhere.requests == []
    assert counts.failures == {("traces", "redirect"): 2}
    assert "redirects are not followed" in caplog.text
    assert "secret" not in caplog.text


def test_reset_in_mid_body(tmp_path: Path):
    script = first(3, Reply(reset="body", store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(512)
        arrived(collector, source)
        assert_all_once(collector, source)
        assert len(collector.requests) == 4
    assert counts.failures == {("traces", "connection"): 3}


def test_an_answer_that_is_lost_is_the_only_way_to_come_twice(tmp_path: Path):
    script = first(1, Reply(reset="answer", store=True))
    with collecting(script) as collector, sending(collector, tmp_path, batch_size=100) as source:
        source.end(100)
        wait_for(lambda: collector.stored and max(collector.stored.values()) == 2)
        source.end(100)
        wait_for(lambda: not source.files() and len(collector.stored) == 200)
        assert sorted(collector.stored) == sorted(source.ids)
        # Stored, the answer lost, sent again: those of that request and no others.
        assert collector.twice == 100
        assert max(collector.stored.values()) == 2


@pytest.mark.parametrize("kind", ["text/html", "", "application/x-protobuf"])
def test_a_page_of_html_is_no_success(tmp_path: Path, kind: str):
    script = first(1, Reply(200, {"Content-Type": kind}, b"\n<p>Log in</p>", store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", "not_otlp"): 1}


def test_a_receiver_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    script = first(1, Reply(delay_s=3, store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", "timeout"): 1}


def test_order_is_kept(tmp_path: Path):
    collector = Collector()
    with sending(collector, tmp_path) as source:
        for _ in range(30):
            source.end(20)
            source.written()
        collector.start()
        arrived(collector, source)
        got = [span for request in collector.requests for span in request.spans]
    collector.stop()
    assert got == source.ids


def test_one_span_that_cannot_be_encoded_costs_no_other(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(100)
        tracer = source.provider.get_tracer("odd")
        span = tracer.start_span("before all time", start_time=-1)
        span.end()
        source.ids.append(format(span.get_span_context().span_id, "016x"))
        source.end(100)
        source.end(1, "half of a pair: \ud800")
        source.processor.force_flush(20_000)
        lost = source.ids.pop(100)
        assert sorted(collector.stored) == sorted(source.ids)
        assert lost not in collector.stored
    assert counts.dropped == {("traces", "encoding"): 1}


def test_large_spans_make_requests_that_receivers_take(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path) as source:
        tracer = source.provider.get_tracer("large")
        for _ in range(100):
            span = tracer.start_span("large", attributes={"text": "x" * 200_000})
            span.end()
            source.ids.append(format(span.get_span_context().span_id, "016x"))
        assert source.processor.force_flush(30_000)
        assert_all_once(collector, source)
        sizes = [request.message.ByteSize() for request in collector.requests]
    assert max(sizes) <= 4 * 1024 * 1024 + 4096


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compression_is_on_the_disk_and_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    collector = Collector()
    with sending(collector, tmp_path) as source:
        for _ in range(5):
            source.end(100)
            source.written()
        small = sum(path.stat().st_size for path in source.files())
        collector.start()
        arrived(collector, source)
        assert_all_once(collector, source)
        (encodings,) = {request.headers.get("Content-Encoding") for request in collector.requests}
        plain = sum(
            len(request.message.SerializeToString())
            for request in collector.requests
            if isinstance(request.message, ExportTraceServiceRequest)
        )
    collector.stop()
    assert encodings == compression
    assert small < plain * 0.75


def test_headers_are_sent_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cr3t,x-tenant=blue")
    collector = Collector()
    with sending(collector, tmp_path) as source:
        source.end(10)
        source.written()
        assert not source.processor.force_flush(5_000)
        for path in tmp_path.rglob("*"):
            assert b"s3cr3t" not in (path.read_bytes() if path.is_file() else b"")
            assert "s3cr3t" not in str(path)
        collector.start()
        arrived(collector, source)
        headers = collector.requests[0].headers
    collector.stop()
    assert headers["authorization"] == "Bearer s3cr3t"
    assert headers["x-tenant"] == "blue"


def made_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    command += f" -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_a_certificate_that_is_not_trusted_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    own, other = (made_certificate(tmp_path, name) for name in ("own", "other"))
    collector = Collector(certificate=own)
    collector.start()
    # The variable of OpenTelemetry goes before that of requests.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own[0]))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(other[0]))
    with caplog.at_level(logging.WARNING, "hush.export"):
        with sending(collector, tmp_path / "spool") as source:
            source.end(100)
            assert not source.processor.force_flush(20_000)
    assert "certificate verify failed" in caplog.text
    ids = source.ids
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(own[0]))
    with sending(collector, tmp_path / "spool") as source:
        assert source.processor.force_flush(20_000)
    collector.stop()
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0


def test_a_fault_of_the_sender_itself_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    real, calls = Picker._gather, []

    def broken(self, *args):
        calls.append(None)
        if len(calls) <= 2:
            raise RuntimeError("a mistake")
        return real(self, *args)

    monkeypatch.setattr(Picker, "_gather", broken)
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(100)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert caplog.text.count("the spool's sender failed; it goes on") == 1
