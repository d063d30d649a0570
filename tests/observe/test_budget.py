"""Large maps: what is kept, what is omitted, what is counted, and how much memory it takes."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections import Counter, deque
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from hush import semconv
from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunError,
    WhileLoopNode,
)
from hush.observe import item_spans, selection
from hush.observe.budget import Around, Count, RunBudget
from hush.observe.tracing import collect_faults, current_instrument, override_provider
from hush.runtime.instrument import Ending, Scope

INDEX = "hush.item.index"
OMITTED, PINNED = "hush.map.spans_omitted", "hush.map.spans_pinned"


class Seen(SpanProcessor):
    """What a processor is told, and when."""

    def __init__(self):
        self.started = Counter()
        self.open = 0
        self.kept = []
        self.omitted = 0

    def on_start(self, span, parent_context=None):
        self.started[span.name] += 1
        self.open += 1

    def on_end(self, span):
        self.open -= 1
        if span.context.trace_flags.sampled:
            self.kept.append(span)
        else:
            self.omitted += 1

    def named(self, name):
        return [one for one in self.kept if one.name == name]

    def one(self, name):
        (found,) = self.named(name)
        return found

    def indices(self, name="item m"):
        return sorted(one.attributes[INDEX] for one in self.named(name))

    def assert_sound(self):
        """Check what holds for whatever was kept."""
        assert self.open == 0, "starts without ends"
        ids = {one.context.span_id for one in self.kept}
        assert len(ids) == len(self.kept), "a span ended twice"
        orphans = [one.name for one in self.kept if one.parent and one.parent.span_id not in ids]
        assert orphans == []
        assert sum(self.started.values()) == len(self.kept) + self.omitted
        for one in self.kept:
            for link in one.links:
                assert link.context.span_id in ids, "a link to nowhere"
        for run in (one for one in self.kept if one.name.startswith("run ") and not one.parent):
            assert run.attributes.get("hush.spans_omitted", 0) == self.omitted


def observed():
    provider = TracerProvider(shutdown_on_exit=False)
    seen = Seen()
    provider.add_span_processor(seen)
    return provider, seen


async def run(graph, inputs=None, *, fails=False):
    provider, seen = observed()
    with override_provider(provider), collect_faults() as faults:
        if fails:
            with pytest.raises(RunError):
                await Hush(graph).run(inputs)
        else:
            await Hush(graph).run(inputs)
    assert faults == []
    seen.assert_sound()
    return seen


def map_of(function, source, **options):
    kind = options.pop("kind", MapNode)
    with GraphNode(name="g") as graph:
        with kind(name="m", inputs={"x": Each(source)}, **options) as each:
            node = CodeNode(name="n", code_fn=function, inputs={"x": PARENT["x"]}, run_in="loop")
            START >> node >> END
        START >> each >> END
    return graph


class Unsized:
    """A source that does not say how many items it has."""

    def __init__(self, total):
        self._total = total

    def __iter__(self):
        yield from range(self._total)


# --- who is kept ----------------------------------------------------------------------------


async def test_failures_and_stragglers_of_very_many_items_are_kept():
    total = 10_000
    bad = {17 + 991 * i for i in range(10)}
    slow = {403 + 1_777 * i for i in range(5)}

    async def node(x):
        if x in slow:
            await anyio.sleep(0.4)
        if x in bad:
            raise ValueError(x)

    graph = map_of(node, range(total), max_concurrency=8, on_error="collect")
    seen = await run(graph)
    kept = set(seen.indices())
    assert bad | slow <= kept
    assert len(kept) == 1_000
    assert len(seen.kept) == 2_002
    facts = seen.one("map m").attributes
    assert facts["hush.map.items"] == total
    assert facts["hush.map.ok"] == total - 10
    assert facts["hush.map.failed"] == 10
    assert facts[OMITTED] == 2 * (total - 1_000) == seen.omitted
    assert PINNED not in facts
    assert {int(one.partition(":")[0]) for one in facts["hush.map.slowest"]} <= kept
    red = {one.attributes[INDEX] for one in seen.named("item m") if not one.status.is_unset}
    assert red == bad


@pytest.mark.parametrize("kind", [MapNode, ForLoopNode])
async def test_a_map_within_its_budget_keeps_all(kind):
    seen = await run(map_of(lambda x: {}, range(30), span_budget=30, kind=kind))
    assert seen.omitted == 0
    assert len(seen.kept) == 62


async def test_none_keeps_all():
    seen = await run(map_of(lambda x: {}, range(2_000), span_budget=None))
    assert len(seen.kept) == 4_002


async def test_the_budget_of_a_for_loop():
    seen = await run(map_of(lambda x: {}, range(30), span_budget=10, kind=ForLoopNode))
    assert len(seen.named("iteration m")) == 10
    assert seen.one("loop m").attributes[OMITTED] == 40


def counting(rounds, **options):
    with GraphNode(name="g") as graph:
        with WhileLoopNode(
            name="m",
            inputs={"x": 0},
            condition=PARENT["x"] < rounds,
            max_iterations=10 * rounds,
            **options,
        ) as loop:
            add = CodeNode(
                name="n",
                code_fn=lambda x: {"x": x + 1},
                inputs={"x": PARENT["x"]},
                outputs={"x": PARENT},
            )
            START >> add >> END
        START >> loop >> END
    return graph


async def test_the_budget_of_a_while_loop():
    seen = await run(counting(300, span_budget=20))
    assert len(seen.named("iteration m")) == 20
    assert seen.one("loop m").attributes[OMITTED] == 2 * 280 == seen.omitted


async def test_the_rounds_of_a_long_while_loop_have_a_budget_unless_told_otherwise():
    seen = await run(counting(1_050))
    assert len(seen.named("iteration m")) == 1_000
    seen = await run(counting(1_050, span_budget=None))
    assert len(seen.named("iteration m")) == 1_050
    assert seen.omitted == 0


async def test_a_while_loop_that_cannot_exceed_its_budget_lets_rounds_go_as_they_end():
    ended = []

    def look(x):
        ended.append(len(seen_so_far.ended))
        return {"x": x + 1}

    class Ended(SpanProcessor):
        def __init__(self):
            self.ended = []

        def on_end(self, span):
            if span.name.startswith("iteration"):
                self.ended.append(span)

    seen_so_far = Ended()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(seen_so_far)
    with GraphNode(name="g") as graph:
        with WhileLoopNode(
            name="m", inputs={"x": 0}, condition=PARENT["x"] < 20, max_iterations=20
        ) as loop:
            add = CodeNode(name="n", code_fn=look, inputs={"x": PARENT["x"]}, outputs={"x": PARENT})
            START >> add >> END
        START >> loop >> END
    with override_provider(provider):
        await Hush(graph).run({})
    assert ended == list(range(20))


async def test_the_default_is_a_thousand_items():
    seen = await run(map_of(lambda x: {}, range(1_100)))
    assert len(seen.indices()) == 1_000


@pytest.mark.parametrize("budget", [1, 2, 3, 7, 8, 50])
@pytest.mark.parametrize("sized", [True, False])
async def test_no_more_than_the_budget(budget, sized):
    source = range(100) if sized else Unsized(100)
    seen = await run(map_of(lambda x: {}, source, span_budget=budget))
    assert len(seen.indices()) == budget


async def test_failures_take_at_most_half():
    def node(x):
        if x % 2:
            raise ValueError(x)

    graph = map_of(node, range(400), span_budget=40, on_error="collect", max_concurrency=1)
    seen = await run(graph)
    kept = seen.indices()
    assert len(kept) == 40
    # Twenty because they failed; five more may be among the slowest.
    assert set(range(1, 40, 2)) <= set(kept)
    assert sum(index % 2 == 0 for index in kept) >= 15


async def test_failures_may_have_what_the_ordinary_leave():
    def node(x):
        if x % 50:
            raise ValueError(x)

    seen = await run(map_of(node, range(400), span_budget=40, on_error="collect"))
    kept = seen.indices()
    assert len(kept) == 40
    assert set(range(0, 400, 50)) <= set(kept)


@pytest.mark.parametrize("outcome", ["handled", "timeout", "inside"])
async def test_what_counts_as_a_failure(outcome):
    async def node(x):
        if x != 150:
            return {"error": None}
        if outcome == "timeout":
            await anyio.sleep(30)
        if outcome == "inside":
            raise ValueError(x)
        return {"error": "no"}

    capture = "capture" if outcome == "inside" else "raise"
    timeout_s = 0.05 if outcome == "timeout" else None
    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"x": Each(range(300))},
            span_budget=20,
            on_error="collect",
            timeout_s=timeout_s,
            failed_when=None if outcome == "inside" else "error",
        ) as each:
            node = CodeNode(
                name="n",
                code_fn=node,
                inputs={"x": PARENT["x"]},
                outputs={"error": PARENT["error"]},
                on_error=capture,
            )
            START >> node >> END
        START >> each >> END
    seen = await run(graph)
    assert 150 in seen.indices()
    assert len(seen.indices()) == 20


async def test_retried_items_are_kept_before_ordinary_ones():
    tries = Counter()

    def node(x):
        tries[x] += 1
        if x in {61, 122, 183} and tries[x] == 1:
            raise ValueError(x)

    retry = Retry(attempts=2, initial_s=0.0)
    seen = await run(map_of(node, range(300), span_budget=40, retry=retry))
    assert {61, 122, 183} <= set(seen.indices())
    assert seen.started["attempt m"] == 303
    assert seen.one("map m").attributes["hush.map.retried"] == 3


def select(budget, total, *, of, seconds=lambda index: 1.0, sized=True):
    """Return which items of many a map keeps, in the order in which they are decided."""
    kept = []
    items = selection.MapBudget(
        budget, total if sized else None, Around(RunBudget(), Count(None), None)
    )

    class Fake(item_spans.Item):
        __slots__ = ("index",)

        def keep(self, out):
            kept.append(self.index)
            super().keep(out)

    at_once = None
    for index in range(of):
        item = Fake(items)
        item.index = index
        item.begin()
        item.finish(index, seconds(index), failed=False, retried=False)
    at_once = list(kept)
    items.close()
    return at_once, kept


@pytest.mark.parametrize("total", [1_001, 2_000, 9_999, 100_000])
def test_the_sample_is_even(total):
    # The slowest are the first ones here: among equals who came first stays.
    at_once, kept = select(1_000, total, of=total)
    assert len(kept) == 1_000
    assert 120 <= len(at_once) <= 125
    for chosen in (at_once, sorted(set(kept) - set(range(125)))):
        gaps = [b - a for a, b in pairwise(chosen)]
        fair = total / len(chosen)
        assert max(gaps) <= 3 * fair + 1
        # Every tenth of the map has its tenth of the sample.
        tenths = Counter(10 * index // total for index in chosen)
        for tenth in range(1, 10):
            assert tenths[tenth] == pytest.approx(len(chosen) / 10, rel=0.2, abs=2)


def test_the_sample_of_an_unsized_source_is_even_behind_its_first_half():
    at_once, kept = select(1_000, None, of=50_000, sized=False)
    assert at_once == list(range(125))
    rest = [index for index in kept if index >= 250]
    tenths = Counter(10 * index // 50_000 for index in rest)
    for tenth in range(1, 10):
        assert tenths[tenth] == pytest.approx(75, abs=4)


@given(st.integers(1, 200), st.integers(1, 600), st.booleans())
def test_as_many_as_the_budget_are_kept(budget, total, sized):
    at_once, kept = select(budget, total, of=total, sized=sized)
    assert len(kept) == len(set(kept)) == min(budget, total)
    assert len(at_once) <= max(1, budget // 8) or total <= budget


@given(st.integers(20, 200), st.permutations(range(300)))
def test_the_slowest_are_kept(budget, seconds):
    _, kept = select(budget, 300, of=300, seconds=lambda index: float(seconds[index]))
    slowest = sorted(range(300), key=lambda index: -seconds[index])
    assert set(slowest[: max(5, budget // 8)]) <= set(kept)


# --- when it leaves -------------------------------------------------------------------------


async def test_failures_and_the_first_half_of_the_sample_leave_at_once():
    provider, seen = observed()
    told = []

    async def node(x):
        told.append(len(seen.indices()))
        if x == 100:
            raise ValueError(x)

    graph = map_of(node, range(400), span_budget=80, on_error="collect", max_concurrency=1)
    with override_provider(provider):
        await Hush(graph).run()
    # Ten of the sample by and by, and the failure before the next item starts.
    assert told[101] == told[100] + 1
    assert told[-1] in {10, 11}
    assert len(seen.indices()) == 80


async def test_items_of_a_small_map_leave_one_by_one():
    provider, seen = observed()
    told = []
    graph = map_of(lambda x: told.append(len(seen.kept)), range(5), max_concurrency=1)
    with override_provider(provider):
        await Hush(graph).run()
    assert told == [0, 2, 4, 6, 8]


async def test_an_item_that_is_cut_off_ends_too():
    async def node(x):
        if x == 700:
            raise ValueError(x)
        if x > 690:
            await anyio.sleep(30)

    graph = map_of(node, range(1_000), max_concurrency=20, span_budget=50)
    seen = await run(graph, fails=True)
    assert 700 in seen.indices()
    assert len(seen.indices()) <= 50
    cut = [one for one in seen.named("item m") if one.attributes["hush.outcome"] == "cancelled"]
    assert cut
    (culprit,) = [one for one in seen.named("node n") if one.attributes["hush.outcome"] == "error"]
    for one in cut:
        assert [link.context.span_id for link in one.links] == [culprit.context.span_id]


def test_a_link_to_what_is_omitted_is_dropped():
    provider, seen = observed()
    with override_provider(provider), collect_faults() as faults, ExitStack() as stack:
        instrument = current_instrument()
        stack.enter_context(instrument.observe(Scope("run", "g")))
        tokens = deque()
        with instrument.observe(Scope("map", "m")):
            for index in range(60):
                facts = {semconv.ITEM_INDEX: index}
                with instrument.observe(Scope("item", "m", facts, budget=8, total=60)) as item:
                    cause = tokens[-1] if tokens else None
                    ended = Ending("cancelled", reason="fail_fast", cause_path="x", cause=cause)
                    item.end(ended)
                    tokens.append(item.token)
        cause = tokens[30]
        with instrument.observe(Scope("node", "n")) as late:
            late.end(Ending("cancelled", reason="fail_fast", cause_path="x", cause=cause))
    assert faults == []
    seen.assert_sound()
    assert len(seen.indices()) == 8
    for one in seen.named("item m"):
        assert one.attributes["hush.cancel.cause"] == "x"


# --- nested, and competing ---------------------------------------------------------------


def nested(outer, inner, *, outer_budget, inner_budget, function=lambda x: {}):
    with GraphNode(name="g") as graph:
        with MapNode(name="o", inputs={"o": Each(range(outer))}, span_budget=outer_budget) as above:
            with MapNode(
                name="m",
                inputs={"x": Each(range(inner))},
                span_budget=inner_budget,
                on_error="collect",
            ) as each:
                node = CodeNode(
                    name="n", code_fn=function, inputs={"x": PARENT["x"]}, run_in="loop"
                )
                START >> node >> END
            START >> each >> END
        START >> above >> END
    return graph


async def test_an_outer_item_that_is_kept_applies_the_budget_inside():
    seen = await run(nested(6, 30, outer_budget=3, inner_budget=5))
    assert len(seen.named("item o")) == len(seen.named("map m")) == 3
    assert len(seen.named("item m")) == len(seen.named("node n")) == 15
    for one in seen.named("map m"):
        assert one.attributes[OMITTED] == 50
    assert seen.one("map o").attributes[OMITTED] == 3 * 50 + 3 * 62 == seen.omitted


async def test_none_inside_of_a_budget_follows_the_outer_item():
    seen = await run(nested(6, 30, outer_budget=3, inner_budget=None))
    assert len(seen.named("item o")) == 3
    assert len(seen.named("item m")) == 90


async def test_an_outer_item_with_a_failure_inside_goes_first():
    def node(x):
        if x == 77:
            raise ValueError(x)

    def outer(x):
        return {"inner": range(76, 79) if x == 33 else range(3)}

    with GraphNode(name="g") as graph:
        with MapNode(name="o", inputs={"o": Each(range(100))}, span_budget=8) as above:
            first = CodeNode(name="f", code_fn=outer, inputs={"x": PARENT["o"]}, run_in="loop")
            with MapNode(name="m", inputs={"x": Each(first["inner"])}, on_error="collect") as each:
                START >> CodeNode(name="n", code_fn=node, inputs={"x": PARENT["x"]}) >> END
            START >> first >> each >> END
        START >> above >> END
    seen = await run(graph)
    assert 33 in seen.indices("item o")
    assert 1 in seen.indices()


@pytest.fixture
def small_run(monkeypatch):
    """Let a run keep a hundred spans of items, fifty more of failures, and hundreds wait."""
    monkeypatch.setattr(selection, "RUN_SPANS", 100)
    monkeypatch.setattr(selection, "FAILED_SPANS", 50)


async def test_a_run_has_room_for_so_many(small_run):
    seen = await run(map_of(lambda x: {}, range(500)))
    assert 90 <= len(seen.kept) - 2 <= 100


async def test_all_maps_of_a_run_share_the_room(small_run):
    with GraphNode(name="g") as graph:
        for name in "abc":
            with MapNode(name=name, inputs={"x": Each(range(30))}) as each:
                node = CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT["x"]})
                START >> node >> END
            START >> each >> END
    seen = await run(graph)
    assert 80 <= len(seen.kept) - 4 <= 100


async def test_failures_may_take_half_as_much_on_top(small_run):
    def node(x):
        if x >= 60:
            raise ValueError(x)

    graph = map_of(node, range(100), on_error="collect")
    seen = await run(graph)
    kept = seen.indices()
    assert sum(index >= 60 for index in kept) >= 25
    assert 2 * len(kept) <= 150


@pytest.mark.parametrize(("outer", "inner"), [(1, 300), (3, 100), (30, 10), (300, 1)])
async def test_nested_maps_share_the_room(small_run, outer, inner):
    seen = await run(nested(outer, inner, outer_budget=1_000, inner_budget=1_000))
    assert 60 <= len(seen.kept) - 2 <= 100
    if outer <= 3:
        # Outer items are not lost to what is inside them.
        assert len(seen.named("item o")) == outer


# --- memory -----------------------------------------------------------------------------


async def test_what_waits_inside_of_an_item_is_bounded(monkeypatch):
    monkeypatch.setattr(item_spans, "WAITING", 100)
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(2))}, max_concurrency=2) as each:
            with WhileLoopNode(
                name="loop",
                condition="i < 400",
                inputs={"i": 0},
                max_iterations=500,
                span_budget=None,
            ) as loop:
                step = CodeNode(
                    name="s",
                    code_fn=lambda i: {"i": i + 1},
                    inputs={"i": PARENT["i"]},
                    outputs={"i": PARENT["i"]},
                    run_in="loop",
                )
                START >> step >> END
            START >> loop >> END
        START >> each >> END
    seen = await run(graph)
    assert len(seen.named("item m")) == len(seen.named("loop loop")) == 2
    assert seen.omitted == sum(one.attributes["hush.spans_omitted"] for one in seen.named("item m"))
    assert 1_400 < seen.omitted < 1_604
    assert seen.one("map m").attributes[OMITTED] == seen.omitted


async def test_a_pinned_item_is_not_shed(monkeypatch):
    monkeypatch.setattr(item_spans, "WAITING", 10)

    def node(x):
        if x == 5:
            trace.get_current_span().get_span_context()

    with GraphNode(name="g") as graph:
        with MapNode(name="o", inputs={"o": Each(range(1))}) as above:
            with ForLoopNode(name="m", inputs={"x": Each(range(50))}, span_budget=None) as each:
                START >> CodeNode(name="n", code_fn=node, inputs={"x": PARENT["x"]}) >> END
            START >> each >> END
        START >> above >> END
    seen = await run(graph)
    assert len(seen.named("item o")) == 1
    # What had waited before is gone or not; from the pin on nothing is lost.
    indices = {one.attributes["hush.iteration.index"] for one in seen.named("iteration m")}
    assert set(range(5, 50)) <= indices


class Counting(SpanProcessor):
    """Counts, and keeps nothing."""

    def __init__(self):
        self.open = self.kept = 0

    def on_start(self, span, parent_context=None):
        self.open += 1

    def on_end(self, span):
        self.open -= 1
        self.kept += span.context.trace_flags.sampled


async def test_memory_does_not_grow_with_the_items():
    counting = Counting()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(counting)

    async def peak(items):
        engine = Hush(map_of(lambda x: {}, range(items), span_budget=100))
        with override_provider(provider):
            gc.collect()
            tracemalloc.start()
            try:
                await engine.run()
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    await peak(300)
    few, many = await peak(300), await peak(3_000)
    assert counting.open == 0
    # The budget is full in both; results and counts are all that may grow.
    assert many < few + 300_000


# --- at random ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A map at random: what each item does, and how many are kept."""

    deeds: tuple[str, ...]
    budget: int | None
    concurrency: int
    inner: Drawn | None = field(default=None)


DEEDS = st.sampled_from(["ok", "ok", "ok", "fail", "handled", "retry", "pin"])


def maps(inner):
    return st.builds(
        Drawn,
        st.lists(DEEDS, max_size=12).map(tuple),
        st.none() | st.integers(1, 8),
        st.integers(1, 4),
        inner,
    )


def built(drawn, name, deed_of):
    """Make the map of a drawing inside of the graph that is open."""
    with MapNode(
        name=name,
        inputs={"x": Each(range(len(drawn.deeds)))},
        span_budget=drawn.budget,
        max_concurrency=drawn.concurrency,
        on_error="collect",
        retry=Retry(attempts=2, initial_s=0.0, on=(LookupError,)),
        failed_when="error",
    ) as each:
        node = CodeNode(
            name=f"n{name}",
            code_fn=deed_of(drawn, name),
            inputs={"x": PARENT["x"]},
            outputs={"error": PARENT["error"]},
            run_in="loop",
        )
        START >> node
        if drawn.inner is not None:
            node >> built(drawn.inner, f"{name}i", deed_of) >> END
        else:
            node >> END
    return each


def deed_of(drawn, name):
    tries = Counter()

    def deed(x):
        tries[x] += 1
        what = drawn.deeds[x]
        if what == "pin":
            trace.get_current_span().get_span_context()
        # Only where each item runs once: further in it would be the others' tries too.
        if what == "retry" and name == "m" and tries[x] == 1:
            raise LookupError(x)
        if what == "fail":
            raise ValueError(x)
        return {"error": "no" if what == "handled" else None}

    return deed


@settings(max_examples=150)
@given(maps(st.none() | maps(st.none() | maps(st.none()))), st.sampled_from(["asyncio", "trio"]))
def test_what_holds_for_every_map(drawn, backend):
    with GraphNode(name="g") as graph:
        START >> built(drawn, "m", deed_of) >> END
    provider, seen = observed()
    with override_provider(provider), collect_faults() as faults:
        Hush(graph).run_sync(backend=backend)
    assert faults == []
    seen.assert_sound()
    by_id = {one.context.span_id: one for one in seen.kept}
    children = {}
    for one in seen.kept:
        children.setdefault(one.parent and one.parent.span_id, []).append(one)
    layer, name = drawn, "m"
    while layer is not None:
        for one in seen.named(f"map {name}"):
            items = [
                kept
                for kept in children.get(one.context.span_id, [])
                if kept.name == f"item {name}"
            ]
            check(layer, one, items)
        layer, name = layer.inner, f"{name}i"
    # Whatever is kept is kept whole: each item has its node, and the map inside it.
    for one in seen.kept:
        if one.name.startswith("item "):
            inside = [below.name for below in children.get(one.context.span_id, [])]
            assert inside, one.name
    assert by_id[seen.one("run g").context.span_id].attributes["hush.outcome"] == "ok"


def check(drawn, told, items):
    """Check one map that was kept, and its items that were, against what was drawn."""
    total, budget = len(drawn.deeds), drawn.budget
    facts = told.attributes
    kept = {one.attributes[INDEX] for one in items}
    assert len(kept) == len(items)
    assert facts["hush.map.items"] == total
    assert facts["hush.map.failed"] == drawn.deeds.count("fail")
    assert facts["hush.map.handled"] == drawn.deeds.count("handled")
    if budget is None:
        assert len(items) == total
        return
    pinned, failed = touched(drawn, {"pin"}), touched(drawn, {"fail", "handled"})
    assert pinned <= kept
    assert bool(facts.get(PINNED)) == bool(pinned)
    assert len(kept - pinned) <= budget
    assert len(kept) >= min(budget, total)
    assert len(kept & failed - pinned) >= min(len(failed - pinned), max(1, budget // 2))
    if len(kept) < total:
        assert facts[OMITTED] > 0


def touched(drawn, deeds):
    """Return the items of a map that do one of these deeds, or have one inside that does."""
    inside = drawn.inner is not None and bool(touched(drawn.inner, deeds))
    # An item that fails does so before it comes to the map inside.
    return {
        index
        for index, deed in enumerate(drawn.deeds)
        if deed in deeds or (inside and deed != "fail")
    }


# --- what comes late, or from elsewhere ------------------------------------------------------


def test_what_is_pinned_while_it_waits_stays():
    around = Around(RunBudget(), Count(None), None)
    items = selection.MapBudget(8, None, around)
    waiting = item_spans.Item(items)
    for index in range(40):
        item = waiting if index == 1 else item_spans.Item(items)
        item.begin()
        # Each is slower than the one before, and takes its place.
        item.finish(index, float(index), failed=False, retried=False)
        if index == 1:
            assert waiting.state is item_spans.State.ENDED
            waiting.pinned = True
            waiting.size = 2
    assert waiting.state is item_spans.State.KEPT
    assert items.pinned == 2
    items.close()
    assert items.pinned == 2


def in_items(budget, inside):
    """Call ``inside`` with an instrument in each of forty items, and see what is kept."""
    provider, seen = observed()
    with override_provider(provider), collect_faults() as faults, ExitStack() as stack:
        instrument = current_instrument()
        stack.enter_context(instrument.observe(Scope("run", "g")))
        with instrument.observe(Scope("map", "m")):
            for index in range(40):
                facts = {semconv.ITEM_INDEX: index}
                with instrument.observe(Scope("item", "m", facts, budget=budget, total=40)):
                    inside(instrument, index)
    assert faults == []
    seen.assert_sound()
    return seen


def test_a_run_inside_of_an_item_shares_its_fate():
    engine = Hush(map_of(lambda x: {}, range(10), span_budget=3))
    seen = in_items(4, lambda instrument, index: engine.run_sync())
    assert len(seen.indices()) == 4 + 4 * 3
    inner = [one for one in seen.named("run g") if one.parent is not None]
    assert len(inner) == 4
    assert {one.attributes["hush.spans_omitted"] for one in inner} == {14}
    (outer,) = [one for one in seen.named("run g") if one.parent is None]
    assert outer.attributes["hush.spans_omitted"] == seen.omitted
    assert seen.omitted == 4 * 14 + 36 * 23


def test_runs_in_threads_inside_of_items():
    engine = Hush(map_of(lambda x: {}, range(30), span_budget=3))

    def inside(instrument, index):
        contexts = [copy_context() for _ in range(3)]
        threads = [threading.Thread(target=one.run, args=(engine.run_sync,)) for one in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen = in_items(2, inside)
    assert len(seen.named("run g")) == 2 * 3 + 1
    assert len(seen.named("node n")) == 2 * 3 * 3


def test_what_is_left_running_shares_the_fate_of_its_item():
    left = []

    def inside(instrument, index):
        left.append((instrument, copy_context()))

    def work(instrument):
        with instrument.observe(Scope("node", "late")):
            pass

    provider, seen = observed()
    with override_provider(provider), collect_faults() as faults:
        instrument = current_instrument()
        with instrument.observe(Scope("run", "g")), instrument.observe(Scope("map", "m")):
            for index in range(40):
                facts = {semconv.ITEM_INDEX: index}
                with instrument.observe(Scope("item", "m", facts, budget=4, total=40)):
                    inside(instrument, index)
                # Some are still waiting by now, others are decided.
                left[index][1].run(work, instrument)
        for instrument, context in left:
            context.run(work, instrument)
    assert faults == []
    assert seen.open == 0
    items = {one.context.span_id for one in seen.named("item m")}
    late = Counter(one.parent.span_id for one in seen.named("node late"))
    assert late == dict.fromkeys(items, 2)
