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

    __slots__ = ("_buckets", "count", "most")

    def __init__(self) -> None:
        """Start empty."""
        self.count = 0
        self.most = 0.0
        """The greatest one, exactly."""
        self._buckets: defaultdict[int, int] = defaultdict(int)

    def add(self, seconds: float) -> None:
        """Add one.

        Args:
            seconds: the duration; a negative one counts as none at all.
        """
        self.count += 1
        if seconds > self.most:
            self.most = seconds
        # Rounded down and one more: what lies on an edge may be in either bucket.
        if seconds <= LEAST_S:
            bucket = -1
        elif seconds < MOST_S:
            bucket = int(log(seconds) * _PER_LOG - _LEAST) + 1
        else:
            bucket = _LAST
        self._buckets[bucket] += 1

    def quantile(self, q: float) -> float:
        """Return a quantile.

        Args:
            q: from 0 to 1.

        Returns:
            Seconds, within 1 % of the value at the rank ``q * (count - 1)``, rounded down;
            0.0 where nothing was added.
        """
        rank = math.floor(q * (self.count - 1))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                if bucket < 0:
                    return 0.0
                # The middle of the bucket, by ratio; the greatest value is known exactly.
                middle = LEAST_S * 2 * _GAMMA**bucket / (_GAMMA + 1)
                return min(middle, self.most)
        return 0.0
