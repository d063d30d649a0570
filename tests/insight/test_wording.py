"""What is written about a span, and that it is harmless."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.insight.glyphs import ASCII, FINE, choose_glyphs
from hush.insight.record import EventRecord, SpanRecord
from hush.insight.tree import TraceTree, TreeNode
from hush.insight.wording import (
    clean,
    error_text,
    fold_text,
    format_cost,
    format_duration,
    format_tokens,
    item_key,
    raised_here,
    span_label,
)


def record(name: str = "item f", **more: Any) -> SpanRecord:
    return SpanRecord("t", more.pop("span_id", "s"), None, name, 0, more.pop("end_ns", 0), **more)


def exception(kind: str, message: str) -> EventRecord:
    facts = {semconv.EXCEPTION_TYPE: kind, semconv.EXCEPTION_MESSAGE: message}
    return EventRecord(semconv.EVENT_EXCEPTION, 0, facts)


def test_module_of_our_own_errors_is_left_out():
    text = "hush.errors.LLMStatusError: demo.a: llm:m answered 401"
    red = record(status="error", status_description=text, attributes={semconv.ERROR_TYPE: "401"})
    assert error_text(red) == "LLMStatusError: demo.a: llm:m answered 401"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (9_999, "9999"),
        (10_000, "10.0k"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (999_499, "999k"),
        (999_960, "1.00M"),
        (4_560_000, "4.56M"),
        (5 * 10**9, "5.00G"),
    ],
)
def test_tokens(count: int, said: str):
    assert format_tokens(count) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0"),
        (-1, "$0"),
        (1e-7, "<$0.000001"),
        (1e-6, "$0.000001"),
        (0.00006, "$0.00006"),
        (0.00123, "$0.0012"),
        (0.0996, "$0.10"),
        (3.4, "$3.40"),
        (1_234.5, "$1,234.50"),
    ],
)
def test_cost(usd: float, said: str):
    assert format_cost(usd) == said


@given(text=st.text(), encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_clean_text_is_one_harmless_line(text: str, encoding: str):
    made = clean(text, encoding)

    made.encode(encoding)
    assert not {unicodedata.category(char) for char in made} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_clean_shows_what_it_took_away():
    assert clean("a\n\tb \x1b[0m\u202e") == "a b \\x1b[0m\\u202e"
    assert clean("é頁", "latin-1") == "é\\u9801"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (2e-6, "2 µs"),
        (0.000_999_6, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (1.2345, "1.23 s"),
        (125, "2m05s"),
        (3_599.7, "1h00m"),
        (12_000, "3h20m"),
    ],
)
def test_durations(seconds: float, said: str):
    assert format_duration(seconds) == said


@given(st.floats(0, 3e8))
def test_durations_fit_their_column(seconds: float):
    assert len(format_duration(seconds, ASCII)) <= 8
    assert format_duration(seconds, ASCII).isascii()


def test_labels():
    item = record("item fetch", attributes={semconv.ITEM_INDEX: 3, semconv.ITEM_KEY: "abc"})
    node = record("node rank", attributes={semconv.ATTEMPTS: 2})

    assert span_label(item, FINE) == "item fetch [3]"
    assert span_label(item, FINE, short=True) == "item [3]"
    assert span_label(node, FINE) == "node rank ×2"  # noqa: RUF001  # the sign for "times" is meant
    assert span_label(node, ASCII, short=True) == "node rank x2"
    assert item_key(item) == "abc"


def test_key_that_repeats_the_index_is_no_key():
    assert not item_key(record(attributes={semconv.ITEM_INDEX: 3, semconv.ITEM_KEY: "3"}))
    assert not item_key(record("node a", attributes={semconv.ITEM_KEY: "k"}))


def test_error_text_of_our_spans_and_of_foreign_ones():
    kind = {semconv.ERROR_TYPE: "app.RateLimitError"}
    assert error_text(record()) == ""
    assert error_text(record(status="error", status_description="x", attributes=kind)) == (
        "app.RateLimitError: x"
    )
    said = "app.RateLimitError: x"
    assert error_text(record(status="error", status_description=said, attributes=kind)) == said
    foreign = record("GET", status="error", events=(exception("KeyError", "'a'"),))
    assert error_text(foreign) == "KeyError: 'a'"
    assert raised_here(foreign)
    handled = {semconv.ERROR_TYPE: semconv.ERROR_TYPE_HANDLED}
    assert error_text(record(status="error", status_description="gone", attributes=handled)) == (
        "gone"
    )


def items(*outcomes: str) -> list[TreeNode]:
    return [
        node
        for number, outcome in enumerate(outcomes)
        for node in TraceTree(
            [record(span_id=str(number), end_ns=10**7, attributes={semconv.OUTCOME: outcome})]
        )
    ]


def test_fold_counts_by_outcome():
    assert fold_text(items("ok", "handled", "ok"), FINE) == (
        "… 3 more items (ok 2, handled 1; median 10.0 ms, max 10.0 ms)"
    )
    assert fold_text(items("ok"), ASCII) == "~ 1 more item (ok; median 10.0 ms, max 10.0 ms)"


@given(st.integers(0, 80))
def test_fold_says_less_where_there_is_little_room(room: int):
    said = fold_text(items("ok", "handled"), FINE, room)

    assert said.startswith("… 2 more")
    assert len(said) <= max(room, len("… 2 more"))


def test_fold_of_unlike_spans():
    nodes = list(TraceTree([record("GET", span_id="1"), record("node a", span_id="2")]))

    assert fold_text(nodes, FINE).startswith("… 2 more spans (ok;")


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", FINE), ("utf-16", FINE), ("ascii", ASCII), (None, ASCII), ("no-such", ASCII)],
)
def test_finest_glyphs_that_can_be_written(encoding: str | None, glyphs: object):
    assert choose_glyphs(encoding) is glyphs


def test_glyphs_are_one_cell_each():
    assert ASCII.needed().isascii()
    assert len(FINE.needed()) == len(FINE.levels) + len(FINE.marks) + 17
