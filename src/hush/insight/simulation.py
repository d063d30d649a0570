"""Simulation: how long a map would take with other slots, and whether load slows its items.

Numbers in, numbers out: this module knows neither spans nor trees. The model is that of
the runtime's fan-out: workers pull items in the order of their indices, one pull at a
time, and each worker keeps its slot until its item is over.

*More slots never take longer.* Graham's anomalies (R. L. Graham, "Bounds on
multiprocessing timing anomalies", 1969) need items that wait for each other; these do not.
Compare k and k + 1 workers before item i, their free times in ascending order. Assume that
the j-th of k + 1 is no later than the j-th of k, for each j up to k. Item i then starts no
later, so that its end is no later either; and what remains is still ordered so, for the
(j + 1)-th of k + 1 is no later than the (j + 1)-th of k. It holds at the start, where all
are free, hence for every item and for the whole. The source, the gate
and the loop only add maxima and constants.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from heapq import heapreplace
from itertools import accumulate, pairwise
from statistics import StatisticsError, correlation, median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ("NO_COSTS", "Costs", "Load", "LoadEffect", "Schedule", "load_effect", "simulate")

LEAST_ITEMS: Final = 20
"""Fewer items than this say nothing of load."""
LEAST_SPREAD: Final = 0.75
"""The quieter third must have seen at most this share of what the busier third saw."""
LEAST_RISE: Final = 1.2
"""How much longer items must take in the busier third, at the median."""
LEAST_CORRELATION: Final = 0.5
LEAST_T: Final = 4.0
"""Student's t of the rank correlation; chance exceeds 4 about once in 20,000 maps."""
LEVELS: Final = 10
"""Load is told in so many steps: what differs by less is noise, and noise has ranks too."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one item asks for."""

    run_s: float
    """How long it keeps its slot once the gate has let it in."""
    source_s: float = 0.0
    """How long the source takes to give it; it gives one after the other."""
    gate_s: float = 0.0
    """For how long after this one a limit that all share lets nobody in; 0.0 where the item
    does not ask."""
    loop_s: float = 0.0
    """Of ``run_s``, for how long it holds the event loop, which all items share."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What the machinery itself takes, and what the gate lends, in seconds."""

    head_s: float = 0.0
    """From the map's start to the first pull."""
    pull_s: float = 0.0
    """Between an item's start and the next pull; it is why not all start at once."""
    hop_s: float = 0.0
    """From an item's end to the same worker's next pull."""
    tail_s: float = 0.0
    """From the last item's end to the map's."""
    burst_s: float = 0.0
    """How far ahead of its pace the gate lets in who comes after a quiet time."""


NO_COSTS: Final = Costs()


@dataclass(frozen=True, slots=True)
class Schedule:
    """What came out."""

    wall_s: float
    """From the map's start to its end."""
    used_s: float
    """Seconds for which slots were taken, all together."""


def simulate(loads: Sequence[Load], workers: int, costs: Costs = NO_COSTS) -> Schedule:
    """Run items on workers, as the runtime does.

    With F the earliest instant at which a worker is free, item i is pulled at
    ``max(F, start[i-1] + pull_s)``, starts ``source_s[i]`` later, is let in by the gate and
    ends ``run_s[i]`` after that: list scheduling in index order (R. L. Graham, "Bounds for
    certain multiprocessing anomalies", 1966). The gate is a token bucket, told as its
    virtual scheduling (GCRA, ITU-T I.371, annex A): with T its theoretical arrival time, an
    item is let in at ``max(start[i], T - burst_s)``, and then T is
    ``max(T, start[i]) + gate_s[i]``. What holds the event loop does so one after the other,
    each as soon as it has been let in.

    Args:
        loads: of the items, by index.
        workers: at least 1.
        costs: of the machinery.

    Returns:
        How long it takes, head and tail included.
    """
    if not loads:
        return Schedule(costs.head_s + costs.tail_s, 0.0)
    free = [0.0] * min(workers, len(loads))
    pull_from = theoretical = loop_from = wall_s = used_s = 0.0
    for load in loads:
        start = max(free[0], pull_from) + load.source_s
        pull_from = start + costs.pull_s
        let_in = start
        if load.gate_s:
            let_in = max(start, theoretical - costs.burst_s)
            theoretical = max(theoretical, start) + load.gate_s
        if load.loop_s:
            let_in = max(let_in, loop_from)
            loop_from = let_in + load.loop_s
        end = let_in + load.run_s
        heapreplace(free, end + costs.hop_s)
        used_s += end - start
        wall_s = max(wall_s, end)
    return Schedule(costs.head_s + wall_s + costs.tail_s, used_s)


@dataclass(frozen=True, slots=True)
class LoadEffect:
    """Items took longer when more of them ran."""

    correlation: float
    """Spearman's rank correlation of load and duration."""
    quiet: float
    """How many others ran beside an item of the quieter third, at the median."""
    busy: float
    """The same for the busier third."""
    rise: float
    """Median duration in the busier third over that in the quieter third."""


def load_effect(runs: Iterable[tuple[float, float]]) -> LoadEffect | None:
    """Say whether items took longer when more of them ran.

    An item's load is the mean number of others that ran in the first T seconds after its
    start, T being the median duration: the same window for each. Over the item's own time
    it would depend on the duration it is compared with. Items whose window reaches beyond
    the last start do not count: the end of every map is quiet, and what runs there is
    short or long for reasons of order.

    Args:
        runs: start and end of each item, in seconds since any instant.

    Returns:
        The effect; None where there is none, or too little to see it by: few items, or a
        load that hardly varied, as in a map that was at its limit all the time.
    """
    spans = [(start, end) for start, end in runs if end > start]
    if len(spans) < LEAST_ITEMS:
        return None
    took = [end - start for start, end in spans]
    window = median(took)
    active = _Active(spans)
    last = max(start for start, _ in spans)
    took = [end - start for start, end in spans if start + window <= last]
    loads = [
        (active.between(start, start + window) - min(end - start, window)) / window
        for start, end in spans
        if start + window <= last
    ]
    most = max(loads, default=0.0)
    if len(took) < LEAST_ITEMS or most <= 0.0:
        return None
    loads = [round(load / most * LEVELS) * most / LEVELS for load in loads]
    try:
        rho = correlation(_ranks(loads), _ranks(took))
    except StatisticsError:  # all the same
        return None
    t = math.inf if rho >= 1.0 else rho * math.sqrt((len(took) - 2) / (1.0 - rho * rho))
    ordered = sorted(zip(loads, took, strict=True))
    third = len(ordered) // 3
    quiet, busy = ordered[:third], ordered[-third:]
    quiet_load, busy_load = (median(load for load, _ in part) for part in (quiet, busy))
    rise = median(one for _, one in busy) / median(one for _, one in quiet)
    if rho < LEAST_CORRELATION or t < LEAST_T or rise < LEAST_RISE:
        return None
    if quiet_load > LEAST_SPREAD * busy_load:
        return None
    return LoadEffect(rho, quiet_load, busy_load, rise)


class _Active:
    """The number of items that run, integrated over time."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        steps = sorted(step for start, end in spans for step in ((start, 1), (end, -1)))
        self._at = [instant for instant, _ in steps]
        self._count = list(accumulate(change for _, change in steps))
        gaps = (after - before for before, after in pairwise(self._at))
        areas = (count * gap for count, gap in zip(self._count, gaps, strict=False))
        self._area = list(accumulate(areas, initial=0.0))

    def between(self, start: float, end: float) -> float:
        return self._until(end) - self._until(start)

    def _until(self, instant: float) -> float:
        i = bisect_right(self._at, instant) - 1
        return 0.0 if i < 0 else self._area[i] + self._count[i] * (instant - self._at[i])


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    first = 0
    for after in range(1, len(order) + 1):
        if after == len(order) or values[order[after]] != values[order[first]]:
            for i in order[first:after]:
                ranks[i] = (first + after - 1) / 2
            first = after
    return ranks
