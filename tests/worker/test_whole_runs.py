"""Whole runs with processes as workers, beside the same runs in process: one trace, one truth."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hush import semconv
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, Retry
from hush.executors import Processes
from hush.observe.tracing import override_meter_provider, override_provider

ITEMS = 60
OF_MAP = (
    semconv.MAP_ITEMS,
    semconv.MAP_OK,
    semconv.MAP_FAILED,
    semconv.MAP_HANDLED,
    semconv.MAP_RETRIED,
    semconv.MAP_MAX_CONCURRENCY,
    semconv.PARTIAL_FAILURE,
    semconv.OUTCOME,
)


def work(x: int) -> dict[str, Any]:
    if x % 20 == 3:
        raise ValueError(f"not {x}")
    return {"y": x, "error": "said so" if x % 20 == 5 else None}


def workflow(executor: Any, *, span_budget: int | None, retry: Retry | None = None) -> Any:
    with GraphNode(name="g", inputs={"xs": PARENT["xs"]}, outputs={"n": PARENT}) as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(PARENT["xs"])},
            outputs={"y": PARENT},
            on_error="collect",
            span_budget=span_budget,
            max_concurrency=8,
            retry=retry,
            executor=executor,
        ) as m:
            first = CodeNode(
                "first", work, inputs={"x": PARENT}, outputs={"y": PARENT, "error": PARENT}
            )
            with MapNode(
                name="inner", inputs={"i": Each([1, 2, 3])}, outputs={"d": PARENT["d"]}
            ) as inner:
                leaf = CodeNode(
                    "leaf", lambda i: {"d": i}, inputs={"i": PARENT}, outputs={"d": PARENT}
                )
                START >> leaf >> END
            START >> first >> inner >> END
        count = CodeNode("count", lambda y: {"n": len(y)}, inputs={"y": m}, outputs={"n": PARENT})
        START >> m >> count >> END
    return graph


class Seen:
    """What was exported and counted of one run."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    async def run(self, engine: Hush) -> Any:
        with override_provider(self.tracers), override_meter_provider(self.meters):
            async with engine:
                return await engine.run({"xs": list(range(ITEMS))})

    @property
    def spans(self) -> Any:
        return self.exporter.get_finished_spans()

    def one(self, name: str) -> Any:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def counts(self) -> dict[tuple[str, str, str], int]:
        found: Counter[tuple[str, str, str]] = Counter()
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name not in {
                        semconv.METRIC_NODE_DURATION,
                        semconv.METRIC_ITEM_DURATION,
                        semconv.METRIC_RUN_DURATION,
                        semconv.METRIC_RETRIES,
                    }:
                        continue
                    for point in metric.data.data_points:
                        key = (
                            metric.name,
                            str(point.attributes.get(semconv.NODE_NAME)),
                            str(point.attributes.get(semconv.OUTCOME)),
                        )
                        found[key] += int(getattr(point, "count", getattr(point, "value", 0)))
        self.meters.shutdown()
        return dict(found)


def forms(spans: Any) -> Counter[tuple[str, ...]]:
    """Return the ways to all spans, without those of attempts."""
    known = {span.context.span_id: span for span in spans}
    ways: Counter[tuple[str, ...]] = Counter()
    for span in spans:
        if span.name.startswith("attempt "):
            continue
        way, at = [], span
        while at is not None:
            if not at.name.startswith("attempt "):
                way.append(f"{at.name} {at.attributes[semconv.OUTCOME]}")
            assert at.parent is None or at.parent.span_id in known, f"{at.name} is an orphan"
            at = None if at.parent is None else known[at.parent.span_id]
        ways[tuple(reversed(way))] += 1
    return ways


async def test_traces_and_counts_are_the_same() -> None:
    here, there = Seen(), Seen()
    await here.run(Hush(workflow(None, span_budget=None)))
    await there.run(Hush(workflow(Processes(2), span_budget=None)))
    assert forms(there.spans) == forms(here.spans)
    for name in OF_MAP:
        mine, theirs = (seen.one("map m").attributes.get(name) for seen in (here, there))
        assert theirs == mine, name
    top = semconv.NODE_COUNT
    assert there.one("run g").attributes[top] == here.one("run g").attributes[top]
    attempts = [span for span in there.spans if span.name == "attempt m"]
    assert len(attempts) == ITEMS
    assert there.counts() == here.counts()


@pytest.mark.parametrize("retry", [None, Retry(2, initial_s=0.001)])
async def test_budgets_hold_and_all_spans_are_accounted_for(retry: Retry | None) -> None:
    seen = Seen()
    await seen.run(Hush(workflow(Processes(2), span_budget=10, retry=retry)))
    forms(seen.spans)
    kept = [span for span in seen.spans if span.name == "item m"]
    assert len(kept) == 10
    outcomes = Counter(span.attributes[semconv.OUTCOME] for span in kept)
    # Of three that failed and three that said so, five are half of the budget; all may stay.
    assert outcomes["error"] + outcomes["handled"] >= 5
    omitted = seen.one("map m").attributes[semconv.MAP_SPANS_OMITTED]
    assert seen.one("run g").attributes[semconv.SPANS_OMITTED] == omitted
    failed = ITEMS // 20
    tries = 1 if retry is None else 2
    whole = 1 + 1 + 1 + 1 + 3 * 2  # item, attempt, first, inner, and its items with a leaf
    made = (ITEMS - failed) * whole + failed * (1 + 2 * tries)
    inside = [span for span in seen.spans if span.name not in {"run g", "map m", "node count"}]
    assert len(inside) + omitted == made


async def test_a_graph_that_runs_in_a_worker_is_in_the_trace() -> None:
    with GraphNode(name="g", inputs={"x": PARENT["x"]}, outputs={"y": PARENT}) as graph:
        with GraphNode(
            name="sub", inputs={"x": PARENT}, outputs={"y": PARENT}, executor=Processes(1)
        ) as sub:
            one = CodeNode("one", lambda x: {"y": x + 1}, inputs={"x": PARENT})
            two = CodeNode("two", lambda y: {"y": y * 2}, inputs={"y": one}, outputs={"y": PARENT})
            START >> one >> two >> END
        START >> sub >> END
    seen = Seen()
    with override_provider(seen.tracers):
        engine = Hush(graph)
        async with engine:
            assert (await engine.run({"x": 4}))["y"] == 10
    assert set(forms(seen.spans)) == {
        ("run g ok",),
        ("run g ok", "graph sub ok"),
        ("run g ok", "graph sub ok", "node one ok"),
        ("run g ok", "graph sub ok", "node two ok"),
    }
    assert seen.one("attempt sub").resource.attributes[semconv.WORKER_NAME]
    assert seen.one("node one").attributes[semconv.NODE_PATH] == "g.sub.one"
