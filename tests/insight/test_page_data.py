"""The page of a trace without a browser: what is in it, and in which words."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hush import semconv
from hush.insight.diagnosis import diagnose
from hush.insight.page.payload import payload_of
from hush.insight.page.places import Places, path_steps
from hush.insight.page.render import render_page
from hush.insight.page.sentences import Sentence, sentences_of
from hush.insight.tree import TraceTree, TreeNode
from tests.insight.page_traces import ATTACK, TURNED, Spans, crawl, large, straggling


def data_of(page: str) -> dict[str, Any]:
    found = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def plain(sentence: Sentence) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in sentence)


def one(tree: TraceTree, path: str) -> TreeNode:
    found = Places(tree).find(path)
    assert found is not None
    return found


def said(tree: TraceTree, node: TreeNode) -> str:
    return " ".join(plain(sentence) for sentence in sentences_of(node, Places(tree)))


def test_a_page_loads_nothing_and_runs_only_its_own_script() -> None:
    page = render_page(crawl())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = policy[1].replace("&#x27;", "'")
    assert "default-src 'none'" in rules
    assert "unsafe-inline" not in rules
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in rules
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "innerHTML" not in page
    assert "http://www.w3.org/2000/svg" in script  # the only address, a name space
    assert len(re.findall(r"https?://", script)) == 1


def test_hostile_text_cannot_leave_the_data() -> None:
    spans = Spans()
    run = spans.add(f"run {ATTACK}", 0, 5, facts={semconv.GRAPH_NAME: ATTACK})
    spans.add(ATTACK, 1, 2, run, error=ATTACK, facts={ATTACK: ATTACK, "turned": TURNED})
    page = render_page(spans.tree, diagnosis=[ATTACK])
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert "<!--" not in page
    data = data_of(page)
    assert data["graph"] == ATTACK
    assert ATTACK in data["words"]
    assert page.encode("utf-8", "surrogatepass").isascii() or page.encode()


def test_placeholders_in_a_trace_stay_what_they_are() -> None:
    spans = Spans()
    spans.add("run %script% %style%", 0, 5, facts={semconv.GRAPH_NAME: "%data% %script%"})
    assert data_of(render_page(spans.tree))["graph"] == "%data% %script%"


VALUES = st.one_of(
    st.text(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(),
    st.lists(st.one_of(st.text(), st.integers(), st.floats())),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(
    facts=st.dictionaries(
        st.one_of(
            st.text(),
            st.sampled_from(
                [
                    value
                    for name, value in vars(semconv).items()
                    if isinstance(value, str) and name.isupper()
                ]
            ),
        ),
        VALUES,
        max_size=12,
    ),
    name=st.one_of(st.text(), st.sampled_from(["map a", "item a", "run a", "chat m", "node a"])),
)
def test_any_attributes_make_a_page(facts: dict[str, Any], name: str) -> None:
    spans = Spans()
    run = spans.add("run a", 0, 10, facts=facts)
    spans.add(name, 1, 9, run, outcome=None, facts=facts, error="x")
    page = render_page(spans.tree, diagnosis=["a is slow"])
    assert len(data_of(page)["spans"]) == 2
    page.encode()


def test_numbers_that_a_browser_would_change_become_text() -> None:
    spans = Spans()
    facts = {"large": 2**60 + 1, "nan": float("nan"), "list": [float("inf"), 2**70], "b": b"\xff"}
    spans.add("run a", 0, 1, facts=facts)
    data = data_of(render_page(spans.tree))
    more = data["spans"][0][-1]["facts"]
    values = dict(zip([data["words"][k] for k in more[::2] if k >= 0], more[1::2], strict=False))
    assert values["large"] == str(2**60 + 1)
    assert values["nan"] == "nan"
    assert values["list"] == ["inf", str(2**70)]
    assert values["b"] == "ff"


def test_steps_of_the_critical_path_find_their_spans() -> None:
    tree = crawl()
    steps = path_steps(tree, Places(tree))
    assert [(s.label, s.kind, s.node and s.node.name) for s in steps] == [
        ("sitemap", "span", "node sitemap"),
        ("pages (2 more items)", "part", "map pages"),
        ("pages[6].fetch", "span", "node fetch"),
        ("report", "span", "node report"),
        ("summary", "span", "node summary"),
        ("(3 shorter steps)", "part", None),
    ]
    assert steps[2].seconds == pytest.approx(0.602)
    assert steps[2].share == pytest.approx(0.602 / 1.242)
    assert steps[2].node is one(tree, "crawl.pages[6].fetch")


@pytest.mark.parametrize(
    ("times", "order"),
    [
        # The straggler ends it: the others were before.
        ([(250, 700, 3_000)], ["pages (9 more items)", "pages[250].fetch"]),
        # Most of the time between two that are told.
        (
            [(0, 0, 100), (9, 2_100, 2_900)],
            ["pages[0].fetch", "pages (9 more items)", "pages[9].fetch"],
        ),
        (
            [(0, 0, 100), (1, 100, 200)],
            ["pages[0].fetch", "pages[1].fetch", "pages (9 more items)"],
        ),
    ],
)
def test_what_sums_up_others_stands_where_they_were(
    times: list[tuple[int, int, int]], order: list[str]
) -> None:
    told = [f"pages[{index}].fetch 0.1s 10%" for index, _, _ in times]
    spans = Spans()
    facts = {semconv.CRITICAL_PATH: [*told, "pages (9 more items) 0.7s 70%"]}
    run = spans.add("run g", 0, 3_000, facts={semconv.GRAPH_NAME: "g", **facts})
    over = spans.add("map pages", 0, 3_000, run, facts={semconv.NODE_PATH: "g.pages"})
    for index, start, end in times:
        item = spans.add("item pages", start, end, over, facts={semconv.ITEM_INDEX: index})
        path = {semconv.NODE_PATH: f"g.pages[{index}].fetch"}
        spans.add("node fetch", start, end, item, facts=path)
    steps = path_steps(spans.tree, Places(spans.tree))
    assert [step.label for step in steps] == order


def test_a_finding_has_its_heading_and_leads_to_the_item() -> None:
    tree = straggling()
    nodes = list(tree)
    found = payload_of(tree, diagnosis=diagnose(tree))["diagnosis"]["findings"][0]
    assert (found["kind"], found["path"], found["tone"]) == ("straggler", "skus[250]", "plain")
    assert found["saves"] > 3
    assert 0.8 < found["share"] < 1
    assert nodes[found["at"]].record.index == 250
    (mention,) = [part for part in found["text"] if part[0] == "Item 250"]
    assert nodes[mention[1]].record.index == 250


def test_a_partial_run_is_called_so() -> None:
    spans = Spans()
    spans.add("run g", 0, 10, facts={semconv.PARTIAL_FAILURE: True, semconv.GRAPH_NAME: "g"})
    assert payload_of(spans.tree)["outcome"] == "partial"


def test_a_trace_of_somebody_else_says_so() -> None:
    spans = Spans()
    spans.add("GET /", 0, 10, outcome=None, scope="x")
    assert payload_of(spans.tree)["remark"].startswith("no run of Hush in this trace")


def test_a_run_that_was_cut_off_says_why_it_has_no_critical_path() -> None:
    spans = Spans()
    spans.add("run g", 0, 10, outcome="cancelled", facts={semconv.GRAPH_NAME: "g"})
    assert payload_of(spans.tree)["remark"].startswith("no critical path: the run was cut off")


def test_a_step_that_nobody_can_read_is_shown_as_it_is() -> None:
    spans = Spans()
    facts = {semconv.CRITICAL_PATH: ["a b c", "", "ask (rate limit) 0.5s 50%"]}
    spans.add("run g", 0, 1000, facts=facts)
    steps = path_steps(spans.tree, Places(spans.tree))
    assert [(s.label, s.seconds, s.kind) for s in steps] == [
        ("a b c", 0.0, "span"),
        ("", 0.0, "span"),
        ("ask (rate limit)", 0.5, "wait"),
    ]


def test_a_fan_in_is_told_in_sentences() -> None:
    tree = crawl()
    assert said(tree, one(tree, "crawl.report")) == (
        "report waited for 3; pages came last, 482 ms after the one before it; without it report "
        "could have started that much earlier. Arrivals: robots first, prices +379 ms, pages "
        "+861 ms."
    )
    mentioned = [part for s in sentences_of(one(tree, "crawl.report"), Places(tree)) for part in s]
    assert ("pages", one(tree, "crawl.pages")) in mentioned


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (
            {"mode": "any", "last": "b", "late": ["a", "c"]},
            "j needed any one of several; b released it. Too late to matter: a and c.",
        ),
        (
            {"mode": "first", "last": "b", "cancelled": ["a"]},
            "j took the first to arrive: b. Cancelled, no longer needed: a.",
        ),
        (
            {"mode": "quorum", "last": "b", "count": 2, "lead_s": 0.05},
            ("j started with a quorum of 2; b came last, 50.0 ms after the one before it; without "
            "it j could have started that much earlier."),
        ),
        (
            {"mode": "all", "last": "b", "count": 2, "lead_s": 0.48,
             "arrivals": ["a +0.000000s", "b +0.500000s"]},
            ("j waited for 2; b came last, 500 ms after the one before it; without it j could have "
            "started 480 ms earlier. Arrivals: a first, b +500 ms."),
        ),
        (
            {"mode": "all", "last": "b", "count": 2, "lead_s": 0.0},
            "j waited for 2; b came last, together with the one before it.",
        ),
        ({"mode": "all", "count": 3}, "j waited for 3."),
    ],
)  # fmt: skip
def test_each_kind_of_fan_in_has_its_words(facts: dict[str, Any], told: str) -> None:
    spans = Spans()
    run = spans.add("run g", 0, 9, facts={semconv.GRAPH_NAME: "g"})
    named = {f"hush.fan_in.{name}": value for name, value in facts.items()}
    spans.add("node j", 5, 9, run, facts={semconv.NODE_PATH: "g.j", **named})
    assert said(spans.tree, one(spans.tree, "g.j")) == told


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({semconv.MAP_BOUND_BY: "limit", semconv.MAP_AT_LIMIT_S: 0.8}, "Every slot was taken for 800 ms (80%) while items waited."),
        ({semconv.MAP_BOUND_BY: "straggler", semconv.MAP_IDLE_TAIL_S: 0.7}, "For the last 700 ms (70%) nothing was left to start; the last items decided."),
        ({semconv.MAP_BOUND_BY: "straggler", semconv.MAP_PEAK_CONCURRENCY: 3, semconv.MAP_ITEMS: 3}, "All items ran at once; the longest decides."),
        ({semconv.MAP_BOUND_BY: "source"}, "Bound by its source"),
        ({semconv.MAP_BOUND_BY: "rate_limit", semconv.WAIT_LIMITER: "gpt (tpm)", semconv.WAIT_LIMITER_S: 9.0}, "Bound by gpt (tpm): items waited 9.00 s in all. More slots would only"),
        ({semconv.MAP_BOUND_BY: "magic"}, "Bound by magic."),
        ({semconv.MAP_SPANS_OMITTED: 9000}, "9,000 spans left out by the span budget"),
        ({semconv.MAP_SLOWEST: ["7:0.301"], semconv.MAP_LAST_INDEX: 7}, "Slowest: [7] 301 ms; last to end: [7]."),
    ],
)  # fmt: skip
def test_each_verdict_on_a_map_has_its_words(facts: dict[str, Any], told: str) -> None:
    spans = Spans()
    run = spans.add("run g", 0, 1000, facts={semconv.GRAPH_NAME: "g"})
    spans.add("map m", 0, 1000, run, facts={semconv.NODE_PATH: "g.m", **facts})
    assert told in said(spans.tree, one(spans.tree, "g.m"))


def test_a_cancelled_span_names_its_culprit_and_a_blocking_one_the_remedy() -> None:
    spans = Spans()
    run = spans.add("run g", 0, 10, facts={semconv.GRAPH_NAME: "g", semconv.SKIPPED: ["x", "y"]})
    spans.add("node bad", 0, 5, run, facts={semconv.NODE_PATH: "g.bad"})
    facts = {semconv.NODE_PATH: "g.a", semconv.CANCEL_REASON: "fail_fast",
             semconv.CANCEL_CAUSE: "g.bad", semconv.WASTED_S: 1.5}  # fmt: skip
    spans.add("node a", 0, 5, run, outcome="cancelled", facts=facts)
    blocked = {semconv.NODE_PATH: "g.b", semconv.LOOP_BLOCKED_S: 0.4,
               semconv.LOOP_BLOCKED_AT: "a.py:3"}  # fmt: skip
    spans.add("node b", 0, 5, run, facts=blocked)
    tree = spans.tree
    assert said(tree, one(tree, "g.a")) == (
        "Cancelled because something else failed: g.bad; 1.50 s of work was lost."
    )
    assert "Held the event loop for 400 ms at a.py:3" in said(tree, one(tree, "g.b"))
    assert 'run_in="thread"' in said(tree, one(tree, "g.b"))
    assert said(tree, one(tree, "g")) == "Skipped: x, y."


def test_waits_have_their_kinds() -> None:
    data = payload_of(crawl())
    kinds = {
        data["words"][kind]
        for span in data["spans"]
        if len(span) > 6
        for kind, _, _ in span[6].get("waits", ())
    }
    assert kinds == {"slot", "backoff", "limiter"}


def test_a_large_trace_is_small_enough() -> None:
    tree = large(5_000)
    before = time.perf_counter()
    page = render_page(tree)
    assert time.perf_counter() - before < 10
    assert len(page) / len(tree) < 400
