"""The times of a map, on a clock of the test's own."""

from __future__ import annotations

import random

import pytest

from hush import semconv
from hush.runtime.verdict import Verdict


def simulate(limit, durations, gaps=None, *, sized=True):
    """Run items as the runtime would; return the verdict and the end.

    ``gaps[i]`` is how long the source takes over item i; pulls are one at a time.
    """
    gaps = gaps or [0.0] * len(durations)
    verdict = Verdict(limit, 0.0)
    events = []
    free = [0.0] * limit
    source_at = 0.0
    for index, (lasts, gap) in enumerate(zip(durations, gaps, strict=True)):
        worker = min(range(limit), key=free.__getitem__)
        asked = max(free[worker], source_at)
        source_at = asked + gap
        began = source_at
        free[worker] = began + lasts
        events.append((began, 1, index, lasts))
        events.append((began + lasts, 0, index, lasts))
        last_pull = began
    ends = sorted(free)
    # The first worker that comes back when all are pulled finds nothing.
    dry_at = last_pull if sized else min(max(at, last_pull) for at in ends)
    events.append((dry_at, 2, -1, 0.0))
    for at, what, index, lasts in sorted(events):
        if what == 1:
            verdict.start(at)
        elif what == 0:
            verdict.end(at, index, lasts, 0.0)
        else:
            verdict.dry(at)
    return verdict, max(ends)


def facts_of(verdict, end, waited_s=0.0):
    return dict(verdict.facts(end, waited_s))


def test_full_slots_with_items_left_are_the_limits_fault():
    verdict, end = simulate(2, [1.0] * 20)
    facts = facts_of(verdict, end)
    assert facts[semconv.MAP_BOUND_BY] == "limit"
    assert facts[semconv.MAP_UTILISATION] == pytest.approx(1.0)
    assert facts[semconv.MAP_AT_LIMIT_S] == pytest.approx(10.0)
    assert facts[semconv.MAP_RUN_P50_S] == pytest.approx(1.0, rel=0.01)


def test_one_long_item_at_the_end_is_a_straggler():
    verdict, end = simulate(4, [0.1] * 20 + [5.0])
    facts = facts_of(verdict, end)
    assert facts[semconv.MAP_BOUND_BY] == "straggler"
    assert facts[semconv.MAP_LAST_INDEX] == 20
    assert facts[semconv.MAP_SLOWEST][0] == "20:5.000"
    assert facts[semconv.MAP_IDLE_TAIL_S] > 4.5


def test_as_many_slots_as_items_are_no_limit():
    verdict, end = simulate(5, [1.0, 1.0, 1.0, 1.0, 3.0])
    assert facts_of(verdict, end)[semconv.MAP_BOUND_BY] == "straggler"


def test_as_many_slots_as_items_are_no_limit_where_that_turns_out_late():
    # Until an item is over nobody can ask the source, which has nothing left.
    verdict, end = simulate(4, [1.0, 1.0, 1.0, 3.0], sized=False)
    facts = facts_of(verdict, end)
    assert facts[semconv.MAP_BOUND_BY] == "straggler"
    assert facts[semconv.MAP_IDLE_TAIL_S] == pytest.approx(3.0)
    verdict, end = simulate(4, [1.0] * 4, sized=False)
    assert facts_of(verdict, end)[semconv.MAP_BOUND_BY] is None


def test_a_slow_source():
    verdict, end = simulate(4, [0.1] * 20, [0.5] * 20)
    assert facts_of(verdict, end)[semconv.MAP_BOUND_BY] == "source"


def test_items_that_wait_for_a_shared_limit():
    verdict, end = simulate(4, [1.0] * 20)
    assert facts_of(verdict, end, waited_s=15.0)[semconv.MAP_BOUND_BY] == "rate_limit"
    assert facts_of(verdict, end, waited_s=5.0)[semconv.MAP_BOUND_BY] == "limit"


def test_no_items():
    verdict = Verdict(3, 0.0)
    verdict.dry(0.5)
    facts = facts_of(verdict, 1.0)
    assert semconv.MAP_BOUND_BY not in facts
    assert facts[semconv.MAP_UTILISATION] == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_the_integrals_are_exact(seed):
    rng = random.Random(seed)
    limit = rng.randint(1, 8)
    durations = [rng.uniform(0.01, 1.0) for _ in range(rng.randint(1, 60))]
    verdict, end = simulate(limit, durations)
    facts = facts_of(verdict, end)
    assert facts[semconv.MAP_UTILISATION] == pytest.approx(sum(durations) / (limit * end), abs=1e-4)
    assert facts[semconv.MAP_RUN_MAX_S] == max(durations)
    slowest = sorted(enumerate(durations), key=lambda pair: (-pair[1], pair[0]))[:5]
    assert facts[semconv.MAP_SLOWEST] == [f"{index}:{lasts:.3f}" for index, lasts in slowest]
