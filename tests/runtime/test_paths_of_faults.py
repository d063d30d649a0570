"""The critical path where a source, retries, failures or time limits made it, in virtual time."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

import hush.runtime.state
from hush import semconv
from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    First,
    GraphNode,
    Hush,
    MapNode,
    Quorum,
    Retry,
    RunError,
    WhileLoopNode,
)
from hush.model.node import Node
from hush.testing import capture_spans
from tests.runtime.virtual_time import run_virtually


@pytest.fixture
def run(anyio_backend_name, monkeypatch):
    """Run a graph in virtual time; return the tree of its spans."""

    def run_graph(graph, inputs=None, **options):
        monkeypatch.setattr(hush.runtime.state, "CLOCK", anyio.current_time)
        engine = Hush(graph)

        async def go():
            with capture_spans() as captured:
                try:
                    with anyio.move_on_after(options.pop("cancel_after_s", 1e6)):
                        await engine.run(inputs or {}, **options)
                except RunError:
                    pass
            return captured.tree

        return run_virtually(go, anyio_backend_name)

    return run_graph


def path(tree):
    """Return the steps' labels and seconds."""
    steps = {}
    for text in tree.one("run g").record.attributes[semconv.CRITICAL_PATH]:
        label, seconds, _share = text.rsplit(" ", 2)
        steps[label] = float(seconds[:-1])
    return steps


def sleeper(name, seconds, **options):
    return CodeNode(name, anyio.sleep, inputs={"delay": seconds}, **options)


def map_over(source, function, limit, **options):
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"x": Each(source)}, max_concurrency=limit, **options
        ) as each:
            START >> CodeNode("w", function, inputs={"x": PARENT["x"]}) >> END
        START >> each >> END
    return graph


def slowly(count, seconds, last_s=0.0):
    async def give():
        for i in range(count):
            await anyio.sleep(seconds)
            yield i
        await anyio.sleep(last_s)

    return give()


async def work(x):
    await anyio.sleep(0.25)
    return {}


@pytest.mark.parametrize("limit", [16, 4])
def test_a_slow_source_releases_its_items(run, limit):
    tree = run(map_over(PARENT["xs"], work, limit), {"xs": slowly(10, 0.1)})
    assert path(tree) == pytest.approx({"m (source)": 1.0, "m[9].w": 0.25})


def test_items_that_outlast_a_source_release_each_other(run):
    # Two slots: from the third item on it is a slot that is waited for, not the source.
    tree = run(map_over(PARENT["xs"], work, 2), {"xs": slowly(6, 0.01)})
    assert path(tree) == pytest.approx(
        {"m (source)": 0.04, "m[1].w": 0.25, "m[3].w": 0.25, "m[5].w": 0.25}
    )


def test_a_source_that_is_slow_to_end_is_waited_for(run):
    tree = run(map_over(PARENT["xs"], work, 4), {"xs": slowly(3, 0.01, last_s=5.0)})
    assert path(tree) == pytest.approx({"m (source)": 5.03})


def test_failed_attempts_and_pauses_of_an_item(run):
    tries = Counter()

    async def fails_twice(x):
        await anyio.sleep(0.1)
        tries[x] += 1
        if x == 1 and tries[x] < 3:
            raise ValueError(x)
        return {}

    retry = Retry(attempts=3, initial_s=0.4, factor=1.0, jitter=0.0)
    tree = run(map_over([0, 1], fails_twice, 2, retry=retry))
    assert path(tree) == pytest.approx(
        {"m[1] (failed attempts)": 0.2, "m[1] (paused)": 0.8, "m[1].w": 0.1}
    )


def test_failed_attempts_and_pauses_of_a_graph(run):
    tries = []

    async def fails_once():
        await anyio.sleep(0.2)
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return {}

    with GraphNode(name="g") as graph:
        with GraphNode(
            name="inner", retry=Retry(attempts=2, initial_s=0.5, factor=1.0, jitter=0.0)
        ) as inner:
            START >> CodeNode("c", fails_once) >> END
        START >> inner >> END
    assert path(run(graph)) == pytest.approx(
        {"inner (failed attempts)": 0.2, "inner (paused)": 0.5, "inner.c": 0.2}
    )


def test_what_has_to_stop_after_a_failure_is_on_the_path(run):
    async def fails():
        await anyio.sleep(0.1)
        raise ValueError

    async def stops_slowly():
        try:
            await anyio.sleep(10)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.9)
        return {}

    with GraphNode(name="g") as graph:
        START >> [CodeNode("bad", fails), CodeNode("slow", stops_slowly)] >> END
    assert path(run(graph)) == pytest.approx({"bad": 0.1, "slow (stopping)": 0.9})


def a_graph():
    with GraphNode(name="n") as node:
        START >> sleeper("a", 0.1) >> sleeper("b", 9) >> END
    return node, {"n.a": 0.1, "n.b": 0.8}


def a_map():
    with MapNode(name="n", inputs={"x": Each([0.2, 9])}, max_concurrency=1) as node:
        START >> sleeper("w", PARENT["x"]) >> END
    return node, {"n[0].w": 0.2, "n[1].w": 0.7}


def a_wide_map():
    with MapNode(name="n", inputs={"x": Each([0.2, 0.3, 9])}, max_concurrency=2) as node:
        START >> sleeper("w", PARENT["x"]) >> END
    return node, {"n[0].w": 0.2, "n[2].w": 0.7}


def a_loop():
    async def work(x):
        await anyio.sleep(0.5)
        return {"x": x - 1}

    with WhileLoopNode(name="n", condition="x > 0", inputs={"x": 9}, max_iterations=9) as node:
        work_node = CodeNode("w", work, inputs={"x": PARENT["x"]}, outputs={"x": PARENT})
        START >> work_node >> END
    return node, {"n[0].w": 0.5, "n[1].w": 0.4}


@pytest.mark.parametrize("made", [a_graph, a_map, a_wide_map, a_loop])
@pytest.mark.parametrize("limit", ["deadline_s", "cancel_after_s"])
def test_a_run_that_was_cut_off_says_where_it_was(run, made, limit):
    with GraphNode(name="g") as graph:
        node, inside = made()
        START >> sleeper("first", 0.1) >> node >> END
    assert path(run(graph, **{limit: 1.0})) == pytest.approx({"first": 0.1, **inside})


def test_a_loop_that_fails_says_in_which_round(run):
    async def work(x):
        await anyio.sleep(0.5)
        if x == 7:
            raise ValueError(x)
        return {"x": x - 1}

    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="n", condition="x > 0", inputs={"x": 9}) as loop:
            node = CodeNode("w", work, inputs={"x": PARENT["x"]}, outputs={"x": PARENT})
            START >> node >> END
        START >> loop >> END
    assert path(run(graph)) == pytest.approx({"n[0].w": 0.5, "n[1].w": 0.5, "n[2].w": 0.5})


def test_a_graph_that_was_cut_off_by_its_own_limit(run):
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner", timeout_s=0.5) as inner:
            START >> sleeper("a", 0.1) >> sleeper("b", 9) >> END
        START >> inner >> END
    assert path(run(graph)) == pytest.approx({"inner.a": 0.1, "inner.b": 0.4})


@pytest.mark.parametrize(
    ("hard", "soft", "lead_s", "last"),
    [
        ({"h": 0.5}, {"s": 0.1, "t": 0.2}, 0.4, "h"),
        ({"h": 0.1, "i": 0.5}, {"s": 0.2, "t": 0.3}, 0.3, "i"),
        ({"h": 0.1, "i": 0.3}, {"s": 0.7, "t": 0.9}, 0.4, "s"),
        ({"h": 0.1, "i": 0.45}, {"s": 0.4, "t": 0.9}, 0.05, "i"),
    ],
)
def test_the_lead_of_a_join_that_needs_some_and_one_of_others(run, hard, soft, lead_s, last):
    with GraphNode(name="g") as graph:
        join = sleeper("join", 0)
        for name, seconds in hard.items():
            START >> sleeper(name, seconds) >> join
        for name, seconds in soft.items():
            START >> sleeper(name, seconds) >> ~join
        join >> END
    facts = run(graph).one("node join").record.attributes
    assert facts[semconv.FAN_IN_LAST] == last
    assert facts[semconv.FAN_IN_LEAD_S] == pytest.approx(lead_s)


def test_equal_items_with_a_slot_each_have_no_straggler(run):
    tree = run(map_over(range(8), work, 8))
    assert semconv.MAP_BOUND_BY not in tree.one("map m").record.attributes
    tree = run(map_over(range(8), work, 4))
    assert tree.one("map m").record.attributes[semconv.MAP_BOUND_BY] == semconv.BOUND_BY_LIMIT


def test_two_sums_of_a_path_are_one(run):
    with GraphNode(name="g") as graph:
        last = START
        for i in range(60):
            last = last >> sleeper(f"n{i}", 1 + i / 100)
        last >> END
    steps = path(run(graph))
    assert len(steps) == 20
    assert [label for label in steps if "shorter" in label] == ["(41 shorter steps)"]
    assert sum(steps.values()) == pytest.approx(sum(1 + i / 100 for i in range(60)), abs=0.02)


def test_a_race_ends_when_its_losers_have(run):
    with GraphNode(name="g") as graph:
        join = sleeper("join", 0.1, join=First())
        START >> [sleeper("quick", 0.2), sleeper("slow", 9)] >> join >> END
    assert path(run(graph)) == pytest.approx({"quick": 0.2, "join": 0.1})


def stopping(seconds, stop_s):
    """Return a function that takes its time, also to stop."""

    async def work():
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(stop_s)
            raise
        return {}

    return work


def failing(seconds, times=99):
    """Return a function that fails so many times."""
    tries = []

    async def work():
        await anyio.sleep(seconds)
        tries.append(1)
        if len(tries) <= times:
            raise ValueError
        return {}

    return work


class SlowList:
    def __init__(self, count, seconds):
        self.count, self.seconds = count, seconds

    def __len__(self):
        return self.count

    def __aiter__(self):
        return slowly(self.count, self.seconds)


def test_a_slow_source_with_a_length_is_slow_all_the_same(run):
    tree = run(map_over(SlowList(10, 0.1), work, 16))
    assert path(tree) == pytest.approx({"m (source)": 1.0, "m[9].w": 0.25})


def test_a_map_that_was_cut_off_waiting_for_its_source_says_so(run):
    tree = run(map_over(SlowList(9, 0.6), work, 4), deadline_s=1.0)
    assert path(tree) == pytest.approx({"m (source)": 1.0})


def test_the_loser_of_a_race_is_waited_for_only_where_it_stops(run):
    with GraphNode(name="g") as graph:
        join = sleeper("join", 0.1, join=First())
        START >> [sleeper("quick", 0.2), CodeNode("slow", stopping(9, 2.0))] >> join >> END
    assert path(run(graph)) == pytest.approx({"quick": 0.2, "slow (stopping)": 2.0})


def test_the_item_that_failed_is_on_the_path_not_the_one_that_stopped_last(run):
    async def work(x):
        await (failing(0.1) if x == 1 else stopping(9, 0.4))()
        return {}

    tree = run(map_over([0, 1], work, 2))
    assert path(tree) == pytest.approx({"m[1].w": 0.1, "m[0] (stopping)": 0.4})


def test_what_stops_after_a_failure_is_not_what_failed(run):
    async def stops_with_an_error():
        try:
            await anyio.sleep(9)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            raise KeyError("in the way")

    with GraphNode(name="g") as graph:
        nodes = [CodeNode("bad", failing(0.1)), CodeNode("slow", stops_with_an_error)]
        START >> nodes >> END
    assert path(run(graph)) == pytest.approx({"bad": 0.1, "slow (stopping)": 0.5})


def test_a_captured_failure_keeps_the_path_that_led_to_it(run):
    with GraphNode(name="g") as graph:
        with GraphNode(name="n", on_error="capture") as inner:
            START >> sleeper("a", 0.3) >> CodeNode("b", failing(0.2)) >> END
        START >> inner >> sleeper("after", 0.1) >> END
    assert path(run(graph)) == pytest.approx({"n.a": 0.3, "n.b": 0.2, "after": 0.1})


def test_rounds_of_failed_attempts_are_no_rounds_of_the_last_one(run):
    fails = failing(0.5, times=1)

    async def work(x):
        await fails()
        return {"x": x - 1}

    with GraphNode(name="g") as graph:
        retry = Retry(attempts=2, initial_s=0.3, jitter=0.0)
        with WhileLoopNode(name="n", condition="x > 0", inputs={"x": 2}, retry=retry) as loop:
            node = CodeNode("w", work, inputs={"x": PARENT["x"]}, outputs={"x": PARENT})
            START >> node >> END
        START >> loop >> END
    assert path(run(graph)) == pytest.approx(
        {"n (failed attempts)": 0.5, "n (paused)": 0.3, "n[0].w": 0.5, "n[1].w": 0.5}
    )


@pytest.mark.parametrize(
    ("deadline_s", "expected"),
    [
        (1.0, {"n (failed attempts)": 0.2, "n (paused)": 0.5, "n (itself)": 0.3}),
        (0.5, {"n (failed attempts)": 0.2, "n (paused)": 0.3}),
    ],
)
def test_a_node_that_is_cut_off_between_or_in_its_attempts(run, deadline_s, expected):
    slow = failing(9)
    tries = []

    async def work():
        tries.append(1)
        await (failing(0.2) if len(tries) == 1 else slow)()
        return {}

    with GraphNode(name="g") as graph:
        node = CodeNode("n", work, retry=Retry(attempts=3, initial_s=0.5, jitter=0.0))
        START >> node >> END
    tree = run(graph, deadline_s=deadline_s)
    assert path(tree) == pytest.approx(expected)
    told = tree.one("node n").record.attributes
    assert told[semconv.BACKOFF_S] == pytest.approx(expected["n (paused)"])
    assert told[semconv.RUN_S] == pytest.approx(deadline_s - expected["n (paused)"])


class Limited(Node):
    """Waits for a limit, then fails, once."""

    kind = "limited"
    tries = 0

    async def execute(self, inputs, ctx):
        del inputs
        await anyio.sleep(0.4)
        ctx.waited("a limit", 0.4)
        await anyio.sleep(0.1)
        self.tries += 1
        if self.tries == 1:
            raise ValueError
        return {}


def test_waits_of_a_failed_attempt_count_once(run):
    with GraphNode(name="g") as graph:
        START >> Limited("n", retry=Retry(attempts=2, initial_s=0.2, jitter=0.0)) >> END
    assert path(run(graph)) == pytest.approx(
        {
            "n (failed attempts)": 0.1,
            "n (waited for a limit)": 0.8,
            "n (paused)": 0.2,
            "n (itself)": 0.1,
        }
    )


def test_what_made_a_join_hopeless_is_before_it(run):
    with GraphNode(name="g") as graph:
        join = sleeper("join", 0, join=Quorum(2))
        before = CodeNode("bad", failing(0.2))
        START >> sleeper("first", 0.1) >> before >> sleeper("never", 1) >> join
        START >> sleeper("good", 0.05) >> join
        join >> END
    assert path(run(graph)) == pytest.approx({"first": 0.1, "bad": 0.2, "join": 0})


def test_a_limit_that_passes_while_something_stops_is_not_the_cause(run):
    with GraphNode(name="g") as graph:
        with GraphNode(name="n", timeout_s=0.5) as inner:
            START >> CodeNode("slow", stopping(9, 2.0)) >> END
        START >> [CodeNode("bad", failing(0.1)), inner] >> END
    facts = run(graph).one("node slow").record.attributes
    assert facts[semconv.CANCEL_REASON] == semconv.REASON_FAIL_FAST
    assert facts[semconv.CANCEL_CAUSE] == "g.bad"
