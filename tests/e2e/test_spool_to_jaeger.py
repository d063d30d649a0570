"""Jaeger itself is away for whole runs, is killed in the middle, and gets every span in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.export.counts import counts
from hush.export.options import SpoolOptions
from hush.export.outbox import open_outbox
from hush.export.span_spool import SpoolingSpanProcessor
from hush.observe.tracing import override_provider
from tests.e2e.jaeger_server import JaegerServer
from tests.e2e.runs import ARRIVAL_S, Backend
from tests.export.spans import wait_for

pytestmark = [pytest.mark.timeout(120), pytest.mark.jaeger]

ITEMS = 200
SPANS = 2 * ITEMS + 2


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def own_jaeger(jaeger_binary: Path) -> Iterator[JaegerServer]:
    with JaegerServer(jaeger_binary) as server:
        yield server


@pytest.fixture
def processor(own_jaeger: JaegerServer, tmp_path: Path) -> Iterator[SpoolingSpanProcessor]:
    counts.__init__()
    options = SpoolOptions(path=tmp_path, batch_size=100)
    made = SpoolingSpanProcessor(open_outbox("traces", own_jaeger.otlp_http, options))
    yield made
    made.shutdown()


async def work(x: int) -> dict[str, int]:
    await anyio.sleep(0.001)
    return {"y": x}


def engine() -> Hush:
    with GraphNode(name="spooled") as graph:
        with MapNode(name="m", inputs={"x": Each(range(ITEMS))}, max_concurrency=20) as each:
            START >> CodeNode(name="n", code_fn=work, inputs={"x": PARENT}) >> END
        START >> each >> END
    return Hush(graph)


def test_down_then_up(own_jaeger: JaegerServer, processor: SpoolingSpanProcessor, backend: Backend):
    provider = TracerProvider(
        resource=Resource({"service.name": "hush-spool"}), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    many = engine()
    traces: list[str] = []

    def run() -> None:
        with override_provider(provider):
            traces.append(many.run_sync(backend=backend).trace_id or "")

    own_jaeger.kill()
    run()
    run()
    assert not processor.force_flush(20_000)
    assert counts.sent == {}
    own_jaeger.start_again()
    for trace in traces:
        found = own_jaeger.client.trace(trace, spans=SPANS, timeout_s=60)
        assert len(found.spans) == SPANS
        assert len({span.span_id for span in found.spans}) == SPANS

    # Killed with what it had in memory: what it had answered for is its own loss, the rest is not.
    own_jaeger.kill()
    run()
    run()
    own_jaeger.start_again()
    for trace in traces[2:]:
        found = own_jaeger.client.trace(trace, spans=SPANS, timeout_s=60)
        assert len({span.span_id for span in found.spans}) == SPANS
    wait_for(lambda: counts.sent == {"traces": 4 * SPANS})
    assert counts.dropped == {}
    assert processor.force_flush(int(ARRIVAL_S * 1_000))
