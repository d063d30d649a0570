"""Quantiles of durations: right to one per cent, in bounded memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.runtime.sketch import ACCURACY, LEAST_S, MOST_S, Sketch

durations = st.floats(min_value=LEAST_S, max_value=MOST_S, exclude_min=True)


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(st.lists(durations, min_size=1, max_size=200), st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_one_per_cent_of_the_value_at_its_rank(values, q):
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert sketch_of(values).quantile(q) == pytest.approx(exact, rel=ACCURACY * 1.001)


@given(st.lists(durations, min_size=1))
def test_the_greatest_is_known_exactly_and_never_exceeded(values):
    sketch = sketch_of(values)
    assert sketch.most == max(values)
    assert sketch.quantile(1.0) <= max(values)


def test_memory_is_bounded_whatever_comes():
    sketch = Sketch()
    for exponent in range(-2000, 2000):
        sketch.add(10.0 ** (exponent / 100))
    assert len(sketch._buckets) <= 1_501
    assert sketch.count == 4_000


def test_nothing_and_less_than_nothing():
    assert Sketch().quantile(0.5) == 0.0
    assert sketch_of([0.0, -1.0, 5.0]).quantile(0.5) == 0.0
