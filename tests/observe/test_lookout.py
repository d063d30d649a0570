"""What opens spans of the straight way in one call: who hears of them, and what goes wrong."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe import spans
from hush.observe.lean_sight import LeanSight
from hush.observe.tracing import collect_faults, override_provider


def mapped(function, count, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(range(count))}, outputs={"y": PARENT}, **options
        ) as items:
            work = CodeNode(
                name="work", code_fn=function, inputs={"x": PARENT["x"]}, outputs={"y": PARENT}
            )
            START >> work >> END
        START >> items >> END
    return Hush(graph)


async def doubled(x):
    return {"y": 2 * x}


class Hearing(SpanProcessor):
    """Hears of all, sampled or not."""

    def __init__(self):
        self.started, self.ended = [], []

    def on_end(self, span):
        self.ended.append((span.context.span_id, span.context.trace_flags.sampled))


class Starting(Hearing):
    def on_start(self, span, parent_context=None):
        around = trace.get_current_span().get_span_context().span_id
        self.started.append((span.name, span.parent and span.parent.span_id == around))


def provider_with(*processors, **options):
    provider = TracerProvider(shutdown_on_exit=False, **options)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def test_spans_of_items_and_nodes_are_hulls_until_they_are_touched():
    kinds = []

    async def node(x):
        span = trace.get_current_span()
        kinds.append((type(span.sight), sorted(vars(span))))
        span.set_attribute("mine", x)
        kinds.append("_lock" in vars(span))
        return {"y": x}

    exporter = InMemorySpanExporter()
    with override_provider(provider_with(SimpleSpanProcessor(exporter))):
        mapped(node, 1, span_budget=None).run_sync()
    assert kinds == [(LeanSight, ["sight"]), True]
    names = [(one.name, one.attributes.get("mine")) for one in exporter.get_finished_spans()]
    assert names == [("node work", 0), ("item m", None), ("map m", None), ("run g", None)]


def test_what_was_exported_cannot_be_changed():
    exporter = InMemorySpanExporter()
    with override_provider(provider_with(SimpleSpanProcessor(exporter))):
        mapped(doubled, 3, span_budget=None).run_sync()
    lean = [one for one in exporter.get_finished_spans() if one.name == "node work"]
    assert len(lean) == 3
    for one in lean:
        assert isinstance(one.attributes, MappingProxyType)
        assert one.dropped_attributes == 0
        with pytest.raises(TypeError):
            one.attributes["late"] = 1


def test_who_looks_at_sampled_spans_only_is_not_told_of_the_others():
    hearing, exporter = Hearing(), InMemorySpanExporter()
    batch = BatchSpanProcessor(exporter)
    told = []
    batch._batch_processor.emit, emit = (
        lambda span: (told.append(span.context.trace_flags.sampled), emit(span)),
        batch._batch_processor.emit,
    )
    with override_provider(provider_with(hearing, batch)):
        mapped(doubled, 40, span_budget=6).run_sync()
    batch.force_flush()
    ids = [span_id for span_id, _ in hearing.ended]
    assert len(set(ids)) == len(ids) == 2 * 40 + 2
    assert sum(sampled for _, sampled in hearing.ended) == 2 * 6 + 2
    assert len(exporter.get_finished_spans()) == 2 * 6 + 2
    assert told == [True] * (2 * 6 + 2)
    batch.shutdown()


@pytest.mark.parametrize("lean", [True, False])
def test_starts_are_heard_inside_of_the_parent(lean, monkeypatch):
    monkeypatch.setattr(spans, "LEAN", lean)
    hearing = Starting()
    with override_provider(provider_with(hearing)):
        mapped(doubled, 2, max_concurrency=1, span_budget=None).run_sync()
    assert [name for name, _ in hearing.started] == [
        *("run g", "map m"),
        *("item m", "node work") * 2,
    ]
    # A node's item is not current where only our own code runs.
    assert all(inside for name, inside in hearing.started if name in ("map m", "item m"))


def test_who_comes_in_the_middle_of_a_map_hears_of_what_begins_then():
    hearing, provider = Starting(), provider_with()

    async def node(x):
        if x == 2:
            provider.add_span_processor(hearing)
        return {"y": x}

    with override_provider(provider), collect_faults() as faults:
        mapped(node, 5, max_concurrency=1, span_budget=None).run_sync()
    assert faults == []
    assert [name for name, _ in hearing.started] == ["item m", "node work"] * 2
    # What was open ends for it too.
    assert len(hearing.ended) == 2 + 2 * 2 + 2


class Failing(RandomIdGenerator):
    def __init__(self):
        self.given = 0

    def generate_span_id(self):
        self.given += 1
        if self.given in (4, 7):
            raise RuntimeError("no more ids")
        return super().generate_span_id()


def test_a_span_that_cannot_be_opened_costs_the_run_nothing():
    exporter = InMemorySpanExporter()
    provider = provider_with(SimpleSpanProcessor(exporter), id_generator=Failing())
    with override_provider(provider), collect_faults() as faults:
        result = mapped(doubled, 4, max_concurrency=1, span_budget=None).run_sync()
    assert result["y"] == [0, 2, 4, 6]
    assert [str(one) for one in faults] == ["no more ids"] * 2
    found = exporter.get_finished_spans()
    assert len(found) == 2 * 4 + 2 - 2
    # Nobody hangs below what is not there.
    known = {one.context.span_id for one in found}
    assert all(one.parent is None or one.parent.span_id in known for one in found)


class Broken(SpanProcessor):
    def on_end(self, span):
        if span.name == "node work":
            raise RuntimeError("the disk is full")


def test_a_processor_that_fails_costs_the_run_nothing():
    with override_provider(provider_with(Broken())), collect_faults() as faults:
        result = mapped(doubled, 3, span_budget=None).run_sync()
    assert result["y"] == [0, 2, 4]
    assert [str(one) for one in faults] == ["the disk is full"] * 3
