"""What a driver does with items in workers: the same results, counts and spans as in process."""

from __future__ import annotations

import time

import anyio
import pytest

import hush.runtime.remote.exchange
from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    ExecutorError,
    ForLoopNode,
    GraphError,
    GraphNode,
    Hush,
    MapNode,
    NodeTimeoutError,
    Retry,
    RunError,
    WhileLoopNode,
    WorkerLostError,
    idempotency_key,
)
from hush.executors import InProcess
from hush.providers import LLMNode, PromptNode
from hush.testing import (
    BreakEngine,
    Deliver,
    FreezeWorker,
    LoseWorker,
    ScriptedExecutor,
    ScriptedLLMServer,
    capture_spans,
)

pytestmark = pytest.mark.anyio

PATIENCE_S = 30


def one_map(function, executor=None, *, node=None, names=("y",), **options):
    """Make a graph of one map over ``xs`` whose items are one call."""
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(PARENT["xs"]), "k": PARENT["k"].or_default(1)},
            outputs={"*": PARENT, "errors": PARENT},
            executor=executor,
            **options,
        ) as m:
            n = CodeNode(
                "n",
                function,
                inputs={"x": PARENT, "k": PARENT},
                return_keys=names,
                outputs={"*": PARENT},
                **node or {},
            )
            START >> n >> END
        START >> m >> END
    return graph


async def times(x, k):
    return {"y": x * k}


async def odd_ones_fail(x, k):
    if x % 2:
        raise ValueError(f"{x} is odd")
    return {"y": x * k}


async def wait_for_it(x, k):
    await anyio.sleep(k)
    return {"y": x}


async def hang(x, k):
    await anyio.sleep_forever()


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 7, 100])
async def test_results_are_in_the_order_of_the_items(count):
    executor = ScriptedExecutor(lambda call: Deliver(0.02 if call.number % 3 == 0 else 0.0))
    result = await Hush(one_map(times, executor)).run({"xs": range(count), "k": 3})
    assert result["y"] == [3 * x for x in range(count)]
    assert result["iteration_metrics"]["success_count"] == count
    assert sorted(i for call in executor.calls for i in call.indices) == list(range(count))
    assert len(executor.calls) < max(count, 1) or count == 1


async def test_the_engine_says_where_maps_run_and_a_map_may_say_here():
    executor = ScriptedExecutor()
    there = await Hush(one_map(times), executor=executor).run({"xs": range(5)})
    assert there["y"] == [0, 1, 2, 3, 4]
    assert executor.calls
    before = len(executor.calls)
    here = await Hush(one_map(times, InProcess()), executor=executor).run({"xs": range(5)})
    assert here["y"] == there["y"]
    assert len(executor.calls) == before


async def test_what_is_in_a_map_runs_where_its_items_run():
    outer, inner = ScriptedExecutor(), ScriptedExecutor()
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"xs": Each([[1, 2], [3]])}, outputs={"ys": PARENT}, executor=outer
        ) as m:
            with MapNode(
                name="i", inputs={"x": Each(PARENT["xs"])}, outputs={"ys": PARENT}, executor=inner
            ) as i:
                n = CodeNode("n", lambda x: {"ys": x * 2}, inputs={"x": PARENT})
                n["ys"] >> PARENT["ys"]
                START >> n >> END
            START >> i >> END
        START >> m >> END
    assert (await Hush(graph).run())["ys"] == [[2, 4], [6]]
    assert outer.calls
    assert not inner.calls
    # Where the outer one runs here, the inner one names its own; the engine's is not for it.
    m.executor = InProcess()
    assert (await Hush(graph, executor=outer).run())["ys"] == [[2, 4], [6]]
    assert {call.path for call in inner.calls} == {"g.m[0].i", "g.m[1].i"}
    i.executor = None
    inner.calls.clear()
    before = len(outer.calls)
    assert (await Hush(graph, executor=outer).run())["ys"] == [[2, 4], [6]]
    assert len(outer.calls) == before


async def test_a_graph_runs_elsewhere_as_one_item():
    executor = ScriptedExecutor([LoseWorker(), LoseWorker(after_running=True)])
    with GraphNode(name="g") as graph:
        with GraphNode(
            name="sub", inputs={"x": PARENT}, outputs={"*": PARENT}, executor=executor
        ) as sub:
            a = CodeNode(
                "a", lambda x: {"y": x + 1, "key": idempotency_key()}, inputs={"x": PARENT}
            )
            a["y"] >> PARENT["y"]
            a["key"] >> PARENT["key"]
            START >> a >> END
        START >> sub >> END
    with capture_spans() as spans:
        result = await Hush(graph).run({"x": 1})
    assert result["y"] == 2
    assert result["key"] == f"{result.run_id}/g.sub"
    assert [call.attempts for call in executor.calls] == [(1,), (2,), (3,)]
    assert result.state.execution_order == ["g.sub", "g.sub.a"]
    (found,) = spans.tree.all("graph sub")
    assert [event.name for event in found.record.events] == ["hush.worker_lost"] * 2


@pytest.mark.parametrize("stops", [True, False])
async def test_a_graph_that_hangs_elsewhere_ends_with_its_time(stops):
    executor = ScriptedExecutor([FreezeWorker()] * 2, stops_running_work=stops)
    with GraphNode(name="g") as graph:
        with GraphNode(
            name="sub", executor=executor, timeout_s=0.2, retry=Retry(3, initial_s=0.0)
        ) as sub:
            START >> CodeNode("a", lambda: {"y": 1}, outputs={"y": PARENT}) >> END
        START >> sub >> END
        sub["y"] >> PARENT["y"]
    with capture_spans() as spans:
        assert (await Hush(graph).run())["y"] == 1
    assert [call.attempts for call in executor.calls] == [(1,), (2,), (3,)]
    abandoned = [one.record.attributes.get("hush.abandoned") for one in spans.tree.all("attempt *")]
    assert abandoned.count(True) == (0 if stops else 2)


async def test_a_map_in_a_loop_runs_elsewhere_in_each_round():
    executor = ScriptedExecutor()
    with GraphNode(name="g") as graph:
        with WhileLoopNode(
            name="loop", inputs={"xs": PARENT, "round": 0}, condition=PARENT["round"] < 3
        ) as loop:
            with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"xs": PARENT}) as m:
                double = CodeNode("n", lambda x: {"xs": 2 * x}, inputs={"x": PARENT})
                double["xs"] >> PARENT["xs"]
                START >> double >> END
            count = CodeNode(
                "count",
                lambda done: {"round": done + 1},
                inputs={"done": PARENT["round"]},
                outputs={"round": PARENT},
            )
            START >> m >> count >> END
        loop["xs"] >> PARENT["xs"]
        START >> loop >> END
    result = await Hush(graph, executor=executor).run({"xs": [1, 2]})
    assert result["xs"] == [8, 16]
    assert {call.path for call in executor.calls} == {f"g.loop[{i}].m" for i in range(3)}


async def test_an_answer_to_another_call_is_the_engines_fault():
    class Mixing(ScriptedExecutor):
        async def call(self, function, payload):
            self.first = getattr(self, "first", payload)
            return await super().call(function, self.first)

    graph = one_map(times, Mixing(slots=1), max_concurrency=1, on_error="collect")
    with pytest.raises(RunError, match="the answer to another call"):
        await Hush(graph).run({"xs": range(3)})


async def test_a_graph_that_fails_elsewhere_fails_as_here():
    def broken(x):
        raise ValueError(x)

    def graph(executor):
        with GraphNode(name="g") as graph:
            with GraphNode(
                name="sub",
                inputs={"x": PARENT},
                executor=executor,
                retry=Retry(2, initial_s=0.0),
            ) as sub:
                START >> CodeNode("a", broken, inputs={"x": PARENT}) >> END
            START >> sub >> END
        return graph

    executor = ScriptedExecutor()
    for where in (executor, None):
        with pytest.raises(RunError) as caught:
            await Hush(graph(where)).run({"x": 7})
        assert caught.value.path == "g.sub.a"
        assert isinstance(caught.value.__cause__, ValueError)
    assert [call.attempts for call in executor.calls] == [(1,), (2,)]


async def test_sources_that_are_waited_for_are_pulled_as_there_is_room():
    pulled, most = 0, 0
    executor = ScriptedExecutor()

    async def source():
        nonlocal pulled, most
        for x in range(60):
            await anyio.sleep(0.0005)
            pulled += 1
            most = max(most, pulled - executor_done())
            yield x

    def executor_done():
        return len(done)

    done = []

    def on_event(event):
        if type(event).__name__ == "ItemEnded":
            done.append(event.index)

    result = await Hush(one_map(times, executor, max_concurrency=6)).run(
        {"xs": source()}, on_event=on_event
    )
    assert result["y"] == list(range(60))
    assert sorted(done) == list(range(60))
    assert executor.most_in_flight <= 6
    # Those in workers, and one that has been asked for.
    assert most <= 7
    assert len(executor.calls) < 60


async def test_an_item_that_is_there_does_not_wait_for_the_next_one():
    got = anyio.Event()

    async def source():
        yield 1
        await got.wait()
        yield 2

    def on_event(event):
        if type(event).__name__ == "ItemEnded":
            got.set()

    with anyio.fail_after(PATIENCE_S):
        engine = Hush(one_map(times, ScriptedExecutor()))
        result = await engine.run({"xs": source()}, on_event=on_event)
    assert result["y"] == [1, 2]


async def test_a_source_that_fails_fails_the_map():
    def source():
        yield from range(30)
        raise OSError("no more")

    with pytest.raises(RunError, match="no more"):
        await Hush(one_map(times, ScriptedExecutor())).run({"xs": source()})


# --- chunks -----------------------------------------------------------------------------------------


async def test_chunks_grow_where_items_are_cheap_and_stay_small_where_they_compute_long():
    cheap = ScriptedExecutor()
    await Hush(one_map(times, cheap, max_concurrency=200)).run({"xs": range(2000)})
    assert max(len(call.indices) for call in cheap.calls) == 100
    assert cheap.most_in_flight <= 200

    def burn(x, k):
        end = time.thread_time() + 0.12
        while time.thread_time() < end:
            pass
        return {"y": x}

    costly = ScriptedExecutor(slots=1)
    await Hush(one_map(burn, costly, max_concurrency=64)).run({"xs": range(30)})
    sizes = [len(call.indices) for call in costly.calls]
    assert sizes[0] == 8
    assert max(sizes) <= 9
    assert sum(sizes) == 30


async def test_chunks_are_limited_in_bytes():
    executor = ScriptedExecutor(slots=1)
    xs = [b"x" * 400_000] * 5 + [b"x" * 2_000_000] + [b"x"]
    engine = Hush(one_map(lambda x, k: {"y": len(x)}, executor, max_concurrency=50))
    assert (await engine.run({"xs": xs}))["y"] == [400_000] * 5 + [2_000_000, 1]
    sizes = [sum(len(xs[i]) for i in call.indices) for call in executor.calls]
    assert max(sizes) == 2_000_000
    assert sorted(sizes)[-2] <= 1_048_576


@pytest.mark.parametrize("where", ["node", "map"])
async def test_what_is_not_idempotent_shares_no_call_and_is_not_repeated(where):
    executor = ScriptedExecutor([Deliver(), LoseWorker(after_running=True)])
    policy = {"idempotent": False}
    graph = one_map(
        times,
        executor,
        on_error="collect",
        node=policy if where == "node" else None,
        **policy if where == "map" else {},
    )
    result = await Hush(graph).run({"xs": range(6)})
    assert all(len(call.indices) == 1 for call in executor.calls)
    (error,) = result["errors"]
    assert error["type"] == "hush.errors.WorkerLostError"
    assert "idempotent=False" in error["message"]
    assert error["attempts"] == 1
    assert len(executor.calls) == 6


# --- lost and frozen workers ------------------------------------------------------------------------


async def test_items_of_a_lost_worker_are_tried_again_one_by_one():
    executor = ScriptedExecutor([LoseWorker()], slots=1)
    with capture_spans() as spans:
        result = await Hush(one_map(times, executor, max_concurrency=8)).run({"xs": range(8)})
    assert result["y"] == list(range(8))
    assert [call.indices for call in executor.calls] == [tuple(range(8)), *((i,) for i in range(8))]
    assert {call.attempts for call in executor.calls[1:]} == {(2,)}
    for item in spans.tree.all("item m"):
        (event,) = item.record.events
        assert event.name == "hush.worker_lost"
        assert event.attributes["hush.attempt"] == 1
        assert item.record.attributes["hush.attempts"] == 2
        assert item.record.attributes["hush.outcome"] == "ok"
    (found,) = spans.tree.all("map m")
    assert found.record.attributes["hush.map.retried"] == 8


async def test_a_poison_item_is_isolated():
    def poisonous(call):
        return LoseWorker() if 5 in call.indices else Deliver()

    executor = ScriptedExecutor(poisonous)
    graph = one_map(times, executor, on_error="collect", max_concurrency=20)
    result = await Hush(graph).run({"xs": range(40)})
    assert result["y"] == [None if x == 5 else x for x in range(40)]
    (error,) = result["errors"]
    assert (error["index"], error["attempts"]) == (5, 3)
    assert error["type"] == "hush.errors.WorkerLostError"
    assert "lost 3 workers" in error["message"]
    with pytest.raises(RunError) as caught:
        await Hush(one_map(times, executor)).run({"xs": range(40)})
    assert isinstance(caught.value.__cause__, WorkerLostError)
    assert caught.value.path == "g.m[5]"


@pytest.mark.parametrize("limit", ["timeout_s", "deadline_s"])
async def test_a_frozen_worker_is_given_up_when_its_time_is_over(limit, monkeypatch):
    monkeypatch.setattr(hush.runtime.remote.exchange, "PATIENCE_S", 0.2)
    executor = ScriptedExecutor([FreezeWorker()], stops_running_work=False)
    graph = one_map(times, executor, on_error="collect", **{limit: 0.3})
    with anyio.fail_after(PATIENCE_S):
        result = await Hush(graph).run({"xs": range(8)})
    if limit == "timeout_s":
        assert result["y"] == list(range(8))
    else:
        # All their time was over by then.
        assert {error["type"] for error in result["errors"]} == {"hush.errors.NodeTimeoutError"}
        lost = executor.calls[0].indices
        assert [error["index"] for error in result["errors"]] == list(lost)


# --- failures -----------------------------------------------------------------------------------------


async def test_a_failing_item_stops_the_others():
    executor = ScriptedExecutor()
    with pytest.raises(RunError) as caught:
        await Hush(one_map(odd_ones_fail, executor, max_concurrency=2)).run({"xs": range(1000)})
    assert caught.value.path.startswith("g.m[")
    assert caught.value.path.endswith("].n")
    assert isinstance(caught.value.__cause__, ValueError)
    assert "In the worker" in "".join(caught.value.__cause__.__notes__)
    assert sum(len(call.indices) for call in executor.calls) < 20


async def test_failures_are_collected_counted_and_tolerated():
    executor = ScriptedExecutor()
    graph = one_map(odd_ones_fail, executor, on_error="collect")
    result = await Hush(graph).run({"xs": range(10)})
    assert [error["index"] for error in result["errors"]] == [1, 3, 5, 7, 9]
    assert {error["type"] for error in result["errors"]} == {"ValueError"}
    assert result["y"] == [0, None, 2, None, 4, None, 6, None, 8, None]
    tight = one_map(odd_ones_fail, executor, on_error="collect", max_failures=2)
    with pytest.raises(RunError, match="max_failures"):
        await Hush(tight).run({"xs": range(10)})


async def test_an_item_is_tried_again_as_its_policy_says_while_others_go_on():
    executor = ScriptedExecutor(slots=1)
    retry = Retry(3, initial_s=0.15, factor=1.0, jitter=0.0)
    graph = one_map(odd_ones_fail, executor, on_error="collect", retry=retry, max_concurrency=4)
    with capture_spans() as spans:
        result = await Hush(graph).run({"xs": [1, *range(0, 40, 2)]})
    (error,) = result["errors"]
    assert (error["index"], error["attempts"]) == (0, 3)
    tries = [call for call in executor.calls if 0 in call.indices]
    assert [call.attempts[call.indices.index(0)] for call in tries] == [1, 2, 3]
    # While it waited, its lane was not idle.
    assert tries[1].number - tries[0].number > 1
    assert executor.most_in_flight <= 4
    item = next(
        one for one in spans.tree.all("item m") if one.record.attributes["hush.item.index"] == 0
    )
    assert [event.name for event in item.record.events] == ["hush.retry"] * 2
    assert item.record.attributes["hush.backoff_s"] == pytest.approx(0.3)
    assert len([child for child in item.children if child.name == "attempt m"]) == 3


async def test_limits_of_time_are_those_of_the_item():
    executor = ScriptedExecutor()
    graph = one_map(wait_for_it, executor, timeout_s=0.2)
    with pytest.raises(RunError) as caught:
        await Hush(graph).run({"xs": range(3), "k": 20})
    assert isinstance(caught.value.__cause__, NodeTimeoutError)
    assert caught.value.failures[0].kind == "timeout"
    graph = one_map(
        wait_for_it, executor, deadline_s=0.4, timeout_s=0.15, retry=Retry(50, initial_s=0.01)
    )
    with capture_spans() as spans, pytest.raises(RunError, match=r"deadline_s=0\.4 was"):
        await Hush(graph).run({"xs": [1], "k": 20})
    (item,) = spans.tree.all("item m")
    assert item.record.attributes["hush.outcome"] == "timeout"
    assert item.record.attributes["hush.attempts"] >= 2


def test_what_has_to_come_out_of_a_run_comes_out(anyio_backend):
    async def leave(x, k):
        if x == 3:
            raise SystemExit(7)
        return {"y": x}

    with pytest.raises(SystemExit) as caught:
        Hush(one_map(leave, ScriptedExecutor())).run_sync({"xs": range(9)}, backend=anyio_backend)
    assert caught.value.code == 7


async def test_results_and_inputs_that_do_not_travel_fail_their_item():
    async def unpicklable(x, k):
        return {"y": (i for i in range(3)) if x == 2 else x}

    graph = one_map(unpicklable, ScriptedExecutor(), on_error="collect")
    result = await Hush(graph).run({"xs": range(4)})
    (error,) = result["errors"]
    assert (error["index"], error["type"]) == (2, "hush.errors.PayloadError")
    graph = one_map(times, ScriptedExecutor(), on_error="collect")
    result = await Hush(graph).run({"xs": [1, (i for i in range(3)), 3]})
    (error,) = result["errors"]
    assert (error["index"], error["type"]) == (1, "hush.errors.PayloadError")
    assert result["y"] == [1, None, 3]


# --- the engine ---------------------------------------------------------------------------------------


async def test_an_engine_that_fails_fails_the_map():
    executor = ScriptedExecutor([Deliver(), BreakEngine("out of order")])
    with pytest.raises(RunError, match="out of order") as caught:
        await Hush(one_map(times, executor, on_error="collect")).run({"xs": range(100)})
    assert caught.value.path == "g.m"
    assert isinstance(caught.value.__cause__, ExecutorError)


class Closed(ScriptedExecutor):
    async def __aenter__(self):
        raise OSError("nobody listens")


async def test_an_engine_that_cannot_be_reached_fails_the_map():
    with pytest.raises(RunError, match="nobody listens") as caught:
        await Hush(one_map(times, Closed())).run({"xs": range(3)})
    assert caught.value.path == "g.m"
    assert isinstance(caught.value.__cause__, ExecutorError)
    with pytest.raises(ExecutorError, match="nobody listens"):
        async with Hush(one_map(times, Closed())):
            pass


async def test_engines_stay_open_between_runs_of_a_block():
    executor = ScriptedExecutor()
    engine = Hush(one_map(times, executor))
    async with engine:
        assert executor._entered == 1
        await engine.run({"xs": range(3)})
        assert executor._entered == 1
    assert executor._entered == 0


# --- cancelling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [True, False])
async def test_cancelling_ends_what_is_under_way_and_begins_nothing(stops):
    executor = ScriptedExecutor(lambda call: FreezeWorker(), stops_running_work=stops)
    with capture_spans() as spans:
        with anyio.move_on_after(0.3) as scope:
            await Hush(one_map(times, executor, max_concurrency=6)).run({"xs": range(100)})
        assert scope.cancelled_caught
        sent = len(executor.calls)
        await anyio.sleep(0.05)
    assert len(executor.calls) == sent
    assert executor.in_flight == 0
    items = spans.tree.all("item m")
    assert 1 <= len(items) <= 6
    for item in items:
        assert item.record.attributes["hush.outcome"] == "cancelled"
        assert item.record.attributes["hush.cancel.reason"] == "external"
        assert item.record.attributes.get("hush.abandoned") is (None if stops else True)
    (found,) = spans.tree.all("map m")
    assert found.record.attributes["hush.map.cancelled"] == len(items)


async def test_an_item_that_waits_to_be_tried_again_is_cancelled_too():
    executor = ScriptedExecutor()
    graph = one_map(odd_ones_fail, executor, retry=Retry(3, initial_s=60.0, max_s=60.0))
    with capture_spans() as spans, anyio.move_on_after(0.5):
        await Hush(graph).run({"xs": [1]})
    (item,) = spans.tree.all("item m")
    assert item.record.attributes["hush.outcome"] == "cancelled"
    assert len(executor.calls) == 1


# --- what is seen -----------------------------------------------------------------------------------------


async def test_events_and_snapshots_tell_of_items():
    told = []
    executor = ScriptedExecutor()
    engine = Hush(one_map(odd_ones_fail, executor, on_error="collect", max_concurrency=4))
    shots = []

    def on_event(event):
        told.append((type(event).__name__, getattr(event, "index", None)))
        shots.append(engine.snapshot())

    await engine.run({"xs": range(10)}, on_event=on_event)
    assert sorted(i for name, i in told if name == "ItemStarted") == list(range(10))
    assert sorted(i for name, i in told if name == "ItemEnded") == list(range(10))
    maps = [one for shot in shots for run in shot.runs for one in run.maps]
    assert {one.path for one in maps} == {"g.m"}
    assert 1 <= max(one.running for one in maps) <= 4
    assert not engine.snapshot().runs


async def test_nodes_in_workers_stand_below_their_items():
    executor = ScriptedExecutor()
    with capture_spans() as spans:
        result = await Hush(one_map(times, executor)).run({"xs": range(3)})
    spans.tree.assert_sound()
    for item in spans.tree.all("item m"):
        (attempt,) = [one for one in item.children if one.name == "attempt m"]
        assert [one.name for one in attempt.children] == ["node n"]
        assert item.record.attributes["hush.run_s"] >= 0
        assert item.record.attributes["hush.wait.queue_s"] >= 0
    (run,) = spans.tree.all("run g")
    assert run.record.attributes["hush.node.count"] == 4
    order = result.state.execution_order
    assert order[0] == "g.m"
    assert sorted(order[1:]) == [f"g.m[{i}].n" for i in range(3)]


async def test_the_idempotency_key_is_the_same_for_every_attempt_here_and_there():
    async def key_of(x, k):
        return {"y": idempotency_key()}

    for executor in (None, ScriptedExecutor([LoseWorker(after_running=True)])):
        result = await Hush(one_map(key_of, executor)).run({"xs": range(4)})
        assert result["y"] == [f"{result.run_id}/g.m[{i}]" for i in range(4)]
    assert idempotency_key() is None


async def test_what_models_used_is_the_same_here_and_there():
    with ScriptedLLMServer() as server:
        resources = server.resources("m")
        seen = []
        for executor in (None, ScriptedExecutor()):
            with GraphNode(name="g") as graph:
                with MapNode(
                    name="m", inputs={"x": Each(["a", "b", "c"])}, outputs={"said": PARENT}
                ) as m:
                    prompt = PromptNode("prompt", inputs={"prompt": "say {x}", "x": PARENT})
                    ask = LLMNode("ask", "m", inputs={"messages": prompt["messages"]})
                    ask["content"] >> PARENT["said"]
                    START >> prompt >> ask >> END
                START >> m >> END
            with capture_spans() as spans:
                engine = Hush(graph, resources=resources, executor=executor)
                result = await engine.run()
            usage = result.state.usage
            names = ("hush.tokens.input", "hush.tokens.output", "hush.tokens.complete")
            told = [
                [one.record.attributes[name] for name in names]
                for kind in ("run g", "map m", "item m")
                for one in spans.tree.all(kind)
            ]
            seen.append((result["said"], usage, sorted(result.state.usage_by_model), told))
    assert seen[0] == seen[1]
    assert seen[0][1].calls == 3
    assert seen[0][1].total_tokens > 0


async def test_critical_path_and_verdict_tell_of_items_in_workers():
    executor = ScriptedExecutor(slots=2)
    with capture_spans() as spans:
        result = await Hush(one_map(wait_for_it, executor, max_concurrency=2)).run(
            {"xs": range(4), "k": 0.2}
        )
    (found,) = spans.tree.all("map m")
    assert found.record.attributes["hush.map.peak_concurrency"] == 2
    assert found.record.attributes["hush.map.ok"] == 4
    assert found.record.attributes["hush.map.run_max_s"] >= 0.2
    labels = [step.label for step in result.state.critical_path]
    assert sum(label.endswith(".n") for label in labels) == 2
    assert all(label.startswith("m") for label in labels)


async def test_what_lies_ready_for_a_busy_worker_does_not_wait_in_a_queue():
    def burn(x, k):
        time.sleep(0.1)
        return {"y": x}

    executor = ScriptedExecutor(slots=1)
    engine = Hush(one_map(burn, executor, max_concurrency=3, node={"idempotent": False}))
    with capture_spans() as spans:
        result = await engine.run({"xs": range(8)})
    path = {step.label: step.seconds for step in result.state.critical_path}
    # Of each item but the first the call was sent while the one before was running.
    waits = [item.record.attributes["hush.wait.queue_s"] for item in spans.tree.all("item m")]
    assert sum(wait > 0.05 for wait in waits) >= 6
    assert path.get("m (queue)", 0.0) < 0.3 * sum(path.values())
    worked = sum(s for label, s in path.items() if "m[" in label or "more items" in label)
    assert worked >= 0.8
    (found,) = spans.tree.all("map m")
    # Two were in flight of three that were allowed: it was the workers that were too few.
    assert found.record.attributes["hush.map.bound_by"] == "limit"
    assert found.record.attributes["hush.map.peak_concurrency"] == 2


async def test_maps_that_share_an_engine_wait_for_it_here_and_not_there():
    running = most = 0

    class Counted(ScriptedExecutor):
        async def call(self, function, payload):
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await super().call(function, payload)
            finally:
                running -= 1

    executor = Counted(slots=2)
    engine = Hush(one_map(times, executor, timeout_s=5.0))
    results = []

    async def run(k):
        results.append((k, (await engine.run({"xs": range(30), "k": k}))["y"]))

    async with anyio.create_task_group() as group:
        for k in range(6):
            group.start_soon(run, k)
    assert sorted(results) == [(k, [k * x for x in range(30)]) for k in range(6)]
    assert most == 2
    assert not [call for call in executor.calls if max(call.attempts) > 1]


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (ScriptedExecutor, r"Make one: ScriptedExecutor\(\)"),
        ("processes", "Give one of hush.executors"),
        (3, "Give one of hush.executors"),
    ],
)
def test_what_is_no_executor_is_a_problem_of_the_graph(wrong, remedy):
    with pytest.raises(GraphError, match=remedy) as caught:
        Hush(one_map(times, wrong))
    (problem,) = caught.value.problems
    assert (problem.rule, problem.path) == ("bad-executor", "g.m")
    with pytest.raises(GraphError, match=remedy):
        Hush(one_map(times), executor=wrong)


def test_what_cannot_be_sent_is_a_problem_of_the_graph():
    stream = (i for i in range(3))
    with pytest.raises(GraphError) as caught:
        Hush(one_map(lambda x, k: {"y": next(stream)}, ScriptedExecutor()))
    (problem,) = caught.value.problems
    assert problem.path == "g.m.n"
    assert "stream" in problem.message


@pytest.mark.parametrize("kind", [ForLoopNode, WhileLoopNode])
def test_rounds_of_a_loop_wait_for_each_other(kind):
    loop = {"inputs": {"x": Each([1])}} if kind is ForLoopNode else {"condition": PARENT["x"] < 3}
    with GraphNode(name="g") as graph:
        with kind(name="loop", executor=ScriptedExecutor(), **loop) as node:
            START >> CodeNode("n", lambda: {"x": 1}, outputs={"x": PARENT}) >> END
        START >> node >> END
    with pytest.raises(GraphError, match="rounds wait for each other") as caught:
        Hush(graph)
    assert ("bad-executor", "g.loop") in {(one.rule, one.path) for one in caught.value.problems}


def test_the_top_graph_is_not_an_item():
    with GraphNode(name="g", executor=ScriptedExecutor()) as graph:
        START >> CodeNode("n", lambda: {"x": 1}) >> END
    with pytest.raises(GraphError, match=r"Hush\(graph, executor=\.\.\.\)"):
        Hush(graph)


def test_idempotent_is_a_truth_value():
    with pytest.raises(GraphError, match="idempotent='no'"):
        Hush(one_map(times, node={"idempotent": "no"}))
