"""Jaeger with deploy/jaeger/config.yaml: what it keeps, what it counts, what survives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.deploy.servers import DEPLOY, DeployedJaeger, read_metrics, sum_of
from tests.e2e.programs import wait_until

# Real servers are started and waited for, on machines that may be busy.
pytestmark = pytest.mark.timeout(150)

ORDINARY = 300
OF_EACH = 12
SHARE = 20
SLOW_S = 1.5
DECISION_S = 4
# So long that the decision comes before the failure, with only an early node to go by.
LATE_S = 9


def test_jaeger_takes_the_configuration(jaeger_binary):
    done = subprocess.run(
        [str(jaeger_binary), "validate", "--config", str(DEPLOY / "jaeger" / "config.yaml")],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


def send_runs(server, service, ordinary, of_each, late_s=0.0):
    """Run a program that sends its runs to the server; return their trace ids by kind."""
    script = Path(__file__).parent / "sampled_runs.py"
    done = subprocess.run(
        [sys.executable, str(script), service, *map(str, (ordinary, of_each, SLOW_S, late_s))],
        capture_output=True,
        encoding="utf-8",
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": server.otlp_http,
        },
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sampled(jaeger_binary, tmp_path_factory):
    """A Jaeger that has decided about many runs, and the ids of these by kind."""
    folder = tmp_path_factory.mktemp("sampled")
    settings = {
        "HUSH_DECISION_WAIT": f"{DECISION_S}s",
        "HUSH_SLOW_TRACE_MS": "1000",
        "HUSH_SAMPLE_PERCENT": str(SHARE),
    }
    with DeployedJaeger(jaeger_binary, folder, **settings) as server:
        ids = send_runs(server, "sampled", ORDINARY, OF_EACH, LATE_S)
        total = ORDINARY + 5 * OF_EACH + 1

        def decided():
            own = read_metrics(server.ports["own"])
            name = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
            return sum_of(own, name) >= total

        wait_until(decided, "a decision about each trace")
        time.sleep(2)  # what is kept goes through a batch of one second into the store
        yield server, ids


def stored(server, operation, **tags):
    asked = {"service": "sampled", "operation": operation, "limit": 1000, "lookback": "1h"}
    if tags:
        asked["tags"] = json.dumps(tags)
    found = server.client._get(f"/api/traces?{urlencode(asked)}")["data"]
    return {trace["traceID"] for trace in found}


def test_every_trace_with_an_error_is_kept(sampled):
    server, _ = sampled
    assert len(stored(server, "run failing")) == OF_EACH


def test_a_search_for_failed_runs_finds_these_and_no_others(sampled):
    server, ids = sampled
    failed = stored(server, "run mixed", **{"hush.run.outcome": "error"})
    assert len(failed) == OF_EACH // 4
    assert not failed & set(ids["mixed"])
    assert stored(server, "run mixed", **{"hush.run.outcome": "ok"}) == set(ids["mixed"])
    # Why that attribute is there: what is on other spans counts here as well.
    assert stored(server, "run mixed", error="true") == failed | set(ids["mixed"])


def test_every_partial_failure_is_kept(sampled):
    server, ids = sampled
    assert stored(server, "run partial") == set(ids["partial"])


def test_every_slow_run_is_kept(sampled):
    server, ids = sampled
    assert stored(server, "run slow") == set(ids["slow"])


def test_a_run_that_fails_after_the_decision_is_kept_whole(sampled):
    server, _ = sampled
    kept = stored(server, "run late")
    assert len(kept) == OF_EACH
    for trace_id in kept:
        names = sorted(span.name for span in server.client.find_trace(trace_id).spans)
        assert names == ["node early", "node fail", "node long", "run late"]


def test_a_run_that_never_ended_is_kept(sampled):
    server, _ = sampled
    # Its process was killed: there is a span of a node, and none of a run.
    assert len(stored(server, "node before")) == 1
    assert not stored(server, "run lost")


def test_of_the_others_a_share_is_kept(sampled):
    server, ids = sampled
    kept = stored(server, "run ordinary")
    assert kept < set(ids["ordinary"])
    # 60 of 300 are expected; the deviation is 7, so this is five of them either way.
    assert 25 <= len(kept) <= 95


def test_traces_are_kept_whole(sampled):
    server, ids = sampled
    for trace_id in ids["partial"]:
        # run, map, three items with a node each.
        assert len(server.client.find_trace(trace_id).spans) == 8


def test_span_metrics_count_what_sampling_drops(sampled):
    server, _ = sampled
    calls = {"name": "traces_span_metrics_calls_total", "service_name": "sampled"}

    def counted():
        text = read_metrics(server.ports["spans"])
        return sum_of(text, **calls, span_name="run ordinary") == ORDINARY and text

    text = wait_until(counted, "all runs counted in the span metrics")
    assert sum_of(text, **calls, span_name="run failing", status_code="STATUS_CODE_ERROR") == (
        OF_EACH
    )
    assert sum_of(text, **calls, span_name="run slow", hush_graph_name="slow") == OF_EACH
    # In seconds, in Hush's own buckets, and none with an index or an id.
    slow = {"span_name": "run slow"}
    buckets = "traces_span_metrics_duration_seconds_bucket"
    assert sum_of(text, buckets, le="1", **slow) == 0
    assert sum_of(text, buckets, le="60", **slow) == OF_EACH
    assert not re.search(r'span_name="[^"]*\d', text)


def test_span_metrics_lead_to_traces(sampled):
    server, _ = sampled
    seen = set()
    ended = threading.Event()

    def watch():
        # An exemplar is shown until the next flush only, so it is looked for all the time.
        while not ended.wait(0.2):
            text = read_metrics(server.ports["spans"], open_metrics=True)
            pattern = r'service_name="leads".*span_name="run slow".* # \{[^}]*trace_id="(\w+)"'
            seen.update(re.findall(pattern, text))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ids = send_runs(server, "leads", 0, 2)
        wait_until(lambda: seen, "an exemplar")
    finally:
        ended.set()
        watcher.join()
    assert seen <= set(ids["slow"])


def test_traces_survive_a_restart(sampled):
    server, ids = sampled
    server.stop()
    server.begin()
    assert stored(server, "run slow") == set(ids["slow"])
