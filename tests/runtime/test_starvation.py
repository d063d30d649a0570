"""Whose fault it is that a step of the loop lasted."""

from __future__ import annotations

import math
import threading
import time

import pytest

from hush.runtime.starvation import Processor, Starvation


class Idle:
    """A thread that has used little processor time."""

    def __init__(self, used_s=0.0, queued_s=0.0):
        self.had = used_s, queued_s

    def since(self, instant):
        return self.had

    def queued_s(self):
        return self.had[1]


def late(begin, end):
    starvation = Starvation()
    starvation.goes_on(begin - 0.04, begin)
    starvation.goes_on(end, math.inf)
    return starvation


@pytest.mark.parametrize(
    ("begin", "end", "used_s", "innocent"),
    [
        (10.1, 10.9, 0.01, True),
        (10.1, 10.9, 0.5, False),  # it computed
        (10.1, 10.105, 0.01, False),  # the watchdog came on time: the node slept
        (10.1, 10.4, 0.01, False),  # for the lesser part
        (8.0, 9.9, 0.01, False),  # another time
        (9.0, 12.0, 0.01, True),
    ],
)
def test_a_step_from_ten_to_eleven(begin, end, used_s, innocent):
    assert late(begin, end).blames(Idle(used_s), 10.0, 11.0, 0.1) is innocent


def test_a_thread_that_got_no_processor_is_innocent():
    on_time = late(10.04, 10.04)
    assert on_time.blames(Idle(0.05, queued_s=0.6), 10.0, 11.0, 0.1)
    assert not on_time.blames(Idle(0.05, queued_s=0.3), 10.0, 11.0, 0.1)
    assert not on_time.blames(Idle(0.4, queued_s=0.6), 10.0, 11.0, 0.1)


def test_a_watchdog_that_got_no_processor_says_nothing_of_others():
    starvation = Starvation()
    watcher = Idle()
    starvation.goes_on(10.0, 10.1, watcher)
    watcher.had = 0.0, 0.7
    assert not starvation.blames(Idle(), 10.0, 11.0, 0.1)
    starvation.goes_on(10.9, math.inf, watcher)
    assert not starvation.blames(Idle(), 10.0, 11.0, 0.1)


def test_a_watchdog_that_has_not_come_yet_is_late():
    starvation = Starvation()
    starvation.goes_on(10.0, 10.04)
    assert starvation.blames(Idle(), 10.0, 11.0, 0.1)
    assert not starvation.blames(Idle(), 9.0, 10.05, 0.1)


def test_without_a_watchdog_nobody_is_innocent():
    starvation = Starvation()
    assert not starvation.blames(Idle(), 10.0, 11.0, 0.1)
    starvation.goes_on(1.0, 1.0)
    starvation.rests()
    assert not starvation.blames(Idle(), 10.0, 11.0, 0.1)


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_processor_time_since_the_last_look_before_an_instant():
    processor = Processor(1.0)
    compute(0.05)
    processor.look(2.0)
    compute(0.05)
    processor.look(3.0)
    assert processor.since(0.5)[0] == math.inf  # before the first look
    assert processor.since(1.5)[0] > 0.09
    assert 0.04 < processor.since(2.5)[0] < 0.09
    time.sleep(0.05)
    used_s, queued_s = processor.since(3.0)
    assert used_s < 0.04
    assert queued_s >= 0.0


def test_an_ended_threads_processor_time_is_not_known():
    made = []
    thread = threading.Thread(target=lambda: made.append(Processor(1.0)))
    thread.start()
    thread.join()
    made[0].look(2.0)
