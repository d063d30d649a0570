"""configure() and the spool: what an application gets without asking for anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.export.collector import NOBODY, Collector
from tests.export.test_signals import bodies_of
from tests.observe.applications import run_application

PROGRAM = """
import logging, os, sys
from hush.core import *
from hush.observe import configure

def run(items=50):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(items))}) as m:
            START >> CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
        START >> m >> END
    return Hush(graph).run_sync()
"""


def python(program: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_application(PROGRAM, program, XDG_STATE_HOME=str(tmp_path / "state"), **variables)


def test_all_three_signals_of_a_process_wait_for_the_next(tmp_path: Path):
    collector = Collector()
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
    }
    done = python(
        """
        telemetry = configure(logs="json")
        logging.getLogger("shop").warning("out of apples")
        print(run().trace_id, file=sys.stderr)
        print(telemetry.spool, file=sys.stderr)
        """,
        tmp_path,
        **variables,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "state" / "hush" / "spool").iterdir()
    assert str(folder) in done.stderr
    signals = {path.name.split("-")[2] for path in folder.glob("*.otlp")}
    assert signals == {"traces", "metrics", "logs"}
    collector.start()
    done = python("configure().flush(30)", tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert collector.names["run g"] == 1
    assert sum(collector.names.values()) == 102
    assert collector.twice == 0
    assert "out of apples" in bodies_of(collector)
    metrics = {
        metric.name
        for request in collector.requests
        if request.path == "/v1/metrics"
        for resource in request.message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {"hush.run.duration", "hush.export.spooled_bytes"} <= metrics
    collector.stop()


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [("spool=False", {}), ("", {"HUSH_SPOOL": "off"}), ("spool=None", {"HUSH_SPOOL": "0"})],
)
def test_one_switch_turns_it_off(tmp_path: Path, arguments: str, variables: dict[str, str]):
    done = python(
        f"""
        telemetry = configure({arguments})
        assert telemetry.spool is None
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        run()
        os._exit(0)
        """,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY,
        OTEL_METRICS_EXPORTER="otlp",
        **variables,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("how", ["argument", "options", "variable"])
def test_a_folder_of_ones_own(tmp_path: Path, how: str):
    place = tmp_path / "mine"
    arguments = {
        "argument": f"spool={str(place)!r}",
        "options": f"spool=SpoolOptions(path={str(place)!r}, queue_size=1000)",
        "variable": "",
    }
    done = python(
        f"""
        from hush.export.options import SpoolOptions
        telemetry = configure(endpoint={NOBODY!r}, {arguments[how]})
        assert str(telemetry.spool.parent) == {str(place)!r}
        run()
        """,
        tmp_path,
        **({"HUSH_SPOOL": str(place)} if how == "variable" else {}),
    )
    assert done.returncode == 0, done.stderr
    assert sum(int(path.name.split("-")[3]) for path in place.rglob("*.otlp")) == 102
    assert not (tmp_path / "state").exists()


def test_a_folder_that_is_not_safe_is_refused_before_anything_is_set_up(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    done = python(
        f"""
        from opentelemetry import trace
        try:
            configure(endpoint={NOBODY!r}, spool={str(tmp_path / "link")!r})
        except ValueError as error:
            assert "symbolic link" in str(error), error
            assert "HUSH_SPOOL" in str(error), error
        else:
            raise AssertionError
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_no_choice(tmp_path: Path):
    done = python(f"configure(endpoint={NOBODY!r}, spool=3)", tmp_path)
    assert "spool=3: expected True, False, None, a path or SpoolOptions" in done.stderr


def test_a_run_ends_soon_without_a_receiver(tmp_path: Path):
    done = python(
        f"""
        import time
        telemetry = configure(endpoint={NOBODY!r})
        run(1000)
        began = time.monotonic()
        assert telemetry.flush(30) is False
        telemetry.shutdown()
        assert time.monotonic() - began < 15, time.monotonic() - began
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
