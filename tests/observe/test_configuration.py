"""configure(): the standard variables, providers that are already set, real exporters.

Providers are global and cannot be taken back, hence a process for each case.
"""

from __future__ import annotations

import textwrap

import pytest

from hush.observe import configure, exporters
from hush.runtime.watchdog import watch
from tests.export.collector import NOBODY, collecting
from tests.observe.applications import run_application

RUN = """
from hush.core import *
from hush.observe import configure
from opentelemetry import trace

def run():
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=lambda: {}) >> END
    return Hush(graph).run_sync()
"""


def python(program, **environment):
    return run_application(RUN, program, **environment)


@pytest.fixture
def collector():
    with collecting() as server:
        yield server


def spans_of(server):
    return [
        ({a.key: a.value.string_value for a in resource.resource.attributes}, span.name)
        for request in server.requests
        for resource in request.message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_endpoint_from_the_variable(collector):
    done = python(
        "t = configure(); run(); assert t.owned; t.flush()",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="my-service",
        OTEL_EXPORTER_OTLP_COMPRESSION="none",
    )
    assert done.returncode == 0, done.stderr
    assert collector.requests[0].path == "/v1/traces"
    got = spans_of(collector)
    assert {name for _, name in got} == {"run g", "node n"}
    assert {attributes["service.name"] for attributes, _ in got} == {"my-service"}


def test_arguments_go_before_variables(collector):
    done = python(
        f"configure(service_name='mine', endpoint={collector.url!r} + '/'); run()",
        OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY,
        OTEL_SERVICE_NAME="not-mine",
    )
    assert done.returncode == 0, done.stderr
    # Sent at exit, without a flush.
    assert {a["service.name"] for a, _ in spans_of(collector)} == {"mine"}


def test_the_default_service_name(collector):
    python("configure(); run()", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert {a["service.name"] for a, _ in spans_of(collector)} == {"hush"}


def test_every_span_of_a_large_map_arrives(collector):
    done = python(
        """
        with GraphNode(name="big") as graph:
            with MapNode(name="m", inputs={"x": Each(range(5000))}, span_budget=None) as m:
                START >> CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
            START >> m >> END
        configure()
        Hush(graph).run_sync()
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert done.returncode == 0, done.stderr
    assert len(spans_of(collector)) == 10_002


def test_none_exports_nothing_and_console_prints():
    done = python("configure(); r = run(); assert r.trace_id", OTEL_TRACES_EXPORTER="none")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    done = python("configure(); run()", OTEL_TRACES_EXPORTER="console")
    assert '"name": "run g"' in done.stdout, done.stderr


def test_disabled():
    done = python("configure(); r = run(); assert r.trace_id is None", OTEL_SDK_DISABLED="true")
    assert done.returncode == 0, done.stderr


def test_disabled_with_processors_is_silent():
    done = python(
        """
        import logging
        logging.basicConfig(level=0)
        from opentelemetry.sdk.trace import SpanProcessor
        configure(processors=[SpanProcessor()])
        """,
        OTEL_SDK_DISABLED="true",
    )
    assert (done.returncode, "takes no span processors" in done.stderr) == (0, False), done.stderr


def test_flush_keeps_to_its_limit():
    done = python(
        """
        import time
        from opentelemetry.sdk.trace import SpanProcessor
        class Slow(SpanProcessor):
            def force_flush(self, timeout_millis=0):
                time.sleep(60)
        t = configure(processors=[Slow()])
        began = time.perf_counter()
        assert t.flush(0.05) is False
        assert time.perf_counter() - began < 20
        """,
        OTEL_TRACES_EXPORTER="none",
    )
    assert done.returncode == 0, done.stderr


def test_sampler_from_the_variable(collector):
    python(
        "configure(); run()",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_SAMPLER="always_off",
    )
    assert collector.requests == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_TRACES_EXPORTER", "carrier-pigeon"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "morse")],
)
def test_unknown_values_are_named(variable, value):
    done = python("configure()", OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY, **{variable: value})
    assert done.returncode == 1
    assert variable in done.stderr
    assert value in done.stderr


EMPTY = [
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "HUSH_SPOOL",
]
SPOOLED = """
import os
made = configure()
(processor,) = made.provider._active_span_processor._span_processors
options = processor.outbox.options
url = processor.outbox.memory.routes["traces"].url
print(options.queue_size, options.batch_size, url)
"""
PROCESSOR = """
import os
made = configure(spool=False)
(processor,) = made.provider._active_span_processor._span_processors
batches = processor._batch_processor
print(batches._max_queue_size, batches._max_export_batch_size, processor.span_exporter._endpoint)
"""


@pytest.mark.parametrize("processor", [SPOOLED, PROCESSOR], ids=["spool", "no spool"])
def test_empty_variables_count_as_not_set(collector, processor):
    program = processor + "run()\nassert os.environ['OTEL_BSP_MAX_QUEUE_SIZE'] == ''"
    done = python(program, **dict.fromkeys(EMPTY, ""), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"65536 512 {collector.url}/v1/traces\n"
    assert len(spans_of(collector)) == 2


@pytest.mark.parametrize(
    ("variables", "queue", "batch"),
    [
        ({"QUEUE_SIZE": "100"}, 100, 100),
        ({"QUEUE_SIZE": "1000"}, 1000, 512),
        ({"EXPORT_BATCH_SIZE": "1000000"}, 65_536, 65_536),
        ({"QUEUE_SIZE": "200", "EXPORT_BATCH_SIZE": "50"}, 200, 50),
    ],
)
@pytest.mark.parametrize("processor", [SPOOLED, PROCESSOR], ids=["spool", "no spool"])
def test_a_batch_fits_into_the_queue(variables, queue, batch, processor):
    sizes = {f"OTEL_BSP_MAX_{name}": text for name, text in variables.items()}
    done = python(processor, OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY, **sizes)
    assert done.stdout.split()[:2] == [str(queue), str(batch)], done.stderr


@pytest.mark.parametrize("text", ["many", "0", "-5"])
@pytest.mark.parametrize("processor", [SPOOLED, PROCESSOR], ids=["spool", "no spool"])
def test_what_is_no_number_is_named_and_the_default_counts(text, processor):
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY, "OTEL_BSP_MAX_QUEUE_SIZE": text}
    done = python("import logging; logging.basicConfig()" + processor, **variables)
    assert done.stdout.split()[:2] == ["65536", "512"], done.stderr
    assert "OTEL_BSP_MAX_QUEUE_SIZE is no number" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h:4318", "http://h:4318/v1/traces"),
        ("http://h:4318/", "http://h:4318/v1/traces"),
        ("http://h:4318/v1/traces", "http://h:4318/v1/traces"),
        ("http://h:4318/v1/traces/", "http://h:4318/v1/traces"),
        ("https://h/otlp", "https://h/otlp/v1/traces"),
        ("https://h/otlp?key=1", "https://h/otlp/v1/traces?key=1"),
    ],
)
def test_where_an_endpoint_takes_spans(given, used):
    assert exporters.traces_url(given) == used


@pytest.mark.parametrize(
    "given", ["h:4318", "localhost", "", "grpc://h:4317", "http://", "http://["]
)
def test_an_endpoint_that_is_no_address_of_http_is_refused(given):
    with pytest.raises(ValueError, match=r"endpoint='.*use http:// or https://.*http://\w"):
        exporters.traces_url(given)


def test_a_variable_that_is_no_address_of_http_is_named():
    done = python("configure()", OTEL_EXPORTER_OTLP_ENDPOINT="h:4318")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT='h:4318'" in done.stderr
    assert "http://h:4318" in done.stderr


def test_grpc():
    done = python(
        """
        from hush.observe import configure as c
        t = c()
        exporter = t.provider._active_span_processor._span_processors[0].span_exporter
        assert "grpc" in type(exporter).__module__, exporter
        """,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY,
    )
    assert done.returncode == 0, done.stderr


def test_a_provider_that_is_set_is_respected():
    done = python(
        """
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        mine = TracerProvider()
        trace.set_tracer_provider(mine)
        kept = InMemorySpanExporter()
        t = configure(processors=[SimpleSpanProcessor(kept)])
        assert not t.owned and t.provider is mine and trace.get_tracer_provider() is mine
        run()
        t.shutdown()
        run()
        assert len(kept.get_finished_spans()) == 4
        """
    )
    assert done.returncode == 0, done.stderr


def test_calling_it_twice_makes_one_provider():
    done = python(
        """
        a = configure()
        b = configure()
        assert a.provider is b.provider and a.owned and not b.owned
        """,
        OTEL_TRACES_EXPORTER="none",
    )
    assert done.returncode == 0, done.stderr


def test_a_redactor_of_the_users_own():
    done = python(
        """
        from hush.testing import capture_spans
        configure(redactor=lambda text: text.replace("private", "***"))
        def fails():
            raise ValueError("private matter")
        with GraphNode(name="g") as graph:
            START >> CodeNode(name="n", code_fn=fails) >> END
        with capture_spans() as captured:
            try:
                Hush(graph).run_sync()
            except RunError:
                pass
        assert "private" not in repr(captured.spans).replace("hush", "")
        assert "*** matter" in repr(captured.spans)
        """,
        OTEL_TRACES_EXPORTER="none",
    )
    assert done.returncode == 0, done.stderr


# --- the local trace store --------------------------------------------------------------------

STORED = """
from hush.insight.store import TraceStore

def stored():
    return [(one.graph, one.spans) for one in TraceStore().traces()]

def made_of(telemetry):
    return [type(p).__name__ for p in telemetry.provider._active_span_processor._span_processors]
"""


def storing(program, tmp_path, **variables):
    """Run a program whose trace store is empty, and which raises where something is wrong."""
    where = str(tmp_path / "traces.sqlite3")
    done = python(STORED + textwrap.dedent(program), HUSH_TRACE_STORE=where, **variables)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_TRACES_EXPORTER": ""}, {"OTEL_TRACES_EXPORTER": "hush"}],
    ids=["unset", "empty", "asked for"],
)
def test_where_no_receiver_is_named_spans_go_to_the_trace_store(tmp_path, variables):
    storing(
        """
        import os
        t = configure()
        run()
        assert t.flush() and stored() == [("g", 2)]
        assert str(t.store) == os.environ["HUSH_TRACE_STORE"], t
        assert made_of(t) == ["TraceStoreProcessor"]
        """,
        tmp_path,
        **variables,
    )


def test_a_run_is_in_the_store_once_the_process_has_ended(tmp_path):
    storing("configure(); run()", tmp_path)
    storing("assert stored() == [('g', 2)]", tmp_path)
    storing("t = configure(); run(); t.shutdown(); assert len(stored()) == 2", tmp_path)


@pytest.mark.parametrize(
    ("call", "variables", "processors", "count"),
    [
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY}, ["Spooling"], 0),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": NOBODY}, ["Spooling"], 0),
        ("", {"OTEL_TRACES_EXPORTER": "otlp"}, ["Spooling"], 0),
        ("", {"OTEL_TRACES_EXPORTER": "none"}, [], 0),
        ("", {"OTEL_TRACES_EXPORTER": "otlp, Hush"}, ["Spooling", "TraceStore"], 1),
        ("", {"OTEL_TRACES_EXPORTER": "hush,none,hush"}, ["TraceStore"], 1),
        ("endpoint='http://127.0.0.1:9'", {}, ["Spooling"], 0),
        (
            "endpoint='http://127.0.0.1:9'",
            {"OTEL_TRACES_EXPORTER": "hush,console"},
            ["Spooling", "TraceStore"],
            1,
        ),
        ("store=True, endpoint='http://127.0.0.1:9'", {}, ["Spooling", "TraceStore"], 1),
        ("store=True", {"OTEL_TRACES_EXPORTER": "none"}, ["TraceStore"], 1),
        ("store=True", {}, ["TraceStore"], 1),
        ("store=False", {}, ["Spooling"], 0),
        ("store=False", {"OTEL_TRACES_EXPORTER": "hush"}, [], 0),
        ("endpoint='http://127.0.0.1:9', spool=False", {}, ["Batch"], 0),
        ("endpoint='http://127.0.0.1:9'", {"HUSH_SPOOL": "off"}, ["Batch"], 0),
        ("endpoint='http://127.0.0.1:9', spool=True", {"HUSH_SPOOL": "off"}, ["Spooling"], 0),
        ("", {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["Batch"], 0),
    ],
)
def test_who_gets_the_spans(tmp_path, call, variables, processors, count):
    storing(
        f"""
        import logging
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        t = configure({call})
        run()
        if t.store:
            assert t.provider._active_span_processor._span_processors[-1].force_flush()
        assert len(stored()) == {count}, stored()
        assert made_of(t) == {[f"{name}SpanProcessor".replace("StoreSpan", "Store") for name in processors]}
        import os
        os._exit(0)  # the receiver is not there; the exporter would wait for it
        """,
        tmp_path,
        **variables,
    )


def test_a_store_of_the_users_own(tmp_path):
    storing(
        f"""
        from pathlib import Path
        t = configure(store=Path({str(tmp_path)!r}) / "mine" / "t.db")
        run()
        assert t.flush() and stored() == []
        assert [one.graph for one in TraceStore(t.store).traces()] == ["g"]
        """,
        tmp_path,
    )


def test_a_provider_that_is_set_gets_the_store_only_where_it_is_asked_for(tmp_path):
    storing(
        """
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        assert configure().store is None
        run()
        assert stored() == []
        t = configure(store=True)
        assert not t.owned and t.store
        run()
        assert t.flush() and stored() == [("g", 2)]
        """,
        tmp_path,
    )


def test_nothing_is_stored_where_the_sdk_is_disabled(tmp_path):
    storing(
        "t = configure(store=True); run(); assert t.store is None and not stored()",
        tmp_path,
        OTEL_SDK_DISABLED="true",
    )
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_none_is_refused():
    done = python("configure(store=3)")
    assert "store=3: expected True, False, None or a path" in done.stderr


def test_a_store_that_cannot_be_written_breaks_no_run(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = python(
        "import logging; logging.basicConfig()\nconfigure(); print(run().outcome)",
        HUSH_TRACE_STORE=str(tmp_path / "file" / "traces.sqlite3"),
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    assert "spans are lost to the local trace store" in done.stderr


def test_without_configure_nothing_is_set_and_nothing_is_sent(collector):
    done = python(
        """
        r = run()
        assert r.trace_id is None
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert done.returncode == 0, done.stderr
    assert collector.requests == []


def test_when_a_waiting_join_is_logged(monkeypatch):
    monkeypatch.setattr(watch, "stuck_join_s", 60.0)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(ValueError, match="stuck_join_s=0: expected a positive number"):
        configure(stuck_join_s=0)
    assert watch.stuck_join_s == 60.0
