"""Metrics of workflows: each run, node, item and join is counted once, whatever becomes of it."""

from __future__ import annotations

import random

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from hush import semconv
from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunError,
)
from hush.observe import tracing
from hush.observe.tracing import override_meter_provider
from hush.observe.workflow_meters import SECONDS
from hush.runtime.instrument import Scope
from hush.runtime.presence import snapshot
from hush.testing import capture_spans
from tests.observe.measuring import measuring

RUNS = semconv.METRIC_RUN_DURATION
NODES = semconv.METRIC_NODE_DURATION
ITEMS = semconv.METRIC_ITEM_DURATION


def mapped(work, items, *, name="g", gives=None, **options):
    with GraphNode(name=name) as graph:
        with MapNode(name="m", inputs={"x": Each(items)}, **options) as each:
            outputs = {gives: PARENT} if gives else None
            node = CodeNode(name="work", code_fn=work, inputs={"x": PARENT["x"]}, outputs=outputs)
            START >> node >> END
        START >> each >> END
    return Hush(graph)


# --- what is counted ------------------------------------------------------------------------


async def test_a_run_and_its_nodes():
    async def slow():
        await anyio.sleep(0.02)
        return {}

    with GraphNode(name="shop") as graph:
        first = CodeNode(name="a", code_fn=lambda: {})
        (
            START
            >> [first, CodeNode(name="b", code_fn=slow)]
            >> CodeNode(name="join", code_fn=lambda: {})
            >> END
        )
    with measuring() as metrics:
        for _ in range(3):
            await Hush(graph).run()
    assert metrics.numbers(RUNS, "graph", "outcome", "error") == {("shop", "ok", None): 3}
    assert metrics.numbers(NODES, "graph", "node", "kind", "outcome", "error") == {
        ("shop", node, "code", "ok", None): 3 for node in ("a", "b", "join")
    }
    assert 0.06 <= metrics.seconds(NODES, node="b") <= metrics.seconds(RUNS)
    assert metrics.numbers(semconv.METRIC_FAN_IN_SPREAD, "graph", "node", "outcome") == {
        ("shop", "join", "ok"): 3
    }
    assert metrics.seconds(semconv.METRIC_FAN_IN_SPREAD) > 0.03
    assert metrics.numbers(semconv.METRIC_FAN_IN_RELEASES, "node", "last") == {("join", "b"): 3}
    lead = metrics.numbers(semconv.METRIC_FAN_IN_LEAD, "node", "last")
    assert lead.keys() == {("join", "b")}
    assert lead["join", "b"] == pytest.approx(metrics.seconds(semconv.METRIC_FAN_IN_SPREAD))
    assert ITEMS not in metrics.read()


async def test_failure_is_told_of_where_it_goes_through():
    class Refused(Exception):
        pass

    def refuse():
        raise Refused

    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> CodeNode(name="bad", code_fn=refuse) >> END
        START >> inner >> END
    with measuring() as metrics:
        with pytest.raises(RunError):
            await Hush(graph).run()
    (kind,) = metrics.numbers(RUNS, "error")
    assert kind.endswith("Refused")
    assert metrics.numbers(RUNS, "outcome", "error") == {("error", kind): 1}
    assert metrics.numbers(NODES, "node", "kind", "outcome", "error") == {
        ("bad", "code", "error", kind): 1,
        ("inner", "graph", "error", kind): 1,
    }


async def test_items_by_outcome_and_partial_failures():
    def work(x):
        if x % 5 == 0:
            raise ValueError(x)
        return {"error": "no" if x % 5 == 1 else None}

    engine = mapped(work, range(100), gives="error", max_concurrency=7, on_error="collect")
    with measuring() as metrics:
        result = await engine.run()
    assert len(result.failures) == 40
    assert metrics.numbers(ITEMS, "graph", "node", "outcome") == {
        ("g", "m", "error"): 20,
        ("g", "m", "handled"): 20,
        ("g", "m", "ok"): 60,
    }
    assert metrics.numbers(semconv.METRIC_ITEM_WAIT, "outcome") == {
        "error": 20,
        "handled": 20,
        "ok": 60,
    }
    assert metrics.numbers(NODES, "node", "kind", "outcome") == {
        ("m", "map", "ok"): 1,
        ("work", "code", "error"): 20,
        ("work", "code", "ok"): 80,
    }
    assert metrics.numbers(semconv.METRIC_RUN_PARTIAL_FAILURES, "graph", "outcome") == {
        ("g", "ok"): 1
    }
    ((bound_by, count),) = metrics.numbers(semconv.METRIC_MAPS, "bound_by").items()
    assert bound_by in {"limit", "source", "straggler"}
    assert count == 1


async def test_items_whose_spans_are_omitted_are_measured():
    engine = mapped(lambda x: {}, range(500), max_concurrency=10, span_budget=20)
    with measuring() as metrics, capture_spans() as captured:
        await engine.run()
    assert len(captured.tree.all("item m")) <= 20
    assert metrics.total(ITEMS) == 500
    assert metrics.total(NODES, node="work") == 500


async def test_rounds_of_loops_are_items():
    with GraphNode(name="g") as graph:
        with ForLoopNode(name="each", inputs={"x": Each([1, 2, 3])}) as loop:
            START >> CodeNode(name="work", code_fn=lambda x: {}, inputs={"x": PARENT["x"]}) >> END
        START >> loop >> END
    with measuring() as metrics:
        await Hush(graph).run()
    assert metrics.numbers(ITEMS, "node", "outcome") == {("each", "ok"): 3}
    assert semconv.METRIC_MAPS not in metrics.read()


async def test_retries_of_nodes_and_items():
    tried = {}

    def flaky(x):
        tried[x] = tried.get(x, 0) + 1
        if tried[x] < 3:
            raise ConnectionError
        return {}

    retry = Retry(attempts=3, initial_s=0.0)
    with GraphNode(name="g") as graph:
        alone = CodeNode(name="alone", code_fn=lambda: flaky("alone"), retry=retry)
        with MapNode(name="m", inputs={"x": Each([1, 2])}, retry=retry) as each:
            START >> CodeNode(name="work", code_fn=flaky, inputs={"x": PARENT["x"]}) >> END
        START >> alone >> each >> END
    with measuring() as metrics:
        await Hush(graph).run()
    assert metrics.numbers(semconv.METRIC_RETRIES, "node", "kind", "error") == {
        ("alone", "code", "ConnectionError"): 2,
        ("m", "item", "ConnectionError"): 4,
    }
    assert metrics.numbers(NODES, "node", "outcome") == {
        ("alone", "ok"): 1,
        ("m", "ok"): 1,
        ("work", "error"): 4,
        ("work", "ok"): 2,
    }
    assert metrics.numbers(ITEMS, "outcome") == {"ok": 2}


async def test_cancellations_by_reason():
    async def forever():
        await anyio.sleep_forever()

    with GraphNode(name="g") as graph:
        quick, slow = CodeNode(name="quick", code_fn=lambda: {}), CodeNode(code_fn=forever)
        START >> [quick, slow] >> CodeNode(name="race", code_fn=lambda: {}, join=First()) >> END
    with measuring() as metrics:
        await Hush(graph).run()
        with anyio.move_on_after(0.05):
            await mapped(lambda x: forever(), range(9), name="h", max_concurrency=3).run()
    counted = metrics.numbers(semconv.METRIC_CANCELLATIONS, "graph", "node", "kind", "reason")
    assert counted == {
        ("g", "forever", "code", "race_lost"): 1,
        ("h", "m", "map", "external"): 1,
        ("h", "m", "item", "external"): 3,
        ("h", "work", "code", "external"): 3,
    }
    assert metrics.numbers(RUNS, "graph", "outcome", "error") == {
        ("g", "ok", None): 1,
        ("h", "cancelled", None): 1,
    }
    assert metrics.numbers(semconv.METRIC_MAPS, "bound_by") == {"none": 1}


async def test_a_map_says_what_bound_it():
    async def work(x):
        await anyio.sleep(0.02)
        return {}

    with measuring() as metrics:
        await mapped(work, range(20), max_concurrency=2).run()
    assert metrics.numbers(semconv.METRIC_MAPS, "graph", "node", "bound_by") == {
        ("g", "m", "limit"): 1
    }
    # The last ones waited for nearly all the others.
    assert metrics.seconds(semconv.METRIC_ITEM_WAIT) > 10 * metrics.seconds(ITEMS) / 20


async def test_held_up_loop_is_counted():
    import time

    async def blocks():
        time.sleep(0.15)
        return {}

    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=blocks) >> END
    with measuring() as metrics:
        await Hush(graph).run()
    blocked = metrics.numbers(semconv.METRIC_LOOP_BLOCKED, "graph", "node")
    assert blocked.keys() == {("g", "blocks")}
    assert blocked["g", "blocks"] >= 0.1


def test_buckets_span_a_millisecond_to_ten_minutes():
    assert (SECONDS[0], SECONDS[-1]) == (0.001, 600.0)
    assert list(SECONDS) == sorted(SECONDS)
    with measuring() as metrics:
        mapped(lambda x: {}, [1]).run_sync()
    for name in (RUNS, NODES, ITEMS, semconv.METRIC_ITEM_WAIT):
        (point, *_) = metrics.points(name)
        assert tuple(point.explicit_bounds) == SECONDS


# --- what is under way -----------------------------------------------------------------------


async def test_slots_and_runs_under_way():
    gate = anyio.Event()

    async def waits(x):
        await gate.wait()
        return {}

    with measuring(gauges=True) as metrics:
        async with anyio.create_task_group() as group:
            group.start_soon(mapped(waits, range(50), name="slots", max_concurrency=4).run)
            group.start_soon(mapped(waits, range(2), name="slots", max_concurrency=8).run)
            await anyio.wait_all_tasks_blocked()
            assert metrics.total(semconv.METRIC_RUN_ACTIVE, graph="slots") == 2
            assert metrics.total(semconv.METRIC_SLOTS_USED, graph="slots", node="m") == 6
            assert metrics.total(semconv.METRIC_SLOTS_LIMIT, graph="slots", node="m") == 12
            gate.set()
        # Nothing, and said so: a series that ends would look like a process that is gone.
        for name in (
            semconv.METRIC_RUN_ACTIVE,
            semconv.METRIC_SLOTS_USED,
            semconv.METRIC_SLOTS_LIMIT,
        ):
            assert metrics.numbers(name, "graph", of={"graph": "slots"}) == {"slots": 0}


@pytest.mark.timeout(240)
async def test_nothing_drifts_whatever_is_cancelled_when():
    """Thousands of runs, nested maps, failures, cancelled at random instants."""
    seed = random.Random(7)
    runs = 2_000

    async def work(x):
        await anyio.sleep(x % 3 / 2_000)
        if x % 11 == 0:
            raise ValueError(x)
        return {"y": x}

    with GraphNode(name="drift") as graph:
        with MapNode(
            name="outer", inputs={"n": Each(PARENT["n"])}, max_concurrency=3, on_error="collect"
        ) as outer:
            with MapNode(
                name="inner", inputs={"x": Each([1, 2, 3, 11])}, max_concurrency=2
            ) as inner:
                START >> CodeNode(name="work", code_fn=work, inputs={"x": PARENT["x"]}) >> END
            START >> inner >> END
        START >> outer >> END
    engine = Hush(graph)
    ended = {"ok": 0, "cancelled": 0}

    async def one(after_s):
        with anyio.move_on_after(after_s) as scope:
            await engine.run({"n": [1, 2, 3]})
        ended["cancelled" if scope.cancelled_caught else "ok"] += 1

    with measuring(gauges=True) as metrics:
        for _ in range(runs // 100):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(one, seed.choice((0, 0.001, 0.01, 0.05, 0.2, 30)))
        assert sum(ended.values()) == runs
        assert min(ended.values()) > 100, ended
        assert str(snapshot(engine)) == "nothing is running"
        for name in (
            semconv.METRIC_RUN_ACTIVE,
            semconv.METRIC_SLOTS_USED,
            semconv.METRIC_SLOTS_LIMIT,
        ):
            assert set(metrics.numbers(name, "node", of={"graph": "drift"}).values()) == {0}
        # Every run that began has ended, as one thing only.
        assert metrics.numbers(RUNS, "outcome", of={"graph": "drift"}) == ended
        # What was cancelled was one thing each: as many as the durations say.
        for node, kind in (("outer", "map"), ("inner", "map"), ("work", "code")):
            assert metrics.total(
                semconv.METRIC_CANCELLATIONS, node=node, kind=kind
            ) == metrics.total(NODES, node=node, outcome="cancelled")
        for node in ("outer", "inner"):
            assert metrics.total(
                semconv.METRIC_CANCELLATIONS, node=node, kind="item"
            ) == metrics.total(ITEMS, node=node, outcome="cancelled")


# --- exemplars ------------------------------------------------------------------------------


async def test_an_exemplar_leads_to_the_trace_of_the_slow_run():
    async def work(x):
        await anyio.sleep(0.3 if x else 0)
        return {}

    with GraphNode(name="g") as graph:
        START >> CodeNode(name="work", code_fn=work, inputs={"x": PARENT["x"]}) >> END
    engine = Hush(graph)
    with capture_spans() as captured, measuring() as metrics:
        fast = [await engine.run({"x": 0}) for _ in range(20)]
        slow = await engine.run({"x": 1})
        fast += [await engine.run({"x": 0}) for _ in range(20)]
    assert len({run.trace_id for run in [*fast, slow]}) == 41
    tree = captured.trees[slow.trace_id]
    # Once: each reading starts exemplars anew.
    found = metrics.read()
    for name, span in ((RUNS, "run g"), (NODES, "node work")):
        (point,) = found[name].data.data_points
        (exemplar,) = [one for one in point.exemplars if one.value >= 0.3]
        assert f"{exemplar.trace_id:032x}" == slow.trace_id
        assert f"{exemplar.span_id:016x}" == tree.one(span).record.span_id


async def test_exemplars_pin_no_item():
    engine = mapped(lambda x: {}, range(300), max_concurrency=10, span_budget=10)
    with capture_spans() as captured, measuring() as metrics:
        result = await engine.run()
    assert "hush.map.spans_pinned" not in captured.tree.one("map m").record.attributes
    for point in metrics.points(ITEMS):
        assert point.exemplars
        assert {f"{one.trace_id:032x}" for one in point.exemplars} == {result.trace_id}


# --- faults ---------------------------------------------------------------------------------


async def test_metrics_never_break_a_run(monkeypatch):
    class Broken(MeterProvider):
        def get_meter(self, *args, **kwargs):
            meter = super().get_meter(*args, **kwargs)
            made = meter.create_histogram

            def create_histogram(name, **options):
                histogram = made(name, **options)

                def record(*_args, **_options):
                    raise ZeroDivisionError(name)

                histogram.record = record
                return histogram

            meter.create_histogram = create_histogram
            return meter

    provider = Broken([InMemoryMetricReader()], shutdown_on_exit=False)
    with tracing.collect_faults() as faults, override_meter_provider(provider):
        result = await mapped(lambda x: {}, [1, 2]).run()
    provider.shutdown()
    assert result.run_id
    assert {str(fault) for fault in faults} == {RUNS, NODES, ITEMS}


# --- what is told on the way -----------------------------------------------------------------


def test_waste_is_the_runs_and_waits_are_the_nodes():
    with measuring() as metrics:
        instrument = tracing.current_instrument()
        with instrument.observe(Scope("run", "g", {})) as run:
            with instrument.observe(Scope("map", "m", {semconv.NODE_KIND: "map"})) as around:
                with instrument.observe(Scope("node", "n", {semconv.NODE_KIND: "llm"})) as node:
                    node.annotate(semconv.WAIT_LIMITER_S, 1.5)
                    node.annotate(semconv.TOKENS_WASTED, 7)
                # The same seconds and tokens once more, as sums.
                around.annotate(semconv.WAIT_LIMITER_S, 1.5)
                around.annotate(semconv.TOKENS_WASTED, 7)
            run.annotate(semconv.WAIT_LIMITER_S, 1.5)
            run.annotate(semconv.TOKENS_WASTED, 7)
            run.annotate(semconv.WASTED_USD, 0.25)
    assert metrics.numbers(semconv.METRIC_LIMITER_WAIT, "graph", "node") == {("g", "n"): 1.5}
    assert metrics.numbers(semconv.METRIC_LLM_TOKENS_WASTED, "graph") == {"g": 7}
    assert metrics.numbers(semconv.METRIC_LLM_COST_WASTED, "graph") == {"g": 0.25}
    assert metrics.numbers(semconv.METRIC_RUN_PARTIAL_FAILURES) == {}
