"""The straight way and the long one give the same, with lean spans and with the SDK's."""

from __future__ import annotations

import contextvars
from collections import Counter

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    RunError,
)
from hush.observe import spans
from hush.runtime import cpu, pace, state, stepping
from hush.testing import capture_spans
from tests.runtime.test_random_graphs import BACKENDS, INPUTS, build, check_runs, examples, flows

WAYS = [(True, True), (True, False), (False, True), (False, False)]
TIMED = ("hush.fan_in.", "hush.wait.", "hush.links.", "hush.map.bound_by", "hush.backoff_s")
"""Facts that depend on who came first, or on how long it took."""


def going(patch, way):
    straight, lean = way
    patch.setattr(state, "STRAIGHT", straight)
    patch.setattr(spans, "LEAN", lean)
    # A busy machine makes any step a long one.
    patch.setattr(stepping, "BLOCKED_S", 1e9)
    patch.setattr(cpu.CpuClock, "facts", lambda self: iter(()))


def told(engine, inputs, backend):
    """What a run gives and tells, but for ids, times and who came first."""
    with capture_spans() as capture:
        try:
            result = engine.run_sync(inputs, backend=backend)
        except RunError as error:
            gave = (error.path, [(one.path, one.kind, one.attempts) for one in error.failures])
        else:
            outputs = {name: value for name, value in result.items() if name != "$state"}
            failures = Counter((one.path, one.kind, one.message) for one in result.failures)
            order = sorted(result.state.execution_order)
            gave = (outputs, sorted(result.skipped), order, failures, result.failure_count)
    assert capture.open_spans == ()
    capture.tree.assert_sound()
    return gave, Counter(shape(node) for node in capture.tree)


def shape(node):
    record, path = node.record, []
    at = node
    while at is not None:
        found = at.record.attributes
        path.append((at.name, found.get("hush.item.index"), found.get("hush.iteration.index")))
        at = at.parent
    names = frozenset(name for name in record.attributes if not name.startswith(TIMED))
    path_of_node = record.attributes.get("hush.node.path")
    events = tuple(event.name for event in record.events)
    return tuple(path), record.outcome, record.is_red, names, path_of_node, events


@BACKENDS
@pytest.mark.timeout(300)
@examples(15)
@given(flows(failing=False, tame=True), INPUTS)
def test_all_ways_give_and_tell_the_same(backend, flow, inputs):
    seen = []
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            going(patch, way)
            seen.append(told(Hush(build(flow)), inputs, backend))
    for one in seen[1:]:
        assert one[0] == seen[0][0]
        assert one[1] == seen[0][1]


@BACKENDS
@pytest.mark.timeout(300)
@examples(20)
@given(flows(failing=True, tame=True), INPUTS, st.sampled_from(WAYS))
def test_what_is_caught_is_caught_on_all_ways(backend, flow, inputs, way):
    with pytest.MonkeyPatch.context() as patch:
        going(patch, way)
        check_runs(flow, [inputs], backend, None)


# --- scenarios that no drawing finds ---------------------------------------------------------

seen_by = contextvars.ContextVar("seen_by", default="nobody")


async def sets(x):
    before = seen_by.get()
    seen_by.set(f"item {x}")
    if x % 2:
        await anyio.sleep(0)
    return {"y": (before, seen_by.get())}


def raises(x):
    if x == 3:
        raise ValueError(x)
    return {"y": x}


async def stops(x):
    if x == 2:
        raise StopIteration(x)
    return {"y": x}


def returns_nothing(x):
    return {} if x == 1 else {"y": x}


def returns_text(x):
    return "text" if x == 1 else {"y": x}


async def cancels_itself(x):
    if x == 2:
        # Nobody has asked for it.
        raise anyio.get_cancelled_exc_class()
    return {"y": x}


def awaitable(x):
    return sets(x)


SCENARIOS = {
    "contexts": (sets, {}),
    "raises": (raises, {}),
    "collects": (raises, {"on_error": "collect"}),
    "too many": (raises, {"on_error": "collect", "max_failures": 0}),
    "stops": (stops, {}),
    "nothing": (returns_nothing, {}),
    "text": (returns_text, {"on_error": "collect"}),
    "awaitable": (awaitable, {}),
    "keyed": (raises, {"on_error": "collect", "key": lambda inputs: f"k{inputs['x']}"}),
    "no key": (sets, {"on_error": "collect", "key": lambda inputs: 1 // inputs["x"]}),
    "judged": (sets, {"failed_when": lambda outputs: outputs["y"][1] == "item 4"}),
    "judge fails": (sets, {"on_error": "collect", "failed_when": lambda outputs: 1 // 0}),
}


def mapped(function, options, kind=MapNode):
    width = {"max_concurrency": 1} if kind is MapNode else {}
    with GraphNode(name="g") as graph:
        first = CodeNode(name="first", code_fn=lambda: {"xs": list(range(6))})
        with kind(
            name="m",
            inputs={"x": Each(first["xs"])},
            outputs={"y": PARENT, "errors": PARENT},
            **width,
            **options,
        ) as items:
            (
                START
                >> CodeNode(
                    name="work",
                    code_fn=function,
                    inputs={"x": PARENT["x"]},
                    outputs={"y": PARENT["y"]},
                    run_in=None if function in (sets, stops, cancels_itself) else "loop",
                )
                >> END
            )
        last = CodeNode(
            name="last",
            code_fn=lambda y, e: {"n": [y, e]},
            inputs={"y": items["y"], "e": items["errors"]},
        )
        last["n"].apply(len) >> PARENT["n"]
        START >> first >> items >> last >> END
    return graph


@BACKENDS
@pytest.mark.parametrize("kind", [MapNode, ForLoopNode])
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_are_told_the_same(name, kind, backend, monkeypatch):
    function, options = SCENARIOS[name]
    ends = []
    for way in WAYS:
        going(monkeypatch, way)
        ends.append(told(Hush(mapped(function, options, kind)), None, backend))
    for one in ends[1:]:
        assert one[0] == ends[0][0]
        assert one[1] == ends[0][1]


@pytest.mark.parametrize("way", WAYS)
def test_a_cancellation_that_nobody_asked_for_fails_the_item(way, monkeypatch):
    going(monkeypatch, way)
    with pytest.raises(RunError, match="no scope of this run asked for it") as caught:
        Hush(mapped(cancels_itself, {})).run_sync()
    assert caught.value.path == "g.m[2].work"


def chained(count, function):
    with GraphNode(name="g") as graph:
        last = START
        for i in range(count):
            last = last >> CodeNode(name=f"n{i}", code_fn=function)
        last >> END
    return graph


@pytest.mark.parametrize("way", WAYS)
async def test_work_that_never_waits_lets_others_have_their_turn(way, monkeypatch, anyio_backend):
    going(monkeypatch, way)

    async def busy():
        return {}

    engine = Hush(chained(3_000, busy))
    turns = 0
    over = False

    async def tick():
        nonlocal turns
        while not over:
            turns += 1
            await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await anyio.sleep(0)
        before = turns
        await engine.run()
        over = True
    # Not for each node, but often: whatever the machine, more than a few times a run.
    assert turns - before >= 5


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_scope_ends_work_that_never_waits(way, monkeypatch, anyio_backend):
    going(monkeypatch, way)
    monkeypatch.setattr(pace, "BREATH_S", 0.0)
    done = []

    async def busy():
        done.append(1)
        if len(done) == 5:
            scope.cancel()
        return {}

    engine = Hush(chained(50, busy))
    with anyio.CancelScope() as scope:
        await engine.run()
    assert scope.cancelled_caught
    assert len(done) == 5


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_in_a_cancelled_scope_begins_nothing(way, monkeypatch, anyio_backend):
    going(monkeypatch, way)
    done = []
    engine = Hush(chained(3, lambda: done.append(1) or {}))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.run()
    assert scope.cancelled_caught
    assert done == []


async def test_what_runs_in_items_is_in_the_snapshot(anyio_backend):
    inside = anyio.Event()
    pictures = []

    async def work(x):
        if x == 3:
            pictures.append(engine.snapshot())
            inside.set()
        return {"y": x}

    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(5))}, max_concurrency=2) as items:
            START >> CodeNode(name="w", code_fn=work, inputs={"x": PARENT["x"]}) >> END
        START >> items >> END
    engine = Hush(graph)
    await engine.run()
    assert inside.is_set()
    ((run,),) = (picture.runs for picture in pictures)
    assert "g.m[3].w" in {node.path for node in run.nodes}
    assert engine.snapshot().runs == ()


def trivial_map(width):
    async def work(x):
        done.append(x)
        return {"y": x}

    done = []
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, max_concurrency=width) as items:
            START >> CodeNode(name="w", code_fn=work, inputs={"x": PARENT["x"]}) >> END
        START >> items >> END
    return Hush(graph), done


@pytest.mark.parametrize("way", WAYS)
async def test_a_long_map_lets_others_have_their_turn(way, monkeypatch, anyio_backend):
    going(monkeypatch, way)
    engine, done = trivial_map(50)
    most = last = 0
    over = False

    async def tick():
        nonlocal most, last
        while not over:
            most, last = max(most, len(done) - last), len(done)
            await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await engine.run({"xs": range(10_000)})
        over = True
    assert len(done) == 10_000
    # Half a millisecond's worth, and one for each worker: on no machine as many as these.
    assert most < 2_000


@pytest.mark.parametrize("way", WAYS)
async def test_of_a_long_map_that_is_cancelled_little_goes_on(way, monkeypatch, anyio_backend):
    going(monkeypatch, way)
    engine, done = trivial_map(50)
    before = 0
    with anyio.CancelScope() as scope:

        async def stop():
            nonlocal before
            while len(done) < 500:
                await anyio.sleep(0)
            before = len(done)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            await engine.run({"xs": range(100_000)})
    assert scope.cancelled_caught
    assert 500 <= before <= len(done) < before + 2_000


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [2, 7])
async def test_who_has_lost_before_it_could_begin_is_cancelled(
    count, way, monkeypatch, anyio_backend
):
    going(monkeypatch, way)

    async def forever():
        await anyio.sleep_forever()

    with GraphNode(name="g") as graph:
        quick = CodeNode(name="quick", code_fn=lambda: {})
        slow = [CodeNode(name=f"slow{i}", code_fn=forever) for i in range(count)]
        race = CodeNode(name="race", code_fn=lambda: {}, join=First())
        START >> [quick, *slow] >> race >> END
    engine = Hush(graph)
    for _ in range(20):
        with anyio.fail_after(30), capture_spans() as capture:
            await engine.run()
        lost = [node for node in capture.tree if node.name.startswith("node slow")]
        assert len(lost) == count
        assert all(node.record.attributes["hush.cancel.reason"] == "race_lost" for node in lost)
