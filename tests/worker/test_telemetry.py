"""What workers see, as the driver's trace, metrics and lines show it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from hush import semconv
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe import spans as spans_module
from hush.observe.redactors import redacting
from hush.observe.settings import settings
from hush.observe.tracing import current_instrument, override_meter_provider, override_provider
from hush.runtime.remote.packing import pack_telemetry
from hush.runtime.remote.passage import Passage
from hush.testing import capture_spans
from tests.worker.calls import call_for, map_like, outputs, run_elsewhere, run_here

BOTH = pytest.mark.parametrize("run", [run_here, run_elsewhere])


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: Any) -> str:
    return str(request.param)


def two_steps(function: Any, *, span_budget: int | None = 1000, **options: Any) -> Any:
    with GraphNode(name="g", inputs={"xs": PARENT}) as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(PARENT["xs"])},
            outputs={"z": PARENT},
            span_budget=span_budget,
            on_error="collect",
        ) as m:
            first = CodeNode("first", function, inputs={"x": PARENT}, **options)
            second = CodeNode(
                "second", lambda y: {"z": y}, inputs={"y": first}, outputs={"z": PARENT}
            )
            START >> first >> second >> END
        START >> m >> END
    return graph


def items(count: int) -> list[dict[str, Any]]:
    return [{"x": i} for i in range(count)]


def work(x: int) -> dict[str, Any]:
    if x == 1:
        raise ValueError("not this one")
    return {"y": x}


def shape(tree: Any) -> list[tuple[str, ...]]:
    """Return the ways from each item to what is in it, with outcomes, attempts left out."""
    records = {record.span_id: record for record in (node.record for node in tree)}
    ways = []
    for record in records.values():
        if record.name.startswith("attempt "):
            continue
        way, at = [], record
        while at is not None:
            if not at.name.startswith("attempt "):
                way.append(f"{at.name} {at.attributes.get(semconv.OUTCOME)}")
            at = records.get(at.parent_id or "")
        ways.append(tuple(reversed(way))[2:])
    return sorted(way for way in ways if way)


class Exported:
    """Spans as an exporter gets them, of a provider with a resource of its own."""

    def __init__(self, *processors: SpanProcessor, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            resource=Resource({"service.name": "shop", "host.name": "driver", "process.pid": 1}),
            shutdown_on_exit=False,
            **options,
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        for one in processors:
            self.provider.add_span_processor(one)

    def map(self, *args: Any, **options: Any) -> Any:
        with override_provider(self.provider):
            return map_like(*args, **options)

    @property
    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def orphans(self) -> list[str]:
        known = {span.context.span_id for span in self.spans}
        return [
            span.name
            for span in self.spans
            if span.parent is not None and span.parent.span_id not in known
        ]


# --- the same trace as in process ---------------------------------------------------------------------


@pytest.mark.parametrize("lean", [True, False])
@BOTH
async def test_the_tree_is_that_of_a_map_in_process(run: Any, lean: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(spans_module, "LEAN", lean)
    with capture_spans() as here:
        await Hush(two_steps(work)).run({"xs": [0, 1, 2]})
    with capture_spans() as there:
        report = map_like(two_steps(work), "g.m", items(3), run=run, backend="trio")
    assert outputs(report) == [{"z": 0}, None, {"z": 2}]
    assert shape(there.tree) == shape(here.tree)


@BOTH
def test_attributes_links_and_exceptions_are_those_of_spans_in_process(
    run: Any, backend: str
) -> None:
    exported = Exported()
    exported.map(two_steps(work), "g.m", items(2), run=run, backend=backend)
    (second,) = exported.named("node second")
    (first,) = [one for one in exported.named("node first") if not one.events]
    assert second.attributes[semconv.NODE_PATH] == "g.m[0].second"
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    (failed,) = [one for one in exported.named("node first") if one.events]
    assert failed.status.description == "ValueError: not this one"
    (event,) = failed.events
    assert event.name == "exception"
    assert "in work" in event.attributes["exception.stacktrace"]
    assert failed.start_time <= event.timestamp <= failed.end_time
    attempts = exported.named("attempt m")
    assert [one.attributes[semconv.ATTEMPT] for one in attempts] == [1, 1]
    assert {one.attributes[semconv.IDEMPOTENCY_KEY].rpartition("/")[2] for one in attempts} == {
        "0",
        "1",
    }
    assert exported.orphans() == []


@BOTH
def test_parents_contain_their_children(run: Any, backend: str) -> None:
    exported = Exported()
    exported.map(two_steps(work), "g.m", items(20), run=run, backend=backend)
    spans = {span.context.span_id: span for span in exported.spans}
    assert len(spans) == 2 + 20 * 4 - 1
    for span in spans.values():
        parent = None if span.parent is None else spans[span.parent.span_id]
        if parent is not None:
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time


def test_the_resource_is_the_drivers_service_and_the_worker(backend: str) -> None:
    exported = Exported()
    report = exported.map(two_steps(work), "g.m", items(2), run=run_elsewhere, backend=backend)
    (first, *_) = exported.named("attempt m")
    attributes = first.resource.attributes
    assert attributes["service.name"] == "shop"
    assert attributes[semconv.HOST_NAME] == report.worker.host
    assert attributes[semconv.PROCESS_PID] == report.worker.pid
    assert attributes[semconv.WORKER_NAME] == report.worker.name
    assert exported.named("item m")[0].resource.attributes[semconv.HOST_NAME] == "driver"
    # Exporters group spans by their resource.
    assert len({one.resource for one in exported.spans}) == 2


def test_spans_of_workers_are_encoded_as_any(backend: str) -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from hush.export.span_encoder import SpanEncoder

    exported = Exported()
    exported.map(two_steps(work), "g.m", items(3), run=run_elsewhere, backend=backend)
    ours = ExportTraceServiceRequest.FromString(SpanEncoder().encode(exported.spans))
    assert ours == encode_spans(exported.spans)
    assert len(ours.resource_spans) == 2


def test_spans_of_users_nest_and_come_along(backend: str) -> None:
    def traced(x: int) -> dict[str, Any]:
        from opentelemetry import trace

        tracer = trace.get_tracer("theirs", "1.2")
        with tracer.start_as_current_span("outer", attributes={"x": x}) as outer:
            outer.add_event("seen", {"n": 1})
            with tracer.start_as_current_span("inner"):
                pass
        return {"y": x}

    exported = Exported()
    exported.map(two_steps(traced), "g.m", items(2), run=run_elsewhere, backend=backend)
    outers, inners = exported.named("outer"), exported.named("inner")
    assert len(outers) == len(inners) == 2
    nodes = {span.context.span_id: span for span in exported.named("node first")}
    for outer in outers:
        assert outer.parent.span_id in nodes
        assert outer.instrumentation_scope.name == "theirs"
        assert outer.instrumentation_scope.version == "1.2"
        assert outer.events[0].attributes == {"n": 1}
    assert {one.parent.span_id for one in inners} == {one.context.span_id for one in outers}
    assert exported.orphans() == []


def test_a_span_of_a_user_that_does_not_end_leaves_no_orphans(backend: str) -> None:
    def forgets(x: int) -> dict[str, Any]:
        from opentelemetry import trace

        tracer = trace.get_tracer("theirs")
        open_span = tracer.start_span("forgotten")
        with trace.use_span(open_span, end_on_exit=False), tracer.start_as_current_span("inner"):
            pass
        return {"y": x}

    exported = Exported()
    exported.map(two_steps(forgets), "g.m", items(2), run=run_elsewhere, backend=backend)
    assert exported.named("forgotten") == []
    attempts = {span.context.span_id for span in exported.named("attempt m")}
    assert {one.parent.span_id for one in exported.named("inner")} == attempts
    assert exported.orphans() == []


def test_baggage_reaches_the_items(backend: str) -> None:
    from opentelemetry import baggage
    from opentelemetry import context as otel_context

    def read(x: int) -> dict[str, Any]:
        from opentelemetry import baggage

        return {"y": baggage.get_baggage("tenant")}

    token = otel_context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        with capture_spans():
            report = map_like(two_steps(read), "g.m", items(1), run=run_elsewhere, backend=backend)
    finally:
        otel_context.detach(token)
    assert outputs(report) == [{"z": "blue"}]


def test_a_run_inside_a_node_of_a_worker_is_in_the_trace(backend: str) -> None:
    async def nested(x: int) -> dict[str, Any]:
        from hush.core import END, PARENT, START, CodeNode, GraphNode, Hush

        with GraphNode(name="deep") as deep:
            node = CodeNode("leaf", lambda: {"v": 1}, outputs={"v": PARENT})
            START >> node >> END
        result = await Hush(deep).run({})
        return {"y": result["v"]}

    exported = Exported()
    exported.map(two_steps(nested), "g.m", items(2), run=run_elsewhere, backend=backend)
    runs = exported.named("run deep")
    nodes = {span.context.span_id for span in exported.named("node first")}
    assert len(runs) == 2
    assert {one.parent.span_id for one in runs} == nodes
    assert len(exported.named("node leaf")) == 2


def test_user_code_that_seeds_random_does_not_repeat_ids(backend: str) -> None:
    def seeded(x: int) -> dict[str, Any]:
        import random

        random.seed(7)
        return {"y": random.random()}

    exported = Exported()
    graph = two_steps(seeded, run_in="loop")
    exported.map(graph, "g.m", items(8), run=run_elsewhere, backend=backend)
    ids = [span.context.span_id for span in exported.spans]
    assert len(ids) == len(set(ids)) == 2 + 8 * 4
    assert random.random() != 0.3238327648331623


# --- budgets -------------------------------------------------------------------------------------------


def test_within_its_budget_a_map_keeps_whole_items(backend: str) -> None:
    exported = Exported()
    exported.map(two_steps(work), "g.m", items(40), run=run_here, backend=backend, budget=8)
    kept = exported.named("item m")
    assert len(kept) == 8
    assert len(exported.named("attempt m")) == 8
    assert exported.orphans() == []
    failed = [span for span in kept if span.attributes[semconv.OUTCOME] == "error"]
    assert len(failed) == 1, "what failed is kept first"
    (map_span,) = exported.named("map m")
    # 40 items of four spans each but for the failed one, which has no second node.
    expected = 40 * 4 - 1 - (8 * 4 - 1)
    assert map_span.attributes[semconv.MAP_SPANS_OMITTED] == expected
    (top,) = exported.named("run g")
    assert top.attributes[semconv.SPANS_OMITTED] == expected


def test_an_item_whose_identity_is_read_in_a_worker_is_kept(backend: str) -> None:
    def outward(x: int) -> dict[str, Any]:
        if x % 10 == 7:
            from opentelemetry.propagate import inject

            inject({})
        return {"y": x}

    exported = Exported()
    exported.map(two_steps(outward), "g.m", items(40), run=run_elsewhere, backend=backend, budget=4)
    kept = {span.attributes[semconv.ITEM_INDEX] for span in exported.named("item m")}
    assert {7, 17, 27, 37} <= kept
    (map_span,) = exported.named("map m")
    assert map_span.attributes[semconv.MAP_SPANS_PINNED] == 16
    assert exported.orphans() == []


def test_maps_inside_keep_their_own_budget(backend: str) -> None:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}) as m:
            with MapNode(name="inner", inputs={"i": Each(list(range(50)))}, span_budget=5) as inner:
                leaf = CodeNode("leaf", lambda i: {"v": i}, inputs={"i": PARENT})
                START >> leaf >> END
            START >> inner >> END
        START >> m >> END
    exported = Exported()
    exported.map(graph, "g.m", items(3), run=run_elsewhere, backend=backend)
    assert len(exported.named("item inner")) == 15
    assert [one.attributes[semconv.MAP_SPANS_OMITTED] for one in exported.named("map inner")] == [
        90,
        90,
        90,
    ]
    (outer,) = exported.named("map m")
    assert outer.attributes[semconv.MAP_SPANS_OMITTED] == 270
    assert exported.orphans() == []


def test_an_attempt_with_too_many_spans_sheds_some_and_says_so(backend: str) -> None:
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}) as m:
            with MapNode(
                name="inner", inputs={"i": Each(list(range(6_000)))}, span_budget=None
            ) as inner:
                leaf = CodeNode("leaf", lambda i: {"v": i}, inputs={"i": PARENT})
                START >> leaf >> END
            START >> inner >> END
        START >> m >> END
    exported = Exported()
    report = exported.map(graph, "g.m", items(1), run=run_here, backend=backend)
    assert outputs(report) == [{}]
    (attempt,) = exported.named("attempt m")
    omitted = attempt.attributes[semconv.SPANS_OMITTED]
    assert omitted > 2_000
    # The attempt and the map inside; run, map and item around them.
    assert len(exported.spans) + omitted == 2 * 6_000 + 2 + 3
    assert exported.named("map m")[0].attributes[semconv.MAP_SPANS_OMITTED] == omitted
    assert exported.named("run g")[0].attributes[semconv.SPANS_OMITTED] == omitted
    assert exported.orphans() == []


# --- settings of the driver hold in workers --------------------------------------------------------------


def test_where_nobody_watches_nothing_travels(backend: str) -> None:
    assert pack_telemetry(current_instrument()) is None
    report = map_like(two_steps(work), "g.m", items(2), run=run_here, backend=backend)
    assert all(one.spans is None for one in report.items)
    assert report.metrics is None


def test_what_is_not_sampled_is_not_sent(backend: str) -> None:
    exported = Exported(sampler=ALWAYS_OFF)
    report = exported.map(two_steps(work), "g.m", items(2), run=run_elsewhere, backend=backend)
    assert outputs(report) == [{"z": 0}, None]
    assert all(one.spans is None for one in report.items)
    assert exported.spans == []


def test_the_drivers_redactor_holds(backend: str, monkeypatch: Any) -> None:
    def hide(text: str) -> str:
        return text.replace("not this one", "[hidden]")

    monkeypatch.setattr(settings, "redactor", hide)
    exported = Exported()
    exported.map(two_steps(work), "g.m", items(2), run=run_elsewhere, backend=backend)
    said = json.dumps([[span.status.description, str(span.events)] for span in exported.spans])
    assert "[hidden]" in said
    assert "not this one" not in said


def test_a_redactor_that_does_not_travel_leaves_workers_unseen(
    backend: str, monkeypatch: Any, caplog: Any
) -> None:
    import threading

    lock = threading.Lock()

    def guarded(text: str) -> str:
        with lock:
            return text

    monkeypatch.setattr(settings, "redactor", guarded)
    exported = Exported()
    report = exported.map(two_steps(work), "g.m", items(2), run=run_elsewhere, backend=backend)
    assert outputs(report) == [{"z": 0}, None]
    assert exported.named("attempt m") == []
    assert len(exported.named("item m")) == 2
    assert "workers, which run unseen" in caplog.text
    assert "closes over 'lock'" in caplog.text


def test_redactors_of_two_drivers_both_hold() -> None:
    before = settings.redactor

    def first(text: str) -> str:
        return text.replace("a", "1")

    def second(text: str) -> str:
        return text.replace("b", "2")

    with redacting(first):
        assert settings.redactor is first
        with redacting(second), redacting(second):
            assert settings.redactor("abc") == "12c"
        assert settings.redactor is first
        with redacting(first):
            assert settings.redactor is first
        assert settings.redactor("abc") == "1bc"
    assert settings.redactor is before


def test_limits_of_the_driver_hold(backend: str) -> None:
    from opentelemetry.sdk.trace import SpanLimits

    def long(x: int) -> dict[str, Any]:
        from opentelemetry import trace

        trace.get_current_span().set_attribute("long", "x" * 1_000)
        return {"y": x}

    exported = Exported(span_limits=SpanLimits(max_span_attribute_length=50))
    exported.map(two_steps(long), "g.m", items(1), run=run_elsewhere, backend=backend)
    (first,) = exported.named("node first")
    assert len(first.attributes["long"]) == 50


def test_a_processor_of_the_driver_hears_starts_and_adds_to_spans(backend: str) -> None:
    class Tenant(SpanProcessor):
        def __init__(self) -> None:
            self.started: list[str] = []
            self.ended: list[str] = []

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            self.started.append(span.name)
            span.set_attribute("tenant", "blue")

        def on_end(self, span: Any) -> None:
            self.ended.append(span.name)

    tenant = Tenant()
    exported = Exported(tenant)
    exported.map(two_steps(work), "g.m", items(2), run=run_elsewhere, backend=backend)
    assert sorted(tenant.started) == sorted(tenant.ended)
    assert {span.attributes.get("tenant") for span in exported.spans} == {"blue"}


def test_a_processor_that_raises_costs_no_item(backend: str) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("full")

    exported = Exported(Broken())
    report = exported.map(two_steps(work), "g.m", items(2), run=run_here, backend=backend)
    assert outputs(report) == [{"z": 0}, None]


def test_spans_that_cannot_be_read_cost_no_item(backend: str) -> None:
    exported = Exported()
    with override_provider(exported.provider):
        instrument = current_instrument()
        from hush.runtime.instrument import OK, Scope

        with instrument.observe(Scope("run", "g")) as top:
            top.end(OK)
            with instrument.observe(Scope("map", "m")) as seen:
                seen.adopt(b"nonsense", Passage(1, 1, 1, 1))
                seen.end(OK)
    assert len(exported.spans) == 2


# --- clocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [-30.0, 45.0])
def test_spans_of_a_worker_with_another_clock_are_moved(ahead_s: float, monkeypatch: Any) -> None:
    from dataclasses import replace

    from hush.observe.seen_elsewhere import SeenAttempt

    ahead = int(ahead_s * 1e9)

    def skewed(call: Any) -> Any:
        report = run_here(call)
        moved = []
        for one in report.items:
            seen = SeenAttempt.unpacked(one.spans or b"")
            spans = tuple(
                span._replace(
                    start_ns=span.start_ns + ahead,
                    end_ns=span.end_ns + ahead,
                    events=tuple((n, at + ahead, facts) for n, at, facts in span.events),
                )
                for span in seen.spans
            )
            moved.append(replace(one, spans=seen._replace(spans=spans).packed()))
        return replace(
            report,
            items=tuple(moved),
            received_ns=report.received_ns + ahead,
            answered_ns=report.answered_ns + ahead,
        )

    exported = Exported()
    exported.map(two_steps(work), "g.m", items(3), run=skewed)
    spans = {span.context.span_id: span for span in exported.spans}
    for span in spans.values():
        if span.parent is not None:
            parent = spans[span.parent.span_id]
            assert parent.start_time <= span.start_time
            assert span.end_time <= parent.end_time
    for attempt in exported.named("attempt m"):
        assert attempt.attributes[semconv.CLOCK_SKEW_S] == pytest.approx(ahead_s, abs=5)
        assert attempt.attributes[semconv.WAIT_QUEUE_S] >= 0


def test_the_way_of_an_attempt_is_told(backend: str) -> None:
    exported = Exported()
    exported.map(two_steps(work), "g.m", items(2), run=run_elsewhere, backend=backend)
    for attempt in exported.named("attempt m"):
        told = attempt.attributes
        assert told[semconv.WAIT_QUEUE_S] > 0.01, "a process had to be started"
        assert told[semconv.WAIT_CHUNK_S] >= 0
        assert told[semconv.WAIT_ANSWER_S] >= 0
        assert semconv.CLOCK_SKEW_S not in told


# --- metrics and lines ------------------------------------------------------------------------------------


def points_of(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    found: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found.setdefault(metric.name, []).extend(metric.data.data_points)
    return found


@BOTH
def test_what_workers_count_is_counted_by_the_driver(run: Any, backend: str) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with override_meter_provider(provider):
        map_like(two_steps(work), "g.m", items(5), run=run, backend=backend)
    found = points_of(reader)[semconv.METRIC_NODE_DURATION]
    counts = {
        (point.attributes[semconv.NODE_NAME], point.attributes[semconv.OUTCOME]): point.count
        for point in found
        if point.attributes[semconv.NODE_NAME] != "m"
    }
    assert counts == {("first", "ok"): 4, ("first", "error"): 1, ("second", "ok"): 4}
    assert {point.attributes[semconv.GRAPH_NAME] for point in found} == {"g"}
    provider.shutdown()


def test_metrics_that_cannot_be_read_cost_nothing() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with override_meter_provider(provider):
        current_instrument().absorb(b"nonsense")
        current_instrument().absorb(b"")
    provider.shutdown()


PRINTED = """
import logging, sys
from hush.worker.entry import run_call
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(run_call(data))
"""


def test_lines_of_a_worker_carry_the_ids(backend: str) -> None:
    import subprocess
    import sys

    from hush.observe.logs import configure_logging
    from hush.runtime.remote.packing import pack_call, unpack_report

    def logs(x: int) -> dict[str, Any]:
        import logging

        logging.getLogger("theirs").warning("at work on %s", x)
        return {"y": x}

    said: list[bytes] = []

    def run(call: Any) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", PRINTED],
            input=pack_call(call),
            capture_output=True,
            check=True,
            timeout=50,
        )
        said.append(done.stderr)
        return unpack_report(done.stdout)

    set_up = configure_logging("json", stream="stderr")
    exported = Exported()
    try:
        exported.map(two_steps(logs), "g.m", items(2), run=run, backend=backend)
    finally:
        set_up.restore()
    lines = [json.loads(line) for line in said[0].splitlines()]
    nodes = {f"{span.context.span_id:016x}" for span in exported.named("node first")}
    assert {line["span_id"] for line in lines} == nodes
    assert {line["trace_id"] for line in lines} == {f"{exported.spans[0].context.trace_id:032x}"}
    assert sorted(line["hush.node.path"] for line in lines) == ["g.m[0].first", "g.m[1].first"]
    assert sorted(line["hush.item.index"] for line in lines) == [0, 1]
    assert {line["hush.run.id"] for line in lines} == {"0" * 32}
    assert {line["hush.graph.name"] for line in lines} == {"g"}
    assert call_for(two_steps(work), "g.m", []) is not None
