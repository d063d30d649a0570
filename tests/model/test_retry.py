"""Retry: which numbers it takes, what it matches, how long it pauses."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.core import Retry


def test_defaults():
    retry = Retry()
    assert retry.attempts == 3
    assert retry.matches(ValueError("any"))
    assert 0 < retry.initial_s < retry.max_s


def test_attempts_can_be_given_bare():
    assert Retry(5).attempts == 5
    assert Retry(1).attempts == 1


def test_it_is_a_value():
    assert Retry(3, on=ValueError) == Retry(3, on=ValueError)
    assert Retry(3) != Retry(4)
    assert hash(Retry(3)) == hash(Retry(3))
    assert pickle.loads(pickle.dumps(Retry(3, on=(OSError,)))) == Retry(3, on=(OSError,))
    assert copy.copy(Retry(2)) == Retry(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retry().attempts = 4


@pytest.mark.parametrize("attempts", [1.5, "3", True, None, 3.0])
def test_attempts_is_an_integer(attempts):
    with pytest.raises(TypeError, match="expected an integer"):
        Retry(attempts)


@pytest.mark.parametrize("attempts", [0, -1])
def test_attempts_is_at_least_one(attempts):
    with pytest.raises(ValueError, match=f"attempts={attempts}.*at least 1"):
        Retry(attempts)


@pytest.mark.parametrize("name", ["initial_s", "factor", "max_s", "jitter"])
@pytest.mark.parametrize("value", ["1", None, True, 1j, [1]])
def test_numbers_are_numbers(name, value):
    with pytest.raises(TypeError, match=f"{name}=.*expected a number"):
        Retry(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_s", -0.1),
        ("factor", 0.5),
        ("factor", 0),
        ("max_s", -1),
        ("jitter", -0.1),
        ("jitter", 1.1),
        *((name, bad) for name in ("initial_s", "factor", "max_s") for bad in (math.inf, math.nan)),
        ("jitter", math.nan),
    ],
)
def test_numbers_have_ranges(name, value):
    with pytest.raises(ValueError, match=f"{name}=.*expected a finite number from"):
        Retry(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("initial_s", 0), ("factor", 1), ("max_s", 0), ("jitter", 0), ("jitter", 1), ("factor", 10)],
)
def test_the_ends_of_the_ranges_are_fine(name, value):
    assert getattr(Retry(**{name: value}), name) == value


# --- what is tried again ---------------------------------------------------------------------


def test_one_class():
    retry = Retry(on=OSError)
    assert retry.matches(ConnectionError())
    assert not retry.matches(ValueError())


def test_several_classes():
    retry = Retry(on=(OSError, KeyError))
    assert retry.matches(KeyError())
    assert not retry.matches(ValueError())
    assert not Retry(on=()).matches(ValueError())


def test_a_predicate():
    retry = Retry(on=lambda error: "again" in str(error))
    assert retry.matches(ValueError("try again"))
    assert not retry.matches(ValueError("no"))
    assert Retry(on=lambda error: 1).matches(ValueError()) is True


@pytest.mark.parametrize("on", [None, 5, "ValueError", [ValueError], {ValueError}])
def test_on_is_classes_or_a_predicate(on):
    with pytest.raises(TypeError, match="exception classes or a predicate"):
        Retry(on=on)


@pytest.mark.parametrize("on", [int, ("ValueError",), (ValueError, 5)], ids=repr)
def test_classes_are_those_of_exceptions(on):
    # Else the mistake shows only when something fails, and hides what failed.
    with pytest.raises(TypeError, match="exception classes or a predicate"):
        Retry(on=on)


# --- pauses ------------------------------------------------------------------------------------


def test_pauses_grow():
    retry = Retry(initial_s=0.5, factor=2, max_s=100, jitter=0)
    assert [retry.pause_s(attempt, 0.3) for attempt in (1, 2, 3, 4)] == [0.5, 1, 2, 4]


def test_a_factor_of_one_keeps_the_pause():
    retry = Retry(initial_s=0.5, factor=1, jitter=0)
    assert {retry.pause_s(attempt, 0.0) for attempt in range(1, 50)} == {0.5}


def test_pauses_have_a_limit():
    retry = Retry(initial_s=1, factor=10, max_s=5, jitter=0)
    assert [retry.pause_s(attempt, 0.0) for attempt in (1, 2, 3)] == [1, 5, 5]


def test_jitter_shortens():
    retry = Retry(initial_s=1, jitter=0.5)
    assert retry.pause_s(1, 0.0) == 1
    assert retry.pause_s(1, 0.5) == 0.75
    assert retry.pause_s(1, 0.999999) == pytest.approx(0.5, abs=1e-5)


def test_full_jitter_can_come_down_to_nothing():
    retry = Retry(initial_s=1, jitter=1)
    assert 0 < retry.pause_s(1, 0.999999) < 0.001


@pytest.mark.parametrize("factor", [2, 2.0, 1e300])
def test_many_attempts_do_not_overflow(factor):
    assert Retry(initial_s=1, factor=factor, max_s=7, jitter=0).pause_s(100_000, 0.5) == 7


@pytest.mark.parametrize("attempt", [1, 2, 1_000, 2_000])
def test_no_first_pause_means_none_at_all(attempt):
    assert Retry(initial_s=0, max_s=7).pause_s(attempt, 0.0) == 0


@given(
    attempt=st.integers(1, 3_000),
    random=st.floats(0, 1, exclude_max=True),
    initial_s=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    max_s=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)
def test_pauses_stay_within_their_bounds(attempt, random, initial_s, factor, max_s, jitter):
    retry = Retry(initial_s=initial_s, factor=factor, max_s=max_s, jitter=jitter)
    pause = retry.pause_s(attempt, random)
    assert 0 <= pause <= max_s
    assert pause <= retry.pause_s(attempt, 0.0)
    assert retry.pause_s(attempt, random) <= retry.pause_s(attempt + 1, random)
