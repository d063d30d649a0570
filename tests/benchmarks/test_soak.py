"""benchmarks/soak.py for twenty seconds: the receiver goes away and comes back, no span is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks.environment import ROOT, environment

# Processes are started and waited for, on machines that may be busy.
pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(os.name == "nt", reason="ends services with SIGTERM"),
]


def test_nothing_is_lost_while_the_receiver_is_away(tmp_path):
    options = ("--duration", "20", "--rate", "4", "--outage", "5", "--every", "0.5")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options, "--folder", str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env=environment(),
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["load"]["requests"] == 80
    # Each of them is several spans, and some are 60.
    assert found["spans"] > 80 * 5
    assert (found["lost"], found["invented"]) == (0, 0)
    assert (found["dropped"], found["left_in_spool"], found["exit_code"]) == (0, 0, 0)
    # The receiver was away: something waited on the disk.
    assert found["spooled_mb_most"] > 0
    # Not those that did not fit, and not those that hung up before.
    statuses = found["load"]["statuses"]
    hung_up = statuses.get("hung up", 0)
    begun = sum(statuses.values()) - statuses.get("422", 0) - statuses.get("503", 0)
    assert begun - hung_up <= found["runs"] <= begun
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) > 5
    if sys.platform == "linux":
        assert found["rss_mb"]["last"] > 20
