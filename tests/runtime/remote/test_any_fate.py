"""Whatever becomes of calls, each item has one result, in its place, and attempts are numbered."""

from __future__ import annotations

from collections import Counter, defaultdict

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunError,
)
from hush.testing import Deliver, LoseWorker, ScriptedExecutor

BACKENDS = ("asyncio", "trio")

fates = st.one_of(
    st.just(Deliver()),
    st.sampled_from([0.001, 0.004]).map(Deliver),
    st.booleans().map(LoseWorker),
)


@st.composite
def maps(draw):
    """Draw how a map is given, and which of its items fail or say that they have failed."""
    count = draw(st.integers(0, 24))
    some = st.sets(st.integers(0, max(count - 1, 0)), max_size=5)
    return {
        "count": count,
        "source": draw(st.sampled_from(["list", "iterator", "stream", "thread"])),
        "failing": frozenset(draw(some)),
        "handled": frozenset(draw(some)),
        "branches": draw(st.booleans()),
        "max_concurrency": draw(st.integers(1, 9)),
        "on_error": draw(st.sampled_from(["raise", "collect"])),
        "max_failures": draw(st.none() | st.integers(0, 3)),
        "attempts": draw(st.integers(1, 3)),
    }


def graph_of(drawn, executor):
    failing, handled = drawn["failing"], drawn["handled"]

    async def work(x, k):
        if x in failing:
            raise ValueError(f"{x} fails")
        return {"y": x * k, "error": f"{x} says so" if x in handled else None}

    retry = Retry(drawn["attempts"], initial_s=0.001, jitter=0.0) if drawn["attempts"] > 1 else None
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={
                "x": Each(PARENT["xs"], run_in="thread" if drawn["source"] == "thread" else "loop"),
                "k": PARENT,
            },
            outputs={"*": PARENT, "errors": PARENT, "whole": PARENT},
            executor=executor,
            max_concurrency=drawn["max_concurrency"],
            on_error=drawn["on_error"],
            max_failures=drawn["max_failures"] if drawn["on_error"] == "collect" else None,
            retry=retry,
            key=lambda inputs: f"item {inputs['x']}",
        ) as m:
            first = CodeNode(
                "n0",
                work,
                inputs={"x": PARENT, "k": PARENT},
                return_keys=("y", "error"),
                outputs={"*": PARENT},
            )
            START >> first >> END
            if drawn["branches"]:
                which = BranchNode(
                    name="which", cases={"x > 4": "big"}, default="small", inputs={"x": PARENT}
                )
                big, small = (
                    CodeNode(name, lambda: {"size": 1}, return_keys=("size",))
                    for name in ("big", "small")
                )
                big["size"] >> PARENT["big"]
                small["size"] >> PARENT["small"]
                first >> which >> [big, small] >> END
        START >> m >> END
    return graph


def source_of(drawn):
    xs = range(drawn["count"])
    if drawn["source"] == "stream":

        async def stream():
            for x in xs:
                if x % 5 == 3:
                    await anyio.sleep(0)
                yield x

        return stream()
    return iter(xs) if drawn["source"] != "list" else list(xs)


async def outcome_of(drawn, executor):
    engine = Hush(graph_of(drawn, executor))
    told = []

    def on_event(event):
        if type(event).__name__.startswith("Item"):
            told.append(event)

    try:
        result = await engine.run({"xs": source_of(drawn), "k": 3}, on_event=on_event)
    except RunError as error:
        return ("failed", error), told
    return ("ok", result), told


def counts_of(result):
    metrics = result["iteration_metrics"]
    return {
        name: metrics[name]
        for name in ("total_iterations", "success_count", "error_count", "handled_count")
    }


def facts_of(result):
    state = result.state
    return {
        "outputs": {k: v for k, v in result.items() if k not in {"iteration_metrics", "$state"}},
        "counts": counts_of(result),
        "order": Counter(state.execution_order),
        "outcome": result.outcome,
        "skipped": Counter(result.skipped),
        "failures": Counter((one.path, one.kind, one.attempts) for one in result.failures),
    }


def check_calls(executor, drawn):
    """Check what holds of all calls of a map."""
    assert executor.most_in_flight <= drawn["max_concurrency"]
    assert executor.in_flight == 0
    attempts = defaultdict(list)
    for call in executor.calls:
        assert len(set(call.indices)) == len(call.indices)
        for index, attempt in zip(call.indices, call.attempts, strict=True):
            attempts[index].append(attempt)
    for numbers in attempts.values():
        assert numbers == list(range(1, len(numbers) + 1))
    return attempts


def check_events(told):
    for kind in ("ItemStarted", "ItemEnded"):
        indices = [event.index for event in told if type(event).__name__ == kind]
        assert len(set(indices)) == len(indices)
    begun = {event.index for event in told if type(event).__name__ == "ItemStarted"}
    ended = {event.index for event in told if type(event).__name__ == "ItemEnded"}
    assert begun == ended


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60)
@given(drawn=maps(), slots=st.integers(1, 4))
def test_random_maps_come_to_the_same_here_and_in_workers(backend, drawn, slots):
    executor = ScriptedExecutor(slots=slots)
    (here, found), _ = anyio.run(outcome_of, drawn, None, backend=backend)
    (there, got), told = anyio.run(outcome_of, drawn, executor, backend=backend)
    check_events(told)
    check_calls(executor, drawn)
    assert here == there
    if here == "ok":
        assert facts_of(got) == facts_of(found)
        return
    # Which of several fails first, is chance; that one did, and as what, is not.
    assert type(got.__cause__) is type(found.__cause__)
    if found.path == "g.m":
        assert got.path == "g.m"
        assert "max_failures" in str(got)
    else:
        index = got.failures[0].index
        assert index in drawn["failing"]
        assert got.path == f"g.m[{index}].n0"


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=80)
@given(
    drawn=maps(),
    slots=st.integers(1, 4),
    script=st.lists(fates, max_size=20),
    idempotent=st.booleans(),
)
def test_any_losses_and_delays_leave_each_item_its_result(
    backend, drawn, slots, script, idempotent
):
    drawn = {**drawn, "on_error": "collect", "max_failures": None}
    losses = Counter()
    lost_calls = []

    script = iter(script)

    def decide(call):
        fate = next(script, Deliver())
        if isinstance(fate, LoseWorker):
            losses.update(call.indices)
            lost_calls.append(call)
        return fate

    executor = ScriptedExecutor(decide, slots=slots)
    graph = graph_of(drawn, executor)
    graph.nodes[0].idempotent = idempotent
    engine = Hush(graph)

    async def run():
        return await engine.run({"xs": source_of(drawn), "k": 3})

    result = anyio.run(run, backend=backend)
    attempts = check_calls(executor, drawn)
    assert sorted(attempts) == list(range(drawn["count"]))
    allowed = 3 if idempotent else 1
    failed = {error["index"]: error for error in result["errors"]}
    for index in range(drawn["count"]):
        if losses[index] >= allowed:
            assert failed[index]["type"] == "hush.errors.WorkerLostError"
            assert result["y"][index] is None
        elif index in drawn["failing"]:
            assert failed[index]["type"] == "ValueError"
            assert len(attempts[index]) == losses[index] + drawn["attempts"]
        else:
            assert index not in failed
            assert result["y"][index] == 3 * index
            assert len(attempts[index]) == losses[index] + 1
        if index in failed:
            assert failed[index]["attempts"] == len(attempts[index])
            assert failed[index]["key"] == f"item {index}"
    counts = counts_of(result)
    assert counts["total_iterations"] == drawn["count"]
    assert counts["error_count"] == len(failed)
    # Who has lost a worker goes alone from then on.
    lost = set()
    for call in executor.calls:
        if lost & set(call.indices) or not idempotent:
            assert len(call.indices) == 1
        if call in lost_calls:
            lost |= set(call.indices)
