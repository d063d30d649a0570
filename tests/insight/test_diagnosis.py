"""Diagnosis: what traces from anywhere say, also those that say little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, Retry, RunError, code_node
from hush.insight.causes.finding import worth_s
from hush.insight.diagnosis import Diagnosis, diagnose
from hush.insight.formats.jaeger_json import parse_jaeger_json, to_jaeger_json
from hush.insight.formats.otlp_json import parse_otlp_json, to_otlp_json
from hush.insight.record import EventRecord, SpanRecord
from hush.insight.tree import TraceTree
from hush.providers import LLMNode
from hush.testing import Answer, ErrorReply, ScriptedLLMServer, capture_spans
from tests.insight.page_traces import Spans, at, crawl
from tests.insight.records import TRACE, records

FACTS = {
    getattr(semconv, name)
    for name in semconv.__all__
    if name.startswith(("FAN_IN_", "MAP_", "WAIT_", "CRITICAL", "BACKOFF", "RUN_S", "NODE_"))
}


def kinds(found: Diagnosis) -> list[str]:
    return [one.kind for one in found.findings]


def of_kind(found: Diagnosis, kind: str) -> Any:
    return next(one for one in found.findings if one.kind == kind)


# --- small traces, in milliseconds ---------------------------------------------------------------


def fan_in(**facts: Any) -> Spans:
    spans = Spans()
    run = spans.add("run g", 0, 700, facts={semconv.GRAPH_NAME: "g"})
    quick = spans.add("node quick", 0, 200, run)
    slow = spans.add("node slow", 0, 600, run)
    spans.add("node merge", 600, 700, run, after=(quick, slow), facts=facts)
    return spans


def mapped(
    runs: Iterable[float], limit: int, *, inside: str = "", facts: dict[str, Any] | None = None
) -> Spans:
    """Items one after the other on as many workers as there are slots."""
    spans = Spans()
    free = [0.0] * limit
    bars = []
    for run_ms in runs:
        begin = min(free)
        free[free.index(begin)] = begin + run_ms
        bars.append((begin, begin + run_ms))
    end = max(free)
    run = spans.add("run g", 0, end, facts={semconv.GRAPH_NAME: "g"})
    counts = {
        semconv.MAP_ITEMS: len(bars),
        semconv.MAP_OK: len(bars),
        semconv.MAP_FAILED: 0,
        semconv.MAP_HANDLED: 0,
        semconv.MAP_CANCELLED: 0,
        semconv.MAP_MAX_CONCURRENCY: limit,
    }
    each = spans.add("map each", 0, end, run, facts={**counts, **(facts or {})})
    for i, (begin, over) in enumerate(bars):
        item = spans.add("item each", begin, over, each, facts={semconv.ITEM_INDEX: i})
        spans.add(f"node {inside or 'work'}", begin, over, item)
    return spans


def without(spans: Iterable[SpanRecord], drop: Callable[[SpanRecord], bool]) -> TraceTree:
    return TraceTree(span for span in spans if not drop(span))


def stripped(spans: Iterable[SpanRecord]) -> TraceTree:
    """A trace as of a version that left no facts, only structure."""
    return TraceTree(
        replace(
            span,
            attributes={k: v for k, v in span.attributes.items() if k not in FACTS},
        )
        for span in spans
    )


# --- fan-ins -----------------------------------------------------------------------------------------


def test_who_held_up_a_fan_in_is_told_by_its_facts_or_about_by_the_instants():
    facts = {
        semconv.FAN_IN_MODE: "all",
        semconv.FAN_IN_LAST: "slow",
        semconv.FAN_IN_LEAD_S: 0.4,
        semconv.FAN_IN_COUNT: 2,
    }
    for spans, about in ((fan_in(**facts), ""), (fan_in(), "about ")):
        (finding,) = diagnose(spans.tree).findings
        assert (finding.kind, finding.path) == ("slow_predecessor", "g.slow")
        assert finding.gain_s == pytest.approx(0.4)
        assert f"which came {about}400 ms after the one before it, 'quick'" in finding.text


def test_where_one_is_enough_nobody_is_held_up():
    for mode in (semconv.FAN_IN_ANY, semconv.FAN_IN_FIRST):
        found = diagnose(fan_in(**{semconv.FAN_IN_MODE: mode}).tree)
        assert kinds(found) == ["all_fine"]


def test_a_hard_edge_beside_soft_ones_can_be_to_blame():
    facts = {semconv.FAN_IN_MODE: "any", semconv.FAN_IN_LAST: "slow", semconv.FAN_IN_LEAD_S: 0.4}
    found = diagnose(fan_in(**facts).tree)
    assert (found.first.kind, found.first.path) == ("slow_predecessor", "g.slow")


def test_thousands_of_fan_ins_are_diagnosed_at_once():
    spans = Spans()
    run = spans.add("run g", 0, 4_000, facts={semconv.GRAPH_NAME: "g"})
    nodes: list[SpanRecord] = []
    for i in range(4_000):
        facts = {semconv.FAN_IN_MODE: "all", semconv.FAN_IN_LEAD_S: 0.001}
        nodes.append(spans.add(f"node n{i}", i, i + 0.9, run, after=nodes[-2:], facts=facts))
    began = time.process_time()
    diagnose(spans.tree)
    assert time.process_time() - began < 10


def test_blame_goes_back_to_what_only_the_last_one_waited_for():
    spans = Spans()
    run = spans.add("run g", 0, 700)
    first = spans.add("node first", 0, 100, run)
    load = spans.add("node load", 100, 550, run, after=(first,))
    check = spans.add("node check", 550, 600, run, after=(load,))
    quick = spans.add("node quick", 100, 200, run, after=(first,))
    spans.add("node merge", 600, 700, run, after=(quick, check))
    (finding,) = diagnose(spans.tree).findings
    assert finding.path == "g.load"
    assert "held up by 'check'" in finding.text
    assert "'load' took longest, 450 ms" in finding.text
    assert finding.gain_s == pytest.approx(0.4)


def test_a_lead_that_another_branch_hides_is_not_promised():
    spans = fan_in()
    spans[0] = replace(spans[0], end_ns=at(750))
    spans.add("node beside", 0, 650, spans[0])
    found = diagnose(spans.tree)
    finding = of_kind(found, "slow_predecessor")
    # Beside it something takes 650 ms in any case.
    assert finding.gain_s == pytest.approx(0.05, abs=0.001)
    assert "350 ms of the lead did not matter" in finding.text


# --- maps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [True, False])
def test_a_limit_is_found_with_and_without_facts(facts: bool):
    spans = mapped([100] * 12, 3)
    found = diagnose(spans.tree if facts else stripped(spans))
    (finding,) = found.findings
    assert (finding.kind, finding.path) == ("limit_too_low", "g.each")
    assert finding.facts["max_concurrency"] == 3
    assert finding.facts["gain_twice_s"] == pytest.approx(0.2)
    assert finding.facts["gain_unlimited_s"] == pytest.approx(0.3)


def test_a_limit_is_estimated_where_no_item_has_a_span():
    facts = {
        semconv.MAP_BOUND_BY: "limit",
        semconv.MAP_PEAK_CONCURRENCY: 3,
        semconv.MAP_UTILISATION: 1.0,
        semconv.MAP_RUN_P50_S: 0.1,
        semconv.MAP_RUN_P95_S: 0.1,
        semconv.MAP_RUN_MAX_S: 0.1,
        semconv.MAP_SPANS_OMITTED: 12,
    }
    spans = mapped([100] * 12, 3, facts=facts)
    tree = without(spans, lambda span: span.prefix in {"item", "node"})
    found = diagnose(tree)
    (finding,) = found.findings
    assert finding.kind == "limit_too_low"
    assert finding.facts["gain_twice_s"] == pytest.approx(0.2)
    assert finding.facts["gain_unlimited_s"] == pytest.approx(0.3)
    assert "about 200 ms" in finding.text
    assert "12 items have no spans" in str(found)


def test_a_straggler_of_which_there_is_no_span_is_known_by_the_map():
    facts = {
        semconv.MAP_BOUND_BY: "straggler",
        semconv.MAP_PEAK_CONCURRENCY: 4,
        semconv.MAP_RUN_P50_S: 0.1,
        semconv.MAP_RUN_MAX_S: 0.8,
        semconv.MAP_IDLE_TAIL_S: 0.8,
        semconv.MAP_SLOWEST: ["3:0.800", "1:0.100"],
    }
    spans = mapped([100, 100, 100, 800], 5, facts=facts)
    found = diagnose(without(spans, lambda span: span.prefix in {"item", "node"}))
    finding = of_kind(found, "straggler")
    assert finding.path == "g.each[3]"
    assert finding.gain_s == pytest.approx(0.7)


def test_items_that_are_all_different_are_no_stragglers():
    found = diagnose(mapped([100, 150, 220, 300, 400, 420, 500, 600], 8).tree)
    assert "straggler" not in kinds(found)


def test_what_is_inside_a_straggler_is_blamed_for_it():
    spans = mapped([100, 100, 700, 100], 4)
    node = next(s for s in spans if s.name == "node work" and s.duration_s > 0.5)
    place = spans.index(node)
    retry = EventRecord(semconv.EVENT_RETRY, at(50), {semconv.BACKOFF_S: 0.55})
    spans[place] = replace(node, events=(retry,))
    spans.add("attempt work", 0, 50, spans[place], outcome="error", error="E: x")
    spans.add("attempt work", 600, 700, spans[place])
    found = diagnose(spans.tree)
    assert kinds(found) == ["retry_storm"]
    assert found.first.gain_s == pytest.approx(0.6)


def test_of_two_gains_that_overlap_the_second_says_so():
    found = diagnose(mapped([100, 100, 100, 600], 2).tree)
    gains = [one.gain_s for one in found.findings]
    assert gains == sorted(gains, reverse=True)
    assert found.gain_s <= min(sum(gains), found.wall_s)
    assert all(gain <= found.wall_s for gain in gains)


def test_a_map_of_ten_thousand_items_is_diagnosed_quickly():
    spans = mapped([10] * 9_999 + [2_000], 16)
    began = time.perf_counter()
    found = diagnose(spans.tree)
    assert time.perf_counter() - began < 20
    assert {"limit_too_low", "straggler"} <= set(kinds(found))


# --- blocked loops --------------------------------------------------------------------------------------


def blocked(seconds: float, end: float) -> dict[str, Any]:
    event = EventRecord(
        semconv.EVENT_LOOP_BLOCKED,
        at(end),
        {semconv.LOOP_BLOCKED_S: seconds, semconv.LOOP_BLOCKED_AT: "app.py:7 in crunch"},
    )
    return {"facts": {semconv.LOOP_BLOCKED_S: seconds}, "events": (event,)}


def test_who_became_ready_between_two_steps_that_held_the_loop_lost_the_second():
    spans = Spans()
    run = spans.add("run g", 0, 800)
    first = spans.add("node first", 0, 250, run, **blocked(0.25, 250))
    spans.add("node second", 0, 500, run, **blocked(0.25, 500))
    spans.add("node after", 250.002, 800, run, after=(first,))
    found = diagnose(spans.tree)
    assert (found.first.kind, found.first.path) == ("blocking_node", "g.second")
    assert found.first.facts["held_up"] == ["g.after"]
    assert found.first.gain_s == pytest.approx(0.25, abs=0.001)
    assert "at app.py:7 in crunch" in found.first.text
    # second waited for first, but nobody waited for second.
    assert [one.gain_s for one in found.findings if one.path == "g.first"] == [0.0]


def test_who_slept_while_the_loop_was_held_lost_nothing():
    spans = Spans()
    run = spans.add("run g", 0, 800)
    spans.add("node crunch", 100, 300, run, **blocked(0.2, 300))
    spans.add("node request", 0, 800, run)
    found = diagnose(spans.tree)
    assert found.first.kind == "all_fine" or found.first.gain_s == 0.0
    assert of_kind(found, "blocking_node").gain_s == 0.0


# --- failures -----------------------------------------------------------------------------------------------


async def ran(graph: GraphNode, inputs: Any = None, **options: Any) -> TraceTree:
    with capture_spans() as capture:
        try:
            await Hush(graph, **options).run(inputs or {})
        except RunError:
            print("failed")
    return capture.tree


async def test_failures_that_were_collected_are_told_last():
    @code_node
    async def halve(n: int):
        if n % 3 == 0:
            raise ValueError("odd one out")
        await anyio.sleep(0.01)
        return {"n": n}

    with GraphNode(name="g") as graph:
        with MapNode(
            name="each", inputs={"n": Each(range(6))}, max_concurrency=6, on_error="collect"
        ) as each:
            START >> halve(inputs={"n": PARENT["n"]}) >> END
        START >> each >> END
    found = diagnose(await ran(graph))
    finding = of_kind(found, "partial_failure")
    assert finding.path == "g.each"
    assert finding.facts["failed"] == 2
    assert finding.facts["indices"] == [0, 3]
    assert "odd one out" in finding.text
    assert kinds(found)[0] != "failed"


async def test_a_time_limit_that_fails_the_run_is_its_cause():
    @code_node(timeout_s=0.05)
    async def wait():
        await anyio.sleep(5)
        return {}

    with GraphNode(name="g") as graph:
        START >> wait() >> END
    found = diagnose(await ran(graph))
    assert (found.first.kind, found.first.path) == ("failed", "g.wait")
    assert found.first.facts["timeout"]
    assert "ran into its time limit" in found.first.text
    assert "timeout" not in kinds(found)


async def test_a_time_limit_that_was_captured_is_told():
    @code_node(timeout_s=0.05, on_error="capture")
    async def wait():
        await anyio.sleep(5)
        return {}

    with GraphNode(name="g") as graph:
        START >> wait() >> END
    found = diagnose(await ran(graph))
    assert of_kind(found, "timeout").path == "g.wait"
    assert of_kind(found, "timeout").facts["limit_s"] == 0.05


async def test_too_many_failures_are_to_blame_for_what_they_cancel():
    @code_node
    async def break_down(n: int):
        await anyio.sleep(0.02 if n < 3 else 1.0)
        raise ValueError("broken")

    with GraphNode(name="g") as graph:
        with MapNode(
            name="each",
            inputs={"n": Each(range(6))},
            max_concurrency=6,
            on_error="collect",
            max_failures=2,
        ) as each:
            START >> break_down(inputs={"n": PARENT["n"]}) >> END
        START >> each >> END
    found = diagnose(await ran(graph))
    assert (found.first.kind, found.first.path) == ("failed", "g.each")
    assert found.first.facts["victims"] == 3
    assert "more than max_failures tolerates" in found.first.text
    assert "That cancelled 3 items" in found.first.text
    assert "Raise max_failures" in found.first.remedy
    assert "cancelled" not in kinds(found)


async def test_a_run_that_was_cancelled_says_what_it_was_doing():
    @code_node
    async def wait():
        await anyio.sleep(5)
        return {}

    with GraphNode(name="g") as graph:
        START >> wait() >> END
    with capture_spans() as capture, anyio.move_on_after(0.05):
        await Hush(graph).run({})
    found = diagnose(capture.tree)
    assert kinds(found)[0] == "cancelled"
    assert found.first.facts["cancelled"] == ["g.wait"]


async def test_what_a_failure_cut_off_is_promised_nothing_and_what_was_over_is():
    @code_node
    async def work(n: int):
        await anyio.sleep(0.05)
        if n == 9:
            raise ValueError("no")
        return {"n": n}

    def every(name: str, items: range) -> MapNode:
        with MapNode(name=name, inputs={"n": Each(items)}, max_concurrency=2) as each:
            START >> work(inputs={"n": PARENT["n"]}) >> END
        return each

    with GraphNode(name="g") as graph:
        START >> every("before", range(8)) >> every("fails", range(20)) >> END
    found = diagnose(await ran(graph))
    assert kinds(found)[0] == "failed"
    limits = [one.path for one in found.findings if one.kind == "limit_too_low"]
    assert limits == ["g.before"]


def test_failures_that_differ_by_the_name_of_their_item_are_of_one_kind():
    spans = mapped([10] * 12, 12, facts={semconv.MAP_FAILED: 6})
    for i, span in enumerate(list(spans)):
        if span.name == "item each" and span.attributes[semconv.ITEM_INDEX] % 2:
            key = f"host-{span.attributes[semconv.ITEM_INDEX]}"
            said = f"g.each[{span.attributes[semconv.ITEM_INDEX]}].work: ConnectionError: {key}: refused"
            facts = {**span.attributes, semconv.ITEM_KEY: key, semconv.OUTCOME: "error"}
            spans[i] = replace(span, status="error", status_description=said, attributes=facts)
    found = of_kind(diagnose(spans.tree), "partial_failure")
    assert "6 of 12 items of 'each' failed and were collected" in found.text
    assert "6 times, such as: ConnectionError: host-1: refused" in found.text


def test_a_trace_of_others_is_not_called_fine():
    spans = Spans()
    top = spans.add("GET /", 0, 1000, outcome=None, scope="web")
    spans.add("SELECT", 100, 900, top, outcome=None, scope="web")
    found = diagnose(spans.tree)
    assert kinds(found) == ["no_run"]
    assert "2 spans of other programs" in found.first.text


def test_a_run_without_its_own_span_is_not_called_fine():
    spans = mapped([100] * 12, 3)
    rest = without(spans, lambda span: span.name == "run g")
    found = diagnose(rest)
    assert kinds(found) == ["unfinished"]
    assert found.outcome is None
    assert "it still goes on, its process was killed" in found.first.text


def test_no_more_slots_are_advised_than_there_are_items():
    found = diagnose(mapped([100, 100, 100], 2).tree)
    assert found.first.kind == "limit_too_low"
    assert "max_concurrency of 'each' to 3," in found.first.remedy
    assert "A slot for each item would save 100 ms" in found.first.text
    assert "Twice" not in found.first.text


def test_waits_beside_something_longer_are_no_rate_limit():
    # Each item is a long node, and beside it a map of calls that wait their turn.
    spans = Spans()
    run = spans.add("run g", 0, 4_000, facts={semconv.GRAPH_NAME: "g"})
    outer = spans.add("map outer", 0, 4_000, run, facts={semconv.MAP_MAX_CONCURRENCY: 1})
    for i in range(4):
        begin = 1_000 * i
        item = spans.add("item outer", begin, begin + 1_000, outer, facts={semconv.ITEM_INDEX: i})
        spans.add("node long", begin, begin + 1_000, item)
        inner = spans.add(
            "map inner", begin, begin + 500, item, facts={semconv.MAP_MAX_CONCURRENCY: 10}
        )
        for j in range(10):
            over = begin + 50 * (j + 1)
            one = spans.add("item inner", begin, over, inner, facts={semconv.ITEM_INDEX: j})
            facts = {
                semconv.WAIT_LIMITER_S: 0.05 * j,
                semconv.WAIT_LIMITER: "llm:m/max_concurrency",
            }
            spans.add("node ask", begin, over, one, facts=facts)
    found = diagnose(spans.tree)
    assert kinds(found) == ["limit_too_low"]
    assert found.first.path == "g.outer"


# --- limits on threads, calls to models ----------------------------------------------------------------------


async def test_waits_for_threads_are_told_apart_from_rate_limits():
    def read(n: int):
        time.sleep(0.05)
        return {"n": n}

    with GraphNode(name="g") as graph:
        with MapNode(name="each", inputs={"n": Each(range(8))}, max_concurrency=8) as each:
            START >> code_node(read)(inputs={"n": PARENT["n"]}) >> END
        START >> each >> END
    found = diagnose(await ran(graph, max_threads=2))
    assert found.first.kind == "thread_limit"
    assert "max_threads" in found.first.remedy
    assert found.first.facts["waited_s"] > 0.3


async def test_calls_that_a_server_refused_are_a_retry_storm_by_their_status():
    with ScriptedLLMServer() as server:
        server.script("m", *[ErrorReply(429, retry_after_ms=120)] * 2, Answer("Nile."))
        with GraphNode(name="g") as graph:
            asked = LLMNode(
                name="ask",
                resource_key="m",
                retry=Retry(attempts=3, initial_s=0.1),
                inputs={"messages": [{"role": "user", "content": "?"}]},
                outputs={"content": PARENT},
            )
            START >> asked >> END
        found = diagnose(await ran(graph, resources=server.resources("m")))
    finding = of_kind(found, "retry_storm")
    assert finding.path == "g.ask"
    assert finding.facts["errors"] == {"429": 2}
    assert finding.gain_s >= 0.2
    assert "requests_per_minute" in finding.remedy


def test_wasted_tokens_are_told_apart_from_time():
    spans = Spans()
    facts = {semconv.TOKENS_WASTED: 1_234, semconv.WASTED_USD: 0.02, semconv.TOKENS_INPUT: 900}
    spans.add("run g", 0, 100, facts=facts)
    found = diagnose(spans.tree)
    assert kinds(found) == ["all_fine", "waste"]
    assert "1234 tokens, $0.02" in found.findings[1].text
    assert found.findings[1].gain_s == 0.0


# --- traces from anywhere ---------------------------------------------------------------------------------------


def test_a_trace_without_spans_says_so():
    found = diagnose(TraceTree(()))
    assert found.first is None
    assert found.sentences() == ("This trace holds no spans.",)


def test_the_run_is_found_below_what_called_it_and_the_longest_counts():
    spans = Spans()
    top = spans.add("GET /", 0, 1000, outcome=None, scope="web")
    spans.add("run short", 0, 100, top)
    run = spans.add("run long", 100, 1000, top)
    spans.add("node only", 100, 1000, run)
    found = diagnose(spans.tree)
    assert found.run == "long"
    assert found.wall_s == pytest.approx(0.9)
    assert kinds(found) == ["all_fine"]
    assert "only 900 ms (100 %)" in str(found)


@pytest.mark.parametrize(
    "back",
    [
        lambda tree: parse_otlp_json(to_otlp_json(tree)),
        lambda tree: parse_jaeger_json(to_jaeger_json(tree)),
    ],
    ids=["otlp", "jaeger"],
)
@pytest.mark.parametrize(
    "spans",
    [fan_in(), mapped([100] * 12, 3), mapped([100, 100, 700, 100], 4), crawl()],
    ids=["fan-in", "limit", "straggler", "crawl"],
)
def test_a_trace_that_was_written_and_read_says_the_same(spans: Any, back: Any):
    tree = spans if isinstance(spans, TraceTree) else spans.tree
    read, written = diagnose(TraceTree(back(tree))), diagnose(tree)
    assert [(one.kind, one.path) for one in read.findings] == [
        (one.kind, one.path) for one in written.findings
    ]
    # Jaeger keeps microseconds.
    for one, other in zip(read.findings, written.findings, strict=True):
        assert one.gain_s == pytest.approx(other.gain_s, abs=0.001)
    assert read.steps == written.steps


@given(st.lists(records(), max_size=12))
def test_no_trace_is_too_strange(some: list[SpanRecord]):
    found = diagnose(TraceTree(some))
    assert all(0.0 <= one.gain_s <= found.wall_s for one in found.findings)
    str(found)


NAMES = ("run g", "node a", "node b", "graph c", "map m", "item m", "attempt a", "chat x")
OURS = sorted(
    {getattr(semconv, name) for name in semconv.__all__ if name.isupper()} - {""}, key=str
)
ODD = st.one_of(
    st.integers(-2, 5),
    st.floats(),
    st.sampled_from(["ok", "error", "cancelled", "fail_fast", "g.a", "limit", "x 1.0s 5%"]),
    st.lists(st.text(max_size=3), max_size=2),
    st.booleans(),
)


@st.composite
def ours(draw: st.DrawFn) -> list[SpanRecord]:
    """Spans that look like ours, with attributes that do not fit."""
    found = []
    for i in range(draw(st.integers(1, 9))):
        start, took = draw(st.integers(0, 50)), draw(st.integers(0, 50))
        keys = st.sampled_from([name for name in OURS if isinstance(name, str)])
        facts = draw(st.dictionaries(keys, ODD, max_size=6))
        events = [
            EventRecord(
                name, at(draw(st.integers(0, 99))), draw(st.dictionaries(keys, ODD, max_size=3))
            )
            for name in draw(
                st.lists(
                    st.sampled_from(
                        [semconv.EVENT_RETRY, semconv.EVENT_TIMEOUT, semconv.EVENT_LOOP_BLOCKED]
                    ),
                    max_size=2,
                )
            )
        ]
        parent = draw(st.none() | st.integers(1, i)) if i else None
        found.append(
            SpanRecord(
                TRACE,
                f"{i + 1:016x}",
                None if parent is None else f"{parent:016x}",
                draw(st.sampled_from(NAMES)),
                at(start),
                at(start + took),
                status=draw(st.sampled_from(["unset", "error"])),
                attributes=facts,
                events=tuple(events),
                scope="hush",
            )
        )
    return found


@given(ours())
def test_no_attribute_is_too_strange(some: list[SpanRecord]):
    found = diagnose(TraceTree(some))
    assert all(0.0 <= one.gain_s <= found.wall_s for one in found.findings)
    assert found.gain_s <= found.wall_s
    str(found)


def test_what_is_worth_telling():
    assert worth_s(0.1) == 0.02
    assert worth_s(2.0) == pytest.approx(0.1)
    assert worth_s(3_600.0) == 5.0
