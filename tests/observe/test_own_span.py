"""A span of our own is the SDK's in all that can be seen of it, waits, and knows its readers."""

from __future__ import annotations

import itertools
import json
import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
    _Span,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from hush import semconv
from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe import spans
from hush.observe.budget import Around, Count, RunBudget
from hush.observe.item_spans import Item
from hush.observe.own_span import OwnSpan, adopt
from hush.observe.pins import context_of
from hush.observe.selection import MapBudget
from hush.observe.tracing import (
    collect_faults,
    current_instrument,
    override_meter_provider,
    override_provider,
)
from hush.runtime.instrument import Ending, Scope
from hush.testing import capture_spans

OK = Ending("ok")


class Counted(IdGenerator):
    """The same ids each time."""

    def __init__(self):
        self._ids = itertools.count(1)

    def generate_span_id(self):
        return next(self._ids)

    def generate_trace_id(self):
        return next(self._ids) << 64 | 1


class Seen(SpanProcessor):
    """Everything that a processor is told."""

    def __init__(self):
        self.started = []
        self.parents = []
        self.ending = []
        self.ended = []

    def on_start(self, span, parent_context=None):
        self.started.append(span.get_span_context().span_id)
        self.parents.append(parent_context)

    def _on_ending(self, span):
        self.ending.append(span.get_span_context().span_id)

    def on_end(self, span):
        self.ended.append(span)

    @property
    def kept(self):
        return [one for one in self.ended if one.context.trace_flags.sampled]


def home_of(limit=1_000, total=1):
    """Return an item with a budget, for spans to live in."""
    around = Around(RunBudget(), Count(None), None)
    items = MapBudget(limit, total, around)
    item = Item(items)
    item.begin()
    return items, item


def finish(item, index=0):
    item.finish(index, 0.0, failed=False, retried=False)


def facts_of(span: ReadableSpan):
    """Return every field of a span that has ended."""
    return {
        "type": type(span),
        "name": span.name,
        "context": span.context,
        "same": span.get_span_context(),
        "parent": span.parent,
        "kind": span.kind,
        "start": span.start_time,
        "end": span.end_time,
        "status": (span.status.status_code, span.status.description),
        "attributes": dict(span.attributes),
        "events": [
            (e.name, e.timestamp, dict(e.attributes), e.dropped_attributes) for e in span.events
        ],
        "links": [
            (one.context, dict(one.attributes), one.dropped_attributes) for one in span.links
        ],
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": span.resource,
        "scope": span.instrumentation_scope,
        "json": json.loads(span.to_json()),
        "fields": set(vars(span)),
    }


# --- the same as the SDK's ------------------------------------------------------------------

VALUES = st.one_of(
    st.text(max_size=20),
    st.integers(-5, 5),
    st.booleans(),
    st.lists(st.text(max_size=8), max_size=3),
)
NAMES = st.sampled_from("abcdef")
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=5)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    st.sampled_from([TraceState(), TraceState([("vendor", "x")])]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set_attribute"), st.tuples(NAMES, VALUES)),
        st.tuples(st.just("set_attributes"), st.tuples(ATTRIBUTES)),
        st.tuples(st.just("add_event"), st.tuples(st.text(max_size=5), ATTRIBUTES, st.just(7))),
        st.tuples(st.just("add_link"), st.tuples(CONTEXTS, ATTRIBUTES)),
        st.tuples(st.just("update_name"), st.tuples(st.text(max_size=5))),
        st.tuples(
            st.just("set_status"),
            st.tuples(st.builds(Status, st.sampled_from(StatusCode), st.none())),
        ),
        st.tuples(
            st.just("record_exception"),
            st.tuples(st.builds(ValueError, st.text(max_size=4)), ATTRIBUTES, st.just(8)),
        ),
    ),
    max_size=8,
)
SMALL = st.one_of(st.just(SpanLimits.UNSET), st.integers(1, 3))
LIMITS = st.builds(
    SpanLimits,
    max_events=SMALL,
    max_links=SMALL,
    max_span_attributes=SMALL,
    max_event_attributes=SMALL,
    max_link_attributes=SMALL,
    max_attribute_length=SMALL,
    max_span_attribute_length=SMALL,
)


class Adding(Sampler):
    """A sampler that adds to the span and to its state."""

    def should_sample(self, *args, **kwargs):
        state = TraceState([("sampler", "s")])
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {"sampler.said": "yes"}, state)

    def get_description(self):
        return "adding"


SAMPLERS = st.sampled_from(
    [ALWAYS_ON, Adding(), ParentBased(ALWAYS_ON), ParentBased(TraceIdRatioBased(0.9))]
)


@given(
    steps=STEPS,
    limits=LIMITS,
    sampler=SAMPLERS,
    parent=st.none() | CONTEXTS,
    kind=st.sampled_from(SpanKind),
    attributes=ATTRIBUTES,
    links=st.lists(st.tuples(CONTEXTS, ATTRIBUTES), max_size=4),
)
def test_it_ends_as_the_sdks_own_would(steps, limits, sampler, parent, kind, attributes, links):
    def made(adopted):
        seen, memory = Seen(), InMemorySpanExporter()
        provider = TracerProvider(
            sampler=sampler,
            resource=Resource({"service.name": "s"}),
            id_generator=Counted(),
            span_limits=limits,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(seen)
        provider.add_span_processor(SimpleSpanProcessor(memory))
        context = None
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        span = provider.get_tracer("scope", "1", "url", {"a": 1}).start_span(
            "name", context, kind, attributes, [Link(*one) for one in links], 5
        )
        item = None
        if adopted:
            items, item = home_of()
            adopt(span, span.get_span_context(), item, items.count)
        if span.is_recording():
            assert isinstance(span, Span)
        for method, arguments in steps:
            getattr(span, method)(*arguments)
        span.end(9)
        assert not span.is_recording()
        if item is not None:
            assert not seen.ended
            finish(item)
        assert seen.parents in ([], [context])
        told = (seen.started, seen.ending, [facts_of(one) for one in seen.ended])
        return (*told, [facts_of(one) for one in memory.get_finished_spans()])

    assert made(adopted=True) == made(adopted=False)


def run_in(provider, function, *, budget=1, items=200, **options):
    """Run a map whose items call ``function``, and return its result."""
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(range(items))}, span_budget=budget, **options
        ) as each:
            START >> CodeNode(name="n", code_fn=function, inputs={"x": PARENT["x"]}) >> END
        START >> each >> END
    with override_provider(provider), collect_faults() as faults:
        Hush(graph).run_sync()
    return faults


def seeing(*more, **options):
    seen = Seen()
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(seen)
    for one in more:
        provider.add_span_processor(one)
    return provider, seen


def pinned(function, read_at=5, **options):
    """Run a map of which one item's function is called; return the indices of those kept."""
    provider, seen = seeing(**options)

    async def node(x):
        if x == read_at:
            function(provider)

    faults = run_in(provider, node)
    assert faults == []
    assert sorted(seen.started) == sorted(one.context.span_id for one in seen.ended)
    spans = [one for one in seen.kept if one.instrumentation_scope.name == "hush"]
    (told,) = [one.attributes for one in spans if one.name == "map m"]
    kept = {one.attributes["hush.item.index"] for one in spans if one.name == "item m"}
    ids = {one.context.span_id for one in seen.kept}
    assert {one.parent.span_id for one in seen.kept if one.parent} <= ids, "an orphan"
    return kept, told.get("hush.map.spans_pinned"), told["hush.map.spans_omitted"]


# --- who reads it ---------------------------------------------------------------------------


def in_a_thread(function):
    def call(provider):
        span = trace.get_current_span()
        thread = threading.Thread(target=function, args=(span,))
        thread.start()
        thread.join()

    return call


READS = {
    "get_span_context": lambda provider: trace.get_current_span().get_span_context(),
    "context": lambda provider: trace.get_current_span().context,
    "to_json": lambda provider: trace.get_current_span().to_json(),
    "repr": lambda provider: repr(trace.get_current_span()),
    "child": lambda provider: provider.get_tracer("users").start_span("child").end(),
    "inject": lambda provider: propagate.inject({}),
    "link": lambda provider: Link(trace.get_current_span().get_span_context()),
    "thread": in_a_thread(lambda span: span.get_span_context()),
}


@pytest.mark.parametrize("how", READS)
def test_an_item_whose_identity_is_read_is_kept(how):
    kept, spans, omitted = pinned(READS[how])
    assert 5 in kept
    assert spans == 2
    assert omitted == 2 * (200 - len(kept))


READS_OF_OURS = {
    "nothing": lambda provider: None,
    "attributes": lambda provider: trace.get_current_span().set_attribute("a", 1),
    "recording": lambda provider: trace.get_current_span().is_recording(),
    "name": lambda provider: trace.get_current_span().name,
    "log": lambda provider: context_of(trace.get_current_span()).span_id,
}


@pytest.mark.parametrize("how", READS_OF_OURS)
def test_an_item_that_only_we_have_read_is_omitted(how):
    kept, spans, omitted = pinned(READS_OF_OURS[how])
    assert len(kept) == 1
    assert spans is None
    assert omitted == 2 * 199


class Curious(Sampler):
    """Looks at the parent itself, as some do."""

    def should_sample(self, parent_context, *args, **kwargs):
        trace.get_current_span(parent_context).get_span_context()
        trace.get_current_span().get_span_context()
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self):
        return "curious"


class Watching(SpanProcessor):
    """Looks at the span and at what is around it whenever it is called."""

    def on_start(self, span, parent_context=None):
        self._look(span)

    def _on_ending(self, span):
        self._look(span)

    def on_end(self, span):
        self._look(span)

    @staticmethod
    def _look(span):
        span.get_span_context()
        trace.get_current_span().get_span_context()
        span.to_json()


@pytest.mark.parametrize("sampler", [Curious(), ParentBased(Curious())])
def test_samplers_and_processors_do_not_pin(sampler):
    provider, seen = seeing(Watching(), sampler=sampler)
    assert run_in(provider, lambda x: {}) == []
    assert len(seen.kept) == 4
    assert len(seen.ended) == len(seen.ending) == 402


def test_processors_in_parallel():
    memory = InMemorySpanExporter()
    provider, seen = seeing(
        BatchSpanProcessor(memory), active_span_processor=ConcurrentMultiSpanProcessor(2)
    )
    assert run_in(provider, lambda x: {}, items=40) == []
    provider.force_flush()
    assert len(seen.ended) == 82
    assert len(memory.get_finished_spans()) == len(seen.kept) == 4
    provider.shutdown()


def test_our_own_metrics_and_events_do_not_pin():
    provider, seen = seeing()
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    with override_provider(provider), override_meter_provider(meters), collect_faults() as faults:
        instrument = current_instrument()
        with instrument.observe(Scope("run", "g")), instrument.observe(Scope("map", "m")):
            for index in range(50):
                facts = {semconv.ITEM_INDEX: index}
                with (
                    instrument.observe(Scope("item", "m", facts, budget=1, total=50)),
                    instrument.observe(Scope("chat", "model")) as call,
                ):
                    call.annotate(semconv.GEN_AI_USAGE_INPUT, 3)
    assert faults == []
    assert len(seen.kept) == 4
    assert "gen_ai.client.token.usage" in reader.get_metrics_data().to_json()


def test_what_is_read_too_late_is_not_sampled():
    provider, seen = seeing(sampler=ParentBased(ALWAYS_ON))
    spans = []

    def keep(x):
        spans.append(trace.get_current_span())

    async def node(x):
        keep(x)

    assert run_in(provider, node) == []
    ids = {one.context.span_id for one in seen.kept}
    late = provider.get_tracer("users")
    for span in spans:
        assert isinstance(span, OwnSpan)
        context = span.get_span_context()
        assert context.trace_flags.sampled == (context.span_id in ids)
        child = late.start_span("late", trace.set_span_in_context(span))
        assert child.get_span_context().trace_flags.sampled == (context.span_id in ids)
        assert "late" not in context.trace_state
        child.end()


def test_reads_at_the_moment_of_the_decision_have_one_answer():
    # A thread reads the identities of items while these end: each is kept, or was told to be
    # not sampled, whoever was first.
    provider, seen = seeing()
    answers, spans, over = [], [], threading.Event()

    def read():
        done = 0
        while not over.is_set() or done < len(spans):
            if done < len(spans):
                answers.append(spans[done].get_span_context())
                done += 1

    async def node(x):
        spans.append(trace.get_current_span())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert run_in(provider, node, items=2_000) == []
    finally:
        over.set()
        reader.join()
    ids = {one.context.span_id for one in seen.kept}
    assert len(answers) == 2_000
    assert [one.trace_flags.sampled for one in answers] == [one.span_id in ids for one in answers]


# --- processors and providers -------------------------------------------------------------


@pytest.mark.parametrize("processor", [SimpleSpanProcessor, BatchSpanProcessor])
def test_the_sdks_processors_leave_out_what_is_omitted(processor):
    memory = InMemorySpanExporter()
    provider, seen = seeing(processor(memory))
    assert run_in(provider, lambda x: {}) == []
    provider.force_flush()
    assert len(memory.get_finished_spans()) == 4
    omitted = [one for one in seen.ended if not one.context.trace_flags.sampled]
    assert len(omitted) == 398
    for one in omitted:
        assert one.end_time >= one.start_time
        assert one.attributes["hush.outcome"] == "ok"
    provider.shutdown()


class Failing(SpanProcessor):
    def on_end(self, span):
        raise RuntimeError("no")


def test_all_spans_end_for_a_processor_that_raises():
    provider, seen = seeing(Failing())
    faults = run_in(provider, lambda x: {}, budget=20, items=100)
    assert {str(fault) for fault in faults} == {"no"}
    assert sorted(seen.started) == sorted(one.context.span_id for one in seen.ended)
    assert len([one for one in seen.kept if one.name == "item m"]) == 20
    assert trace.get_current_span() is trace.INVALID_SPAN


class Marking(SpanProcessor):
    """Changes spans where the SDK allows it."""

    def on_start(self, span, parent_context=None):
        span.set_attribute("marked", "start")
        span.update_name(f"{span.name}!")


def test_what_processors_put_on_spans_is_there():
    provider, seen = seeing(Marking())
    assert run_in(provider, lambda x: {}, budget=20, items=100) == []
    assert {one.attributes["marked"] for one in seen.ended} == {"start"}
    assert {one.name for one in seen.ended} == {"run g!", "map m!", "item m!", "node n!"}


class Wrapped(trace.Span):
    """A span that is not the SDK's."""

    def __init__(self, span):
        self._span = span

    def __getattr__(self, name):
        return getattr(self._span, name)


for _name in [
    "end",
    "get_span_context",
    "set_attribute",
    "set_attributes",
    "add_event",
    "add_link",
    "update_name",
    "is_recording",
    "set_status",
    "record_exception",
]:
    setattr(
        Wrapped,
        _name,
        lambda self, *args, _name=_name, **kwargs: getattr(self._span, _name)(*args, **kwargs),
    )
Wrapped.__abstractmethods__ = frozenset()


class Wrapping(trace.TracerProvider, trace.Tracer):
    """A provider that is not the SDK's, such as one around it."""

    def __init__(self, provider):
        self._tracer = provider.get_tracer("hush")

    def get_tracer(self, *args, **kwargs):
        return self

    def start_span(self, *args, **kwargs):
        return Wrapped(self._tracer.start_span(*args, **kwargs))

    def start_as_current_span(self, *args, **kwargs):
        raise NotImplementedError


def test_of_another_provider_all_spans_are_kept():
    provider, seen = seeing()
    assert run_in(Wrapping(provider), lambda x: {}) == []
    assert len(seen.kept) == 402
    assert not any("omitted" in name for one in seen.kept for name in one.attributes)


class Recording(Sampler):
    def should_sample(self, *args, **kwargs):
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self):
        return "recording"


def test_spans_that_are_not_exported_anyway_are_left_alone():
    provider, seen = seeing(sampler=Recording())
    assert run_in(provider, lambda x: {}) == []
    assert len(seen.ended) == 402
    assert seen.kept == []
    assert not any(isinstance(one, OwnSpan) for one in seen.ended)


@pytest.mark.parametrize(("lean", "kind"), [(False, "_Span"), (True, "LeanSpan")])
async def test_spans_outside_of_maps_are_the_sdks(lean, kind, monkeypatch):
    monkeypatch.setattr(spans, "LEAN", lean)
    kinds = set()

    async def node():
        span = trace.get_current_span()
        assert isinstance(span, _Span)
        # Nobody but the processors has a say in what becomes of it.
        assert getattr(span, "home", None) is None
        kinds.add(type(span).__name__)
        await anyio.lowlevel.checkpoint()

    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=node) >> END
    with capture_spans():
        await Hush(graph).run()
    assert kinds == {kind}
