"""The dashboards: made from code, whole, and each query answered by a real Prometheus.

For the last of these everything runs as in production, on loopback: the example service with its
spool, the collector, Jaeger and Prometheus, each with its files from deploy/.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.deploy.servers import (
    DEPLOY,
    DeployedCollector,
    DeployedJaeger,
    DeployedPrometheus,
    read_metrics,
)
from tests.e2e.programs import Program, free_ports, wait_until
from tests.e2e.prometheus_server import read_json
from tests.examples.running import ORDER, SERVICE, Service

COMMITTED = DEPLOY / "grafana" / "dashboards"
NAMES = ("hush-export", "hush-fan-in", "hush-maps", "hush-models", "hush-runs")


def dashboard(name):
    return json.loads((COMMITTED / f"{name}.json").read_text(encoding="utf-8"))


def panels_of(name):
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expressions_of(name):
    """Yield title, expression and target of every query."""
    for panel in panels_of(name):
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target


def test_what_is_committed_is_what_the_code_makes(tmp_path):
    subprocess.run(
        [sys.executable, str(DEPLOY / "dashboards" / "generate.py"), str(tmp_path)], check=True
    )
    made = {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    committed = {path.name: path.read_text() for path in COMMITTED.glob("*.json")}
    assert made.keys() == committed.keys() == {f"{name}.json" for name in NAMES}
    for name, text in made.items():
        assert text == committed[name], f"{name}: run python deploy/dashboards/generate.py"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_whole(name):
    made = dashboard(name)
    assert made["uid"] == name
    assert "hush" in made["tags"]
    variables = {variable["name"] for variable in made["templating"]["list"]}
    numbers = [panel["id"] for panel in made["panels"]]
    assert len(numbers) == len(set(numbers))
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    known = variables | {"__rate_interval", "__range", "__from", "__to", "__field", "__all"}
    for panel in made["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "row":
            continue
        where = f"{name}, {panel['title']}"
        assert len(panel["description"]) > 30, f"{where}: does not say what to do"
        assert panel["targets"], where
        if panel["type"] == "heatmap":
            unit = panel["options"]["yAxis"]["unit"]
        else:
            unit = panel["fieldConfig"]["defaults"].get("unit")
        assert unit or panel["type"] == "table", f"{where}: no unit"
        assert panel["datasource"]["uid"] == "${datasource}"
        for used in re.findall(r"\$\{?(\w+)", json.dumps(panel)):
            assert used in known, f"{where}: no variable {used}"
        for link in panel.get("links") or ():
            alert = re.fullmatch(r"\$\{runbooks\}/(\w+)/", link["url"])[1]
            assert alert in alerts, f"{where}: no alert {alert}"


def test_panels_do_not_lie_on_each_other():
    for name in NAMES:
        taken = {}
        for panel in dashboard(name)["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    other = taken.setdefault((x, y), panel["title"])
                    assert other == panel["title"], f"{name}: {other} and {panel['title']}"


def test_every_alert_is_linked_from_some_panel():
    text = "".join((COMMITTED / f"{name}.json").read_text() for name in NAMES)
    rules = yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"/{rule['alert']}/" in text, f"no panel leads to {rule['alert']}"


# --- everything runs --------------------------------------------------------------------------


class Load(Program):
    """What asks the example, eight times a second, for longer than the tests take."""

    def __init__(self, folder, service):
        super().__init__("load", folder)
        self.service = service

    def begin(self):
        arguments = (f"--url={self.service.url}", "--rate=8", "--duration=600")
        program = [sys.executable, str(SERVICE / "load.py"), *arguments]
        self.start(program, {}, f"{self.service.url}/readyz")


# What there is no reason for in a service that is well: nothing is lost, nobody is stuck.
EMPTY_WHEN_WELL = (
    "hush_export_held_runs_total",
    "hush_fan_in_oldest_wait_seconds",
)


@pytest.fixture(scope="module")
def everything(jaeger_binary, collector_binary, prometheus_binary, tmp_path_factory):
    """All programs, after the example has run for long enough to have shown all it can."""
    folder = tmp_path_factory.mktemp("everything")
    (port,) = free_ports(1)
    jaeger = DeployedJaeger(
        jaeger_binary,
        folder,
        HUSH_DECISION_WAIT="2s",
        PROMETHEUS_URL=f"http://127.0.0.1:{port}",
    )
    with (
        jaeger,
        DeployedCollector(collector_binary, folder, jaeger.ports["otlp_grpc"]) as collector,
    ):
        # As it is by default: some of what is behind it fails, and some never answers.
        usual = {"FAULTS": "1", "DEADLINE_S": "3"}
        with (
            Service(folder, collector.otlp_http, **usual) as example,
            Load(folder, example),
        ):
            targets = {
                "example:8080": example.port,
                "otel-collector:8888": collector.ports["own"],
                "otel-collector:8889": collector.ports["metrics"],
                "jaeger:8888": jaeger.ports["own"],
                "jaeger:8889": jaeger.ports["spans"],
            }
            with DeployedPrometheus(prometheus_binary, folder, targets, port=port) as prometheus:
                wait_until(lambda: len(prometheus.ask("up == 1")) == 6, "all six programs are read")
                # Four calls to the model go at a time; at any other moment it may be that none waits.
                with ThreadPoolExecutor(24) as pool:
                    list(pool.map(lambda _: example.ask("/orders", ORDER), range(24)))
                time.sleep(25)
                yield prometheus, example, jaeger


pytestmark = pytest.mark.timeout(150)


def substitute(expr):
    """Put in for Grafana's variables what it would."""
    for name, value in (
        ("$__rate_interval", "20s"),
        ("$__range", "1m"),
        ("$graph", ".*"),
        ("$node", ".*"),
        ("$model", ".*"),
        ("$service", "example"),
    ):
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


@pytest.mark.parametrize("name", NAMES)
def test_every_query_of_a_dashboard_finds_data(everything, name):
    prometheus, *_ = everything
    waiting = {}
    for title, expr, _ in expressions_of(name):
        waiting.setdefault(substitute(expr), title)
    give_up = time.monotonic() + 60
    # Some things happen to one run in thirty.
    while waiting and time.monotonic() < give_up:
        for expr in list(waiting):
            # An error of Prometheus fails the test here.
            if prometheus.ask(expr) or any(word in expr for word in EMPTY_WHEN_WELL):
                del waiting[expr]
        time.sleep(0.5)
    assert not waiting, "no data:\n" + "\n".join(f"{t}: {e}" for e, t in waiting.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_values(everything, name):
    prometheus, *_ = everything
    for variable in dashboard(name)["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = substitute(variable["query"]["query"])
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        found = prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": series})
        assert found, f"{name}, {variable['name']}: {query}"


def test_rules_are_loaded_and_evaluated_without_error(everything):
    prometheus, *_ = everything

    def rules():
        groups = prometheus.get("/api/v1/rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        # One group has its turn once a minute.
        return found if all(rule["health"] != "unknown" for rule in found) else None

    for rule in wait_until(rules, "a turn of every rule", timeout_s=70):
        assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
    for series in ("hush_run_errors:ratio_rate5m", "hush_run_slow:ratio_rate5m"):
        assert prometheus.ask(f"hush_graph_name:{series}")


def test_every_metric_that_is_asked_for_is_one_that_hush_or_a_program_emits(everything):
    prometheus, *_ = everything
    # After the test of the rules: what these record is there by then.
    known = set(prometheus.get("/api/v1/label/__name__/values"))
    rules = [
        rule
        for file in ("recording.yml", "alerts.yml")
        for group in yaml.safe_load((DEPLOY / "prometheus" / "rules" / file).read_text())["groups"]
        for rule in group["rules"]
    ]
    names = set()
    for name in NAMES:
        for _, expr, _ in expressions_of(name):
            names |= set(re.findall(r"\b(?:hush|gen_ai|otelcol|traces_span)_\w+(?=[{\[ )])", expr))
    for rule in rules:
        names |= set(re.findall(r"\b(?:hush|gen_ai|otelcol)_[\w:]+(?=[{\[ )])", rule["expr"]))
    labels = set(prometheus.get("/api/v1/labels"))
    missing = {name for name in names if name not in known | labels}
    # These exist from the first time on that there is a reason.
    assert missing <= {
        "hush_export_failures_total",
        "otelcol_exporter_enqueue_failed_spans_total",
        *EMPTY_WHEN_WELL,
    }, missing


def test_exemplars_lead_to_traces_in_jaeger(everything):
    prometheus, _, jaeger = everything

    def found():
        answer = prometheus.get(
            "/api/v1/query_exemplars",
            query='traces_span_metrics_duration_seconds_bucket{span_name=~"run .*"}',
            start=time.time() - 300,
            end=time.time(),
        )
        ids = {
            exemplar["labels"]["trace_id"] for series in answer for exemplar in series["exemplars"]
        }
        # Of the good and quick ones one in ten was kept.
        return {trace_id for trace_id in ids if jaeger.client.find_trace(trace_id) is not None}

    assert wait_until(found, "an exemplar whose trace is in Jaeger", timeout_s=40)


def test_jaeger_shows_the_span_metrics_in_its_monitor(everything):
    _, _, jaeger = everything
    query = "service=example&lookback=300000&step=10000&ratePer=60000&groupByOperation=true"

    def points():
        answer = read_json(f"{jaeger.query}/api/metrics/latencies?{query}&quantile=0.95")
        return {
            metric["labels"][1]["value"]
            for metric in answer["metrics"]
            if any("doubleValue" in json.dumps(point) for point in metric["metricPoints"])
        }

    # Its monitor is about what is asked from outside: spans of kind SERVER.
    assert wait_until(lambda: {"POST /orders", "POST /pages"} <= points(), "latencies of requests")


def test_the_example_drains_and_leaves_nothing_behind(everything):
    # The last of the tests here, as there is no example afterwards.
    prometheus, example, _ = everything
    process = example.process
    before = read_metrics(example.port)
    assert "hush_run_active" in before
    process.terminate()
    assert process.wait(40) == 0
    # The collector was there, so nothing waits on the disk.
    left = [path for path in (example.folder / "spool").rglob("*.otlp*") if path.is_file()]
    assert not left
    log = example.log.read_text()
    assert "Traceback" not in log
    # Prometheus sees that it is gone: the alert on that has something to go by.
    wait_until(lambda: prometheus.ask('up{job="hush"} == 0'), "the example is down")
