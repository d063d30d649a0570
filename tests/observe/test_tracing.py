"""Live spans: context in user code, parents, clocks, faults, sampling, privacy, providers."""

from __future__ import annotations

import logging
import threading
import time
from itertools import pairwise

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, RunError
from hush.observe import tracing
from hush.observe.settings import settings
from hush.observe.tracing import current_instrument, override_provider
from hush.runtime.instrument import NULL_INSTRUMENT, Ending, Guard, Scope
from hush.testing import capture_spans


def graph_of(*functions, **options):
    with GraphNode(name="g") as graph:
        last = START
        for i, function in enumerate(functions):
            node = CodeNode(name=f"n{i}", code_fn=function, **options)
            last >> node
            last = node
        last >> END
    return Hush(graph)


async def test_user_spans_nest_under_their_node_everywhere():
    with capture_spans() as captured:

        async def on_loop():
            with captured.tracer.start_as_current_span("loop span"):
                await anyio.sleep(0)
            async with anyio.create_task_group() as group:
                group.start_soon(child)
            return {}

        async def child():
            with captured.tracer.start_as_current_span("task span"):
                await anyio.sleep(0)

        def in_thread():
            with captured.tracer.start_as_current_span("thread span"):
                return {}

        await graph_of(on_loop, in_thread).run()
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == (
        "run g\n  node n0\n    loop span\n    task span\n  node n1\n    thread span"
    )
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_run_inside_a_callers_span_is_its_child():
    with capture_spans() as captured:
        with captured.tracer.start_as_current_span("request") as span:
            result = await graph_of(lambda: {}).run()
        assert result.trace_id == f"{span.get_span_context().trace_id:032x}"
    tree = captured.tree
    assert str(tree) == "request\n  run g\n    node n0"
    assert tree.one("run g").record.kind == "internal"


async def test_a_run_without_parent_or_with_a_remote_one_is_a_server():
    remote = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1))
    with capture_spans() as captured:
        await graph_of(lambda: {}).run()
        with trace.use_span(trace.NonRecordingSpan(remote)):
            await graph_of(lambda: {}).run()
    kinds = [tree.root.record.kind for tree in captured.trees.values()]
    assert kinds == [SpanKind.SERVER.name.lower()] * 2


async def test_ids_are_on_the_run():
    with capture_spans() as captured:
        result = await graph_of(lambda: {}).run(request_id="r", user_id="u", session_id="s")
    facts = captured.tree.root.record.attributes
    assert facts["hush.run.id"] == result.run_id
    assert facts["hush.graph.name"] == "g"
    assert (facts["hush.request.id"], facts["user.id"], facts["session.id"]) == ("r", "u", "s")
    assert facts["hush.node.count"] == 1
    assert facts["hush.outcome"] == "ok"


async def test_names_are_low_in_cardinality():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(20))}) as m:
            START >> CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
        START >> m >> END
    with capture_spans() as captured:
        await Hush(graph).run()
    assert {span.name for span in captured.spans} == {"run g", "map m", "item m", "node n"}


async def test_a_successor_starts_after_what_released_it():
    with capture_spans() as captured:
        await graph_of(*[lambda: {}] * 200).run()
    tree = captured.tree
    tree.assert_sound()
    nodes = [tree.one(f"node n{i}").record for i in range(200)]
    for before, after in pairwise(nodes):
        assert after.start_ns - before.end_ns >= 2_000
        assert after.links[0].span_id == before.span_id


async def test_an_item_that_got_a_freed_slot_starts_after_the_one_that_freed_it():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(50))}, max_concurrency=1) as m:
            START >> CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
        START >> m >> END
    with capture_spans() as captured:
        await Hush(graph).run()
    items = [captured.tree.item("m", i).record for i in range(50)]
    for before, after in pairwise(items):
        assert after.start_ns - before.end_ns >= 2_000


async def test_children_lie_inside_their_parents_when_users_stamp_with_the_wall_clock():
    with capture_spans() as captured:

        async def work():
            for _ in range(20):
                captured.tracer.start_span("user").end()
                await anyio.sleep(0)
            return {}

        await graph_of(work, work).run()
    captured.tree.assert_sound()


# --- providers ----------------------------------------------------------------------------


def test_without_a_provider_nothing_is_watched():
    assert current_instrument() is NULL_INSTRUMENT
    with override_provider(trace.NoOpTracerProvider()):
        assert current_instrument() is NULL_INSTRUMENT


async def test_without_a_provider_there_is_no_trace():
    assert (await graph_of(lambda: {}).run()).trace_id is None


async def test_what_is_not_sampled_is_not_described(monkeypatch):
    """A sampled-out run hands on its context and computes nothing."""
    calls = []
    monkeypatch.setattr(settings, "redactor", lambda text: calls.append(text) or text)

    def fails():
        raise ValueError("no")

    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with override_provider(provider), pytest.raises(RunError):
        await graph_of(fails).run()
    assert "no" not in calls


# --- faults -------------------------------------------------------------------------------


class Raising(SpanProcessor):
    def __init__(self, *where):
        self.where = where

    def on_start(self, span, parent_context=None):
        if "start" in self.where:
            raise ValueError("processor at start")

    def on_end(self, span):
        if "end" in self.where:
            raise ValueError("processor at end")


@pytest.mark.parametrize("where", [("start",), ("end",), ("start", "end")])
async def test_a_raising_span_processor_is_logged_once_and_the_run_goes_on(where, caplog):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising(*where))
    seen = []

    def work(x):
        seen.append(x)
        return {"y": x}

    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(10))}, outputs={"y": PARENT}) as m:
            (
                START
                >> CodeNode(name="n", code_fn=work, inputs={"x": PARENT}, outputs={"y": PARENT})
                >> END
            )
        START >> m >> END
    with override_provider(provider), caplog.at_level(logging.ERROR, "hush"):
        result = await Hush(graph).run()
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert result["y"] == list(range(10))
    assert sorted(seen) == list(range(10))
    logged = [r for r in caplog.records if "telemetry failed" in r.getMessage()]
    assert len(logged) == 1


async def test_a_tracer_that_raises_is_logged_and_the_run_goes_on(caplog, monkeypatch):
    monkeypatch.setattr(tracing, "_no_tracer", Guard(NULL_INSTRUMENT))

    class Broken(trace.TracerProvider):
        def get_tracer(self, *args, **kwargs):
            raise OSError("no tracer")

    with override_provider(Broken()), caplog.at_level(logging.ERROR, "hush"):
        result = await graph_of(lambda: {}).run()
    assert result.outcome == "ok"
    assert "no tracer" in caplog.text


async def test_a_failure_is_not_hidden_by_a_failing_processor():
    def fails():
        raise KeyError("mine")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising("start", "end"))
    with override_provider(provider), pytest.raises(RunError, match="mine"):
        await graph_of(fails).run()


# --- privacy ------------------------------------------------------------------------------


async def test_inputs_and_outputs_are_not_on_the_spans():
    with GraphNode(name="g") as graph:
        node = CodeNode(
            name="n", code_fn=lambda x: {"y": x}, inputs={"x": PARENT}, outputs={"y": PARENT}
        )
        START >> node >> END
    with capture_spans() as captured:
        await Hush(graph).run({"x": "CONFIDENTIAL"})
    assert "CONFIDENTIAL" not in repr(captured.spans)


async def test_texts_of_failures_are_redacted_everywhere():
    def fails():
        raise ValueError("wrong api_key=SECRETSECRET")

    with capture_spans() as captured, pytest.raises(RunError):
        await graph_of(fails, lambda: {}).run()
    assert "SECRETSECRET" not in repr(captured.spans)
    assert "[redacted]" in captured.tree.root.record.status_description


async def test_keys_of_items_and_handled_errors_are_redacted():
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(["api_key=SECRETSECRET"])}, key=lambda i: i["x"]
        ) as m:
            node = CodeNode(
                name="n",
                code_fn=lambda x: {"error": x},
                inputs={"x": PARENT},
                outputs={"error": PARENT},
            )
            START >> node >> END
        START >> m >> END
    with capture_spans() as captured:
        await Hush(graph).run()
    assert "SECRETSECRET" not in repr(captured.spans)


async def test_long_texts_are_cut():
    def fails():
        raise ValueError("x" * 1_000_000)

    with capture_spans() as captured, pytest.raises(RunError):
        await graph_of(fails).run()
    for span in captured.spans:
        assert len(span.status_description) < 5_000
        for event in span.events:
            assert all(len(str(value)) < 5_000 for value in event.attributes.values())


# --- threads ------------------------------------------------------------------------------


async def test_runs_in_several_threads_at_once():
    outcomes = []

    def one():
        with capture_spans() as captured:
            graph_of(lambda: {}, lambda: {}).run_sync()
        captured.tree.assert_sound()
        outcomes.append(str(captured.tree))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["run g\n  node n0\n  node n1"] * 4


async def test_how_long_a_node_took():
    def work():
        time.sleep(0.02)
        return {}

    with capture_spans() as captured:
        await graph_of(work).run()
    node = captured.tree.one("node n0").record
    assert 0.02 <= node.attributes["hush.run_s"] <= node.duration_s + 0.001


# --- calls to models ----------------------------------------------------------------------


def test_a_call_to_a_model_is_a_client_span():
    facts = {"gen_ai.operation.name": "chat", "server.port": 8080, "hush.attempt": 2}
    with capture_spans() as captured:
        with current_instrument().observe(Scope("node", "n", {})):
            with current_instrument().observe(Scope("chat", "gpt", facts)) as seen:
                seen.annotate("gen_ai.response.finish_reasons", ["stop", "length"])
                seen.annotate("gen_ai.usage.output_tokens", None)
    assert str(captured.tree) == "node n\n  chat gpt"
    record = captured.tree.one("chat gpt").record
    assert record.kind == "client"
    assert list(record.attributes["gen_ai.response.finish_reasons"]) == ["stop", "length"]
    assert "gen_ai.usage.output_tokens" not in record.attributes
    assert facts.items() <= record.attributes.items()


def test_a_call_starts_after_the_one_that_it_repeats():
    with capture_spans() as captured:
        instrument = current_instrument()
        with instrument.observe(Scope("node", "n", {})):
            with instrument.observe(Scope("chat", "a", {})) as first:
                pass
            with instrument.observe(Scope("chat", "b", {}, links=(first.token,))):
                pass
    before, after = captured.tree.one("chat a").record, captured.tree.one("chat b").record
    assert after.start_ns - before.end_ns >= 2_000
    assert after.links[0].span_id == before.span_id


@pytest.mark.parametrize(
    ("kind", "shown"), [("429", "429"), (None, "ValueError"), ("api_key=SECRETSECRET", None)]
)
def test_the_kind_of_error_is_shown_and_the_event_keeps_the_class(kind, shown):
    error = ValueError("too many")
    with capture_spans() as captured:
        with current_instrument().observe(Scope("node", "n", {})) as node:
            with current_instrument().observe(Scope("chat", "gpt", {})) as seen:
                seen.end(Ending("error", error, raised_here=True, error_type=kind))
            node.end(Ending("error", error, failed_path="n", error_type=kind))
    for name in ("chat gpt", "node n"):
        record = captured.tree.one(name).record
        assert record.attributes["error.type"] == (shown or "api_key=[redacted]")
        assert record.status_description.endswith("ValueError: too many")
    (event,) = captured.tree.one("chat gpt").record.events
    assert event.attributes["exception.type"] == "ValueError"
