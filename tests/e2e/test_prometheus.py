"""A real Prometheus scrapes a process that runs workflows, and counts what really happened."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.example_runs import environment
from tests.e2e.programs import fetch, wait_until
from tests.e2e.prometheus_server import PrometheusServer

SERVICE = r"""
import asyncio, json, sys
from hush.core import *
from hush.observe import configure

telemetry = configure(prometheus_port=0, service_name="svc", logs=False)
print(telemetry.prometheus_port, flush=True)
gate = None


async def work(x):
    await asyncio.sleep(0.002)
    if x % 10 == 0:
        raise ValueError(x)
    return {"error": "no" if x % 10 == 1 else None}


async def slow():
    await asyncio.sleep(0.08)
    return {}


async def wait():
    await gate.wait()
    return {}


HOSTILE = 'evil\n"quoted" \\ {é} 漢字'
tries = iter(range(10**9))


def flaky():
    if next(tries) % 2 == 0:
        raise ConnectionError
    return {}


with GraphNode(name="shop") as shop:
    with MapNode(name="items", inputs={"x": Each(PARENT["n"])}, max_concurrency=5, on_error="collect") as items:
        START >> CodeNode(code_fn=work, inputs={"x": PARENT["x"]}, outputs={"error": PARENT}) >> END
    quick = CodeNode(name="quick", code_fn=lambda: {})
    START >> [quick, CodeNode(code_fn=slow)] >> CodeNode(name="join", code_fn=lambda: {}) >> items
    items >> CodeNode(code_fn=flaky, retry=Retry(attempts=2, initial_s=0.0)) >> END

with GraphNode(name="stuck") as stuck:
    with MapNode(name="all", inputs={"x": Each(range(9))}, max_concurrency=4) as each:
        START >> CodeNode(code_fn=wait) >> END
    first = CodeNode(name="first", code_fn=lambda: {})
    START >> [first, each] >> CodeNode(name="both", code_fn=lambda: {}) >> END

with GraphNode(name=HOSTILE) as hostile:
    START >> CodeNode(name="a", code_fn=lambda: {}) >> END


def refuse():
    raise PermissionError


with GraphNode(name="broken") as broken:
    START >> CodeNode(code_fn=refuse) >> END


async def main():
    global gate
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    background = []
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        command, count = line.split()
        count = int(count)
        if command == "shop":
            for _ in range(count):
                await Hush(shop).run({"n": range(50)})
        elif command == "hostile":
            for _ in range(count):
                await Hush(hostile).run()
        elif command == "break":
            for _ in range(count):
                try:
                    await Hush(broken).run()
                except RunError:
                    pass
        elif command == "stick":
            background += [asyncio.create_task(Hush(stuck).run()) for _ in range(count)]
            await asyncio.sleep(0.1)
        elif command == "cancel":
            for task in background[:count]:
                task.cancel()
            await asyncio.gather(*background[:count], return_exceptions=True)
            del background[:count]
        elif command == "release":
            gate.set()
            await asyncio.gather(*background)
        print("done", flush=True)


asyncio.run(main())
telemetry.shutdown()
"""


class Service:
    def __init__(self, process):
        self._process = process
        self.port = int(process.stdout.readline())

    def do(self, command, count):
        self._process.stdin.write(f"{command} {count}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def service():
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVICE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(OTEL_TRACES_EXPORTER="none"),
    )
    try:
        yield Service(process)
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


GRAPH, NODE, OUTCOME = "hush_graph_name", "hush_node_name", "hush_outcome"


@pytest.mark.timeout(180)
def test_prometheus_counts_what_happened(prometheus_binary):
    with (
        service() as svc,
        PrometheusServer(prometheus_binary, [f"127.0.0.1:{svc.port}"]) as prometheus,
    ):
        svc.do("shop", 7)
        svc.do("hostile", 3)
        runs = 'hush_run_duration_seconds_count{hush_graph_name!="shop"}'
        wait_until(lambda: prometheus.number(runs) == 3, "all runs scraped")
        (target,) = prometheus.targets_now()
        assert (target["health"], target["lastError"]) == ("up", "")

        def count(name, *labels):
            by = ", ".join(labels)
            return prometheus.values(f'sum by ({by}) ({name}{{{GRAPH}="shop"}})', *labels)

        assert count("hush_run_duration_seconds_count", OUTCOME) == {"ok": 7}
        assert count("hush_run_partial_failures_total", OUTCOME) == {"ok": 7}
        assert count("hush_item_duration_seconds_count", NODE, OUTCOME) == {
            ("items", "error"): 35,
            ("items", "handled"): 35,
            ("items", "ok"): 280,
        }
        assert count("hush_item_wait_seconds_count", NODE) == {"items": 350}
        assert count("hush_node_duration_seconds_count", NODE, "hush_node_kind") == {
            ("items", "map"): 7,
            **{(name, "code"): 7 for name in ("quick", "slow", "join", "flaky")},
            ("work", "code"): 350,
        }
        assert count("hush_node_duration_seconds_count", "error_type")["ValueError"] == 35
        assert count("hush_retries_total", NODE, "error_type") == {("flaky", "ConnectionError"): 7}
        assert sum(count("hush_maps_total", NODE).values()) == 7
        assert count("hush_fan_in_releases_total", NODE, "hush_fan_in_last") == {
            ("join", "slow"): 7
        }
        lead = count("hush_fan_in_lead_seconds_total", NODE)["join"]
        spread = count("hush_fan_in_spread_seconds_sum", NODE)["join"]
        assert lead == pytest.approx(spread)
        assert spread > 7 * 0.05
        # Buckets: an item sleeps 2 ms, the slow node 80.
        buckets = prometheus.values(
            f'sum by (le) (hush_node_duration_seconds_bucket{{{NODE}="slow"}})', "le"
        )
        assert buckets["0.05"] == 0
        assert buckets["+Inf"] == 7
        assert {"0.001", "0.01", "1.0", "10.0", "60.0", "600.0"} <= buckets.keys()
        quantile = f'histogram_quantile(0.5, hush_node_duration_seconds_bucket{{{NODE}="slow"}})'
        assert 0.05 < prometheus.number(quantile) < 10
        # Names with all that a text format can stumble over.
        names = prometheus.values("hush_run_duration_seconds_count", GRAPH)
        assert names == {"shop": 7, 'evil\n"quoted" \\ {é} 漢字': 3}
        assert prometheus.values("target_info", "service_name") == {"svc": 1}
        kinds = {name: one["type"] for name, one in prometheus.metadata().items()}
        assert kinds["hush_run_duration_seconds"] == "histogram"
        assert kinds["hush_run_active"] == kinds["hush_slots_used"] == "gauge"
        # In OpenMetrics, which it asks for, the family goes without the suffix.
        assert kinds["hush_retries"] == "counter"


@pytest.mark.timeout(180)
def test_every_question_of_the_documentation_has_an_answer(prometheus_binary):
    page = (Path(__file__).parents[2] / "docs" / "metrics-and-logs.md").read_text("utf-8")
    questions = re.findall(r"^```promql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(questions) == 10
    with (
        service() as svc,
        PrometheusServer(prometheus_binary, [f"127.0.0.1:{svc.port}"]) as prometheus,
    ):
        # A rate needs two scrapes, and a quantity that grew between them.
        runs = 'sum(hush_run_duration_seconds_count{hush_graph_name="shop"})'
        for total in (4, 8):
            svc.do("break", 1)
            svc.do("shop", 4)
            wait_until(lambda total=total: prometheus.number(runs) == total, "scraped")
        svc.do("stick", 1)
        wait_until(lambda: prometheus.query("hush_slots_used > 0") != [], "scraped")
        for question in questions:
            if "gen_ai" in question or "hush_llm" in question:
                # No model is asked here; what does not parse raises.
                assert prometheus.query(question) == []
            elif question.startswith("max by"):
                assert prometheus.query(question.replace("> 60", "> 0")) != [], question
            elif 'hush_map_bound_by="limit"' in question:
                assert prometheus.values(question, NODE).keys() <= {"items", "all"}
            else:
                asked = question.replace(":15s]", ":1s]")  # fewer seconds have to pass
                wait_until(lambda asked=asked: prometheus.query(asked) != [], question)
        svc.do("release", 1)


@pytest.mark.timeout(180)
def test_prometheus_sees_what_is_stuck_now(prometheus_binary):
    with (
        service() as svc,
        PrometheusServer(prometheus_binary, [f"127.0.0.1:{svc.port}"]) as prometheus,
    ):

        def now():
            names = ("run_active", "slots_used", "slots_limit")
            return [prometheus.number(f'hush_{name}{{{GRAPH}="stuck"}}') for name in names]

        svc.do("stick", 3)
        wait_until(lambda: now() == [3, 12, 12], "three runs that are stuck")
        oldest = f'hush_fan_in_oldest_wait_seconds{{{GRAPH}="stuck",{NODE}="both"}}'
        wait_until(lambda: (prometheus.number(oldest) or 0) > 1, "a join that waits")
        svc.do("cancel", 2)
        wait_until(lambda: now() == [1, 4, 4], "one run is left")
        svc.do("release", 1)
        wait_until(lambda: now() == [0, 0, 0], "nothing is left")
        wait_until(lambda: prometheus.number(oldest) is None, "no join waits")
        cancelled = prometheus.values(
            f"sum by ({NODE}, hush_node_kind) (hush_cancellations_total"
            '{hush_cancel_reason="external"})',
            NODE,
            "hush_node_kind",
        )
        assert cancelled == {("all", "map"): 2, ("all", "item"): 8, ("wait", "code"): 8}
        ended = prometheus.values("hush_run_duration_seconds_count", GRAPH, OUTCOME)
        assert ended == {("stuck", "cancelled"): 2, ("stuck", "ok"): 1}


def test_promtool_has_nothing_to_complain_of(prometheus_binary):
    promtool = prometheus_binary.with_name("promtool")
    if not promtool.exists():
        pytest.skip("no promtool beside it")
    with service() as svc:
        svc.do("shop", 1)
        svc.do("hostile", 1)
        page = fetch(f"http://127.0.0.1:{svc.port}/metrics")
    done = subprocess.run(
        [str(promtool), "check", "metrics"], input=page, capture_output=True, check=False
    )
    said = done.stderr.decode()
    # It would rather have other names: those are OpenTelemetry's.
    complaints = [line for line in said.splitlines() if "counters should have" not in line]
    assert complaints == []
