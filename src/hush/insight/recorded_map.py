"""A recorded map as loads: what its items asked for, and what the machinery took.

What the spans do not say is made up as little as possible: items whose spans were omitted
borrow those of ordinary ones, weighted so that the sums and quantiles on the map's own span
come out. Whatever was made up has a reason in words.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from itertools import pairwise
from math import gcd
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.event_loop import turns_of
from hush.insight.shared_limit import find_gate
from hush.insight.simulation import Costs, Load, simulate
from hush.insight.timeline import in_flight_peak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hush.insight.event_loop import Turn
    from hush.insight.tree import TreeNode

__all__ = ("RecordedMap",)

_BEGUN = (semconv.MAP_OK, semconv.MAP_FAILED, semconv.MAP_HANDLED, semconv.MAP_CANCELLED)
_SHARES: Final = (0.5, 0.45, 0.05)
"""Of the items: up to the median, up to the 95th percentile, and beyond."""
_SCALE: Final = (0.2, 5.0)
"""Further than this, a sum that does not fit is not the sample's fault."""
_SMALL: Final = 1e-9
_MACHINERY_S: Final = 0.001
_MACHINERY_SHARE: Final = 0.05
"""A gap of more than a millisecond and a twentieth of an item is none of the machinery's; it
stays unexplained, so that the replay differs from the recording and says so."""


class RecordedMap:
    """One map's span and the items in it.

    Attributes:
        node: the map's span.
        limit: its ``max_concurrency``.
        items: the items whose spans there are, by index.
        size: how many items began, whether or not there are spans of them.
        gate: the shared limit that items waited for; None where they hardly did.
        turns: what the items had of the event loop, by span id; empty where none held it.
        costs: what the machinery took.
        reasons: why this is not quite what happened; empty where it is.
    """

    def __init__(self, node: TreeNode, *, gated: bool = True) -> None:
        """Read a map's span and those in it.

        Args:
            node: the map's.
            gated: whether to look for a shared limit; no where a map inside this one is
                to be replayed, for then the waits are that one's.
        """
        self.node = node
        self.items = [child for child in node.children if child.record.prefix == semconv.SPAN_ITEM]
        self.items.sort(key=lambda item: (item.record.index or 0, item.record.start_ns))
        records = [item.record for item in self.items]
        limit = self._number(semconv.MAP_MAX_CONCURRENCY)
        self.limit = max(1, in_flight_peak(records) if limit is None else limit)
        self.reasons: list[str] = []
        counts = [self._number(name) for name in _BEGUN]
        began = None if None in counts else sum(count or 0 for count in counts)
        self.size = max(began or 0, max((record.index or 0 for record in records), default=-1) + 1)
        self.gate = find_gate(self.items) if gated else None
        self.turns = turns_of(self.items)
        self._order, self._scale = self._fill()
        self.costs = self._measure()
        self._judge()

    @property
    def complete(self) -> bool:
        """Whether there is a span of each item that began."""
        return self.size == len(self.items)

    @property
    def used_s(self) -> float:
        """Seconds for which items had slots, all together."""
        exact = self.node.record.seconds(semconv.MAP_UTILISATION)
        if exact and not self.complete:
            return exact * self.limit * self.node.duration_s
        return sum(item.duration_s for item in self.items)

    def loads(self, took: Callable[[TreeNode], float], *, on_loop: bool = True) -> list[Load]:
        """Return what the items ask for.

        Args:
            took: gives an item's duration, in seconds.
            on_loop: whether what held the event loop does so; else it has left it, and all
                the durations are without waiting for it.

        Returns:
            One load for each item that began, by index.
        """
        turns = self.turns if on_loop else {}
        known = [self._load(item, took(item), turns) for item in self.items]
        if self.complete:
            return known
        lent = [
            replace(load, run_s=load.run_s * self._scale, loop_s=load.loop_s * self._scale)
            for load in known
        ]
        return [known[at] if own else lent[at] for at, own in self._order]

    def _load(self, item: TreeNode, duration_s: float, turns: Mapping[str, Turn]) -> Load:
        source_s = item.record.seconds(semconv.WAIT_SOURCE_S)
        turn = turns.get(item.record.span_id)
        if turn is not None:
            run_s = max(turn.held_s, duration_s - turn.waited_s)
            return Load(run_s, source_s, loop_s=turn.held_s)
        if self.gate is None:
            return Load(duration_s, source_s)
        waited_s = min(duration_s, self.gate.waits_s.get(item.record.span_id, 0.0))
        calls = self.gate.calls.get(item.record.span_id, 0)
        return Load(duration_s - waited_s, source_s, calls * self.gate.pace_s)

    # --- what is missing -----------------------------------------------------------------

    def _fill(self) -> tuple[list[tuple[int, bool]], float]:
        """Let items without spans borrow those of ordinary ones.

        Returns:
            For each item the position of a span and whether it is its own, and a factor for
            durations that are borrowed.
        """
        if self.complete or not self.items:
            return [], 1.0
        own = {item.record.index: at for at, item in enumerate(self.items)}
        missing = self.size - len(own)
        fill = list(self._lenders(missing))
        # A step that has no divisor in common with the number visits each once, out of order.
        step = max(1, round(missing * 0.618))
        while gcd(step, missing) > 1:
            step += 1
        order: list[tuple[int, bool]] = []
        borrowed = 0
        for index in range(self.size):
            if index in own:
                order.append((own[index], True))
            else:
                order.append((fill[borrowed * step % missing], False))
                borrowed += 1
        kept_s = sum(item.duration_s for item in self.items)
        lent_s = sum(self.items[at].duration_s for at in fill)
        scale = (self.used_s - kept_s) / lent_s if lent_s > 0.0 else 1.0
        if not self.node.record.seconds(semconv.MAP_UTILISATION):
            scale = 1.0
        return order, min(max(scale, _SCALE[0]), _SCALE[1])

    def _lenders(self, missing: int) -> Iterator[int]:
        """Yield positions of ordinary items, by how many are missing in each stratum."""
        runs = [_run_s(item) for item in self.items]
        ordinary = [at for at, item in enumerate(self.items) if _is_ordinary(item)]
        ordinary = ordinary or list(range(len(self.items)))
        ordinary.sort(key=runs.__getitem__)
        record = self.node.record
        bounds = [record.seconds(n) for n in (semconv.MAP_RUN_P50_S, semconv.MAP_RUN_P95_S)]
        if not all(bounds):
            yield from _spread(ordinary, missing)
            return
        lacking = [
            max(0.0, share * self.size - sum(bisect_left(bounds, run) == stratum for run in runs))
            for stratum, share in enumerate(_SHARES)
        ]
        given = done = 0.0
        for stratum, lack in enumerate(lacking):
            given += lack * missing / max(sum(lacking), _SMALL)
            pool = [at for at in ordinary if bisect_left(bounds, runs[at]) == stratum]
            if not pool:
                near = bounds[min(stratum, 1)]
                pool = [min(ordinary, key=lambda at: abs(runs[at] - near))]
            yield from _spread(pool, round(given - done))
            done += round(given - done)

    # --- what the machinery took ---------------------------------------------------------

    def _measure(self) -> Costs:
        if not self.items:
            return Costs()
        records = [item.record for item in self.items]
        first, limit = records[0], self.limit
        ends = sorted(record.end_ns for record in records)
        head = (first.start_ns - self.node.record.start_ns) / 1e9
        head -= first.seconds(semconv.WAIT_SOURCE_S)
        costs = Costs(
            head_s=max(0.0, head) if first.index == 0 else 0.0,
            tail_s=max(0, self.node.record.end_ns - ends[-1]) / 1e9,
            burst_s=0.0 if self.gate is None else self.gate.burst_s,
        )
        # While nobody had to wait for a slot: from one start to the next pull.
        pulls = [
            (after.start_ns - before.start_ns) / 1e9 - after.seconds(semconv.WAIT_SOURCE_S)
            for before, after in pairwise(records[:limit])
            if after.index == (before.index or 0) + 1
        ]
        most = max(_MACHINERY_S, _MACHINERY_SHARE * median(record.duration_s for record in records))
        costs = replace(costs, pull_s=min(most, max(0.0, fmean(pulls))) if pulls else 0.0)
        if self.complete:
            # Who starts i-th got the slot of who ended (i - limit)-th.
            hops = [
                (records[i].start_ns - max(ends[i - limit], records[i - 1].start_ns)) / 1e9
                - records[i].seconds(semconv.WAIT_SOURCE_S)
                for i in range(limit, len(records))
            ]
            return replace(costs, hop_s=min(most, max(0.0, median(hops))) if hops else costs.pull_s)
        # The ends of most items are not known; what the recorded limit leaves over is.
        loads = self.loads(lambda item: item.duration_s)
        over_s = self.node.duration_s - simulate(loads, limit, costs).wall_s
        hop_s = over_s * limit / max(1, len(loads) - limit)
        return replace(costs, hop_s=min(most, max(0.0, hop_s)))

    def _judge(self) -> None:
        omitted = self._number(semconv.MAP_SPANS_OMITTED) or 0
        missing = self.size - len(self.items)
        if not self.items and self.size:
            self.reasons.append(
                f"none of the {self.size:,} items has a span; the map is left as is"
            )
        elif missing > 0:
            why = "were omitted to spare spans" if omitted else "are not in this trace"
            self.reasons.append(
                f"{missing:,} of {self.size:,} items {why}; they are taken to be like the "
                f"ordinary ones that were kept"
            )
        wanted = self._number(semconv.MAP_ITEMS) or 0
        if wanted > self.size:
            self.reasons.append(
                f"the map ended early: {wanted - self.size:,} of {wanted:,} items never ran"
            )
        elif self._number(semconv.MAP_CANCELLED):
            self.reasons.append("the map ended early: items were cancelled half-way")

    def _number(self, name: str) -> int | None:
        value = self.node.record.attributes.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def _spread(pool: Sequence[int], count: int) -> Iterator[int]:
    for i in range(count):
        yield pool[
            i * len(pool) // count if count > len(pool) else (2 * i + 1) * len(pool) // (2 * count)
        ]


def _run_s(item: TreeNode) -> float:
    # As the map's quantiles count it: without the pauses between attempts.
    return item.record.seconds(semconv.RUN_S) or item.duration_s


def _is_ordinary(item: TreeNode) -> bool:
    attempts = item.record.attributes.get(semconv.ATTEMPTS)
    retried = isinstance(attempts, int) and attempts > 1
    return item.record.outcome in {semconv.OUTCOME_OK, None} and not retried
