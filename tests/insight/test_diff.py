"""Two runs side by side: what is the same, what differs, what adds up."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.core import PARENT, START, BranchNode, Each, GraphNode, Hush, MapNode, Retry, code_node
from hush.insight.alignment import align
from hush.insight.diff import TraceDiff, diff
from hush.insight.record import SpanRecord
from hush.insight.tree import TraceTree
from hush.testing import SpanTree, capture_spans

MS = 1_000_000


def span(
    span_id: str, parent: str | None, name: str, start: float, end: float, **more: Any
) -> SpanRecord:
    """Make a span; times in ms."""
    facts = {semconv.OUTCOME: more.pop("outcome", "ok"), **more}
    return SpanRecord(
        "t", span_id, parent, name, round(start * MS), round(end * MS), attributes=facts
    )


def run_of(*inside: SpanRecord, end: float = 100.0, **more: Any) -> TraceTree:
    return TraceTree([span("r", None, "run g", 0, end, **more), *inside])


def items_of(
    took: dict[str | int, float], *, keyed: bool = True, **more: Any
) -> tuple[SpanRecord, ...]:
    items = []
    for i, (key, one) in enumerate(took.items()):
        facts: dict[str, Any] = {semconv.ITEM_INDEX: i if keyed else int(key)}
        if keyed:
            facts[semconv.ITEM_KEY] = key
        items.append(span(f"i{i}", "m", "item m", 0, one, **facts))
    return (span("m", "r", "map m", 0, 90, **more), *items)


def by_path(found: TraceDiff) -> dict[str, Any]:
    return {change.path: change for change in found.changes}


def test_run_with_itself_has_no_differences():
    tree = run_of(*items_of({"x": 10, "y": 20}))
    found = diff(tree, tree)

    assert {change.seconds for change in found.changes} == {0.0}
    assert not found.only_a
    assert not found.only_b
    assert not found.outcome_changes


def test_items_are_found_by_key_whatever_their_index():
    a = run_of(*items_of({"x": 10, "y": 20, "z": 30}))
    b = run_of(*items_of({"z": 31, "x": 15, "new": 5}))
    found = diff(a, b)

    assert by_path(found)["g.m[x]"].seconds == pytest.approx(0.005)
    assert by_path(found)["g.m[z]"].seconds == pytest.approx(0.001)
    assert [only.path for only in found.only_a] == ["g.m[y]"]
    assert [only.path for only in found.only_b] == ["g.m[new]"]


def test_items_are_found_by_index_where_one_run_has_no_keys():
    a = run_of(*items_of({"x": 10, "y": 20}))
    b = run_of(*items_of({0: 12, 1: 20}, keyed=False))

    assert by_path(diff(a, b))["g.m[0]"].seconds == pytest.approx(0.002)


def test_items_with_one_key_are_told_apart():
    twice = [
        span(f"i{i}", "m", "item m", 0, 10 + i, **{semconv.ITEM_INDEX: i, semconv.ITEM_KEY: "x"})
        for i in range(2)
    ]
    tree = run_of(span("m", "r", "map m", 0, 90), *twice)

    assert set(by_path(diff(tree, tree))) == {"g", "g.m", "g.m[x]", "g.m[x#2]"}


def test_difference_is_split_and_the_parts_add_up():
    facts_a = {semconv.WAIT_LIMITER_S: 0.005, semconv.BACKOFF_S: 0.010, semconv.ATTEMPTS: 2}
    facts_b = {semconv.WAIT_LIMITER_S: 0.020, semconv.BACKOFF_S: 0.012, semconv.ATTEMPTS: 3}
    a = run_of(span("n", "r", "node ask", 0, 40, **facts_a))
    b = run_of(span("n", "r", "node ask", 0, 70, **facts_b), end=130)
    change = by_path(diff(a, b))["g.ask"]

    assert change.queue_s == pytest.approx(0.015)
    assert change.backoff_s == pytest.approx(0.002)
    assert change.run_s == pytest.approx(0.013)
    assert change.seconds == change.queue_s + change.run_s + change.backoff_s
    assert (change.tries_a, change.tries_b) == (2, 3)
    assert by_path(diff(a, b))["g"].seconds == pytest.approx(b.duration_s - a.duration_s)


def test_wait_for_a_slot_is_not_a_cause():
    def tree(first: float) -> TraceTree:
        items = [
            span("i0", "m", "item m", 0, first, **{semconv.ITEM_INDEX: 0}),
            *(
                span(f"i{i}", "m", "item m", first, first + 10, **facts)
                for i in range(1, 4)
                for facts in [{semconv.ITEM_INDEX: i, semconv.WAIT_SLOT_S: first / 1e3}]
            ),
        ]
        return run_of(span("m", "r", "map m", 0, first + 10), *items, end=first + 10)

    found = diff(tree(20), tree(70))

    waited = by_path(found)["g.m[2]"]
    assert (waited.queue_s, waited.own_s) == (pytest.approx(0.05), pytest.approx(0.0))
    assert found.causes[0].path == "g.m[0]"
    assert found.causes[0].own_s == pytest.approx(0.05)
    assert found.causes[1].own_s == pytest.approx(0.0)


def test_waits_side_by_side_are_no_time_of_a_container():
    graph = span("q", "r", "graph q", 0, 50, **{semconv.WAIT_LIMITER_S: 3.0})

    assert by_path(diff(run_of(), run_of(graph)))["g"].queue_s == 0.0
    assert by_path(diff(run_of(graph), run_of(graph)))["g.q"].run_s == 0.0


def test_outcomes_come_first_class_origins_first():
    a = run_of(
        *items_of({"x": 10, "y": 10}),
        span("n", "i0", "node f", 0, 9),
        span("w", "r", "node w", 0, 5, outcome="timeout"),
    )
    b = run_of(
        *items_of({"x": 10, "y": 10}, outcome="error"),
        span("n", "i0", "node f", 0, 9, outcome="error"),
        span("w", "r", "node w", 0, 5),
        outcome="error",
    )
    told = [(c.path, c.outcome_a, c.outcome_b) for c in diff(a, b).outcome_changes]

    assert told == [
        ("g.m[x].f", "ok", "error"),
        ("g.m", "ok", "error"),
        ("g", "ok", "error"),
        ("g.w", "timeout", "ok"),
    ]


def test_tokens_and_cost():
    tokens = {semconv.TOKENS_INPUT: 100, semconv.TOKENS_OUTPUT: 20}
    priced = {**tokens, semconv.COST_USD: 0.5, semconv.TOKENS_WASTED: 7}
    free = run_of(span("n", "r", "node ask", 0, 9))
    a = run_of(span("n", "r", "node ask", 0, 9, **tokens))
    b = run_of(span("n", "r", "node ask", 0, 9, **priced))

    change = by_path(diff(free, b))["g.ask"]
    assert (change.tokens_input, change.tokens_output, change.tokens_wasted) == (100, 20, 7)
    assert change.cost_usd == pytest.approx(0.5)
    assert by_path(diff(a, b))["g.ask"].cost_usd is None


def test_omitted_items_are_counted_not_compared():
    omitted = {semconv.MAP_SPANS_OMITTED: 8}
    a = run_of(*items_of({0: 10, 3: 10, 7: 10}, keyed=False, **omitted))
    b = run_of(*items_of({0: 11, 4: 10, 7: 10}, keyed=False, **omitted))
    found = diff(a, b)

    assert found.unseen == {"g.m": 2}
    assert not found.only_a
    assert not found.only_b


def test_attempts_of_a_container_are_one_thing():
    def tree(*ends: float) -> TraceTree:
        spans = [span("q", "r", "graph q", 0, 99, **{semconv.ATTEMPTS: len(ends)})]
        for i, end in enumerate(ends):
            spans.append(span(f"a{i}", "q", "attempt q", 0, end))
            spans.append(span(f"n{i}", f"a{i}", "node f", 0, end))
        return run_of(*spans)

    change = by_path(diff(tree(10), tree(10, 15, 10)))["g.q.f"]

    assert change.seconds == pytest.approx(0.025)
    assert (change.tries_a, change.tries_b) == (1, 3)


def test_single_runs_are_the_same_thing_whatever_their_names():
    other = TraceTree([span("r", None, "run h", 0, 120), span("n", "r", "node f", 0, 9)])
    caller = TraceTree(
        [
            span("c", None, "POST /ask", 0, 200),
            span("r", "c", "run g", 0, 100),
            span("n", "r", "node f", 0, 10),
        ]
    )

    assert set(by_path(diff(caller, other))) == {"g", "g.f"}
    assert set(by_path(diff(TraceTree([]), TraceTree([])))) == set()


# --- made-up runs -------------------------------------------------------------------------


@st.composite
def trees(draw: Any) -> TraceTree:
    size = draw(st.integers(0, 20))
    records = [span("s0", None, "run g", 0, 1_000)]
    kinds = ["run g", "node a", "node b", "graph q", "map m", "item m", "attempt x", "user"]
    for i in range(1, size + 1):
        name = draw(st.sampled_from(kinds))
        start, took = draw(st.integers(0, 500)), draw(st.integers(0, 500))
        facts: dict[str, Any] = {
            semconv.BACKOFF_S: draw(st.floats(0, 2)),
            semconv.WAIT_LIMITER_S: draw(st.floats(0, 2)),
            semconv.WAIT_SLOT_S: draw(st.floats(0, 2)),
        }
        if name == "item m":
            facts[semconv.ITEM_INDEX] = draw(st.integers(0, 3))
            if draw(st.booleans()):
                facts[semconv.ITEM_KEY] = draw(st.sampled_from("xy"))
        parent = f"s{draw(st.integers(0, i - 1))}"
        records.append(span(f"s{i}", parent, name, start, start + took, **facts))
    return TraceTree(records)


@given(a=trees(), b=trees())
def test_each_thing_is_in_one_place_and_the_other_way_round_is_the_negative(
    a: TraceTree, b: TraceTree
):
    found = align(a, b)
    seen = [one.record.span_id for pair in found.pairs for one in pair.a]
    alone = [one.record.span_id for one_side in found.alone for one in one_side.spans]

    assert len(seen) == len(set(seen))
    assert len(alone) <= len(a) + len(b)
    there, back = by_path(diff(a, b)), by_path(diff(b, a))
    assert there.keys() == back.keys()
    for path, change in there.items():
        assert change.seconds == pytest.approx(-back[path].seconds, abs=1e-9)
        assert change.seconds == change.queue_s + change.run_s + change.backoff_s


# --- real runs ----------------------------------------------------------------------------


async def trace(slow: str, *, fail: str = "", way: str = "left") -> SpanTree:
    tried: dict[str, int] = {}

    @code_node
    async def work(name: str) -> dict[str, Any]:
        tried[name] = tried.get(name, 0) + 1
        if name == fail and tried[name] == 1:
            raise ConnectionError(name)
        await anyio.sleep(0.08 if name == slow else 0.005)
        return {"done": name}

    @code_node
    async def side() -> dict[str, Any]:
        return {}

    names = list("abcdef")
    random.Random(slow).shuffle(names)
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"name": Each(names)},
            key=lambda values: values["name"],
            max_concurrency=2,
        ) as each:
            retry = Retry(2, initial_s=0.05, jitter=0.0)
            START >> work(inputs={"name": PARENT["name"]}, retry=retry)
        router = BranchNode(name="router", cases={f"{way!r} == 'left'": "left"}, default="right")
        START >> each >> router
        router >> [side(name="left"), side(name="right")]
    with capture_spans() as capture:
        await Hush(graph).run({})
    return capture.tree


async def test_planted_causes_are_found():
    found = diff(await trace("a"), await trace("b", fail="c", way="right"))

    causes = [change.path for change in found.causes[:3]]
    assert set(causes) == {"g.m[a].work", "g.m[b].work", "g.m[c].work"}
    paused = by_path(found)["g.m[c].work"]
    assert paused.backoff_s == pytest.approx(0.05, rel=0.01)
    assert (paused.tries_a, paused.tries_b) == (1, 2)
    assert by_path(found)["g.m[b].work"].run_s > 0.05
    assert [(only.path, only.skipped) for only in found.only_a] == [("g.left", True)]
    assert [(only.path, only.skipped) for only in found.only_b] == [("g.right", True)]


# --- what was set otherwise ------------------------------------------------------------------


@code_node
async def priced(s: float):
    await anyio.sleep(s)
    return {}


def pricing(limit: int, items: int = 24, name: str = "pricing") -> GraphNode:
    with GraphNode(name=name) as graph:
        with MapNode(
            name="skus", inputs={"s": Each([0.02] * items)}, max_concurrency=limit
        ) as skus:
            START >> priced(inputs={"s": PARENT["s"]})
        START >> skus
    return graph


async def recorded(graph: GraphNode) -> SpanTree:
    with capture_spans() as capture:
        await Hush(graph).run({})
    return capture.tree


def test_another_limit_is_told_with_what_items_waited():
    def skus(limit: int, wait_s: float, end: float) -> TraceTree:
        map_span = span(
            "m",
            "r",
            "map skus",
            0,
            end,
            **{semconv.MAP_MAX_CONCURRENCY: limit, semconv.MAP_ITEMS: 5},
        )
        facts = [{semconv.ITEM_INDEX: i, semconv.WAIT_SLOT_S: i * wait_s} for i in range(5)]
        items = (span(f"i{i}", "m", "item skus", 0, 10, **one) for i, one in enumerate(facts))
        return run_of(map_span, *items, end=end)

    found = diff(skus(4, 0.1, 90), skus(60, 0.01, 40))
    (one,) = found.maps
    assert one.path == "g.skus"
    assert (one.a.max_concurrency, one.b.max_concurrency) == (4, 60)
    assert (one.a.wait_p50_s, one.b.wait_p50_s) == pytest.approx((0.2, 0.02))
    assert (one.a.queue_s, one.b.queue_s) == pytest.approx((1.0, 0.1))
    assert one.seconds == pytest.approx(-0.05)


async def test_other_items_are_told_and_the_same_settings_are_not():
    few, many = await recorded(pricing(4, 4)), await recorded(pricing(4, 24))
    (one,) = diff(few, many).maps
    assert (one.a.items, one.b.items) == (4, 24)
    assert (one.a.max_concurrency, one.b.max_concurrency) == (4, 4)
    assert diff(few, few).maps == ()


async def test_two_workflows_are_not_taken_for_one():
    found = diff(await recorded(pricing(4)), await recorded(pricing(4, name="other")))
    assert not found.same_workflow
    assert (found.graph_a, found.graph_b) == ("pricing", "other")
