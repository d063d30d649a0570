"""The test kit: what it captures, what it finds wrong, and what it leaves alone."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, TelemetryError
from hush.insight.record import EventRecord, SpanRecord
from hush.testing import SpanTree, capture_spans


def graph(name="g"):
    with GraphNode(name=name) as made:
        START >> CodeNode(name="n", code_fn=lambda: {}) >> END
    return Hush(made)


async def test_captures_at_the_same_time_do_not_mix():
    trees = {}

    async def one(name):
        with capture_spans() as captured:
            await graph(name).run()
        trees[name] = str(captured.tree)

    async with anyio.create_task_group() as group:
        for name in ("a", "b"):
            group.start_soon(one, name)
    assert trees == {"a": "run a\n  node n", "b": "run b\n  node n"}


async def test_nothing_global_is_set():
    before = trace.get_tracer_provider()
    with capture_spans():
        await graph().run()
        assert trace.get_tracer_provider() is before
    assert trace.get_tracer_provider() is before


async def test_several_traces():
    with capture_spans() as captured:
        await graph("a").run()
        await graph("b").run()
    assert [tree.root.name for tree in captured.trees.values()] == ["run a", "run b"]
    with pytest.raises(LookupError, match="2 traces"):
        captured.tree


async def test_open_spans_are_told():
    with capture_spans() as captured:
        span = captured.tracer.start_span("mine")
        assert captured.open_spans == ("mine",)
        span.end()
        assert captured.open_spans == ()


async def test_nothing_is_captured_where_nothing_is_sampled():
    with capture_spans(sampler=ALWAYS_OFF) as captured:
        result = await graph().run()
    assert captured.spans == ()
    assert result.trace_id is not None  # the id goes on to whoever is called


class Raising(SpanProcessor):
    def __init__(self, where):
        self.where = where

    def on_start(self, span, parent_context=None):
        if self.where == "start":
            raise ValueError("at the start")

    def on_end(self, span):
        if self.where == "end":
            raise ValueError("at the end")


@pytest.mark.parametrize("where", ["start", "end"])
async def test_a_raising_processor_does_not_disturb_the_run_and_is_raised_afterwards(where):
    result = None
    with pytest.raises(TelemetryError, match=f"at the {where}") as caught:
        with capture_spans(processors=[Raising(where)]):
            result = await graph().run()
    assert result is not None
    assert isinstance(caught.value.__cause__, ValueError)


async def test_the_blocks_own_error_goes_first():
    with pytest.raises(KeyError):
        with capture_spans(processors=[Raising("end")]):
            await graph().run()
            raise KeyError("mine")


async def test_finding():
    with GraphNode(name="g") as made:
        with MapNode(name="m", inputs={"x": Each([1, 2])}) as m:
            START >> CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
        START >> m >> END
    with capture_spans() as captured:
        await Hush(made).run()
    tree = captured.tree
    assert tree.one("map m").record.prefix == "map"
    assert len(tree.all("node *")) == 2
    assert tree.one("item m", {"hush.item.index": 1}) is tree.item("m", 1)
    with pytest.raises(AssertionError, match="2 spans match 'node n'"):
        tree.one("node n")
    with pytest.raises(AssertionError, match="0 spans match 'node x'"):
        tree.one("node x")
    assert "item m[1] hush.item.index=1" in tree.render(["hush.item.index"])


def record(span_id, parent_id=None, start=0, end=10, name="node n", **options):
    options.setdefault("attributes", {"hush.outcome": "ok"})
    return SpanRecord(
        "1" * 32, f"{span_id:016x}", parent_id and f"{parent_id:016x}", name, start, end, **options
    )


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([record(1), record(2, 1, start=-1)], "starts before"),
        ([record(1), record(2, 1, end=11)], "ends after"),
        ([record(1, start=5, end=4)], "ends before it starts"),
        ([record(1), record(2)], "2 roots"),
        ([record(1, attributes={})], "outcome None"),
        ([record(1, attributes={"hush.outcome": "fine"})], "outcome 'fine'"),
        ([record(1, status="error")], "status is error"),
        ([record(1, attributes={"hush.outcome": "error"})], "status is unset"),
        (
            [record(1, attributes={"hush.outcome": "error"}, status="error")],
            "does not say why.*\n.*error.type",
        ),
        ([record(1, attributes={"hush.outcome": "cancelled"})], "does not say why"),
    ],
)
def test_unsound_trees_are_told(records, said):
    with pytest.raises(AssertionError, match=said):
        SpanTree(records).assert_sound()


def test_an_exception_recorded_twice_is_told():
    facts = {"exception.type": "ValueError", "exception.message": "no", "exception.stacktrace": "x"}
    red = {
        "attributes": {"hush.outcome": "error", "error.type": "ValueError"},
        "status": "error",
        "status_description": "ValueError: no",
        "events": (EventRecord("exception", 5, facts),),
    }
    with pytest.raises(AssertionError, match="records an exception that a span inside"):
        SpanTree([record(1, **red), record(2, 1, **red)]).assert_sound()
