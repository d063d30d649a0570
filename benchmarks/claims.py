"""What a claim is, and a block of series that are measured in the same rounds.

Knows no program: which claims there are is said in :mod:`benchmarks.rows`.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.crew import Series

__all__ = ("Block", "Claim")


@dataclass(frozen=True, slots=True)
class Claim:
    """That one series costs at most so much of another."""

    title: str
    subject: Series
    reference: Series
    limit: float | None
    """The largest ratio that is good; None asks for nothing."""
    floor: Series | None = None
    """What is known to be possible, measured in the same rounds."""
    floor_reference: Series | None = None
    """What the floor is compared with; None means the reference."""
    clock: str = "cpu_s"
    """Which time is compared: ``cpu_s``, ``wall_s`` or ``flushed_cpu_s``."""
    reference_s: float | None = None
    """Where the reference is an ideal instead: its seconds for one measurement."""
    reference_name: str = ""
    unit: str = "item"
    absolute: str = ""
    """The target as it was set in microseconds, where it was."""


@dataclass(frozen=True, slots=True)
class Block:
    """Series that are measured in the same rounds, and what is claimed of them."""

    key: str
    title: str
    series: tuple[Series, ...]
    claims: tuple[Claim, ...]
    rounds: int
    unit: str = "item"
    kept: tuple[tuple[Series, int], ...] = ()
    """How many spans must come out of one measurement of a series."""
