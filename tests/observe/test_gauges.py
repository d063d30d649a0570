"""Gauges of the process: what is stuck now shows before any span ends."""

from __future__ import annotations

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from hush import semconv
from hush.core import END, START, CodeNode, GraphNode, Hush
from hush.observe.metrics import create_gauges


def points(reader):
    data = reader.get_metrics_data()
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


async def test_a_join_that_waits_shows_for_how_long():
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    create_gauges(provider.get_meter("test"))
    gate = anyio.Event()

    async def waits():
        await gate.wait()
        return {}

    with GraphNode(name="g") as graph:
        both = [CodeNode(name="quick", code_fn=lambda: {}), CodeNode(code_fn=waits)]
        START >> both >> CodeNode(name="join", code_fn=lambda: {}) >> END
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(Hush(graph).run)
        await anyio.sleep(0.15)
        (waiting,) = points(reader)[semconv.METRIC_FAN_IN_OLDEST_WAIT]
        gate.set()
    # One point however many runs: never a run's id as a label.
    assert dict(waiting.attributes) == {"hush.graph.name": "g", "hush.node.name": "join"}
    assert 0.1 < waiting.value < 10
    assert points(reader).get(semconv.METRIC_FAN_IN_OLDEST_WAIT, []) == []
    provider.shutdown()
