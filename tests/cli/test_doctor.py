"""hush doctor: whether telemetry arrives, and what to mend where it does not."""

from __future__ import annotations

import http.server
import threading
import time
from email.utils import formatdate

import pytest

from hush.cli.doctor.receiving import look_at_receiver
from tests.e2e.conftest import jaeger  # noqa: F401  # the same server as theirs
from tests.export.collector import NOBODY, Collector, Reply, partial

TRAPPED = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)

from flows import crawl

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
"""


@pytest.fixture
def home(tmp_path):
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def collector():
    made = Collector()
    made.start()
    yield made
    made.stop()


def examined(hush, *arguments, code=0, **variables):
    """Return what was found, by what it is about and how grave it is."""
    found = hush.json("doctor", *arguments, code=code, **variables)
    assert found["ok"] is (code == 0)
    return found["checks"]


def of(checks, about, level):
    return [one for one in checks if one["about"] == about and one["level"] == level]


def test_nothing_is_set_and_nothing_is_wrong(hush, home):
    said = hush("doctor", **home)
    assert said.stderr == ""
    assert "hush " in said.stdout
    assert "no receiver is named: spans stay on this machine" in said.stdout
    assert ": nothing waits" in " ".join(said.stdout.split())
    assert said.stdout.endswith("all well\n")
    assert "\x1b" not in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80


def test_a_span_is_sent_and_taken(hush, home, collector):
    checks = examined(hush, "--wait", "1s", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **home)
    (taken,) = of(checks, "receiver", "ok")
    assert taken["facts"]["url"] == f"{collector.url}/v1/traces"
    assert collector.names == {"hush doctor": 1}
    assert of(checks, "clock", "ok")
    # There is no Jaeger: whether the span was kept cannot be known.
    (unknown,) = of(checks, "found again", "note")
    assert "--jaeger" in unknown["remedy"]


def test_nothing_is_sent_where_that_is_said(hush, home, collector):
    checks = examined(hush, "--no-send", "--endpoint", collector.url, **home)
    assert of(checks, "receiver", "note")
    assert not collector.requests


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        (Reply(401, store=False), "OTEL_EXPORTER_OTLP_HEADERS"),
        (Reply(404, store=False), "base address"),
        (Reply(302, {"Location": "http://elsewhere"}, store=False), "redirect"),
        (Reply(503, store=False), "own log"),
        (Reply(200, {"Content-Type": "text/html"}, b"<p>hello", store=False), "proxy"),
        (partial(1, "too large", store=0), "own log"),
    ],
)
def test_a_receiver_that_does_not_take_it(hush, home, collector, reply, remedy):
    collector.script = lambda request, number: reply
    checks = examined(hush, "--endpoint", collector.url, code=1, **home)
    (fault,) = of(checks, "receiver", "fault")
    assert remedy in fault["remedy"]
    assert not [one for one in checks if one["about"] == "found again"]


def test_nobody_listens(hush, home):
    said = hush("doctor", OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY, code=1, **home)
    text = " ".join(said.stdout.split())
    assert "http://127.0.0.1:9/v1/traces has not taken a span: " in text
    assert "Connection refused" in text
    assert "start the receiver" in text
    assert "1 fault" in text


def test_secrets_are_not_shown(hush, home):
    said = hush(
        "doctor",
        "--no-send",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://me:hunter2@localhost:4318?token=hunter2",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=hunter2",
        **home,
    )
    assert "hunter2" not in said.stdout + said.stderr
    assert "OTEL_EXPORTER_OTLP_HEADERS=(set, not shown)" in " ".join(said.stdout.split())


@pytest.mark.parametrize(
    ("variables", "about", "level", "part"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPIONT": "x"}, "variables", "warning", "OTEL_EXPORTER_OTLP_ENDP"),
        ({"HUSH_WHATEVER_ELSE": "x"}, "variables", "note", "HUSH_WHATEVER_ELSE"),
        ({"OTEL_SERVICE_NAME": ""}, "variables", "note", "is empty"),
        ({"OTEL_SDK_DISABLED": "true"}, "variables", "fault", "neither spans nor metrics"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "variables", "fault", "go nowhere"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "variables", "fault", "zipkin"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "sampler", "fault", "no run is recorded"),
        ({"OTEL_TRACES_SAMPLER": "always_no"}, "sampler", "warning", "always_no"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
            "sampler",
            "warning",
            "10.00%",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10"},
            "sampler",
            "warning",
            "no share",
        ),
        ({"HUSH_SPOOL": "off"}, "spool", "warning", "loses spans"),
        ({"HUSH_SPOOL": "/tmp"}, "spool", "fault", "share"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "receiver", "fault", "HTTP"),
    ],
)
def test_what_variables_do(hush, home, variables, about, level, part):
    code = 1 if level == "fault" else 0
    checks = examined(hush, code=code, **home, **variables)
    found = of(checks, about, level)
    assert any(part in one["said"] for one in found), checks


def test_a_foreign_file_in_the_place_of_the_store(hush, home, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    checks = examined(hush, code=1, HUSH_TRACE_STORE=str(notes), **home)
    (fault,) = of(checks, "trace store", "fault")
    assert "notes.txt" in fault["said"]
    assert notes.read_text() == "mine"


def test_what_waits_and_what_was_refused(hush, home, collector):
    collector.script = lambda request, number: Reply(400, store=False)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    hush("run", "flows:talks", **variables, **home)
    hush("run", "flows:talks", OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY, **home)
    checks = examined(hush, **home)
    (waits,) = of(checks, "spool", "note")
    assert NOBODY in waits["said"]
    (refused,) = of(checks, "spool", "warning")
    assert "rejected" in refused["said"]
    assert "hush spool send --rejected" in refused["remedy"]


def test_the_set_up_of_an_application(hush, home, tmp_path):
    (tmp_path / "trapped.py").write_text(TRAPPED)
    checks = examined(hush, "trapped:crawl", **home)
    assert of(checks, "workflow", "ok")[0]["facts"]["graph"] == "crawl"
    (provider,) = of(checks, "provider", "ok")
    assert provider["facts"]["processors"] == ["SimpleSpanProcessor", "BatchSpanProcessor"]
    told = [one["said"] for one in of(checks, "provider", "warning")]
    assert any("while the event loop waits" in text for text in told)
    assert any("holds 2,048 spans" in text for text in told)
    checks = examined(hush, "flows:crawl", **home)
    assert of(checks, "provider", "note")
    assert "no_such" in hush.refused("doctor", "no_such:graph", code=2, **home)


@pytest.mark.jaeger
def test_the_span_is_found_again_in_jaeger(hush, home, jaeger):  # noqa: F811  # the fixture
    checks = examined(hush, "--endpoint", jaeger.otlp_http, "--jaeger", jaeger.query, **home)
    (found,) = of(checks, "found again", "ok")
    trace = jaeger.client.find_trace(found["facts"]["trace_id"])
    assert [span.name for span in trace.spans] == ["hush doctor"]


@pytest.mark.jaeger
def test_a_span_that_never_comes_to_jaeger(hush, home, collector, jaeger):  # noqa: F811  # likewise
    checks = examined(
        hush, "--endpoint", collector.url, "--jaeger", jaeger.query, "--wait", "1s", **home
    )
    (lost,) = of(checks, "found again", "warning")
    assert "samples" in lost["remedy"]


@pytest.mark.jaeger
def test_the_port_of_another_protocol(hush, home, jaeger):  # noqa: F811  # likewise
    port = jaeger.otlp_grpc.rpartition(":")[2]
    checks = examined(hush, "--endpoint", f"http://127.0.0.1:{port}", code=1, **home)
    assert of(checks, "receiver", "fault")
    checks = examined(
        hush,
        OTEL_EXPORTER_OTLP_ENDPOINT=jaeger.otlp_grpc,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        **home,
    )
    assert "without the spool" in of(checks, "receiver", "warning")[0]["said"]
    assert "has taken a span" in of(checks, "receiver", "ok")[0]["said"]


@pytest.mark.parametrize("wrong_s", [0, 3_600, -90])
def test_a_receiver_whose_clock_is_wrong(wrong_s):
    class Handler(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp=None):
            return formatdate(time.time() + wrong_s, usegmt=True)

        def do_GET(self):
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        checks = list(look_at_receiver(address, None, send=False, wait_s=0))
        server.shutdown()
    (clock,) = [check for check in checks if check.about == "clock"]
    assert clock.level == ("warning" if wrong_s else "ok")
    if wrong_s:
        assert abs(clock.facts["skew_s"] - abs(wrong_s)) < 5
        assert "NTP" in clock.remedy
