"""Where metrics go: variables and arguments, real receivers, providers that are already set.

Providers are global and cannot be taken back, hence a process for each case.
"""

from __future__ import annotations

import http.server
import os
import textwrap
import time

import anyio
import pytest

from hush.observe import configure
from hush.observe.metric_exporters import metric_exporter_names
from hush.observe.prometheus import _MetricsApp
from tests.export.collector import NOBODY, collecting
from tests.observe.applications import run_application

RUN = """
import sys, urllib.error, urllib.request
from hush.core import *
from hush.observe import configure
from opentelemetry import metrics, trace

def fail():
    raise ValueError

def run(name="g", slow_s=0.0):
    import time
    with GraphNode(name=name) as graph:
        START >> CodeNode(name="n", code_fn=lambda: time.sleep(slow_s) or {}, run_in="thread") >> END
    return Hush(graph).run_sync()

def page(port, path="/metrics"):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").read().decode()

def count(text, graph):
    sums = [float(line.split()[-1]) for line in text.splitlines()
            if line.startswith("hush_run_duration_seconds_count") and f'"{graph}"' in line]
    return sums
"""


def python(program, *, code=0, **environment):
    done = run_application(RUN, program, **{"OTEL_TRACES_EXPORTER": "none", **environment})
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def receiver():
    with collecting() as server:
        yield server


def messages_to(server, path):
    return [request.message for request in server.requests if request.path == path]


def metrics_of(server):
    """Return the last point of each metric, by name, and the resource."""
    found, resource = {}, {}
    for message in messages_to(server, "/v1/metrics"):
        for one in message.resource_metrics:
            resource = {a.key: a.value.string_value for a in one.resource.attributes}
            for scope in one.scope_metrics:
                found.update({metric.name: metric for metric in scope.metrics})
    return found, resource


# --- OTLP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "variable", "endpoint of metrics"])
def test_metrics_are_sent(receiver, how):
    variables = {
        "argument": {},
        "variable": {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
        "endpoint of metrics": {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{receiver.url}/v1/metrics"
        },
    }[how]
    wanted = f"endpoint={receiver.url!r}, metrics=True" if how == "argument" else ""
    python(
        f"""
        telemetry = configure(service_name="svc", {wanted})
        run(); run()
        telemetry.shutdown()
        """,
        **variables,
    )
    found, resource = metrics_of(receiver)
    (point,) = found["hush.run.duration"].histogram.data_points
    assert point.count == 2
    assert list(point.explicit_bounds)[:2] == [0.001, 0.0025]
    assert resource["service.name"] == "svc"


def test_exemplars_lead_to_the_trace_of_the_slow_run(receiver):
    done = python(
        f"""
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        telemetry = configure(endpoint={receiver.url!r}, metrics=True, store=False)
        for _ in range(20):
            run()
        print(run(slow_s=0.3).trace_id)
        for _ in range(20):
            run()
        telemetry.shutdown()
        """
    )
    found, _ = metrics_of(receiver)
    for name in ("hush.run.duration", "hush.node.duration"):
        (point,) = found[name].histogram.data_points
        assert point.count == 41
        slow = [one for one in point.exemplars if one.as_double >= 0.3]
        assert [one.trace_id.hex() for one in slow] == [done.stdout.strip()]


def test_an_endpoint_for_spans_sends_no_metrics(receiver):
    python(
        "run_with = configure(store=False); run(); run_with.shutdown()",
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    assert {request.path for request in receiver.requests} == {"/v1/traces"}


def test_interval_is_that_of_the_variable(receiver):
    python(
        f"""
        import time
        configure(endpoint={receiver.url!r}, metrics=True, store=False)
        run()
        time.sleep(1.5)
        import os
        os._exit(0)  # nothing is sent at the end
        """,
        OTEL_METRIC_EXPORT_INTERVAL="200",
    )
    assert len(receiver.requests) >= 2
    assert "hush.run.duration" in metrics_of(receiver)[0]


@pytest.mark.parametrize("how", ["shutdown", "exit"])
def test_a_receiver_that_is_away_does_not_hold_up_the_end(how):
    end = "telemetry.shutdown()" if how == "shutdown" else ""
    began = time.perf_counter()
    python(
        f"""
        import time
        telemetry = configure(endpoint={NOBODY!r}, metrics=True, store=False, logs="json")
        import logging
        logging.getLogger("x").warning("one line")
        run()
        began = time.perf_counter()
        import atexit
        atexit.register(lambda: None)
        {end}
        print(time.perf_counter() - began)
        """,
        OTEL_LOGS_EXPORTER="otlp",
    )
    # Two seconds each at most, and what it takes to start a process on a busy machine.
    assert time.perf_counter() - began < 25


def test_disabled_sdk_measures_nothing(receiver):
    python(
        f"""
        telemetry = configure(endpoint={receiver.url!r}, metrics=True)
        run()
        telemetry.shutdown()
        assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
        """,
        OTEL_SDK_DISABLED="true",
    )
    assert receiver.requests == []


# --- log records ------------------------------------------------------------------------------


def test_log_records_are_sent_with_their_trace_and_redacted(receiver):
    done = python(
        f"""
        import logging, structlog
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        telemetry = configure(endpoint={receiver.url!r}, logs="json", store=False)
        log = structlog.get_logger("app")

        def work():
            log.info("hello", password="hunter2", n=3, bad=float("nan"), nested={{"a": [1]}})
            try:
                raise ValueError("token=abcdef0123456789abcdef")
            except ValueError:
                logging.getLogger("std").exception("failed")
            return {{}}

        with GraphNode(name="g") as graph:
            START >> CodeNode(code_fn=work) >> END
        print(Hush(graph).run_sync().trace_id)
        telemetry.shutdown()
        """,
        OTEL_LOGS_EXPORTER="otlp",
    )
    trace_id = done.stdout.splitlines()[-1]
    records = [
        (scope.scope.name, record)
        for message in messages_to(receiver, "/v1/logs")
        for resource in message.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert [name for name, _ in records] == ["app", "std"]
    for _, record in records:
        assert record.trace_id.hex() == trace_id
        assert record.span_id != b""
        attributes = {a.key: a.value for a in record.attributes}
        assert attributes["hush.node.path"].string_value == "g.work"
        assert "trace_id" not in attributes
    (hello, failed) = (record for _, record in records)
    assert (hello.body.string_value, hello.severity_text) == ("hello", "INFO")
    assert (failed.body.string_value, failed.severity_text) == ("failed", "ERROR")
    said = {a.key: a.value for a in hello.attributes}
    assert said["password"].string_value == "[redacted]"
    assert said["n"].int_value == 3
    error = {a.key: a.value.string_value for a in failed.attributes}
    assert error["exception.type"] == "ValueError"
    assert "abcdef0123456789" not in str(failed)


def test_lines_about_the_export_are_not_exported(receiver):
    python(
        f"""
        import logging
        telemetry = configure(endpoint={receiver.url!r}, logs="json", store=False)
        for name in ("opentelemetry.sdk", "urllib3.pool", "hush.export", "hush.telemetry", "hush.x"):
            logging.getLogger(name).error("about me")
        telemetry.shutdown()
        """,
        OTEL_LOGS_EXPORTER="otlp",
    )
    sent = [
        scope.scope.name
        for message in messages_to(receiver, "/v1/logs")
        for resource in message.resource_logs
        for scope in resource.scope_logs
    ]
    assert sent == ["hush.x"]


# --- Prometheus -------------------------------------------------------------------------------


def test_a_port_is_served_and_closed():
    done = python(
        """
        telemetry = configure(prometheus_port=0)
        run(); run()
        port = telemetry.prometheus_port
        print(count(page(port), "g"), "process_cpu_seconds_total" in page(port, "/"))
        try:
            page(port, "/secret")
        except urllib.error.HTTPError as error:
            print(error.code)
            error.close()
        telemetry.shutdown()
        try:
            page(port)
        except urllib.error.URLError as error:
            print("closed")
        run()
        telemetry.shutdown()
        """
    )
    assert done.stdout.splitlines() == ["[2.0] True", "404", "closed"]


def test_a_second_call_serves_the_same():
    done = python(
        """
        first = configure(prometheus_port=0)
        second = configure(prometheus_port=first.prometheus_port)
        third = configure(prometheus_port=0)
        run()
        ports = [one.prometheus_port for one in (first, second, third)]
        print(ports[0] == ports[1], ports[0] != ports[2])
        print([count(page(port), "g") for port in ports])
        """
    )
    assert done.stdout.splitlines() == ["True True", "[[1.0], [1.0], [1.0]]"]


def test_an_address_of_ipv6_can_be_listened_on():
    done = python(
        """
        telemetry = configure(prometheus_port=0, prometheus_host="::1")
        run()
        text = urllib.request.urlopen(f"http://[::1]:{telemetry.prometheus_port}/metrics").read()
        print(count(text.decode(), "g"))
        """
    )
    assert done.stdout.splitlines() == ["[1.0]"]


FORK = """
import http.client, os, warnings

def forked(act):
    # Python warns of forks beside threads, which is what servers do that fork before they serve.
    done, tell = os.pipe()
    hold, leave = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        os.close(leave)
        try:
            said = repr(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(tell, said.encode())
        os.read(hold, 1)
        os._exit(0)
    os.close(tell)
    return os.read(done, 10_000).decode(), lambda: (os.close(leave), os.waitpid(pid, 0))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_does_not_hold_the_port():
    done = python(
        FORK
        + textwrap.dedent(
            """
        telemetry = configure(prometheus_port=0)
        port = telemetry.prometheus_port
        run("parent")
        # Prometheus keeps its connection, which the child inherits as well.
        scraper = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        scraper.request("GET", "/metrics")
        scraper.getresponse().read()
        said, end = forked(lambda: (run("child"), telemetry.shutdown())[1])
        print(said)
        scraper.request("GET", "/metrics")
        text = scraper.getresponse().read().decode()
        print(count(text, "parent"), count(text, "child"))
        telemetry.shutdown()
        # While the child lives: the next one gets the port, and is answered.
        print(configure(prometheus_port=port).prometheus_port == port)
        print("process_cpu_seconds_total" in page(port))
        end()
        """
        )
    )
    assert done.stdout.splitlines() == ["None", "[1.0] []", "True", "True"]
    assert done.stderr.count("forked") == 1, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_may_serve_on_a_port_of_its_own():
    done = python(
        FORK
        + textwrap.dedent(
            """
        telemetry = configure(prometheus_port=0)

        def act():
            run("child")
            own = configure(prometheus_port=0).prometheus_port
            taken = ""
            try:
                configure(prometheus_port=telemetry.prometheus_port)
            except OSError as error:
                taken = "Choose another prometheus_port" in str(error)
            return own != telemetry.prometheus_port, count(page(own), "child"), taken

        for _ in range(2):
            said, end = forked(act)
            print(said)
            end()
        print(count(page(telemetry.prometheus_port), "child"))
        """
        )
    )
    assert done.stdout.splitlines() == ["(True, [1.0], True)"] * 2 + ["[]"]
    assert done.stderr.count("forked") == 1, done.stderr


def test_the_variables_of_prometheus():
    done = python(
        """
        telemetry = configure()
        run()
        print(telemetry.prometheus_port > 0, count(page(telemetry.prometheus_port), "g"))
        """,
        OTEL_METRICS_EXPORTER="prometheus",
        OTEL_EXPORTER_PROMETHEUS_PORT="0",
        OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
    )
    assert done.stdout == "True [1.0]\n"


@pytest.mark.parametrize("has", ["no reader", "a reader of its own"])
def test_a_provider_of_the_application_stays_and_is_read(has):
    readers = "PrometheusMetricReader()" if has == "a reader of its own" else ""
    done = python(
        f"""
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        mine = MeterProvider([{readers}])
        metrics.set_meter_provider(mine)
        run()
        telemetry = configure(prometheus_port=0, metrics=True)
        assert metrics.get_meter_provider() is mine
        run()
        print(count(page(telemetry.prometheus_port), "g"))
        telemetry.shutdown()
        # It is the application's: it goes on.
        mine.get_meter("mine").create_counter("c").add(1)
        mine.shutdown()
        """
    )
    # A reader sees what is measured from then on.
    assert done.stdout == ("[2.0]\n" if has == "a reader of its own" else "[1.0]\n")


def test_a_port_that_is_taken():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        done = python(
            f"""
            try:
                configure(prometheus_port={other.server_port})
            except OSError as error:
                print(error)
            """
        )
    assert f"no metrics can be served on 127.0.0.1:{other.server_port}" in done.stdout
    assert "Choose another prometheus_port" in done.stdout


def test_without_the_extra_the_error_names_it():
    done = python(
        """
        sys.modules["opentelemetry.exporter.prometheus"] = None
        for ask in (lambda: configure(prometheus_port=0),
                    lambda: __import__("hush.observe.prometheus").observe.prometheus.metrics_app()):
            try:
                ask()
            except ImportError as error:
                print(error)
        """
    )
    assert done.stdout.count("pip install 'hush-runtime[prometheus]'") == 2


ASGI = """
import anyio
from hush.observe.prometheus import metrics_app

app = metrics_app()

async def ask(method="GET", kind="http", accept=b""):
    sent = []
    async def send(message):
        sent.append(message)
    scope = {"type": kind, "method": method, "headers": [(b"Accept", accept)]}
    await app(scope, None, send)
    return sent
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_asgi_application(backend):
    done = python(
        ASGI
        + textwrap.dedent(
            """
        run()

        async def main():
            start, body = await ask()
            headers = dict(start["headers"])
            print(start["status"], headers[b"content-type"].decode())
            print(count(body["body"].decode(), "g"))
            print(int(headers[b"content-length"]) == len(body["body"]))
            start, body = await ask(accept=b"application/openmetrics-text; version=1.0.0")
            print(dict(start["headers"])[b"content-type"].decode()[:28], body["body"][-6:])
            start, body = await ask("HEAD")
            print(start["status"], body["body"])
            start, body = await ask("POST")
            print(start["status"])
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(same)
            try:
                await ask(kind="lifespan")
            except NotImplementedError as error:
                print(error)

        async def same():
            _, body = await ask()
            assert count(body["body"].decode(), "g") == [1.0]

        anyio.run(main, backend=sys.argv[-1])
        """
        ).replace("sys.argv[-1]", repr(backend))
    )
    assert done.stdout.splitlines() == [
        "200 text/plain; version=0.0.4; charset=utf-8",
        "[1.0]",
        "True",
        "application/openmetrics-text b'# EOF\\n'",
        "200 b''",
        "405",
        "metrics are asked for by http, not by lifespan",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_asgi_application_needs_neither_headers_nor_the_threads_of_others(backend):
    done = python(
        ASGI
        + textwrap.dedent(
            """
        import threading
        run()
        free = threading.Event()

        async def main():
            limiter = anyio.to_thread.current_default_thread_limiter()
            async with anyio.create_task_group() as group:
                for _ in range(int(limiter.total_tokens)):
                    group.start_soon(anyio.to_thread.run_sync, free.wait)
                while limiter.available_tokens:
                    await anyio.sleep(0.01)
                sent = []
                async def send(message):
                    sent.append(message)
                with anyio.fail_after(20):
                    # ASGI: a scope may leave its headers out.
                    await app({"type": "http", "method": "GET"}, None, send)
                print(sent[0]["status"], count(sent[1]["body"].decode(), "g"))
                free.set()

        try:
            anyio.run(main, backend=sys.argv[-1])
        finally:
            free.set()
        """
        ).replace("sys.argv[-1]", repr(backend))
    )
    assert done.stdout.splitlines() == ["200 [1.0]"]


async def test_what_is_no_request_is_refused():
    async def send(message):
        raise AssertionError(message)

    with pytest.raises(NotImplementedError, match="websocket"):
        await _MetricsApp()({"type": "websocket"}, anyio.sleep_forever, send)


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prometheus_port": 70_000}, "prometheus_port=70000: expected a port"),
        ({"prometheus_port": "9464"}, "prometheus_port='9464': expected a port"),
        ({"prometheus_port": True}, "prometheus_port=True: expected a port"),
        ({"prometheus_port": 1, "metrics": False}, "leave one of them out"),
        ({"logs": "yaml"}, "logs='yaml': expected True, False, None or one of auto, json"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        configure(**options)


@pytest.mark.parametrize(
    ("variables", "options", "names"),
    [
        ({}, {}, ()),
        ({}, {"wanted": True}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY}, {}, ()),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": NOBODY}, {}, ("otlp",)),
        ({"OTEL_METRICS_EXPORTER": "otlp, prometheus,otlp"}, {}, ("otlp", "prometheus")),
        ({"OTEL_METRICS_EXPORTER": "none"}, {"wanted": True}, ()),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, {"wanted": False}, ()),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus"},
            {"wanted": True, "endpoint": NOBODY},
            ("prometheus", "otlp"),
        ),
    ],
)
def test_where_metrics_go(monkeypatch, variables, options, names):
    for name in ("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = {"wanted": None, "endpoint": None, **options}
    assert metric_exporter_names(**given) == names


def test_unknown_exporter(monkeypatch):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "statsd")
    with pytest.raises(ValueError, match="'statsd' is unknown; use otlp, console, prometheus"):
        configure(store=False)
