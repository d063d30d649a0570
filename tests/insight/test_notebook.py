"""The picture of a trace in a notebook."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hush import semconv
from hush.insight.notebook import html_of
from hush.insight.tree import TraceTree
from tests.insight.page_traces import Spans, crawl, large

ATTACK = "</div></script><img src=x onerror=alert(1)>\"'"


class Reader(HTMLParser):
    """Notes the elements, their attributes and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.names: set[str] = set()
        self.text: list[str] = []
        self.depth = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names.update(name for name, _ in attrs)
        self.styles += [value or "" for name, value in attrs if name == "style"]
        self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def bars(source: str) -> list[str]:
    return re.findall(r"linear-gradient\(to right,([^\"]*)\)\"", source)


def test_a_trace_is_rows_of_names_times_and_bars() -> None:
    source = html_of(crawl())
    read = Reader(source)
    text = " ".join(read.text)
    assert read.depth == 0
    assert set(read.tags) <= {"div", "span", "b"}
    assert read.names <= {"style", "role", "title", "aria-label"}
    for told in ("run crawl", "map pages", "503 Service Unavailable", "connection reset", "603 ms"):
        assert told in text
    for mark in "✓!✗":
        assert mark in text
    assert len(source) < 20_000


def test_it_loads_and_runs_nothing() -> None:
    source = html_of(crawl())
    assert not re.search(r"<script|<style|<link|url\(|src=|href=|on\w+=", source)


def test_it_suits_light_and_dark() -> None:
    read = Reader(html_of(crawl()))
    assert not any(re.search(r"background:(#|white|black)", style) for style in read.styles)
    texts = {found for style in read.styles for found in re.findall(r"(?<!-)color:([^;]+)", style)}
    # The marks' colours are as good on white as on black; all other text takes the notebook's.
    for colour in texts - {"inherit"}:
        for ground in (1.0, 0.0):
            assert contrast(colour, ground) >= 2.7, colour


def contrast(colour: str, ground: float) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    low, high = sorted((light, ground))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("size", [20, 500, 5_000])
def test_there_are_at_most_some_sixty_rows(size: int) -> None:
    source = html_of(large(size))
    assert source.count('role="row"') <= 60
    if size > 100:
        assert "more items" in source


def test_rows_beyond_the_most_are_counted() -> None:
    spans = Spans()
    run = spans.add("run g", 0, 100)
    for i in range(40):
        outer = spans.add(f"graph {i}", i, i + 2, run)
        for j in range(3):
            spans.add(f"node {j}", i, i + 1, outer, outcome="error", error=f"no {i}.{j}")
    source = html_of(spans.tree)
    assert source.count('role="row"') <= 60
    assert re.search(r"\d+ more|\+3", source)


def test_text_of_a_trace_stays_text() -> None:
    spans = Spans()
    run = spans.add(f"run {ATTACK}", 0, 5)
    spans.add(f"node {ATTACK}\x1b\u202e", 0, 5, run, outcome="error", error=ATTACK)
    spans.add("item x", 0, 5, run, facts={semconv.ITEM_INDEX: 0, semconv.ITEM_KEY: ATTACK})
    source = html_of(spans.tree)
    read = Reader(source)
    assert "img" not in read.tags
    assert read.depth == 0
    assert "onerror" not in read.names
    assert "\u202e" not in source
    assert "\x1b" not in source


def test_a_bar_waits_before_it_runs() -> None:
    spans = Spans()
    run = spans.add("run g", 0, 100)
    whole = spans.add("map m", 0, 100, run)
    facts = {semconv.ITEM_INDEX: 0, semconv.WAIT_SLOT_S: 0.04}
    spans.add("item m", 50, 100, whole, facts=facts)
    spans.add("item m", 0, 50, whole, facts={semconv.ITEM_INDEX: 1})
    assert "#8791a066 10.00% 50.00%,#5787d8 50.00% 100.00%" in html_of(spans.tree)


def test_even_the_shortest_bar_is_seen() -> None:
    spans = Spans()
    run = spans.add("run g", 0, 100_000)
    spans.add("node a", 100_000, 100_000, run)
    spans.add("node b", 0, 0.001, run)
    shown = bars(html_of(spans.tree))
    assert "#5787d8 99.50% 100.00%" in shown[-1]
    assert "#5787d8 0.00% 0.50%" in shown[1]


@settings(deadline=None)
@given(
    times=st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(-1, 1)), min_size=1, max_size=8
    )
)
def test_bars_stay_within_their_width_and_in_order(times: list[tuple[float, float, float]]) -> None:
    spans = Spans()
    run = spans.add("run g", 0, 100)
    for i, (start, end, wait) in enumerate(times):
        facts = {
            semconv.ITEM_INDEX: i,
            semconv.WAIT_SLOT_S: wait / 20,
            semconv.WAIT_LIMITER_S: wait,
        }
        spans.add("item m", min(start, end), max(start, end), run, facts=facts)
    for bar in bars(html_of(spans.tree)):
        edges = [float(found) for found in re.findall(r"([\d.]+)%", bar)]
        assert edges == sorted(edges)
        assert edges[0] == 0
        assert edges[-1] == 100


def test_an_empty_trace_says_so() -> None:
    assert "no spans" in html_of(TraceTree([]))
