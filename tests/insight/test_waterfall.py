"""The picture of a trace in the terminal: what is in it, how wide, how long."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hush import semconv
from hush.insight import waterfall
from hush.insight.legend import legend_of
from hush.insight.record import EventRecord, SpanRecord
from hush.insight.tree import TraceTree
from hush.insight.waterfall import print_waterfall, render_waterfall
from tests.insight import page_traces
from tests.insight.page_traces import TRACE

MS = 1_000_000
NAMES = st.text(
    st.one_of(st.characters(), st.sampled_from("抓取頁面ｗ한글é\u0301🇩🇪👩\u200d🚀\ufe0f\x1b[]\\")),
    max_size=60,
)


class Spans(page_traces.Spans):
    """Those whose instants are their times."""

    began_ms = 0

    def add(
        self,
        name: str,
        start: float,
        end: float,
        inside: SpanRecord | None = None,
        *,
        outcome: str | None = semconv.OUTCOME_OK,
        error: str = "",
        raised: bool = False,
        events: tuple[EventRecord, ...] = (),
        **facts: Any,
    ) -> SpanRecord:
        if raised:
            events = (*events, EventRecord(semconv.EVENT_EXCEPTION, int(end * MS)))
        more = {"outcome": outcome, "error": error, "events": events, "facts": facts}
        return super().add(name, start, end, inside, **more)

    def add_item(
        self, inside: SpanRecord, index: int, start: float, end: float, **more: Any
    ) -> SpanRecord:
        name = f"item {inside.name.partition(' ')[2]}"
        return self.add(name, start, end, inside, **{semconv.ITEM_INDEX: index}, **more)


def drawn(spans: list[SpanRecord], *, width: int = 80, encoding: str = "utf-8", **more: Any) -> str:
    """Print to something that is no terminal."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_waterfall(TraceTree(spans), file=file, width=width, **more)
    file.flush()
    return raw.getvalue().decode(encoding)


def row_of(picture: str, label: str) -> str:
    (row,) = (line for line in picture.splitlines() if label in line)
    return row


def bar_of(picture: str, label: str) -> str:
    """Return the bar column of a row; the axis' tick says where it begins."""
    axis = next(line for line in picture.splitlines() if line.strip().startswith("╷0"))
    return row_of(picture, label)[axis.index("╷") :]


def fan_out(count: int, *, failed: tuple[int, ...] = ()) -> Spans:
    """A map whose items overlap a little and get longer and longer, but for the last."""
    spans = Spans()
    run = spans.add("run report", 0, 10 * count + 100)
    over = spans.add("map fetch", 0, 10 * count + 100, run)
    for index in range(count):
        more: dict[str, Any] = {}
        if index in failed:
            more = {"outcome": semconv.OUTCOME_HANDLED, "error": f"gone: page {index}"}
        took = 5 if index in failed or index == count - 1 else 10 + index / 100
        spans.add_item(over, index, 10 * index, 10 * index + took, **more)
    return spans


# --- what is in it ---------------------------------------------------------------------


def test_heading_says_which_trace_and_how_it_went():
    picture = drawn(fan_out(3, failed=(1,)), width=120)

    first = picture.splitlines()[0]
    assert first == f"trace {TRACE}  ok in 130 ms, 5 spans, 1 handled"


def test_a_map_counts_its_items_itself_and_knows_the_last_one():
    spans = Spans()
    run = spans.add("run report", 0, 1000)
    facts = {semconv.MAP_ITEMS: 20_000, semconv.MAP_PEAK_CONCURRENCY: 50, semconv.MAP_LAST_INDEX: 1}
    over = spans.add("map pages", 0, 1000, run, **facts)
    spans.add_item(over, 0, 0, 900)  # cancelled items all end at once, and last
    spans.add_item(over, 1, 0, 500)

    picture = drawn(spans, width=120)

    assert "map pages 20,000 items peak 50" in picture
    assert [line.split("item ")[1][:8] for line in picture.splitlines() if " last " in line] == [
        "[1] last"
    ]


def test_each_mark_is_explained_and_no_other():
    picture = drawn(fan_out(30, failed=(1,)), width=120)
    told = legend_of(TraceTree(fan_out(30, failed=(1,))), picture.splitlines(), "utf-8")

    assert told[0] == "━━ running"
    assert "! failed and was handled" in told
    assert "last: last to end" in told
    assert "▁█ how many at once" in told
    assert any(one.endswith(": most items at once") for one in told)
    assert not any("cancelled" in one or "waiting" in one for one in told)


def test_run_that_has_not_ended_is_called_unfinished():
    spans = Spans()
    spans.add("node load", 0, 10)

    picture = drawn(spans, width=120)

    assert "unfinished in 10.0 ms, 1 span" in picture
    assert "the run has not ended: it goes on, or its process was killed" in picture


def test_trace_of_somebody_else_says_so():
    spans = Spans()
    spans.add("GET /", 0, 10, outcome=None)

    assert "no run of Hush in this trace" in drawn(spans)


def test_nothing_to_draw():
    assert drawn([]) == "no spans\n"


def test_bars_stand_where_the_spans_ran():
    spans = Spans()
    run = spans.add("run report", 0, 1000)
    spans.add("node load", 0, 500, run)
    spans.add("node rank", 500, 1000, run)

    picture = drawn(spans)

    load, rank = bar_of(picture, "node load"), bar_of(picture, "node rank")
    assert len(rank) // 2 <= len(load) <= len(rank) // 2 + 1
    assert set(load) | set(rank) <= set(" ━╸╺")
    assert rank.startswith(" " * (len(rank) // 2))
    assert "500 ms" in row_of(picture, "node rank")


def test_waiting_is_drawn_lighter_than_running():
    spans = Spans()
    run = spans.add("run report", 0, 1000)
    over = spans.add("map fetch", 0, 1000, run)
    spans.add_item(over, 0, 500, 1000, **{semconv.WAIT_SLOT_S: 0.5})
    spans.add("node limited", 0, 1000, run, **{semconv.WAIT_LIMITER_S: 0.5})
    pause = EventRecord(semconv.EVENT_RETRY, 250 * MS, {semconv.BACKOFF_S: 0.5})
    spans.add("node again", 0, 1000, run, events=(pause,), **{semconv.ATTEMPTS: 2})

    picture = drawn(spans)

    for label in ("item [0]", "node limited"):
        bar = bar_of(picture, label)
        running = bar.lstrip("┄")
        assert set(running) <= set("╺━")
        assert abs(len(running) - len(bar) / 2) <= 1
    again = bar_of(picture, "node again ×2")  # noqa: RUF001  # the sign for "times" is meant
    assert again[0] == again[-1] == "━"
    assert "┄" in again


def test_error_text_stands_once_under_the_leaf_that_raised():
    spans = Spans()
    failed = semconv.OUTCOME_ERROR
    run = spans.add("run report", 0, 10, outcome=failed, error="rank.score: ValueError: no score")
    graph = spans.add(
        "graph rank", 0, 10, run, outcome=failed, error="rank.score: ValueError: no score"
    )
    spans.add("node score", 0, 10, graph, outcome=failed, error="ValueError: no score", raised=True)

    lines = drawn(spans).splitlines()

    assert [line for line in lines if "ValueError" in line] == ["    ╰ ValueError: no score"]
    assert "node score" in lines[-2]


def test_long_error_text_is_cut_to_one_line():
    spans = Spans()
    spans.add("run report", 0, 10, outcome=semconv.OUTCOME_ERROR, error="no\nend " * 400)

    last = drawn(spans).splitlines()[-1]

    assert last.startswith("╰ no end no end")
    assert last.endswith("…")
    assert cell_len(last) <= 80


def test_outcomes_are_marked():
    spans = Spans()
    run = spans.add("run report", 0, 10)
    spans.add("node slow", 0, 10, run, outcome=semconv.OUTCOME_TIMEOUT, error="NodeTimeoutError")
    spans.add(
        "node other",
        0,
        10,
        run,
        outcome=semconv.OUTCOME_CANCELLED,
        **{semconv.CANCEL_CAUSE: "fetch[3].call"},
    )
    spans.add("GET", 0, 10, run, outcome=None)

    picture = drawn(spans)

    assert "◔ node slow" in picture
    assert "⊘ node other ← fetch[3].call" in picture
    assert "· GET" in picture


def test_only_node_of_an_item_shares_its_line():
    spans = Spans()
    over = spans.add("map fetch", 0, 1000)
    item = spans.add_item(
        over, 7, 0, 1000, outcome=semconv.OUTCOME_ERROR, error="fetch[7].get: KeyError: 'a'"
    )
    spans.add(
        "node get",
        1,
        999,
        item,
        outcome=semconv.OUTCOME_ERROR,
        error="KeyError: 'a'",
        raised=True,
        **{semconv.ATTEMPTS: 3},
    )

    lines = drawn(spans).splitlines()

    assert "item [7] ×3" in lines[-2]  # noqa: RUF001  # the sign for "times" is meant
    assert lines[-1] == "  ╰ KeyError: 'a'"
    assert not any("node get" in line for line in lines)


def test_only_node_of_an_item_with_a_bar_of_its_own_has_a_line():
    spans = Spans()
    over = spans.add("map fetch", 0, 1000)
    item = spans.add_item(over, 0, 0, 1000)
    spans.add("node get", 600, 1000, item)

    assert "node get" in drawn(spans)


# --- calls to language models -----------------------------------------------------------


def asked() -> Spans:
    """A node whose first call was refused, one with a hedge, and one that fell back in vain."""
    spans = Spans()
    total = {semconv.TOKENS_INPUT: 824, semconv.TOKENS_OUTPUT: 76, semconv.COST_USD: 0.0028}
    run = spans.add("run ask", 0, 2000, **total)
    pause = EventRecord(
        semconv.EVENT_RETRY, 100 * MS, {semconv.BACKOFF_S: 0.5, semconv.ERROR_TYPE: "429"}
    )
    node = spans.add("node again", 0, 1000, run, events=(pause,), **{semconv.ATTEMPTS: 2})
    call(spans, node, 0, 100, 1, error="again: llm:gpt-4o answered 429", kind="429")
    call(spans, node, 600, 1000, 2, **{semconv.GEN_AI_TIME_TO_FIRST_CHUNK: 0.1})
    second = EventRecord(semconv.EVENT_HEDGE, 300 * MS, {semconv.LIMIT_S: 0.3})
    node = spans.add("node quick", 0, 1000, run, events=(second,), **{semconv.ATTEMPTS: 2})
    lost = {
        semconv.CANCEL_REASON: semconv.REASON_RACE_LOST,
        semconv.CANCEL_CAUSE: "ask.quick",
        semconv.TOKENS_WASTED: 412,
    }
    spans.add("chat gpt-4o", 0, 1000, node, outcome=semconv.OUTCOME_CANCELLED, **lost)
    call(spans, node, 300, 1000, 2, **{semconv.LLM_HEDGE: True})
    other = EventRecord(
        semconv.EVENT_FALLBACK,
        900 * MS,
        {semconv.LLM_RESOURCE: "a", semconv.FALLBACK_TO: "b", semconv.ERROR_TYPE: "503"},
    )
    text = "lost: llm:b answered 401"
    node = spans.add(
        "node lost", 0, 2000, run, outcome=semconv.OUTCOME_ERROR, error=text, events=(other,)
    )
    call(spans, node, 0, 900, 1, error="lost: llm:a answered 503", kind="503")
    call(spans, node, 1000, 2000, 2, error=text, kind="401")
    spans.add("node only", 0, 2000, run)
    call(spans, spans[-1], 0, 2000, 1)
    return spans


def call(
    spans: Spans,
    node: SpanRecord,
    start: float,
    end: float,
    attempt: int,
    *,
    error: str = "",
    kind: str = "",
    **more: Any,
) -> None:
    facts: dict[str, Any] = {semconv.ATTEMPT: attempt, **more}
    if error:
        facts |= {semconv.ERROR_TYPE: kind, "outcome": semconv.OUTCOME_ERROR, "raised": True}
    else:
        facts |= {
            semconv.GEN_AI_USAGE_INPUT: 412,
            semconv.GEN_AI_USAGE_OUTPUT: 38,
            semconv.LLM_COST_USD: 0.0014,
        }
    spans.add("chat gpt-4o", start, end, node, error=error, **facts)


def test_calls_to_language_models():
    picture = drawn(asked())

    lines = [line[:52].rstrip() for line in picture.splitlines()]
    assert lines[1] == "ok in 2.00 s, 12 spans, 3 failed, 1 cancelled"
    assert lines[2] == "7 calls, tokens 824 in, 76 out, $0.0028"
    assert lines[4].startswith("✓ run ask 824→76 $0.0028  ")
    said = [line[:41].rstrip() for line in lines[5:]]
    assert said == [
        "├─✓ node again ×2",  # noqa: RUF001  # the sign for "times" is meant
        # It was tried again, and the kind is all that need be known of it.
        "│ ├─✗ chat gpt-4o 429",
        "│ └─✓ chat gpt-4o #2 412→38 $0.0014",
        "├─✗ node lost",
        "│ │ ╰ fallback from a to b after 503",
        "│ ├─✗ chat gpt-4o 503",
        "│ │ ╰ lost: llm:a answered 503",
        "│ └─✗ chat gpt-4o 401 #2",
        "│   ╰ lost: llm:b answered 401",
        # The only call of a node shares its line.
        "├─✓ node only gpt-4o 412→38 $0.0014",
        "└─✓ node quick ×2",  # noqa: RUF001
        "  │ ╰ hedged after 300 ms",
        "  ├─⊘ chat gpt-4o lost wasted 412",
        "  └─✓ chat gpt-4o #2 hedge 412→38",
    ]


def test_what_is_said_of_a_call_is_said_whole_or_not_at_all():
    for width in range(30, 130):
        rows = [line for line in drawn(asked(), width=width).splitlines() if " chat " in line]
        costs = {word for row in rows for word in row.split() if "$" in word}
        assert costs <= {"$0.0014"}


def test_first_chunk_where_there_is_room():
    assert "#2 412→38 $0.0014 first 100 ms" in drawn(asked(), width=120)


def test_pauses_between_calls_are_waits():
    bar = bar_of(drawn(asked(), width=120), "node again")

    assert bar[0] == bar[-1] == "━"
    assert "┄┄┄" in bar


def test_waits_for_a_limit_are_before_the_call_and_in_the_node():
    spans = Spans()
    limit = {
        semconv.WAIT_LIMITER_S: 1.0,
        semconv.WAIT_LIMITER: "llm:gpt-4o/requests_per_minute",
    }
    node = spans.add("node patient", 0, 2000, **limit)
    call(spans, node, 1000, 2000, 1, **{semconv.WAIT_LIMITER_S: 1.0})

    picture = drawn(spans)

    assert "╰ waited 1.00 s for llm:gpt-4o/requests_per_minute" in picture
    for label in ("node patient", "chat gpt-4o"):
        bar = bar_of(picture, label)
        assert bar == "┄" * (len(bar) // 2) + "━" * (len(bar) // 2)


def test_hidden_calls_leave_their_kinds_behind():
    spans = Spans()
    over = spans.add("map m", 0, 1000)
    for index in range(9):
        pause = EventRecord(semconv.EVENT_RETRY, 0, {semconv.ERROR_TYPE: "429"})
        item = spans.add_item(over, index, 0, 500 + index)
        node = spans.add("node ask", 0, 500 + index, item, events=(pause,), **{semconv.ATTEMPTS: 2})
        call(spans, node, 0, 10, 1, error="429", kind="429")
        call(spans, node, 400, 500, 2)

    picture = drawn(spans, max_items=9)

    assert picture.count("+2 429") == picture.count("+2") > 0


def test_calls_that_are_not_shown_are_calls():
    spans = Spans()
    node = spans.add("node ask", 0, 1000)
    for index in range(60):
        call(spans, node, index, index + 1, index + 1)

    assert "more calls (ok; " in drawn(spans)


# --- what is left out -------------------------------------------------------------------


def test_large_map_shows_failed_last_and_slowest_items_in_order():
    picture = drawn(fan_out(400, failed=(41, 180, 333)))

    rows = [line for line in picture.splitlines() if "item [" in line]
    shown = [int(row.partition("[")[2].partition("]")[0]) for row in rows]
    assert shown == [41, 180, 333, *range(391, 400)]
    assert "item [399] last" in rows[-1]
    assert picture.count(" last") == 1
    assert "… 388 more items (ok; " in picture
    assert "400 items peak 2" in picture


@pytest.mark.parametrize("max_items", [0, 1, 2, 5, 12])
def test_items_shown_and_folded_are_all_items(max_items: int):
    picture = drawn(fan_out(100, failed=(3,)), max_items=max_items)

    shown = picture.count("item [")
    assert shown == max_items
    assert f"… {100 - shown} more items" in picture
    assert ("item [3]" in picture) is (max_items > 0)


def test_failures_leave_room_for_the_slowest():
    spans = fan_out(100, failed=tuple(range(50)))

    picture = drawn(spans, width=120)

    assert [f"item [{index}]" in picture for index in range(7)] == [True] * 6 + [False]
    assert "item [98]" in picture
    assert "… 88 more items (ok 44, handled 44; " in picture


def test_fold_draws_how_many_items_were_open():
    spans = Spans()
    over = spans.add("map fetch", 0, 1000)
    for index in range(8):
        spans.add_item(over, index, 0, 500 if index else 1000)

    picture = drawn(spans, max_items=2)

    crowd = bar_of(picture, "more items")
    assert set(crowd[: len(crowd) // 2]) == {"█"}
    assert set(crowd[len(crowd) // 2 + 1 :]) == {"▁"}


def test_inner_nodes_only_of_items_that_stand_out():
    spans = Spans()
    over = spans.add("map fetch", 0, 1000)
    for index in range(10):
        start = 100 * index
        more: dict[str, Any] = {}
        if index == 2:
            more = {"outcome": semconv.OUTCOME_HANDLED, "error": "gone"}
        item = spans.add_item(over, index, start, start + 50 + index, **more)
        spans.add(f"node get{index}", start, start + 20, item)
        spans.add(f"node parse{index}", start + 20, start + 50, item)

    picture = drawn(spans)

    opened = [index for index in range(10) if f"node get{index}" in picture]
    assert opened == [2, 8, 9]
    assert "item [4] +2" in picture


# --- size ----------------------------------------------------------------------------------


def many_siblings() -> Spans:
    spans = Spans()
    run = spans.add("run report", 0, 30_000)
    for index in range(30_000):
        spans.add("node step", index, index + 1, run)
    return spans


def many_items() -> Spans:
    spans = Spans()
    run = spans.add("run report", 0, 30_000)
    for number in range(50):
        over = spans.add(f"map m{number}", 0, 30_000, run)
        for index in range(200):
            item = spans.add_item(
                over, index, index, index + 9, outcome=semconv.OUTCOME_ERROR, error="bad"
            )
            spans.add("node a", index, index + 4, item)
            spans.add("node b", index + 4, index + 9, item)
    return spans


def deep_chain() -> Spans:
    spans = Spans()
    node = spans.add("run report", 0, 30_000)
    for _ in range(30_000):
        node = spans.add("graph inner", 0, 30_000, node)
    return spans


def many_roots() -> Spans:
    spans = Spans()
    for index in range(30_000):
        spans.add("item lost", index, index + 1, **{semconv.ITEM_INDEX: index})
    return spans


@pytest.mark.parametrize("build", [many_siblings, many_items, deep_chain, many_roots])
@pytest.mark.parametrize("max_items", [12, 100_000])
def test_large_trace_makes_a_small_picture(build: Any, max_items: int):
    spans = build()

    began = time.perf_counter()
    picture = drawn(spans, max_items=max_items)

    # Far above what it takes, far below what anything quadratic would take.
    assert time.perf_counter() - began < 15
    lines = picture.splitlines()
    assert 3 < len(lines) <= 200
    assert max(map(cell_len, lines)) <= 80


def test_deep_nesting_leaves_room_for_bars():
    spans = Spans()
    node = spans.add("run report", 0, 1000)
    for number in range(60):
        node = spans.add(f"graph level{number}", 0, 1000, node)

    picture = drawn(spans)

    assert bar_of(picture, "graph level59").count("━") >= 24
    assert "…" in row_of(picture, "graph level59")


@pytest.mark.parametrize("width", [1, 11, 40, 80, 120])
@given(names=st.lists(NAMES, min_size=1, max_size=8), data=st.data())
@settings(max_examples=60)
def test_no_line_is_too_wide(width: int, names: list[str], data: st.DataObject):
    spans = Spans()
    spans.add(f"map {names[0]}", 0, 1000)
    for index, name in enumerate(names):
        inside = data.draw(st.sampled_from(list(spans)))
        spans.add_item(
            inside,
            index,
            data.draw(st.integers(0, 900)),
            data.draw(st.integers(900, 2000)),
            outcome=data.draw(st.sampled_from([*semconv.OUTCOMES, name])),
            error=data.draw(st.sampled_from(["", name * 3])),
            **{semconv.ITEM_KEY: name, semconv.CANCEL_CAUSE: name},
        )
        spans.add(name, 0, 500, inside, outcome=None)

    for max_items in (1, 12):
        lines = drawn(spans, width=width, max_items=max_items).split("\n")
        assert max(map(cell_len, lines)) <= width
        assert all(line == line.rstrip(" ") for line in lines)


def test_wide_characters_are_counted_as_two_cells():
    spans = Spans()
    run = spans.add("run 報告", 0, 1000)
    spans.add("node 抓取頁面" + "頁" * 60, 0, 1000, run)
    spans.add("node b", 0, 1000, run)

    rows = drawn(spans).splitlines()[-3:]

    # All bars span the whole axis, so all rows end in the same cell.
    assert {cell_len(row) for row in rows} == {80}


# --- where it is printed ---------------------------------------------------------------------


def troubled() -> Spans:
    spans = fan_out(30, failed=(3, 4))
    spans.add(
        "node Prüfung 頁",
        0,
        50,
        spans[0],
        outcome=semconv.OUTCOME_CANCELLED,
        **{semconv.CANCEL_CAUSE: "fetch[3]", semconv.ATTEMPTS: 2, semconv.WAIT_LIMITER_S: 0.02},
    )
    spans.add("node short", 0, 1e-4, spans[0])
    return spans


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_poor_encoding_gets_ascii(encoding: str):
    picture = drawn(troubled(), encoding=encoding)

    foreign = "Prüfung" if encoding != "ascii" else "Pr\\xfcfung"
    assert foreign in picture
    assert picture.replace("ü", "").isascii()


def test_unknown_encoding_gets_ascii():
    class Odd(io.StringIO):
        encoding = "no-such-encoding"  # type: ignore[assignment]

    file = Odd()
    print_waterfall(TraceTree(troubled()), file=file, width=80)

    assert file.getvalue().isascii()


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal with colours, whatever the tests themselves run in."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_terminal_gets_colours(colourful: None):
    file = Terminal()

    print_waterfall(TraceTree(troubled()), file=file, width=80)

    assert "\x1b[33m" in file.getvalue()


def test_raising_leaf_is_strong_and_its_containers_are_not(colourful: None):
    spans = Spans()
    run = spans.add("run report", 0, 10, outcome=semconv.OUTCOME_ERROR, error="a: KeyError: 1")
    spans.add("node a", 0, 10, run, outcome=semconv.OUTCOME_ERROR, error="KeyError: 1", raised=True)
    file = Terminal()

    print_waterfall(TraceTree(spans), file=file, width=80)

    assert "\x1b[2;31mrun report" in file.getvalue()
    assert "\x1b[1;31mnode a" in file.getvalue()


def test_no_color_gives_no_escape_sequences(colourful: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    file = Terminal()

    print_waterfall(TraceTree(troubled()), file=file, width=80)

    assert "\x1b" not in file.getvalue()


def test_file_gets_no_escape_sequences(colourful: None):
    assert "\x1b" not in drawn(troubled())


def test_foreign_text_is_neither_markup_nor_control():
    spans = Spans()
    run = spans.add("run [bold]x[/bold] :smile:", 0, 10)
    spans.add(
        "node \x1b[31mred\x07", 0, 10, run, outcome=semconv.OUTCOME_ERROR, error="[/red] \x1b]0;x"
    )

    picture = drawn(spans)

    assert "run [bold]x[/bold] :smile:" in picture
    assert "node \\x1b[31mred\\x07" in picture
    assert "╰ [/red] \\x1b]0;x" in picture


def test_width_is_the_consoles(monkeypatch: pytest.MonkeyPatch):
    console = Console(file=io.StringIO(), width=50)

    console.print(render_waterfall(TraceTree(fan_out(5)), console=console))

    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(cell_len, lines)) == 50


def test_public_names():
    assert waterfall.__all__ == ("print_waterfall", "render_waterfall")
