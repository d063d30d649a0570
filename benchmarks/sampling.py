"""Timings of interleaved rounds, and what they say: medians, spread, ratios of pairs.

Standard library only; knows neither programs nor rows. A ratio is taken in each round
between two measurements that were made one after the other, and only then the median of
these: what makes a whole round slow, makes both slow.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ("Spread", "ratio", "spread")


@dataclass(frozen=True, slots=True)
class Spread:
    """A number of measurements."""

    median: float
    low: float
    """The lower quartile."""
    high: float
    """The upper quartile."""
    least: float
    most: float
    rounds: int

    def times(self, factor: float) -> Spread:
        """Return the same in another unit."""
        scaled = (self.median, self.low, self.high, self.least, self.most)
        return Spread(*(value * factor for value in scaled), rounds=self.rounds)


def spread(values: Sequence[float]) -> Spread:
    """Summarise measurements.

    Args:
        values: at least one.
    """
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return Spread(middle, low, high, min(values), max(values), len(values))


def ratio(subject: Sequence[float], reference: Sequence[float]) -> Spread:
    """Compare round by round.

    Args:
        subject: one value for each round.
        reference: of the same rounds; those that only one has are left out.
    """
    return spread([ours / theirs for ours, theirs in zip(subject, reference, strict=False)])
