"""What a workflow logs while ``hush run`` runs it: warnings, readable, beside the progress."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

FLOW = """
import logging
from hush.core import *
SET_UP
log = logging.getLogger("app")

def work(x):
    log.info("quiet")
    log.warning("odd %d password=hunter2", x)
    return {}

with GraphNode(name="g") as graph:
    with MapNode(name="m", inputs={"x": Each([7])}) as m:
        START >> CodeNode(code_fn=work, inputs={"x": PARENT["x"]}) >> END
    START >> m >> END
"""


def run(tmp_path, set_up="", *options):
    (tmp_path / "flow.py").write_text(FLOW.replace("SET_UP", set_up))
    done = subprocess.run(
        [sys.executable, "-m", "hush.cli", "run", "flow.py:graph", *options],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_warnings_say_where_and_are_no_part_of_the_result(tmp_path):
    done = run(tmp_path, "", "--json")
    (line,) = done.stderr.splitlines()
    assert "[warning  ] odd 7 password=[redacted]" in line
    assert "hush.node.path=g.m[0].work" in line
    assert "trace_id" not in line
    assert "odd" not in done.stdout


def test_a_set_up_of_the_users_stays(tmp_path):
    done = run(tmp_path, "logging.basicConfig(format='%(name)s|%(message)s', level='INFO')")
    assert done.stderr.splitlines() == ["app|quiet", "app|odd 7 password=hunter2"]


def test_metrics_that_cannot_be_served_are_refused_in_a_line(tmp_path):
    (tmp_path / "flow.py").write_text(FLOW.replace("SET_UP", ""))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "hush.cli", "run", "flow.py:graph"],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=50,
            check=False,
            env={
                **os.environ,
                "OTEL_METRICS_EXPORTER": "prometheus",
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(taken.getsockname()[1]),
            },
        )
    assert done.returncode == 2
    assert "no metrics can be served on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
