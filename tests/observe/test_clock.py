"""The run's clock under clocks that are set, that stand still and that disagree."""

from __future__ import annotations

from hush.observe.clock import STEP_NS, RunClock


class Hands:
    """Two clocks that a test moves."""

    def __init__(self):
        self.wall = 1_000_000_000_000
        self.ticks = 77

    def clock(self):
        return RunClock(lambda: self.wall, lambda: self.ticks)

    def pass_ns(self, ns):
        self.wall += ns
        self.ticks += ns


def test_follows_the_wall_clock():
    hands = Hands()
    clock = hands.clock()
    hands.pass_ns(5_000)
    assert clock.now() == hands.wall


def test_follows_a_wall_clock_that_is_slewed():
    hands = Hands()
    clock = hands.clock()
    hands.pass_ns(10**9)
    hands.wall += STEP_NS - 1
    assert clock.now() == hands.wall


def test_a_step_forward_does_not_count():
    hands = Hands()
    clock = hands.clock()
    start = hands.wall
    hands.pass_ns(1_000)
    hands.wall += 3_600 * 10**9
    assert clock.now() == start + 1_000


def test_a_step_back_does_not_count():
    hands = Hands()
    clock = hands.clock()
    start = hands.wall
    hands.pass_ns(1_000)
    hands.wall -= 3_600 * 10**9
    assert clock.now() == start + 1_000


def test_never_goes_back():
    hands = Hands()
    clock = hands.clock()
    hands.pass_ns(10**6)
    last = clock.now()
    hands.wall -= 10**6  # a small step, within what counts as agreement
    assert clock.now() == last


def test_by_default_it_is_the_wall_clock():
    import time

    clock = RunClock()
    assert abs(clock.now() - time.time_ns()) < STEP_NS
