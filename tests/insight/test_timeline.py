"""Time as cells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.insight.glyphs import ASCII, FINE
from hush.insight.record import EventRecord, SpanRecord
from hush.insight.timeline import NOTHING, RUN, WAIT, Timeline, in_flight_peak
from hush.insight.waits import waits_of

SECOND = 1_000_000_000
INSTANTS = st.integers(0, 2_000)


def span(start: int, end: int, *events: EventRecord, **attributes: float) -> SpanRecord:
    return SpanRecord("t", "s", None, "item f", start, end, attributes=attributes, events=events)


def test_bar_covers_the_time_of_the_span():
    time = Timeline(0, 100, 5)

    assert time.bar(20, 60) == [NOTHING] * 2 + [RUN] * 4 + [NOTHING] * 4


def test_waits_lie_before_and_inside():
    time = Timeline(0, 100, 5)

    assert time.bar(40, 100, [(20, 40), (60, 80)]) == (
        [NOTHING] * 2 + [WAIT] * 2 + [RUN] * 2 + [WAIT] * 2 + [RUN] * 2
    )


def test_shortest_span_at_the_very_end_is_seen():
    assert Timeline(0, 100, 5).bar(100, 100)[-1] == RUN


@given(start=INSTANTS, took=INSTANTS, waits=st.lists(st.tuples(INSTANTS, INSTANTS)))
def test_bar_is_as_long_as_the_axis_and_always_runs(
    start: int, took: int, waits: list[tuple[int, int]]
):
    bar = Timeline(0, 1_000, 24).bar(start, start + took, waits)

    assert len(bar) == 48
    assert RUN in bar


def test_ticks_are_round_and_apart():
    assert Timeline(0, 10 * SECOND, 40).ticks(FINE) == ("╷0      ╷2 s    ╷4 s    ╷6 s    ╷8 s    ")


def test_ticks_are_round_in_their_unit():
    assert Timeline(0, 3_000 * SECOND, 38).ticks(FINE) == "╷0     ╷10 min ╷20 min╷30 min ╷40 min "


def test_label_that_is_too_long_hides_the_next_tick():
    line = Timeline(0, 7_100 * SECOND, 83).ticks(FINE)

    assert line.endswith("╷90 min╷100 min     ")


def test_ticks_of_no_time_at_all():
    assert Timeline(5, 5, 10).ticks(ASCII) == "|0"


@given(took=st.integers(0, 10**15), cells=st.integers(1, 200))
def test_ticks_fit(took: int, cells: int):
    line = Timeline(0, took, cells).ticks(ASCII)

    assert len(line) <= cells
    assert line.isascii()


def test_crowd_counts_open_spans():
    time = Timeline(0, 100, 4)
    spans = [span(0, 75), span(25, 50), span(25, 50), span(25, 50)]

    assert time.crowd(spans, "1234") == "141 "


def test_peak_does_not_count_who_follows():
    assert in_flight_peak([span(0, 10), span(10, 20)]) == 1
    assert in_flight_peak([span(0, 11), span(10, 20)]) == 2
    assert in_flight_peak([span(5, 5)]) == 1
    assert in_flight_peak([]) == 0


def test_waits_of_a_span():
    retry = EventRecord(semconv.EVENT_RETRY, 6 * SECOND, {semconv.BACKOFF_S: 1})
    other = EventRecord("other", 6 * SECOND, {semconv.BACKOFF_S: 1})
    waits = {
        semconv.WAIT_SLOT_S: 1.0,
        semconv.WAIT_SOURCE_S: 1.5,
        semconv.WAIT_LIMITER_S: 0.5,
    }
    record = span(5 * SECOND, 9 * SECOND, retry, other, **waits)

    assert waits_of(record, 0) == [
        (5 * SECOND // 2, 5 * SECOND),
        (5 * SECOND, 11 * SECOND // 2),
        (6 * SECOND, 7 * SECOND),
    ]
    assert waits_of(record, 4 * SECOND)[0] == (4 * SECOND, 5 * SECOND)
    assert waits_of(span(0, 1), 0) == []


def call(start: int, end: int, **attributes: float) -> SpanRecord:
    return SpanRecord("t", "s", None, "chat m", start, end, attributes=attributes)


def test_wait_of_a_call_for_a_limit_comes_before_it():
    limited = call(5 * SECOND, 9 * SECOND, **{semconv.WAIT_LIMITER_S: 2.0})

    assert waits_of(limited, 0) == [(3 * SECOND, 5 * SECOND)]
    assert waits_of(limited, 4 * SECOND) == [(4 * SECOND, 5 * SECOND)]


def test_calls_say_when_their_node_waited():
    record = span(0, 9 * SECOND, **{semconv.WAIT_LIMITER_S: 3.0})
    calls = [
        call(2 * SECOND, 3 * SECOND, **{semconv.WAIT_LIMITER_S: 1.0}),
        call(6 * SECOND, 9 * SECOND, **{semconv.WAIT_LIMITER_S: 2.0}),
    ]

    assert waits_of(record, 0, calls) == [(SECOND, 2 * SECOND), (4 * SECOND, 6 * SECOND)]
    assert waits_of(record, 0, [call(0, 1)]) == [(0, 3 * SECOND)]


def test_sum_of_many_waits_is_no_stretch_of_time():
    for name in ("map m", "run r", "graph g", "loop l"):
        record = SpanRecord("t", "s", None, name, 0, 1, attributes={semconv.WAIT_LIMITER_S: 99.0})
        assert waits_of(record, 0) == []


def test_nothing_runs_in_a_gap_that_nobody_could_see():
    time = Timeline(0, 1_000, 10)

    bar = time.bar(200, 1_000, [(100, 200), (201, 499), (502, 800)])

    assert bar == [NOTHING] * 2 + [WAIT] * 14 + [RUN] * 4
    assert time.bar(200, 1_000, [(200, 500), (600, 800)])[10:12] == [RUN] * 2
