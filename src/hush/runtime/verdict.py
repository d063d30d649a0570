"""Verdict: where a map's time went, kept while it runs, in constant memory.

At each instant a map is in one of these states, and the one in which it spent most of its
time bound it:

- *limit*: every slot was taken and items were left: more slots would have helped;
- *source*: a slot was free, items were to come, and the source had not given the next one;
- *straggler*: nothing was left to start, and everybody waited for the last items;
- *rate limit*: items ran, and most of their time was spent waiting for a shared limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.runtime.sketch import Sketch
from hush.runtime.trail import precise

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Verdict",)

SLOWEST: Final = 5
"""Items whose duration stands on the map's span."""
RATE_LIMITED: Final = 0.5
"""A map whose items spent more than this share of their time waiting for shared limits was
bound by these: more slots would only have made more items wait."""

STRAGGLER: Final = 1.5
"""An item that ran for more than so many times the median."""
WORTH: Final = 0.1
"""What held items back for less than this share of the time of those that came last held
nothing back."""


class Verdict:
    """The times of one map."""

    __slots__ = (
        "_began",
        "_full_at",
        "_least",
        "_limit",
        "_limited_before_s",
        "_now",
        "_since",
        "at_limit_s",
        "busy_s",
        "dry_at",
        "last_index",
        "limited_s",
        "more",
        "peak",
        "running",
        "runs",
        "slowest",
        "source_s",
        "unknowing_s",
        "used_s",
        "waits",
    )

    def __init__(self, limit: int, now: float) -> None:
        """Start the clock.

        Args:
            limit: ``max_concurrency``.
            now: the instant, in seconds since any.
        """
        self._limit = self._full_at = limit
        """And how many items leave no room for another one."""
        self._began = self._since = self._now = now
        self.running = self.peak = 0
        self.more = True
        """Whether the source may have items left."""
        self.used_s = 0.0
        """Integral of the slots in use over time."""
        self.at_limit_s = 0.0
        """How long every slot was in use."""
        self.limited_s = 0.0
        """How much of that items were left for which there was no slot."""
        self.source_s = 0.0
        """How long a slot was free although items were to come."""
        self.busy_s = 0.0
        """Seconds of all items together."""
        self.dry_at: float | None = None
        """When it was known that nothing was left to start."""
        self.unknowing_s = 0.0
        """How long before that nothing was left, though nobody had a slot to ask with."""
        self._limited_before_s = 0.0
        self.last_index: int | None = None
        self.runs, self.waits = Sketch(), Sketch()
        self.slowest: list[tuple[float, int]] = []
        self._least = 0.0

    def _advance(self, now: float) -> None:
        elapsed = now - self._since
        self._since = self._now = now
        if elapsed <= 0.0:
            return
        running = self.running
        self.used_s += running * elapsed
        if running >= self._full_at:
            self.at_limit_s += elapsed
            if self.more:
                self.limited_s += elapsed
        elif self.more:
            self.source_s += elapsed

    def fill(self, now: float, *, full: bool) -> None:
        """Whether any more could start, whatever the limit says, has changed.

        Args:
            now: the instant.
            full: whether no worker is free that could take one.
        """
        self._advance(now)
        self._full_at = 0 if full else self._limit

    def start(self, now: float) -> None:
        """An item got its slot."""
        if now > self._since:
            self._advance(now)
        self._limited_before_s = self.limited_s
        self.running += 1
        if self.running > self.peak:
            self.peak = self.running

    def end(self, now: float, index: int, run_s: float, wait_s: float) -> None:
        """An item is over.

        Args:
            now: the instant.
            index: its index.
            run_s: how long it ran.
            wait_s: how long it had waited for slot and source.
        """
        self._advance(now)
        self.running -= 1
        self.last_index = index
        self.busy_s += run_s
        self.runs.add(run_s)
        self.waits.add(wait_s)
        slowest = self.slowest
        if run_s > self._least or len(slowest) < SLOWEST:
            slowest.append((run_s, index))
            # Among equals the first one stays.
            slowest.sort(key=lambda one: (-one[0], one[1]))
            del slowest[SLOWEST:]
            self._least = slowest[-1][0]

    def drop(self, now: float) -> None:
        """An item was cancelled."""
        self._advance(now)
        self.running -= 1

    def last(self, now: float) -> None:
        """The item that is about to start is the last one."""
        self._advance(now)
        self.more = False
        self.dry_at = now

    def dry(self, now: float) -> None:
        """The source has nothing left; said by each worker that asked in vain."""
        if not self.more:
            return
        self.last(now)
        # Since the last item came, no slot was waited for: there was none to give it to.
        self.unknowing_s = self.limited_s - self._limited_before_s
        self.limited_s = self._limited_before_s

    def bound_by(self, waited_s: float) -> str | None:
        """Return what held the map back, one of ``semconv.BOUND_BY_*``.

        Args:
            waited_s: for how long shared limits held the items back, all together.

        Returns:
            None where nothing did, or no item ran.
        """
        if not self.runs.count:
            return None
        if waited_s > RATE_LIMITED * self.busy_s:
            return semconv.BOUND_BY_RATE_LIMIT
        shares = {
            semconv.BOUND_BY_LIMIT: self.limited_s,
            semconv.BOUND_BY_SOURCE: self.source_s,
            semconv.BOUND_BY_STRAGGLER: self.tail_s,
        }
        if not self._straggled():
            # The last ones took as long as all did: what kept them from beginning counts.
            tail_s = shares.pop(semconv.BOUND_BY_STRAGGLER)
            if max(shares.values()) < WORTH * tail_s:
                return None
        return max(shares, key=shares.__getitem__)

    def _straggled(self) -> bool:
        """Say whether one item stands out."""
        return self.runs.most > STRAGGLER * self.runs.quantile(0.5)

    @property
    def tail_s(self) -> float:
        """How long nothing was left to start."""
        if self.dry_at is None:
            return 0.0
        return self.unknowing_s + max(0.0, self._now - self.dry_at)

    def facts(self, now: float, waited_s: float) -> Iterator[tuple[str, Any]]:
        """Yield what the map's span says, by names of :mod:`hush.semconv`.

        Args:
            now: the instant at which the map is over.
            waited_s: for how long shared limits held the items back, all together.
        """
        self._advance(now)
        wall = now - self._began
        if wall > 0.0:
            yield semconv.MAP_UTILISATION, round(self.used_s / (self._limit * wall), 4)
        yield semconv.MAP_AT_LIMIT_S, self.at_limit_s
        yield semconv.MAP_IDLE_TAIL_S, self.tail_s
        if not self.runs.count:
            return
        yield semconv.MAP_RUN_P50_S, self.runs.quantile(0.5)
        yield semconv.MAP_RUN_P95_S, self.runs.quantile(0.95)
        yield semconv.MAP_RUN_MAX_S, self.runs.most
        yield semconv.MAP_WAIT_P95_S, self.waits.quantile(0.95)
        yield semconv.MAP_WAIT_MAX_S, self.waits.most
        yield (
            semconv.MAP_SLOWEST,
            [f"{index}:{precise(seconds)}" for seconds, index in self.slowest],
        )
        yield semconv.MAP_LAST_INDEX, self.last_index
        yield semconv.MAP_BOUND_BY, self.bound_by(waited_s)
