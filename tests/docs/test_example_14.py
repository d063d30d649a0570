"""examples/14_metrics_and_logs.py: a service that is asked what its metrics and lines say."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.docs.example_runs import EXAMPLES, TIMEOUT_S, environment, run_example

NAME = "14_metrics_and_logs.py"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_metrics_say_which_join_is_slow_and_lines_say_which_run(backend, tmp_path):
    done = run_example(NAME, "--requests", 6, "--backend", backend, XDG_STATE_HOME=str(tmp_path))
    out = done.stdout
    assert "6 requests: 5 200, 1 404" in out
    assert re.search(r"^  runs +5 ok, 1 error$", out, re.MULTILINE)
    assert re.search(r"^  items +\d+ ok$", out, re.MULTILINE)
    assert re.search(r"^  slowest join +report: ", out, re.MULTILINE)
    assert re.search(r"^  last to come +5 modules$", out, re.MULTILINE)
    assert re.search(r"^  bound by +\d (limit|straggler)", out, re.MULTILINE)
    assert re.search(r"^  under way +0 report-on-package$", out, re.MULTILINE)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    made = [line for line in lines if line["event"] == "report made"]
    assert len(made) == 5
    assert len({line["hush.run.id"] for line in made}) == 5
    for line in made:
        assert line["hush.node.path"] == "report-on-package.report"
        assert re.fullmatch("[0-9a-f]{32}", line["trace_id"])
        assert line["api_key"] == "[redacted]"
    (refused,) = [line for line in lines if line["event"] == "no report"]
    assert refused["package"] == "nosuch"
    assert "LookupError: the library has no package 'nosuch'" in refused["error"]


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_service_until_it_is_interrupted(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLES / NAME), "--serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(XDG_STATE_HOME=str(tmp_path)),
    )
    with process:
        report, metrics = (process.stdout.readline().split()[-1] for _ in range(2))
        with urllib.request.urlopen(report, timeout=30) as answer:
            assert json.loads(answer.read())["modules"] > 3
        with urllib.request.urlopen(metrics, timeout=30) as answer:
            assert 'hush_run_duration_seconds_count{hush_graph_name="report-on-package"' in (
                answer.read().decode()
            )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
