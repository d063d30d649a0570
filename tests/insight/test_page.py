"""The page of a trace in a real browser: what is seen, found, opened and zoomed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hush import semconv
from hush.insight.diagnosis import diagnose
from hush.insight.page.render import render_page
from hush.insight.record import EventRecord, SpanRecord
from hush.insight.tree import TraceTree
from tests.e2e.programs import require
from tests.insight.chromium import Chromium, find_chromium
from tests.insight.page_traces import (
    ATTACK,
    STACK,
    TRACE,
    TURNED,
    Spans,
    crawl,
    large,
    straggling,
)

MISSING = "no Chromium found; apt-get install chromium, or name a ready one in HUSH_CHROMIUM"
DIAGNOSIS = (
    "pages waited for pages[6].fetch, which took 602 ms; report could have started 482 ms earlier.",
    "pages[8].fetch failed: ConnectionResetError.",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """Start a browser; without one skip, or fail where HUSH_REQUIRE_BACKENDS=1 demands it."""
    with Chromium(require(find_chromium(), MISSING)) as started:
        yield started


@pytest.fixture
def tab(browser: Chromium) -> Chromium:
    """Return the browser as it is at first."""
    browser.size(1280, 800)
    browser.dark(False)
    return browser


def opened(tab: Chromium, folder: Path, tree: TraceTree, **options: Any) -> Chromium:
    file = folder / "trace.html"
    file.write_text(render_page(tree, **options), encoding="utf-8")
    tab.open(file)
    tab.settle()
    return tab


def test_a_trace_is_there_as_a_whole(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl(), diagnosis=DIAGNOSIS)
    assert tab.run("document.title") == "crawl"
    head = tab.run("document.querySelector('#head').textContent")
    for text in ("ok", "crawl", "1.24 s", "1 failed, 1 handled", "2,912 in", "$0.012", "2026-"):
        assert text in head
    assert tab.run("document.querySelectorAll('#diagnosis li').length") == 2
    assert tab.run("document.querySelectorAll('.steps li').length") == 6
    assert "pages[6].fetch602 ms48%" in tab.run("document.querySelector('.steps').textContent")
    assert "peak 4" in tab.run("document.querySelector('#mini-title').textContent")
    assert tab.run("document.querySelectorAll('.row').length") > 15
    assert tab.run("document.querySelectorAll('.row .wait.before').length") > 3
    assert tab.run("document.querySelectorAll('.crit:not(.loose)').length") >= 2
    assert tab.run("document.querySelectorAll('#axis .tick').length") >= 4
    assert tab.run("document.querySelector('#r0').getAttribute('aria-level')") == "1"
    marks = "[...document.querySelectorAll('.row .mark[role=img]')].map(m => m.ariaLabel)"
    assert {"ok", "handled", "error"} <= set(tab.run(marks))
    nothing_wrong(tab)


def nothing_wrong(tab: Chromium) -> None:
    assert tab.problems == []
    assert all(url.startswith("file:") for url in tab.requests)
    assert len(tab.requests) == 1


def in_sight(tab: Chromium, index: int) -> bool:
    script = (
        "(() => { const box = document.querySelector('#rows').getBoundingClientRect(); "
        "return [...document.querySelectorAll('.row')].some(r => { const b = r.getBoundingClientRect();"
        f" return r.textContent.includes('[{index}]') && b.top >= box.top && b.bottom <= box.bottom; }}) }})()"
    )
    return bool(tab.run(script))


def test_the_guilty_item_is_in_sight_and_the_findings_lead_to_it(
    tab: Chromium, tmp_path: Path
) -> None:
    tree = straggling()
    opened(tab, tmp_path, tree, diagnosis=diagnose(tree))
    assert in_sight(tab, 250)
    assert not in_sight(tab, 3)
    head = tab.run("document.querySelector('.finding summary').textContent")
    assert re.search(r"1straggler.*skus\[250\]saves 3\.\d+ s \(\d+%\)", head)
    assert tab.run("document.querySelector('#details').hidden")
    tab.run("document.querySelector('#rows').scrollTop = 0")
    tab.settle()
    assert not in_sight(tab, 250)
    tab.run(
        "[...document.querySelectorAll('.jump')].find(b => b.textContent === 'Item 250').click()"
    )
    tab.settle()
    assert in_sight(tab, 250)
    assert tab.run("document.querySelector('.finding').open")
    nothing_wrong(tab)


def test_only_the_rows_scroll(tab: Chromium, tmp_path: Path) -> None:
    tab.size(1400, 900)
    tree = straggling()
    opened(tab, tmp_path, tree, diagnosis=diagnose(tree))
    scrolling = (
        "[...document.querySelectorAll('*')].filter(e => e.clientHeight && e.scrollHeight > e.clientHeight"
        " + 1 && !['visible', 'hidden', 'clip'].includes(getComputedStyle(e).overflowY)).map(e => e.id)"
    )
    assert tab.run(scrolling) == ["rows"]
    assert tab.run("document.documentElement.scrollHeight") == 900


def test_equals_are_not_slow(tab: Chromium, tmp_path: Path) -> None:
    spans = Spans()
    run = spans.add("run g", 0, 100)
    for _ in range(3):
        spans.add("node equal", 0, 99, run)
    opened(tab, tmp_path, spans.tree)
    assert tab.run("document.querySelector('.filter.slow .n').textContent") == "0"
    spans.add("node alone", 0, 99, run)
    opened(tab, tmp_path, spans.tree)
    assert tab.run("document.querySelector('.filter.slow .n').textContent") == "1"


def test_bars_and_ticks_stand_in_line(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl())
    tick, rule = tab.run(
        "[document.querySelectorAll('#axis .tick')[2], document.querySelectorAll('#grid i')[2]]"
        ".map(e => e.getBoundingClientRect().left)"
    )
    assert abs(tick - rule) <= 1
    lanes = "['#mini-lane', '#axis-lane', '.row .lane'].map(s => { const b = "
    lanes += "document.querySelector(s).getBoundingClientRect(); return [b.left, b.right]; })"
    (left, right), *others = tab.run(lanes)
    for other in others:
        assert other == [pytest.approx(left, abs=1.1), pytest.approx(right, abs=1.1)]


def test_a_search_finds_and_jumps(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, large(5_000))
    tab.key("/")
    tab.type("doc-01234.pdf")
    tab.key("Enter")
    assert tab.run("document.querySelector('#found').textContent") == "1 of 1"
    row = "document.querySelector('.row.selected')"
    assert "[1234]" in tab.run(f"{row}.textContent")
    inside = f"(() => {{ const r = {row}.getBoundingClientRect(), b = document.querySelector"
    inside += (
        "('#rows').getBoundingClientRect(); return r.top >= b.top && r.bottom <= b.bottom })()"
    )
    assert tab.run(inside)
    tab.run("document.querySelector('#query').value = ''")
    tab.click("#query")
    tab.type("hush.outcome=error")
    tab.until("document.querySelector('#found').textContent === '10'")
    tab.key("Enter")
    tab.key("Enter")
    assert tab.run("document.querySelector('#found').textContent") == "2 of 10"
    tab.key("Enter", shift=True)
    assert tab.run("document.querySelector('#found').textContent") == "1 of 10"
    assert "error" in tab.run(f"{row}.className")
    tab.click("#next")
    assert tab.run("document.querySelector('#found').textContent") == "2 of 10"
    tab.run("document.querySelector('#query').value = ''")
    tab.click("#query")
    tab.type("nowhere at all")
    tab.until("document.querySelector('#found').textContent === 'none'")
    assert tab.run("document.querySelector('#next').disabled")
    tab.key("Escape")
    assert tab.run("document.querySelectorAll('.row.hit').length") == 0
    nothing_wrong(tab)


def test_who_is_called_so_comes_before_who_mentions_it(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl())
    tab.key("/")
    tab.type("pages[6].fetch")  # stands in an attribute of the run, too
    tab.key("Enter")
    assert "fetch" in tab.run("document.querySelector('.row.selected').textContent")


def test_a_jump_opens_what_the_span_is_in(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, large(5_000))
    tab.key("/")
    tab.type("documents[1234].embed")
    tab.key("Enter")
    assert "embed" in tab.run("document.querySelector('.row.selected').textContent")
    tab.click(".filter.error")
    assert not tab.run("document.querySelector('.row.selected')")
    tab.click("#query")
    tab.key("Enter")  # what the filter hides is shown all the same
    assert "embed" in tab.run("document.querySelector('.row.selected').textContent")
    assert (
        tab.run("document.querySelector('.filter.error').getAttribute('aria-pressed')") == "false"
    )


def test_rows_close_and_open(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl())
    rows = "Number(document.querySelector('#rows').getAttribute('aria-rowcount'))"
    at_first = tab.run(rows)
    pages = "document.querySelector('#r4')"
    assert "pages" in tab.run(f"{pages}.textContent")
    tab.click("#r4 .twisty")
    assert tab.run(f"{pages}.getAttribute('aria-expanded')") == "false"
    closed = tab.run(rows)
    assert closed < at_first - 10
    assert tab.run(f"{pages}.querySelector('.count').textContent") == "20"
    tab.click("#r4 .name")
    tab.run("document.querySelector('#rows').focus()")
    tab.key("ArrowRight")
    assert tab.run(rows) == at_first
    tab.key("ArrowLeft")
    assert tab.run(rows) == closed
    tab.click("#tree-tools button:first-child")
    assert tab.run(rows) == 29
    tab.click("#tree-tools button:last-child")
    assert tab.run(rows) == 7  # the run and what is directly in it
    nothing_wrong(tab)


def test_the_keyboard_is_enough(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl())
    tab.run("document.querySelector('#rows').focus()")
    for _ in range(3):
        tab.key("ArrowDown")
    assert tab.run("document.querySelector('#rows').getAttribute('aria-activedescendant')") == "r2"
    assert tab.run("document.querySelector('#details').hidden")
    tab.key("Enter")
    assert not tab.run("document.querySelector('#details').hidden")
    tab.key("z")
    assert not tab.run("document.querySelector('#zoom-tools button:last-child').disabled")
    tab.key("ArrowRight", shift=True)
    tab.key("0")
    assert tab.run("document.querySelector('#zoom-tools button:last-child').disabled")
    tab.key("Escape")
    assert tab.run("document.querySelector('#details').hidden")
    tab.key("?")
    assert tab.run("document.querySelector('#help').open")
    tab.key("Escape")
    nothing_wrong(tab)


def test_details_tell_all_of_a_span(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl(), diagnosis=DIAGNOSIS)
    tab.run(
        "[...document.querySelectorAll('#diagnosis .jump')]"
        ".find(b => b.textContent === 'pages[8].fetch').click()"
    )
    tab.settle()
    details = "document.querySelector('#details').textContent"
    assert STACK.splitlines()[2].strip() in tab.run(details)
    assert "connection reset by peer" in tab.run(
        "document.querySelector('#details pre').textContent"
    )
    tab.run("document.querySelectorAll('button.step')[3].click()")
    tab.settle()
    text = tab.run(details)
    assert "report waited for 3; pages came last, 482 ms after the one before it" in text
    assert "hush.fan_in.lead_s" in text
    # The links of a span are jumps, in both directions.
    tab.run(
        "[...document.querySelectorAll('.links .jump')]"
        ".find(b => b.textContent === 'map pages').click()"
    )
    tab.settle()
    text = tab.run(details)
    assert "Bound by stragglers: for the last 497 ms (62%)" in text
    assert "before node report" in text
    tab.run(
        "[...document.querySelectorAll('#details .jump')].find(b => b.textContent === '[6]').click()"
    )
    tab.settle()
    assert "crawl.pages[6]" in tab.run(details)
    tab.click("#details .close")
    assert tab.run("document.querySelector('#details').hidden")
    nothing_wrong(tab)


def test_filters_leave_what_matches_and_its_way_there(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, large(5_000))
    rows = "Number(document.querySelector('#rows').getAttribute('aria-rowcount'))"
    tab.click(".filter.error")
    assert tab.run("document.querySelector('.filter.error').getAttribute('aria-pressed')") == "true"
    assert tab.run(rows) == 2 + 10  # run, map; five items with the node in each
    tab.click(".filter.handled")
    assert tab.run(rows) == 2 + 10 + 8
    tab.click(".filter.error")
    tab.click(".filter.handled")
    tab.click(".filter.critical")
    assert tab.run("document.querySelectorAll('.row.critical').length") == 2
    nothing_wrong(tab)


def test_time_zooms_by_wheel_and_by_dragging(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl())
    whole = "document.querySelector('#zoom-tools button:last-child').disabled"
    assert tab.run(whole)
    tab.mouse("mouseWheel", 800, tab.run(
        "document.querySelector('#axis').getBoundingClientRect().top + 5"
    ), deltaX=0, deltaY=-240)  # fmt: skip
    tab.until(f"!{whole}")
    tab.key("0")
    tab.until(whole)
    y = tab.run("document.querySelector('#rows').getBoundingClientRect().top + 100")
    tab.mouse("mouseMoved", 700, y)
    tab.mouse("mousePressed", 700, y)
    tab.mouse("mouseMoved", 800, y, button="left", buttons=1)
    tab.mouse("mouseMoved", 900, y, button="left", buttons=1)
    tab.mouse("mouseReleased", 900, y)
    tab.until(f"!{whole}")
    assert tab.run("document.querySelector('#details').hidden")  # a drag is no click
    tab.click("#zoom-tools button:last-child")
    assert tab.run(whole)
    nothing_wrong(tab)


def test_hostile_text_stays_text(tab: Chromium, tmp_path: Path) -> None:
    spans = Spans()
    facts = {semconv.GRAPH_NAME: ATTACK, semconv.CRITICAL_PATH: [f"{ATTACK} 0.1s 10%", "x 1s 1%"]}
    run = spans.add(f"run {ATTACK}", 0, 5, facts=facts)
    event = EventRecord(ATTACK, 1, {semconv.EXCEPTION_STACKTRACE: ATTACK})
    more = {ATTACK: ATTACK, semconv.NODE_PATH: ATTACK, "list": [ATTACK], "turned": TURNED}
    spans.add(
        f"node {ATTACK}", 1, 2, run, outcome="error", error=ATTACK, events=(event,), facts=more
    )
    spans.add(f"item {TURNED}", 2, 3, run, outcome=ATTACK, facts={semconv.ITEM_INDEX: 1, semconv.ITEM_KEY: TURNED})  # fmt: skip
    tree = TraceTree([replace(span, trace_id=ATTACK) for span in spans])
    opened(tab, tmp_path, tree, diagnosis=[ATTACK, TURNED], title=ATTACK)
    tab.click("#r1 .name")
    for text in (ATTACK, "hush.node.path"):
        assert text in tab.run("document.querySelector('#details').textContent")
    tab.click("#r2 .name")
    key = tab.run("document.querySelector('#r2 bdi.aside-text').textContent")
    assert "\u202e" not in key
    assert "⟨U+202E⟩" in key
    assert "\U0001f469\u200d\U0001f680" in key  # a joiner within an emoji is no trick
    assert tab.run("document.querySelectorAll('img, iframe, object').length") == 0
    assert tab.run("document.title") != "owned"
    nothing_wrong(tab)


def test_nothing_can_be_put_in_as_markup(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, crawl())
    assert tab.run(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } "
        "catch (error) { return error.name } })()"
    ) == "TypeError"  # fmt: skip


def luminance(colour: str) -> float:
    found = [float(n) for n in re.findall(r"[\d.]+", colour)[:3]]
    parts = [n / 255 for n in found]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


COLOUR = """(() => {{ const e = document.createElement('i'); document.body.append(e);
e.style.color = 'var(--{name})'; const c = getComputedStyle(e).color; e.remove(); return c }})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_can_be_read(tab: Chromium, tmp_path: Path, dark: bool) -> None:
    tab.dark(dark)
    opened(tab, tmp_path, crawl())
    colour = {
        name: tab.run(COLOUR.format(name=name))
        for name in (
            "page", "panel", "raised", "hover", "chosen", "hit", "ink", "quiet", "link",
            *(f"{o}{i}" for o in ("ok", "handled", "error", "timeout", "cancelled", "foreign")
              for i in ("", "-ink")),
        )
    }  # fmt: skip
    assert (luminance(colour["page"]) < 0.1) is dark
    assert tab.run("getComputedStyle(document.body).backgroundColor") == colour["page"]
    for ground in ("page", "panel", "raised", "hover", "chosen", "hit"):
        for text in ("ink", "quiet", *(name for name in colour if name.endswith("-ink"))):
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground, colour)
    for name in ("ok", "handled", "error", "timeout", "cancelled", "foreign"):
        assert contrast(colour[name], colour["page"]) >= 3, name
    tab.click("#theme")
    switched = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (luminance(switched) < 0.1) is not dark
    tab.click("#theme")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == colour["page"]
    nothing_wrong(tab)


@pytest.mark.parametrize(("spans", "seconds"), [(20, 1.0), (5_000, 3.0), (30_000, 12.0)])
def test_any_size_is_drawn_in_time(
    tab: Chromium, tmp_path: Path, spans: int, seconds: float
) -> None:
    opened(tab, tmp_path, large(spans))
    assert int(tab.run("document.documentElement.dataset.ready")) < seconds * 1000
    # However many spans there are, only the rows in sight are elements.
    assert tab.run("document.querySelectorAll('.row').length") < 80
    before = time.perf_counter()
    for part in range(10):
        tab.run(
            f"(b => b.scrollTop = b.scrollHeight * {part} / 10)(document.querySelector('#rows'))"
        )
        tab.settle()
    assert time.perf_counter() - before < max(2.0, seconds)
    tab.key("End")
    nothing_wrong(tab)


def test_an_empty_trace_says_so(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, TraceTree([]))
    assert tab.run("document.querySelector('#nothing').textContent") == "This trace has no spans."
    assert tab.run("document.querySelector('#path').hidden")
    nothing_wrong(tab)


def test_odd_times_are_drawn(tab: Chromium, tmp_path: Path) -> None:
    spans = [
        SpanRecord(TRACE, "a" * 16, None, "run g", 0, 0),
        SpanRecord(TRACE, "b" * 16, "a" * 16, "node backwards", 5, 3),
        SpanRecord(TRACE, "c" * 16, "gone", "orphan", 2**62, 2**62 + 1),
    ]
    opened(tab, tmp_path, TraceTree(spans))
    assert tab.run("document.querySelectorAll('.row').length") == 3
    tab.click("#r1 .name")
    nothing_wrong(tab)


def test_on_paper_all_rows_are_there(tab: Chromium, tmp_path: Path) -> None:
    opened(tab, tmp_path, large(600))
    tab.key("e")
    tab.run("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.run("document.querySelectorAll('.row').length") > 500
    tab.run("window.dispatchEvent(new Event('afterprint'))")
    assert tab.run("document.querySelectorAll('.row').length") < 80


def test_on_a_phone_nothing_sticks_out(tab: Chromium, tmp_path: Path) -> None:
    tab.size(390, 800)
    opened(tab, tmp_path, crawl(), diagnosis=DIAGNOSIS)
    assert tab.run("document.documentElement.scrollWidth") <= 390
    tab.run("document.querySelectorAll('button.step')[2].click()")
    tab.settle()
    assert tab.run("document.documentElement.scrollWidth") <= 390
    nothing_wrong(tab)
