"""Spans that end whatever happens, keep what identifies them, and cost little unsampled."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    Sampler,
    SamplingResult,
)

from hush.core import END, START, CodeNode, GraphNode, Hush, RunError
from hush.observe import spans
from hush.observe.settings import settings
from hush.observe.spans import TracingInstrument
from hush.observe.tracing import current_instrument, override_provider
from hush.runtime.instrument import Ending, Scope
from hush.testing import capture_spans

OK = Ending("ok")


def node_of(function, name="n"):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name=name, code_fn=function, run_in="loop") >> END
    return Hush(graph)


def sampled(sampler):
    memory = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return provider, memory


# --- the end ------------------------------------------------------------------------------


async def test_a_fault_in_describing_still_ends_the_span(monkeypatch):
    def broken(*args):
        raise RuntimeError("describing failed")

    monkeypatch.setattr(spans, "describe", broken)
    # capture_spans raises what went wrong in telemetry.
    with pytest.raises(Exception, match="describing failed"), capture_spans() as captured:
        await node_of(lambda: {}).run()
    assert captured.open_spans == ()
    assert [span.name for span in captured.spans] == ["node n", "run g"]
    assert trace.get_current_span() is trace.INVALID_SPAN


class Text(str):
    __slots__ = ()

    def encode(self, *args):
        raise RuntimeError("no")


class Awkward(Exception):
    def __str__(self):
        return Text("awkward")


async def test_an_exception_with_an_awkward_text_is_on_its_span():
    def fails():
        raise Awkward

    with capture_spans() as captured, pytest.raises(RunError):
        await node_of(fails).run()
    assert captured.tree.one("node n").record.status_description.endswith("Awkward: awkward")


async def test_the_status_is_at_most_one_limit_long():
    def fails():
        raise ValueError("x" * 100_000)

    with capture_spans() as captured, pytest.raises(RunError):
        await node_of(fails).run()
    for name in ("node n", "run g"):
        assert 4_096 < len(captured.tree.one(name).record.status_description) <= 4_096 + 12


async def test_numbers_of_any_size_can_be_exported():
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with override_provider(provider):
        await node_of(lambda: {}).run(user_id=2**70)
    assert encode_spans(memory.get_finished_spans())
    run = memory.get_finished_spans()[-1]
    assert run.attributes["user.id"] == str(2**70)


# --- attributes beyond the limit ------------------------------------------------------------


def with_many(count, then=dict):
    def many():
        for i in range(count):
            trace.get_current_span().set_attribute(f"user.{i}", i)
        return then()

    return node_of(many)


@pytest.mark.parametrize("count", [100, 124, 126, 128, 500])
async def test_what_identifies_a_span_is_not_pushed_off_it(count):
    provider, memory = sampled(ALWAYS_ON)
    with override_provider(provider):
        await with_many(count).run()
    facts = memory.get_finished_spans()[0].attributes
    assert {
        "hush.node.name": "n",
        "hush.node.path": "g.n",
        "hush.node.kind": "code",
        "hush.outcome": "ok",
    }.items() <= facts.items()
    assert "hush.run_s" in facts
    # The newest of the user's stay.
    assert f"user.{count - 1}" in facts
    assert len(facts) == min(count + 5, 128)


async def test_a_failure_is_told_where_there_are_many_attributes():
    def fails():
        raise ValueError("no")

    provider, memory = sampled(ALWAYS_ON)
    with override_provider(provider), pytest.raises(RunError):
        await with_many(500, fails).run()
    facts = memory.get_finished_spans()[0].attributes
    assert facts["error.type"] == "ValueError"
    assert facts["hush.outcome"] == "error"
    assert facts["hush.node.path"] == "g.n"


def test_where_nothing_is_dropped_nothing_is_set_twice(monkeypatch):
    monkeypatch.setattr(spans._Live, "_restore", None)
    with capture_spans() as captured:
        with current_instrument().observe(Scope("node", "n", {"hush.node.name": "n"})) as seen:
            seen.end(OK)
    assert captured.tree.root.record.attributes["hush.outcome"] == "ok"


def test_of_the_fewest_attributes_the_outcome_stays():
    memory = InMemorySpanExporter()
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=2), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    facts = {"hush.node.name": "n", "hush.node.path": "g.n", "hush.node.kind": "code"}
    with TracingInstrument(provider.get_tracer("t")).observe(Scope("node", "n", facts)) as seen:
        seen.annotate("hush.run_s", 1.0)
        seen.end(OK)
    (span,) = memory.get_finished_spans()
    assert span.attributes["hush.outcome"] == "ok"


# --- sampling -------------------------------------------------------------------------------


class Only(Sampler):
    """Takes the spans of some names, and remembers what it was shown."""

    def __init__(self, *names):
        self.names = names
        self.shown = {}

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None):
        self.shown[name] = dict(attributes or {})
        if name in self.names:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return SamplingResult(Decision.DROP)

    def get_description(self):
        return "only some"


async def test_samplers_see_the_facts_of_a_run_and_of_what_is_in_a_sampled_one():
    sampler = Only("run g", "node n")
    with override_provider(sampled(sampler)[0]):
        await node_of(lambda: {}).run(user_id="jane")
    assert sampler.shown["run g"]["user.id"] == "jane"
    assert sampler.shown["node n"]["hush.node.path"] == "g.n"


async def test_what_is_sampled_below_what_is_not_has_all_facts_and_links():
    provider, memory = sampled(Only("node b", "node c"))
    with GraphNode(name="g") as graph:
        a, b, c = (CodeNode(name=name, code_fn=lambda: {}) for name in "abc")
        START >> a >> b >> c >> END
    with override_provider(provider):
        await Hush(graph).run()
    b, c = memory.get_finished_spans()
    for span in (b, c):
        assert span.attributes["hush.node.path"] == f"g.{span.name[-1]}"
        assert span.attributes["hush.outcome"] == "ok"
        assert len(span.links) == 1
    assert c.links[0].context.span_id == b.context.span_id


async def test_what_is_not_sampled_below_a_run_is_not_even_read(monkeypatch):
    calls = []
    monkeypatch.setattr(settings, "redactor", lambda text: calls.append(text) or text)
    with override_provider(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)):
        await node_of(lambda: {}, "distinctive").run()
    assert not [text for text in calls if "distinctive" in text]


async def test_the_context_goes_on_where_nothing_is_sampled():
    seen = []

    def looks():
        seen.append(trace.get_current_span().get_span_context())
        return {}

    with override_provider(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)):
        result = await node_of(looks).run()
    (context,) = seen
    assert context.is_valid
    assert not context.trace_flags.sampled
    assert result.trace_id == trace.format_trace_id(context.trace_id)


async def test_processors_see_the_facts_at_the_start():
    seen = {}

    class Looks(SpanProcessor):
        def on_start(self, span, parent_context=None):
            seen[span.name] = dict(span.attributes)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Looks())
    with override_provider(provider):
        result = await node_of(lambda: {}).run()
    assert seen["run g"]["hush.run.id"] == result.run_id
    assert seen["node n"]["hush.node.path"] == "g.n"
