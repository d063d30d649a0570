"""The circuit: what repeated failures do, and what latecomers cannot do."""

from __future__ import annotations

import gc
import math
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.providers.circuit import Circuit, Pass, Refusal


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def enter(circuit: Circuit) -> Pass:
    entry = circuit.try_enter()
    assert isinstance(entry, Pass)
    return entry


def refused(circuit: Circuit) -> float:
    entry = circuit.try_enter()
    assert isinstance(entry, Refusal)
    return entry.retry_in_s


def test_failures_in_a_row_open_it_and_the_one_that_does_is_told(clock):
    circuit = Circuit(3, 10.0, clock)
    assert [enter(circuit).failed() for _ in range(3)] == [False, False, True]
    assert circuit.state == "open"
    assert refused(circuit) == 10.0
    clock.now += 4
    assert refused(circuit) == 6.0


def test_a_success_starts_the_count_again(clock):
    circuit = Circuit(2, 10.0, clock)
    enter(circuit).failed()
    assert enter(circuit).succeeded() is False
    assert enter(circuit).failed() is False
    assert circuit.state == "closed"
    assert enter(circuit).failed() is True


def test_what_is_dropped_counts_as_neither(clock):
    circuit = Circuit(2, 10.0, clock)
    enter(circuit).failed()
    enter(circuit).dropped()
    assert enter(circuit).failed() is True


def test_one_probe_at_a_time_and_its_success_closes(clock):
    circuit = Circuit(1, 10.0, clock)
    enter(circuit).failed()
    clock.now += 10
    assert circuit.state == "half_open"
    probe = enter(circuit)
    assert probe.probe
    assert refused(circuit) == 0.0
    assert probe.succeeded() is True
    assert circuit.state == "closed"
    assert not enter(circuit).probe


def test_a_probe_that_fails_opens_it_for_another_cooldown(clock):
    circuit = Circuit(5, 10.0, clock)
    for _ in range(5):
        enter(circuit).failed()
    clock.now += 12
    assert enter(circuit).failed() is True
    assert circuit.state == "open"
    assert refused(circuit) == 10.0
    clock.now += 10
    assert enter(circuit).succeeded() is True


def test_a_dropped_probe_frees_its_place(clock):
    circuit = Circuit(1, 10.0, clock)
    enter(circuit).failed()
    clock.now += 10
    enter(circuit).dropped()
    assert circuit.state == "half_open"
    assert enter(circuit).probe


def test_a_forgotten_probe_frees_its_place(clock):
    circuit = Circuit(1, 10.0, clock)
    enter(circuit).failed()
    clock.now += 10
    probe = enter(circuit)
    assert refused(circuit) == 0.0
    del probe
    gc.collect()
    assert enter(circuit).probe


def test_latecomers_neither_close_nor_extend_it(clock):
    circuit = Circuit(1, 10.0, clock)
    late = [enter(circuit) for _ in range(4)]
    assert enter(circuit).failed() is True
    clock.now += 5
    assert late[0].succeeded() is False
    assert late[1].failed() is False
    assert refused(circuit) == 5.0
    clock.now += 5
    probe = enter(circuit)
    assert late[2].succeeded() is False
    assert circuit.state == "half_open"
    assert probe.succeeded() is True
    assert late[3].failed() is False
    assert circuit.state == "closed"


def test_an_outcome_counts_once(clock):
    circuit = Circuit(2, 10.0, clock)
    call = enter(circuit)
    assert call.failed() is False
    assert call.failed() is False
    assert circuit.state == "closed"


def test_none_never_opens(clock):
    circuit = Circuit(None, 10.0, clock)
    assert not any(enter(circuit).failed() for _ in range(100))
    assert circuit.state == "closed"


def test_a_clock_that_jumps_back_does_not_prolong_the_cooldown(clock):
    circuit = Circuit(1, 10.0, clock)
    enter(circuit).failed()
    clock.now -= 500
    assert refused(circuit) == 10.0
    clock.now += 10
    assert enter(circuit).probe


@pytest.mark.parametrize(
    ("failures", "cooldown_s"), [(0, 1.0), (-1, 1.0), (1, -1.0), (1, math.inf), (1, math.nan)]
)
def test_numbers_that_make_no_sense_are_refused(failures, cooldown_s):
    with pytest.raises(ValueError, match=r"^Circuit\("):
        Circuit(failures, cooldown_s)


def test_of_many_threads_one_opens_it_and_one_probes(clock):
    circuit = Circuit(20, 10.0, clock)
    opened: list[bool] = []
    probes: list[Pass] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        for _ in range(20):
            # What is under way together and fails together is one failure.
            call = circuit.try_enter()
            barrier.wait(20)
            assert isinstance(call, Pass)
            opened.append(call.failed())
            barrier.wait(20)
        clock.now = 2000.0
        barrier.wait(20)
        probes.extend(e for e in [circuit.try_enter()] if isinstance(e, Pass))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 160
    assert opened.count(True) == 1
    assert len(probes) == 1


@dataclass
class Model:
    """The same from the rules alone: every state spelt out, and calls remember theirs."""

    failures: int
    cooldown_s: float
    state: str = "closed"
    era: int = 0
    row: list[str] = field(default_factory=list)
    opened: float = 0.0
    probing: bool = False
    failed: int = 0

    def tick(self, now: float) -> None:
        if self.state == "open" and now - self.opened >= self.cooldown_s:
            self.state = "half_open"

    def enter(self) -> tuple[int, bool, int] | None:
        if self.state == "closed":
            return (self.era, False, self.failed)
        if self.state == "half_open" and not self.probing:
            self.probing = True
            return (self.era, True, self.failed)
        return None

    def end(self, call: tuple[int, bool, int], outcome: str, now: float) -> bool:
        era, probe, failed_before = call
        if era != self.era:
            return False
        if probe:
            self.probing = False
            if outcome == "dropped":
                return False
            self.turn("open" if outcome == "failed" else "closed", now)
            return True
        if outcome == "failed":
            if failed_before != self.failed:
                return False
            self.failed += 1
        if outcome != "dropped":
            self.row.append(outcome)
        if len(self.row) >= self.failures and set(self.row[-self.failures :]) == {"failed"}:
            self.turn("open", now)
            return True
        return False

    def turn(self, state: str, now: float) -> None:
        self.state, self.opened = state, now
        self.era += 1
        self.row.clear()


happenings = st.lists(
    st.one_of(
        st.just(("enter", 0)),
        st.tuples(st.sampled_from(["failed", "succeeded", "dropped"]), st.integers(0, 20)),
        st.tuples(st.just("pass"), st.integers(1, 12)),
    ),
    max_size=120,
)


@given(st.integers(1, 4), st.sampled_from([0, 5, 10]), happenings)
def test_it_does_what_the_rules_say(failures, cooldown_s, events):
    clock = Clock()
    circuit, model = Circuit(failures, cooldown_s, clock), Model(failures, cooldown_s)
    calls: list[tuple[Pass, tuple[int, bool, int]]] = []
    for what, number in events:
        if what == "pass":
            clock.now += number
        elif what == "enter":
            entry, expected = circuit.try_enter(), model.enter()
            if expected is None:
                assert isinstance(entry, Refusal)
                left = cooldown_s - (clock.now - model.opened)
                assert entry.retry_in_s == (left if model.state == "open" else 0.0)
            else:
                assert isinstance(entry, Pass)
                assert entry.probe == expected[1]
                calls.append((entry, expected))
        elif calls:
            call, known = calls.pop(number % len(calls))
            told = getattr(call, what)()
            assert bool(told) == model.end(known, what, clock.now)
        model.tick(clock.now)
        assert circuit.state == model.state
