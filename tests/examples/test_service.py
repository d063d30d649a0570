"""examples/service as a real process: one trace, true metrics, an end that loses nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.e2e.jaeger_server import JaegerServer
from tests.e2e.programs import StartError, wait_until
from tests.examples.running import ORDER, SERVICE, Service, run_load, traces_of
from tests.export.collector import collecting

# Processes are started and waited for, on machines that may be busy.
pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(os.name == "nt", reason="ends services with SIGTERM"),
]

# What an order is made of where nothing goes wrong, below the span of its run.
OF_AN_ORDER = {
    "run orders": None,
    "map stock": "run orders",
    "item stock": "map stock",
    "attempt stock": "item stock",
    "node look_up": "attempt stock",
    "node price": "run orders",
    "attempt price": "node price",
    "node history": "run orders",
    "node offer": "run orders",
    "node greeting": "run orders",
    "node letter": "run orders",
    "node nearby": "run orders",
    "node far_away": "run orders",
    "node deliver": "run orders",
    "chat scripted-mini": "node letter",
}


@pytest.fixture(scope="module")
def collector():
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def service(collector, tmp_path_factory):
    with Service(tmp_path_factory.mktemp("service"), collector.url) as running:
        yield running


def samples(page, name):
    """Return label sets and values of a metric."""
    return [
        (dict(re.findall(r'(\w+)="(.*?)"', labels)), float(value))
        for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", page, re.MULTILINE)
    ]


def runs(page):
    """Return how many runs ended, by graph and outcome."""
    return {
        (labels["hush_graph_name"], labels["hush_outcome"]): value
        for labels, value in samples(page, "hush_run_duration_seconds_count")
    }


def whole(collector, trace_id, name="run orders"):
    """Wait for the span of a run, which ends last of its own, and return the trace."""

    def found():
        trace = traces_of(collector).get(trace_id, {})
        return trace if any(span.name.startswith("POST") for span in trace.values()) else None

    trace = wait_until(found, f"the request in trace {trace_id}")
    assert any(span.name == name for span in trace.values())
    return trace


# --- one trace --------------------------------------------------------------------------------


def caller_of(endpoint):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    return provider


def ask_as_a_caller(service, endpoint, body=ORDER):
    """Ask within a span of the caller's own, which goes to the same receiver."""
    provider = caller_of(endpoint)
    with provider.get_tracer("caller").start_as_current_span("checkout") as span:
        headers = {}
        TraceContextTextMapPropagator().inject(headers)
        answer = service.ask("/orders", body, **headers)
    provider.shutdown()
    return answer, format(span.get_span_context().trace_id, "032x")


def check_one_trace(spans, names_of_parents):
    """See that the trace goes from the caller to the model; spans by id."""
    (checkout,) = [span for span in spans.values() if span.name == "checkout"]
    (request,) = [span for span in spans.values() if span.name == "POST /orders"]
    assert request.parent_id == checkout.span_id
    (run,) = [span for span in spans.values() if span.name == "run orders"]
    assert run.parent_id == request.span_id
    for name, parent in names_of_parents.items():
        found = [span for span in spans.values() if span.name == name]
        assert found, name
        if parent is not None:
            assert parent in {spans[span.parent_id].name for span in found}, name
    # Nothing hangs in the air.
    assert all(span.parent_id in spans for span in spans.values() if span is not checkout)


def test_one_trace_from_the_caller_to_the_model(service, collector):
    answer, trace_id = ask_as_a_caller(service, collector.url)
    assert answer.status == 200
    assert answer.trace_id == answer.body["trace_id"] == trace_id
    assert answer.headers["x-run-id"] == answer.body["run_id"]
    assert answer.body["letter"].startswith("Dear customer")
    assert answer.body["lacking"] == 1
    spans = whole(collector, trace_id)
    check_one_trace(spans, OF_AN_ORDER)
    names = sorted(span.name for span in spans.values())
    assert names.count("item stock") == 3
    assert names.count("chat scripted-mini") == 2
    (run,) = [span for span in spans.values() if span.name == "run orders"]
    assert run.attributes["hush.run.id"] == answer.body["run_id"]
    assert run.attributes["hush.partial_failure"] is True
    assert not run.failed


@pytest.mark.jaeger
def test_one_trace_in_jaeger(jaeger_binary, tmp_path):
    with JaegerServer(jaeger_binary) as jaeger, Service(tmp_path, jaeger.otlp_http) as service:
        _, trace_id = ask_as_a_caller(service, jaeger.otlp_http)

        def found():
            trace = jaeger.client.find_trace(trace_id)
            names = {span.name for span in trace.spans} if trace else set()
            return trace if {"checkout", "POST /orders", *OF_AN_ORDER} <= names else None

        trace = wait_until(found, "the whole trace in Jaeger")
        check_one_trace(trace.by_id, OF_AN_ORDER)
        assert service.end() == 0


def test_lines_carry_the_trace(service):
    answer = service.ask("/orders", ORDER)

    def found():
        return [line for line in service.lines() if line.get("run_id") == answer.body["run_id"]]

    (line,) = wait_until(found, "a line for the request")
    assert (line["event"], line["method"], line["path"]) == ("request", "POST", "/orders")
    assert (line["status"], line["trace_id"]) == (200, answer.trace_id)


def test_without_a_caller_a_trace_begins(service, collector):
    answer = service.ask("/pages", {"pages": [1, 2, 3]})
    assert answer.body["words"] == 306
    spans = whole(collector, answer.trace_id, "run pages")
    assert [span.name for span in spans.values() if not span.parent_id] == ["POST /pages"]
    # Nonsense in its place begins one, too.
    again = service.ask("/pages", {"pages": [1]}, traceparent="00-nonsense")
    assert again.status == 200
    assert re.fullmatch("[0-9a-f]{32}", again.trace_id)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/orders", {"customer": "ann"}, 422, "does not fit"),
        ("/orders", {**ORDER, "coupon": "x"}, 422, "does not fit"),
        ("/orders", {**ORDER, "items": []}, 422, "does not fit"),
        ("/orders", b"{", 422, "does not fit"),
        ("/orders?deadline_s=31", ORDER, 422, "does not fit"),
        ("/orders?deadline_s=0.02", ORDER, 504, "longer than it may"),
        ("/orders", {**ORDER, "customer": "nobody"}, 500, "at orders.history"),
        ("/orders", b"x" * 70_000, 413, "65536 bytes"),
        ("/nothing", None, 404, "Not Found"),
        ("/orders", None, 405, "Method Not Allowed"),
    ],
)
def test_what_goes_wrong_is_a_status_with_ids(service, path, body, status, detail):
    answer = service.ask(path, body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.body["detail"]
    assert answer.body["trace_id"] == answer.trace_id
    failed = status in {500, 504}
    assert ("run_id" in answer.body) is failed
    # Texts of exceptions are for those who run the service.
    assert "such customer" not in json.dumps(answer.body)


def test_a_value_that_does_not_fit_is_not_repeated(service):
    answer = service.ask("/pages", {"pages": ["hunter2"]})
    assert answer.status == 422
    assert "hunter2" not in json.dumps(answer.body)
    assert answer.body["errors"][0]["where"] == ["body", "pages", 0]


def test_an_error_behind_the_service_is_a_bad_gateway(tmp_path, collector):
    # Everything fails. Of so many items too few have by the time that the price has.
    order = {"customer": "ann", "items": [f"item {number}" for number in range(50)]}
    with Service(tmp_path, collector.url, FAULTS="1000") as service:
        answer = service.ask("/orders", order)
        assert answer.status == 502
        assert answer.body["node"] == "orders.price"
        trace = whole(collector, answer.trace_id)
        (run,) = [span for span in trace.values() if span.name == "run orders"]
        assert run.failed
        assert run.attributes["hush.failed.node"] == "orders.price"


def test_a_body_without_length_is_limited_too(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        head = "POST /orders HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        connection.sendall(chunk * 3)
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_run_ends_when_nobody_waits_for_it(tmp_path, collector):
    body = json.dumps(ORDER).encode()
    head = f"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    with Service(tmp_path, collector.url, SLOW_S="25") as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
            wait_until(lambda: active(service.metrics()) == 1, "the run has begun")
        wait_until(lambda: runs(service.metrics()) == {("orders", "cancelled"): 1}, "it is over")
        (line,) = [line for line in service.lines() if line["event"] == "request"]
        assert line["status"] == 499
        assert line["duration_s"] < 25


# --- metrics, probes, limits --------------------------------------------------------------------


def active(page):
    return sum(value for _, value in samples(page, "hush_run_active"))


def test_metrics_count_what_was_asked(tmp_path, collector):
    with Service(tmp_path, collector.url) as service:
        for _ in range(3):
            assert service.ask("/orders", ORDER).status == 200
        for _ in range(2):
            assert service.ask("/pages", {"pages": list(range(10))}).status == 200
        assert service.ask("/orders", {**ORDER, "customer": "nobody"}).status == 500
        assert service.ask("/orders?deadline_s=0.02", ORDER).status == 504
        assert service.ask("/orders", {}).status == 422
        page = service.metrics()
        assert runs(page) == {
            ("orders", "ok"): 3,
            ("orders", "error"): 1,
            ("orders", "timeout"): 1,
            ("pages", "ok"): 2,
        }
        items = {
            (labels["hush_node_name"], labels["hush_outcome"]): value
            for labels, value in samples(page, "hush_item_duration_seconds_count")
        }
        assert items["fetch_all", "ok"] == 20
        # That of the order that failed may have ended before it did, and that of the one whose
        # time was up before it was.
        assert 3 <= items["stock", "error"] <= 5
        answered = {
            (labels["http_route"], labels["http_response_status_code"]): value
            for labels, value in samples(page, "http_server_request_duration_seconds_count")
        }
        assert answered == {
            ("/orders", "200"): 3,
            ("/orders", "500"): 1,
            ("/orders", "504"): 1,
            ("/orders", "422"): 1,
            ("/pages", "200"): 2,
        }
        assert active(page) == 0
        # Probes and scrapes leave no spans.
        assert service.end() == 0
        names = {span.name for trace in traces_of(collector).values() for span in trace.values()}
        assert not [name for name in names if "metrics" in name or "readyz" in name]


def test_too_much_at_once_is_turned_away(tmp_path, collector):
    limits = {"MAX_RUNS": "2", "MAX_WAITING": "3", "MAX_WAIT_S": "30"}
    with Service(tmp_path, collector.url, **limits) as service:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: service.ask("/orders", ORDER), range(12)))
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 5
        for answer in answers:
            if answer.status == 503:
                assert answer.headers["retry-after"] == "1"
        # What was turned away was never a run.
        assert runs(service.metrics()) == {("orders", "ok"): statuses.count(200)}
    limits |= {"MAX_RUNS": "1", "MAX_WAIT_S": "0"}
    with Service(tmp_path, collector.url, **limits) as service, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.ask("/orders", ORDER), range(4)))
        turned_away = [answer for answer in answers if answer.status == 503]
        assert turned_away
        assert "nobody's turn" in turned_away[0].body["detail"]


def test_probes(service):
    assert service.ask("/healthz").body == "alive\n"
    assert service.ask("/readyz").body == "ready\n"
    # At once, and not by way of a redirect.
    assert service.ask("/metrics").status == 200


def test_what_cannot_start_says_why_and_leaves(tmp_path, collector, service):
    with pytest.raises(StartError, match=r"exit code 3\n(.|\n)*Address already in use"):
        Service(tmp_path, collector.url, PORT=str(service.port)).__enter__()
    nothing = {"HUSH_CONFIG": str(tmp_path / "no.yaml")}
    with pytest.raises(StartError, match=r"exit code 3\n(.|\n)*ResourceError"):
        Service(tmp_path, collector.url, **nothing).__enter__()


def test_a_wrong_setting_is_refused(tmp_path, collector):
    with pytest.raises(AssertionError, match=r"MAX_RUNS='none': expected a whole number, 1 or"):
        Service(tmp_path, collector.url, MAX_RUNS="none").__enter__()


# --- the end -----------------------------------------------------------------------------------


def begin_orders(service, count):
    """Ask for orders at once; return threads' answers and wait until all are being run."""
    pool = ThreadPoolExecutor(count)
    body = {**ORDER, "customer": "ann"}
    asked = [pool.submit(service.ask, "/orders", body) for _ in range(count)]
    wait_until(lambda: active(service.metrics()) == count, "all runs have begun")
    return pool, asked


def check_nothing_lost(collector, answers, name="run orders"):
    """See that all spans of these answers have come, and are whole."""
    found = traces_of(collector)
    for answer in answers:
        spans = found[answer.trace_id]
        (request,) = [span for span in spans.values() if span.name == "POST /orders"]
        (run,) = [span for span in spans.values() if span.name == name]
        assert run.parent_id == request.span_id
        assert all(span.parent_id in spans for span in spans.values() if span.parent_id)
        # The runtime has counted what it started.
        nodes = [span for span in spans.values() if span.name.startswith(("node ", "map "))]
        assert len(nodes) == run.attributes["hush.node.count"]


def test_sigterm_lets_runs_end_and_loses_no_span(tmp_path):
    with collecting() as collector, Service(tmp_path, collector.url, SLOW_S="2") as service:
        pool, asked = begin_orders(service, 10)
        with pool:
            process = service.process
            process.terminate()
            wait_until(lambda: service.ask("/readyz").status == 503, "it says that it is ending")
            # It still answers, and says no.
            assert service.ask("/healthz").status == 200
            late = service.ask("/orders", ORDER)
            assert late.status == 503
            assert late.body["detail"] == "the service is ending"
            assert late.headers["connection"] == "close"
            answers = [each.result() for each in asked]
        assert [answer.status for answer in answers] == [200] * 10
        assert process.wait(60) == 0
        check_nothing_lost(collector, answers)
        assert not list((tmp_path / "spool").rglob("*.otlp"))
        assert collector.twice == 0
        events = [line["event"] for line in service.lines()]
        assert "ending" in events
        assert "runs are cancelled" not in events


def test_what_takes_too_long_is_cancelled_and_its_spans_arrive(tmp_path):
    slow = {"SLOW_S": "25", "DRAIN_S": "0.5"}
    with collecting() as collector, Service(tmp_path, collector.url, **slow) as service:
        pool, asked = begin_orders(service, 4)
        with pool:
            process = service.process
            process.terminate()
            answers = [each.result() for each in asked]
        assert [answer.status for answer in answers] == [503] * 4
        assert process.wait(60) == 0
        check_nothing_lost(collector, answers)
        for answer in answers:
            spans = traces_of(collector)[answer.trace_id].values()
            (run,) = [span for span in spans if span.name == "run orders"]
            assert run.attributes["hush.outcome"] == "cancelled"
            assert run.attributes["hush.cancel.reason"] == "external"
        assert "runs are cancelled" in [line["event"] for line in service.lines()]


def test_a_second_signal_waits_for_nothing(tmp_path):
    slow = {"SLOW_S": "25", "LINGER_S": "25"}
    with collecting() as collector, Service(tmp_path, collector.url, **slow) as service:
        pool, asked = begin_orders(service, 2)
        with pool:
            process = service.process
            process.send_signal(signal.SIGINT)
            wait_until(lambda: service.ask("/readyz").status == 503, "it says that it is ending")
            # Load balancers have not heard of it yet: requests are still taken.
            assert service.ask("/pages", {"pages": [1]}).status == 200
            process.send_signal(signal.SIGINT)
            assert [each.result().status for each in asked] == [503, 503]
        assert process.wait(60) == 0


def test_spans_wait_in_the_spool_where_no_collector_is(tmp_path):
    with collecting() as collector:
        collector.stop()
        with Service(tmp_path, collector.url) as service:
            first = service.ask("/orders", ORDER)
            assert service.end() == 0
        assert list((tmp_path / "spool").rglob("*.otlp"))
        collector.start()
        with Service(tmp_path, collector.url) as service:
            wait_until(lambda: first.trace_id in traces_of(collector), "the next one sends them")
            assert service.end() == 0
        check_nothing_lost(collector, [first])


# --- the load ------------------------------------------------------------------------------------


def test_the_load_ends_by_itself_and_says_how_it_went(tmp_path, collector):
    with Service(tmp_path, collector.url) as service:
        options = ("--rate", 10, "--duration", 3, "--odd", 0.2)
        out = run_load(service.url, *options)
        assert re.search(r"^30 requests: \d+ 200, ", out)
        assert re.search(r"^seconds +p50 +p90 +p95 +p99 +max$", out, re.MULTILINE)
        assert re.search(r"^  all( +\d+\.\d{3}){5}$", out, re.MULTILINE)
        assert max(map(len, out.splitlines())) <= 80
        (slow, *_) = re.findall(r"^slow: .* trace ([0-9a-f]{32})$", out, re.MULTILINE)
        wait_until(lambda: slow in traces_of(collector), "the slowest one's trace")
        found = json.loads(run_load(service.url, *options, "--json"))
        assert found["requests"] == 30 == sum(found["statuses"].values())
        assert sum(runs(service.metrics()).values()) <= 60


def test_the_load_of_a_service_that_is_not_there():
    out = run_load("http://127.0.0.1:9", "--rate", 10, "--duration", 0.5, code=1)
    assert out == "5 requests: 5 ConnectError\n", out


def test_the_load_can_be_interrupted(service):
    process = subprocess.Popen(
        [sys.executable, str(SERVICE / "load.py"), "--url", service.url, "--duration", "600"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    wait_until(lambda: active(service.metrics()), "it has begun")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=40)
    assert "requests: " in out


# --- what it needs ------------------------------------------------------------------------------


def test_the_tests_use_what_the_service_asks_for():
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    dev = extras["optional-dependencies"]["dev"]
    asked = [
        line
        for line in (SERVICE / "requirements.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert asked
    assert set(asked) <= set(dev)
