"""Token buckets: what may be taken over any stretch of time, however the takers behave."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.providers.buckets import Bucket

rates = st.floats(0.5, 1e6)
bursts = st.floats(0.1, 60)
costs = st.floats(0, 1e5)
steps = st.floats(0, 120)


def test_it_starts_full_and_holds_a_second_of_its_rate():
    bucket = Bucket(600)
    assert bucket.capacity == 10
    assert bucket.level(5.0) == 10


def test_it_holds_at_least_one():
    assert Bucket(6).capacity == 1
    assert Bucket(6, burst_s=30).capacity == 3


def test_taking_and_refilling():
    bucket = Bucket(600)
    bucket.take(10, 100.0)
    assert bucket.level(100.0) == 0
    assert bucket.delay(0, 100.0) == 0
    assert bucket.delay(1, 100.0) == pytest.approx(0.1)
    assert bucket.level(100.5) == pytest.approx(5)
    assert bucket.delay(5, 100.5) == 0
    assert bucket.level(1000.0) == 10


def test_a_cost_above_the_capacity_waits_for_a_full_bucket_and_leaves_debt():
    bucket = Bucket(600)
    assert bucket.delay(1000, 0.0) == 0
    bucket.take(1000, 0.0)
    assert bucket.level(0.0) == -990
    assert bucket.delay(1, 0.0) == pytest.approx(99.1)
    assert bucket.delay(0, 0.0) == pytest.approx(99.0)
    assert bucket.delay(500, 0.0) == pytest.approx(100.0)


def test_corrections_go_both_ways_and_never_overflow():
    bucket = Bucket(600)
    bucket.take(8, 0.0)
    bucket.give(5, 0.0)
    assert bucket.level(0.0) == 7
    bucket.give(-20, 0.0)
    assert bucket.level(0.0) == -13
    bucket.give(1000, 0.0)
    assert bucket.level(0.0) == 10


def test_asking_for_the_level_changes_nothing():
    bucket = Bucket(600)
    bucket.take(10, 0.0)
    assert bucket.level(0.5) == pytest.approx(5)
    assert bucket.level(0.25) == pytest.approx(2.5)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
@pytest.mark.parametrize("name", ["per_minute", "burst_s"])
def test_numbers_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Bucket(**{"per_minute": 60, "burst_s": 1.0, name: value})


@given(rates, bursts, st.lists(st.tuples(steps, costs), min_size=1, max_size=60))
def test_over_any_window_no_more_than_promised(per_minute, burst_s, wishes):
    bucket = Bucket(per_minute, burst_s)
    now = 0.0
    taken: list[tuple[float, float]] = []
    for step, cost in wishes:
        now += step
        if not bucket.delay(cost, now):
            bucket.take(cost, now)
            taken.append((now, cost))
    largest = max((cost for _, cost in taken), default=0.0)
    for i, (begin, _) in enumerate(taken):
        total = 0.0
        for end, cost in taken[i:]:
            total += cost
            bound = bucket.capacity + per_minute / 60 * (end - begin) + largest
            assert total <= bound * (1 + 1e-5)


@given(rates, bursts, st.lists(st.tuples(steps, costs), max_size=30), costs)
def test_who_waits_as_long_as_told_may_take(per_minute, burst_s, wishes, cost):
    bucket = Bucket(per_minute, burst_s)
    now = 0.0
    for step, wish in wishes:
        now += step
        bucket.take(wish, now)
    delay = bucket.delay(cost, now)
    assert math.isfinite(delay)
    if delay * per_minute / 60 > bucket.capacity * 1e-4:
        assert bucket.delay(cost, now + delay * 0.9) > 0
    assert bucket.delay(cost, now + delay) == 0


@given(rates, st.lists(st.tuples(st.floats(-1e6, 1e6), costs), max_size=30))
def test_a_clock_that_jumps_back_stops_nothing(per_minute, wishes):
    bucket = Bucket(per_minute)
    now = 0.0
    for step, cost in wishes:
        now += step
        before = bucket.level(now)
        delay = bucket.delay(cost, now)
        # Never longer than from the level that it had; the clock need not catch up.
        assert delay <= (bucket.capacity - min(before, 0.0)) / (per_minute / 60) * (1 + 1e-9)
        assert bucket.delay(cost, now + delay) == 0
        bucket.take(cost, now + delay)
        now += delay
