"""Token buckets: how much may be taken now, and how long until more may. Pure arithmetic.

A bucket holds at most its capacity, refills continuously and is asked and told with the
time as an argument; it knows no clock, no lock and no event loop. The convention is the
usual one of a token bucket with debt: what costs more than a full bucket holds is let
through when the bucket is full and leaves it below zero, so that a large request waits
long but never for ever.

Over any stretch of W seconds what is taken is at most the capacity, plus
``per_minute / 60 * W``, plus the largest single cost.
"""

from __future__ import annotations

import math

__all__ = ("Bucket",)

_TOLERANCE = 1e-6
"""Share of the capacity that may be missing: who waits exactly as long as told must not be
sent back by the rounding of floats."""


class Bucket:
    """An amount that refills with time.

    Not safe for threads: whoever shares it holds a lock. A clock that goes back takes
    nothing away and adds nothing; refilling goes on from where the clock now is.
    """

    __slots__ = ("_at", "_level", "_rate", "capacity")

    def __init__(self, per_minute: float, burst_s: float = 1.0) -> None:
        """Start with a full bucket.

        Args:
            per_minute: how much is refilled in a minute; above 0.
            burst_s: how many seconds' worth the full bucket holds, which is what may be
                taken in one go after a pause; above 0. It holds at least 1 in any case.

        Raises:
            ValueError: a number is not above 0, or not finite.
        """
        for name, value in (("per_minute", per_minute), ("burst_s", burst_s)):
            if not math.isfinite(value) or value <= 0:
                msg = f"Bucket({name}={value!r}): expected a finite number above 0"
                raise ValueError(msg)
        self._rate = per_minute / 60.0
        self.capacity = max(1.0, self._rate * burst_s)
        self._level = self.capacity
        self._at: float | None = None

    def level(self, now: float) -> float:
        """Return how much is in it; below 0 is debt.

        Changes nothing, so that it may be asked at any time.

        Args:
            now: the time, in seconds on any clock, the same one for every call.

        Returns:
            At most the capacity.
        """
        elapsed_s = 0.0 if self._at is None else max(0.0, now - self._at)
        return min(self.capacity, self._level + elapsed_s * self._rate)

    def delay(self, cost: float, now: float) -> float:
        """Return how long until ``cost`` may be taken, where nobody else takes meanwhile.

        Args:
            cost: what is to be taken; above the capacity it needs a full bucket.
            now: the time in seconds.

        Returns:
            Seconds; 0 where it may be taken now.
        """
        self._refill(now)
        missing = min(cost, self.capacity) - self._level
        if missing <= self.capacity * _TOLERANCE:
            return 0.0
        return missing / self._rate

    def take(self, cost: float, now: float) -> None:
        """Take ``cost``, whatever the level: ask :meth:`delay` first.

        Args:
            cost: what to take.
            now: the time in seconds.
        """
        self.give(-cost, now)

    def give(self, amount: float, now: float) -> None:
        """Put something back that was not used after all; the bucket never overflows.

        Args:
            amount: what to put back; below 0 it charges what was used beyond the estimate.
            now: the time in seconds.
        """
        self._refill(now)
        self._level = min(self.capacity, self._level + amount)

    def _refill(self, now: float) -> None:
        # Also where the clock went back: waiting for it to catch up could take hours.
        self._level = self.level(now)
        self._at = now
