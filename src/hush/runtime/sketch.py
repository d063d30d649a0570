"""Sketch: quantiles of any number of durations in bounded memory.

Counts per bucket, where each bucket is 2 % wider than the one before: a quantile is within
1 % of a value that was really seen at that rank. The idea is that of DDSketch (Masson, Rim,
Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
VLDB 2019), without its merging.
"""

from __future__ import annotations

import math
from collections import defaultdict
from math import log
from typing import Final

__all__ = ("Sketch",)

ACCURACY: Final = 0.01
"""Greatest relative error of a quantile."""

FRESH: Final = 256
"""How many wait to be put into their buckets."""

_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)

LEAST_S: Final = 1e-6
"""Durations below a microsecond count as none at all."""
MOST_S: Final = 1e7
"""Durations beyond four months count as these; so there are at most 1,500 buckets."""

_PER_LOG: Final = 1 / _LOG_GAMMA
_LEAST: Final = math.log(LEAST_S) * _PER_LOG
_LAST: Final = int(math.log(MOST_S) * _PER_LOG - _LEAST) + 1


class Sketch:
    """Durations, in seconds, that were added so far."""

    __slots__ = ("_buckets", "_count", "_fresh", "_most")

    def __init__(self) -> None:
        """Start empty."""
        self._count = 0
        self._most = 0.0
        self._buckets: defaultdict[int, int] = defaultdict(int)
        self._fresh: list[float] = []
        """What was added last and is in no bucket yet: many at once cost less than half."""

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count + len(self._fresh)

    @property
    def most(self) -> float:
        """The greatest one, exactly."""
        self._sort()
        return self._most

    def add(self, seconds: float) -> None:
        """Add one.

        Args:
            seconds: the duration; a negative one counts as none at all.
        """
        fresh = self._fresh
        fresh.append(seconds)
        if len(fresh) >= FRESH:
            self._sort()

    def _sort(self) -> None:
        """Put what is fresh into its buckets."""
        fresh, buckets = self._fresh, self._buckets
        if not fresh:
            return
        self._fresh = []
        self._count += len(fresh)
        self._most = max(self._most, *fresh)
        for seconds in fresh:
            # Rounded down and one more: what lies on an edge may be in either bucket.
            if seconds <= LEAST_S:
                buckets[-1] += 1
            elif seconds < MOST_S:
                buckets[int(log(seconds) * _PER_LOG - _LEAST) + 1] += 1
            else:
                buckets[_LAST] += 1

    def quantile(self, q: float) -> float:
        """Return a quantile.

        Args:
            q: from 0 to 1.

        Returns:
            Seconds, within 1 % of the value at the rank ``q * (count - 1)``, rounded down;
            0.0 where nothing was added.
        """
        self._sort()
        rank = math.floor(q * (self._count - 1))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                if bucket < 0:
                    return 0.0
                # The middle of the bucket, by ratio; the greatest value is known exactly.
                middle = LEAST_S * 2 * _GAMMA**bucket / (_GAMMA + 1)
                return min(middle, self._most)
        return 0.0
