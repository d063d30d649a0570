"""Passage: what two clocks say of one call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hush.runtime.remote.passage import Passage

S = 1_000_000_000
spans = st.integers(min_value=0, max_value=10 * S)


def test_a_queue_is_no_skew() -> None:
    passage = Passage(sent_ns=0, received_ns=5 * S, answered_ns=6 * S, returned_ns=6 * S)
    assert passage.skew_ns == 0
    assert passage.queue_s == 5.0
    assert passage.chunk_s(5 * S + S // 2) == 0.5
    assert passage.answer_s(5 * S + S // 2) == 0.5


def test_a_clock_that_is_ahead_or_behind_is_found() -> None:
    ahead = Passage(sent_ns=0, received_ns=100 * S, answered_ns=101 * S, returned_ns=2 * S)
    assert ahead.skew_ns == 99 * S
    behind = Passage(sent_ns=100 * S, received_ns=S, answered_ns=2 * S, returned_ns=103 * S)
    assert behind.skew_ns == -99 * S


@given(start=spans, there=spans, work=spans, back=spans, skew=st.integers(-20 * S, 20 * S))
def test_by_the_drivers_clock_the_call_lies_between_sending_and_return(
    start: int, there: int, work: int, back: int, skew: int
) -> None:
    received = start + there
    answered = received + work
    passage = Passage(start, received + skew, answered + skew, answered + back)
    assert start <= passage.by_driver(passage.received_ns)
    assert passage.by_driver(passage.answered_ns) <= answered + back
    assert passage.queue_s >= 0
    # Never more is corrected than there is to correct.
    assert abs(passage.skew_ns) <= abs(skew)


@given(spans, spans, spans, spans)
def test_whatever_clocks_say_nothing_is_negative(a: int, b: int, c: int, d: int) -> None:
    passage = Passage(a, b, c, d)
    assert passage.queue_s >= 0
    assert passage.chunk_s(c) >= 0
    assert passage.answer_s(c) >= 0
