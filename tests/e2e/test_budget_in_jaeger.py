"""A map that is far too large for Jaeger, as Jaeger shows it: what matters, whole, and counted."""

from __future__ import annotations

import json

import anyio
import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe.tracing import override_provider
from tests.e2e.jaeger_server import JaegerServer
from tests.e2e.runs import ARRIVAL_S, Backend, assert_sound

pytestmark = [pytest.mark.timeout(60), pytest.mark.jaeger]

ITEMS = 10_000
BAD = {17 + 991 * i for i in range(10)}
SLOW = {403 + 1_777 * i for i in range(5)}


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


class _Open(SpanProcessor):
    """Counts the spans that are open."""

    def __init__(self) -> None:
        self.started = self.ended = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended += 1


async def work(x: int) -> dict[str, int]:
    if x in SLOW:
        await anyio.sleep(0.3)
    if x in BAD:
        raise ValueError(x)
    return {"y": x}


def test_a_large_map(jaeger: JaegerServer, backend: Backend):
    with GraphNode(name="large") as graph:
        with MapNode(
            name="m", inputs={"x": Each(range(ITEMS))}, max_concurrency=8, on_error="collect"
        ) as each:
            node = CodeNode(
                name="n", code_fn=work, inputs={"x": PARENT["x"]}, outputs={"y": PARENT["y"]}
            )
            START >> node >> END
        START >> each >> END
    # The SDK's own queue and batches: what waits for the map's end fits in.
    provider = TracerProvider(
        resource=Resource({"service.name": "hush-budget"}), shutdown_on_exit=False
    )
    spans = _Open()
    provider.add_span_processor(spans)
    exporter = OTLPSpanExporter(endpoint=f"{jaeger.otlp_http}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        with override_provider(provider):
            result = Hush(graph).run_sync(backend=backend)
        provider.force_flush()
    finally:
        provider.shutdown()
    assert spans.started == spans.ended == 2 * ITEMS + 2
    assert result.trace_id is not None
    # Two spans an item: a thousand items, their map and the run.
    trace = jaeger.client.trace(result.trace_id, spans=2_002, timeout_s=ARRIVAL_S)
    assert len(trace.spans) == 2_002
    assert_sound(trace)
    items = {item.tags["hush.item.index"]: item for item in trace.named("item m")}
    assert len(items) == len(trace.named("node n")) == 1_000
    assert items.keys() >= BAD | SLOW
    assert {index for index, item in items.items() if item.is_red} == BAD
    assert all(len(trace.children(item)) == 1 for item in items.values())
    told = trace.one("map m").tags
    assert (told["hush.map.items"], told["hush.map.ok"], told["hush.map.failed"]) == (
        ITEMS,
        ITEMS - 10,
        10,
    )
    assert told["hush.map.spans_omitted"] == 2 * (ITEMS - 1_000)
    assert trace.one("run large").tags["hush.spans_omitted"] == 2 * (ITEMS - 1_000)
    slowest = {int(one.partition(":")[0]) for one in json.loads(told["hush.map.slowest"])}
    assert slowest <= items.keys()
