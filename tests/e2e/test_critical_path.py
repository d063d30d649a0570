"""The yardstick itself, on traces drawn by hand."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.critical_path import critical_path


@dataclass(frozen=True, slots=True)
class Span:
    span_id: str
    parent_id: str | None
    start_us: int
    end_us: int


def drawn(*spans: Span) -> list[tuple[str, int, int]]:
    return [(section.span.span_id, *section[1:]) for section in critical_path(spans)]


def test_a_lone_span_is_its_own_path():
    assert drawn(Span("root", None, 5, 25)) == [("root", 5, 25)]


def test_the_root_is_on_the_path_where_no_child_runs():
    #  root   |-----------------|
    #  a        |---|
    #  b               |----|
    assert drawn(
        Span("root", None, 0, 100),
        Span("a", "root", 10, 30),
        Span("b", "root", 50, 90),
    ) == [("root", 0, 10), ("a", 10, 30), ("root", 30, 50), ("b", 50, 90), ("root", 90, 100)]


def test_of_parallel_children_the_one_that_ended_last_is_taken():
    #  root    |--------------|
    #  fast     |---|
    #  slow     |---------|
    #  join                 |-|
    assert drawn(
        Span("root", None, 0, 100),
        Span("fast", "root", 1, 30),
        Span("slow", "root", 1, 80),
        Span("join", "root", 82, 100),
    ) == [("root", 0, 1), ("slow", 1, 80), ("root", 80, 82), ("join", 82, 100)]


def test_a_child_that_ends_with_its_parent_is_entered():
    assert drawn(Span("root", None, 0, 100), Span("a", "root", 40, 100)) == [
        ("root", 0, 40),
        ("a", 40, 100),
    ]


def test_ending_in_the_microsecond_of_the_start_is_not_before_it():
    back_to_back = (
        Span("root", None, 0, 100),
        Span("a", "root", 0, 50),
        Span("b", "root", 50, 100),
    )
    assert drawn(*back_to_back) == [("root", 0, 50), ("b", 50, 100)]


def test_one_microsecond_between_two_spans_is_enough():
    assert drawn(
        Span("root", None, 0, 100),
        Span("a", "root", 0, 49),
        Span("b", "root", 50, 100),
    ) == [("a", 0, 49), ("root", 49, 50), ("b", 50, 100)]


def test_the_path_goes_down_and_up_again():
    #  root   |--------------------|
    #  map      |----------------|
    #  item 0    |----|
    #  item 1           |-------|
    #  call              |--|
    assert drawn(
        Span("call", "item 1", 55, 70),
        Span("item 1", "map", 50, 88),
        Span("item 0", "map", 12, 40),
        Span("map", "root", 10, 90),
        Span("root", None, 0, 100),
    ) == [
        ("root", 0, 10),
        ("map", 10, 12),
        ("item 0", 12, 40),
        ("map", 40, 50),
        ("item 1", 50, 55),
        ("call", 55, 70),
        ("item 1", 70, 88),
        ("map", 88, 90),
        ("root", 90, 100),
    ]


def test_a_staircase_of_items_under_a_limit_goes_through_the_slots():
    #  0  |---|          limit 2: item 2 got the slot of 1, item 3 the slot of 0,
    #  1  |--|           item 4 that of 2, and 4 ended last
    #  2      |----|
    #  3       |--|
    #  4             |---|
    steps = drawn(
        Span("map", None, 0, 100),
        Span("0", "map", 0, 40),
        Span("1", "map", 0, 30),
        Span("2", "map", 32, 70),
        Span("3", "map", 42, 60),
        Span("4", "map", 72, 100),
    )
    assert [name for name, _, _ in steps if name != "map"] == ["1", "2", "4"]


def test_a_child_is_cut_to_its_parent():
    assert drawn(
        Span("root", None, 10, 100),
        Span("early", "root", 0, 30),
        Span("late", "root", 50, 120),
    ) == [("early", 10, 30), ("root", 30, 50), ("late", 50, 100)]


def test_a_child_outside_its_parent_is_left_out_with_all_below_it():
    assert drawn(
        Span("root", None, 10, 100),
        Span("before", "root", 0, 10),
        Span("after", "root", 100, 120),
        Span("below", "after", 50, 60),
    ) == [("root", 10, 100)]


def test_of_equal_ends_the_first_given_is_taken():
    assert drawn(Span("root", None, 0, 10), Span("a", "root", 2, 8), Span("b", "root", 4, 8)) == [
        ("root", 0, 2),
        ("a", 2, 8),
        ("root", 8, 10),
    ]


def test_a_parent_that_is_not_in_the_trace_makes_a_root():
    assert drawn(Span("a", "caller", 0, 10), Span("b", "a", 2, 8))[1] == ("b", 2, 8)


@pytest.mark.parametrize("spans", [(), (Span("a", None, 0, 1), Span("b", None, 0, 1))])
def test_one_root_is_needed(spans: tuple[Span, ...]):
    with pytest.raises(ValueError, match="exactly one root"):
        critical_path(spans)


def test_deep_and_long_traces_need_no_recursion():
    deep = [Span("0", None, 0, 100_000)]
    deep += [Span(str(n), str(n - 1), n, 100_000 - n) for n in range(1, 20_000)]
    assert len(critical_path(deep)) == 2 * 20_000 - 1

    chain = [Span("root", None, 0, 100_000)]
    chain += [Span(str(n), "root", 5 * n, 5 * n + 3) for n in range(20_000)]
    assert [s.span.span_id for s in critical_path(chain) if s.span.span_id != "root"] == [
        str(n) for n in range(20_000)
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60), st.integers(0, 30))))
def test_sections_are_in_order_and_fill_the_root(rows: list[tuple[int, int, int]]):
    spans = [Span("0", None, 10, 50)]
    for number, (parent, start, duration) in enumerate(rows, 1):
        spans.append(Span(str(number), str(parent % number), start, start + duration))
    sections = critical_path(spans)
    assert sections[0].start_us == 10
    assert sections[-1].end_us == 50
    for section, following in itertools.pairwise(sections):
        assert section.start_us < section.end_us == following.start_us
