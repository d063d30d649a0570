"""Lean spans and the SDK's: what is exported is the same, whatever anybody does with them."""

from __future__ import annotations

import itertools
import json
import logging
import re
import threading

import anyio
import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
    _Span,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunError,
    WhileLoopNode,
)
from hush.observe import clock, lean_choice, spans
from hush.observe.lean_span import LeanSpan
from hush.observe.tracing import collect_faults, override_provider
from hush.runtime import cpu, state, stepping


class Counting(IdGenerator):
    """Gives the same ids each time."""

    def __init__(self, *, random=False):
        self._ids = itertools.count(1)
        self._random = random

    def generate_span_id(self):
        return next(self._ids)

    def generate_trace_id(self):
        return next(self._ids) << 64 | 7

    def is_trace_id_random(self):
        return self._random


class Listening(SpanProcessor):
    """Writes on each span as it starts, and keeps what it sees."""

    def __init__(self):
        self.started = []

    def on_start(self, span, parent_context=None):
        span.set_attribute("started.by", "a processor")
        self.started.append((span.name, span.kind, span.parent, dict(span.attributes)))


class Ending(SpanProcessor):
    def _on_ending(self, span):
        assert span.end_time is not None


def told(span):
    """All that an exporter can see of a span."""
    assert type(span) is ReadableSpan
    shown = json.loads(span.to_json())
    assert list(shown["attributes"]) == list(span.attributes)
    return {
        **shown,
        "flags": int(span.context.trace_flags),
        "kinds": [type(value) for value in span.attributes.values()],
        "links": [(link.context, dict(link.attributes)) for link in span.links],
        # asyncio's cancellations name their scope.
        "events": [
            (e.name, re.sub("scope [0-9a-f]+", "", str(dict(e.attributes))), e.timestamp)
            for e in span.events
        ],
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "scope": span.instrumentation_scope,
        "info": span._instrumentation_info,
        "same": span.get_span_context() == span.context,
    }


def exported(
    workflow, monkeypatch, *, lean, backend="asyncio", processors=(), inputs=None, **options
):
    """Run a workflow, with time and ids that are the same each time; return what was exported."""
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    seconds = itertools.count(0.0, 0.001)
    options = {"id_generator": Counting(), "sampler": ALWAYS_ON} | options
    provider = TracerProvider(
        resource=Resource({"service.name": "pinned"}), shutdown_on_exit=False, **options
    )
    exporter = InMemorySpanExporter()
    for processor in processors:
        provider.add_span_processor(processor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with monkeypatch.context() as patched:
        patched.setattr(spans, "LEAN", lean)
        # A busy machine makes any step a long one.
        patched.setattr(stepping, "BLOCKED_S", 1e9)
        # Whether it was the loop's turn shows in tracebacks.
        patched.setattr(stepping.stamp_here(), "until", 1e18)
        patched.setattr(clock.RunClock, "now", lambda self: next(ticks))
        patched.setattr(state, "CLOCK", lambda: next(seconds))
        patched.setattr(state, "new_id", lambda: "the run")
        patched.setattr("hush.core.single_run.new_id", lambda: "the run")
        patched.setattr(cpu.CpuClock, "facts", lambda self: iter(()))
        patched.setattr("hush.runtime.source.perf_counter", lambda: 0.0)
        with override_provider(provider), collect_faults() as faults:
            try:
                Hush(workflow()).run_sync(inputs, backend=backend)
            except RunError as error:
                assert error.failures  # some of them fail
    assert faults == []
    found = exporter.get_finished_spans()
    assert found
    return [told(span) for span in found]


def chain(*functions, **options):
    def workflow():
        with GraphNode(name="g") as graph:
            last = START
            for i, function in enumerate(functions):
                last = last >> CodeNode(name=f"n{i}", code_fn=function, **options)
            last >> END
        return graph

    return workflow


async def nothing():
    return {}


async def fails():
    raise ValueError("no good, password=hunter2")


async def writes():
    span = trace.get_current_span()
    span.set_attribute("user.id", 7)
    span.set_attribute("user.list", ["a", "b"])
    span.set_attributes({"user.a": 1.5, "user.b": True, "hush.node.kind": "mine"})
    span.set_attribute("", "no name")
    return {}


async def adds():
    span = trace.get_current_span()
    span.add_event("mine", {"n": 1, "of": ["x"]}, timestamp=5)
    other = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    span.add_link(other, {"why": "because"})
    span.add_link(trace.INVALID_SPAN_CONTEXT)
    return {}


async def describes():
    span = trace.get_current_span()
    span.update_name("another name")
    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR, "too late")
    span.record_exception(ValueError("seen"), {"more": 1}, timestamp=9)
    return {}


async def overflows():
    span = trace.get_current_span()
    for i in range(300):
        span.set_attribute(f"user.{i}", i)
    for i in range(200):
        span.add_event(f"e{i}", timestamp=i + 1)
    return {}


async def ends():
    trace.get_current_span().end(end_time=1_700_000_000_500_000_000)
    return {}


async def reads():
    span = trace.get_current_span()
    assert span.is_recording()
    assert span.name.startswith("node ")
    assert span.kind is SpanKind.INTERNAL
    assert span.attributes["hush.node.kind"] == "code"
    assert span.parent.span_id != span.get_span_context().span_id
    assert list(span.events) == []
    assert span.status.is_unset
    assert span.resource.attributes["service.name"] == "pinned"
    assert span.start_time is not None
    assert span.end_time is None
    assert json.loads(span.to_json())["name"] == span.name
    assert isinstance(span, _Span)
    assert isinstance(span, ReadableSpan)
    with pytest.raises(AttributeError, match="colour"):
        span.colour
    carrier = {}
    propagate.inject(carrier)
    assert format(span.get_span_context().span_id, "016x") in carrier["traceparent"]
    return {}


def looped():
    with GraphNode(name="g") as graph:
        with ForLoopNode(
            name="for", inputs={"x": Each([1, 2, 3]), "total": 0}, outputs={"total": PARENT}
        ) as loop:
            add = CodeNode(
                name="add",
                code_fn=lambda x, total: {"total": x + total},
                inputs={"x": PARENT["x"], "total": PARENT["total"]},
                outputs={"total": PARENT},
            )
            START >> add >> END
        with WhileLoopNode(name="while", inputs={"n": 0}, condition=PARENT["n"] < 3) as rounds:
            step = CodeNode(
                name="step",
                code_fn=lambda n: {"n": n + 1},
                inputs={"n": PARENT["n"]},
                outputs={"n": PARENT},
            )
            START >> step >> END
        START >> loop >> rounds >> END
    return graph


def mapped(function=lambda x: {"y": x}, count=12, **options):
    def workflow():
        with GraphNode(name="g") as graph:
            with MapNode(
                name="m",
                inputs={"x": Each(range(count))},
                max_concurrency=1,
                outputs={"y": PARENT},
                **options,
            ) as items:
                work = CodeNode(
                    name="work",
                    code_fn=function,
                    inputs={"x": PARENT["x"]},
                    outputs={"y": PARENT, "error": PARENT},
                    return_keys=["y", "error"],
                )
                START >> work >> END
            START >> items >> END
        return graph

    return workflow


def sometimes(x):
    if x % 5 == 3:
        raise ValueError(x)
    return {"y": x, "error": f"handled {x}" if x % 4 == 1 else None}


async def touching(x):
    if x % 3 == 0:
        trace.get_current_span().set_attribute("mine", x)
    return {"y": x, "error": None}


async def pinning(x):
    if x % 5 == 0:
        assert trace.get_current_span().get_span_context().is_valid
    return {"y": x, "error": None}


def fan_in():
    with GraphNode(name="g") as graph:
        first = [CodeNode(name=f"a{i}", code_fn=nothing) for i in range(3)]
        with GraphNode(name="inner") as inner:
            START >> CodeNode(name="deep", code_fn=nothing) >> END
        last = CodeNode(name="last", code_fn=nothing, retry=Retry(2, initial_s=0.0))
        START >> first >> inner >> last >> END
    return graph


def too_slow():
    with GraphNode(name="g") as graph:
        (
            START
            >> CodeNode(
                name="n", code_fn=anyio.sleep_forever, timeout_s=0.01, retry=Retry(2, initial_s=0.0)
            )
            >> END
        )
    return graph


WORKFLOWS = {
    "nothing": chain(nothing, nothing, nothing),
    "lambdas": chain(lambda: {"a": 1}, lambda: {"b": 2}),
    "fails": chain(nothing, fails, nothing),
    "captures": chain(fails, nothing, on_error="capture"),
    "retries": chain(fails, retry=Retry(3, initial_s=0.0)),
    "writes": chain(writes, nothing),
    "adds": chain(nothing, adds),
    "describes": chain(describes),
    "overflows": chain(nothing, overflows),
    "reads": chain(reads),
    "too slow": too_slow,
    "looped": looped,
    "mapped": mapped(lambda x: {"y": x, "error": None}),
    "few kept": mapped(lambda x: {"y": x, "error": None}, 60, span_budget=8),
    "all kept": mapped(lambda x: {"y": x, "error": None}, span_budget=None),
    "some fail": mapped(sometimes, 40, on_error="collect", span_budget=9),
    "one fails": mapped(sometimes),
    "touched": mapped(touching, 40, span_budget=6),
    "pinned": mapped(pinning, 40, span_budget=6),
    "fan in": fan_in,
}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_is_exported_is_the_same(name, backend, monkeypatch):
    if name == "fan in" and backend == "trio":
        pytest.skip("trio starts tasks in any order")
    lean = exported(WORKFLOWS[name], monkeypatch, lean=True, backend=backend)
    sdks = exported(WORKFLOWS[name], monkeypatch, lean=False, backend=backend)
    assert_same(lean, sdks)


def assert_same(lean, sdks):
    for one, other in zip(lean, sdks, strict=True):
        for part in one:
            assert (part, one[part]) == (part, other[part])


VARIANTS = {
    "listening": {"processors": (Listening, Ending)},
    "random": {"id_generator": Counting(random=True)},
    "parent based": {"sampler": ParentBased(ALWAYS_ON)},
    "by ratio": {"sampler": ParentBasedTraceIdRatio(1.0)},
    "few attributes": {"span_limits": SpanLimits(max_span_attributes=3)},
    "roomy": {"span_limits": SpanLimits(max_span_attributes=70, max_events=2, max_links=40)},
    "short values": {"span_limits": SpanLimits(max_span_attribute_length=3)},
    "concurrent": {"active_span_processor": ConcurrentMultiSpanProcessor},
    "plain ratio": {"sampler": TraceIdRatioBased(1.0)},
}


@pytest.mark.parametrize("name", ["nothing", "writes", "overflows", "some fail", "touched"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_so_it_is_with_any_provider(name, variant, monkeypatch):
    seen = []
    for lean in (True, False):
        options = dict(VARIANTS[variant])
        if "id_generator" in options:
            options["id_generator"] = Counting(random=True)
        if "active_span_processor" in options:
            options["active_span_processor"] = options["active_span_processor"]()
        seen.append(exported(WORKFLOWS[name], monkeypatch, lean=lean, **options))
    assert_same(*seen)
    # Its spans have the SDK's flags, random ids or not.
    random = variant == "random"
    assert {one["flags"] for one in seen[0]} == {3 if random else 1}


def kinds_of(workflow, **options):
    """The classes of spans that nodes run in."""
    kinds = set()

    async def node():
        kinds.add(type(trace.get_current_span()))

    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    with override_provider(provider):
        Hush(workflow(node)()).run_sync()
    return kinds


class OwnSampler(StaticSampler):
    def should_sample(self, *args, **kwargs):
        return super().should_sample(*args, **kwargs)


def test_the_sdk_makes_the_spans_where_it_is_not_known_what_it_would_do():
    by = {
        name: kinds_of(chain, **options)
        for name, options in {
            "plain": {},
            "on": {"sampler": ALWAYS_ON},
            "ratio": {"sampler": ParentBasedTraceIdRatio(1.0)},
            "plain ratio": {"sampler": TraceIdRatioBased(1.0)},
            "own": {"sampler": OwnSampler(ALWAYS_ON._decision)},
            "own inside": {
                "sampler": ParentBased(ALWAYS_ON, local_parent_sampled=TraceIdRatioBased(1.0))
            },
            "short": {"span_limits": SpanLimits(max_span_attribute_length=100)},
            "concurrent": {"active_span_processor": ConcurrentMultiSpanProcessor()},
        }.items()
    }
    lean = {name for name, kinds in by.items() if kinds == {LeanSpan}}
    assert lean == {"plain", "on", "ratio"}
    assert all(by[name] == {_Span} for name in by.keys() - lean)


def test_another_sdk_makes_all_spans_itself(monkeypatch):
    assert lean_choice._is_known()
    monkeypatch.setattr(lean_choice, "RECORD", lean_choice.RECORD | {"_colour"})
    assert not lean_choice._is_known()
    monkeypatch.setattr(lean_choice, "RECORD", lean_choice.RECORD - {"_colour"})
    monkeypatch.setattr(lean_choice, "LAZY", lean_choice.LAZY - {"_lock"})
    assert not lean_choice._is_known()
    monkeypatch.setattr(lean_choice, "SpanLimits", lambda: 1 // 0)
    assert not lean_choice._is_known()
    monkeypatch.setattr(lean_choice, "KNOWN", False)
    assert kinds_of(chain) == {_Span}


def test_a_span_that_was_ended_stays_as_it_was(caplog):
    kept = []

    async def node():
        kept.append(trace.get_current_span())

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with override_provider(provider):
        Hush(chain(node)()).run_sync()
    (span,) = kept
    assert isinstance(span, LeanSpan)
    before = {one.context.span_id: one.to_json() for one in exporter.get_finished_spans()}
    assert not span.is_recording()
    with caplog.at_level(logging.WARNING):
        span.set_attribute("late", 1)
        span.add_event("late")
        span.update_name("late")
        span.set_status(StatusCode.ERROR)
        span.end()
    assert len(caplog.records) == 5
    assert span.attributes["hush.outcome"] == "ok"
    assert "late" not in span.attributes
    after = {one.context.span_id: one.to_json() for one in exporter.get_finished_spans()}
    assert after == before
    assert span.get_span_context().span_id in before


@pytest.mark.parametrize("lean", [True, False])
def test_a_node_may_end_its_span_itself(lean, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        found = exported(chain(ends, nothing), monkeypatch, lean=lean)
    assert [one["name"] for one in found] == ["node n0", "node n1", "run g"]
    assert found[0]["end_time"].startswith("2023-11-14T22:13:20.5")
    # As the SDK does: what comes later is refused and said.
    assert "hush.outcome" not in found[0]["attributes"]
    assert any("ended span" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("lean", [True, False])
def test_spans_of_others_between_are_parents(lean, monkeypatch):
    monkeypatch.setattr(spans, "LEAN", lean)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("theirs")
    inner = Hush(chain(nothing)())

    async def node():
        with tracer.start_as_current_span("theirs"):
            token = otel_context.attach(baggage.set_baggage("k", "v"))
            try:
                await inner.run()
            finally:
                otel_context.detach(token)

    with override_provider(provider):
        Hush(chain(node)()).run_sync()
    found = {span.name: span for span in exporter.get_finished_spans() if span.name != "run g"}
    runs = [span for span in exporter.get_finished_spans() if span.name == "run g"]
    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1
    theirs = next(span for name, span in found.items() if name == "theirs")
    assert [run.parent and run.parent.span_id for run in runs] == [theirs.context.span_id, None]


def test_threads_may_write_on_a_span_as_it_ends():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    over = threading.Event()
    current = []

    def write():
        while not over.is_set():
            if current:
                current[-1].set_attribute("theirs", 1)

    async def node(x):
        current.append(trace.get_current_span())
        await anyio.sleep(0)
        return {"y": x}

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(range(2_000))}, span_budget=None, outputs={"y": PARENT}
        ) as items:
            (
                START
                >> CodeNode(
                    name="n", code_fn=node, inputs={"x": PARENT["x"]}, outputs={"y": PARENT}
                )
                >> END
            )
        START >> items >> END
    thread = threading.Thread(target=write)
    thread.start()
    logging.getLogger("opentelemetry").disabled = True
    try:
        with override_provider(provider), collect_faults() as faults:
            Hush(graph).run_sync()
    finally:
        over.set()
        thread.join()
        logging.getLogger("opentelemetry").disabled = False
    assert faults == []
    found = exporter.get_finished_spans()
    assert len(found) == 2 + 2 * 2_000
    assert len({span.context.span_id for span in found}) == len(found)
    for span in found:
        assert span.attributes["hush.outcome"] == "ok"
        if span.name == "node n":
            assert {"hush.node.name", "hush.node.path", "hush.run_s"} <= set(span.attributes)
