"""Measures blocks with a crew and turns the times into costs and outcomes."""

from __future__ import annotations

from benchmarks.claims import Block, Claim
from benchmarks.crew import Crew, Series, Times
from benchmarks.outcomes import Cost, Outcome
from benchmarks.rows import PEERS
from benchmarks.sampling import Spread, ratio, spread

__all__ = ("measure_block",)


def measure_block(crew: Crew, block: Block) -> tuple[list[Outcome], list[Cost]]:
    """Measure a block.

    Args:
        crew: has the programs; peers that are missing are left out.
        block: what to measure.

    Returns:
        Its rows, and what each program cost.

    Raises:
        ValueError: not every span came out; the figures would be about something else.
    """
    times = crew.rounds(block.series, block.rounds)
    for series, expected in block.kept:
        if times[series].spans != expected:
            raise ValueError(
                f"{series.program}, {series.case} of {series.size} on {series.loop}: "
                f"{times[series].spans} spans came out of {expected}"
            )
    # Of the wall where most of the time is spent waiting.
    clock = block.claims[0].clock
    costs = [
        Cost(
            block.key,
            block.title,
            series.program,
            series.loop,
            f"µs per {block.unit}",
            _each(times[series], series, clock),
            series.program in PEERS,
        )
        for series in block.series
        if series in times and not (block.key == "growth" and series.size < 10_000)
    ]
    return [_outcome(block, claim, times) for claim in block.claims], costs


def _each(times: Times, series: Series, clock: str) -> Spread:
    """Microseconds for each item or node."""
    return spread(getattr(times, clock)).times(1e6 / series.units)


def _outcome(block: Block, claim: Claim, times: dict[Series, Times]) -> Outcome:
    clock = claim.clock

    def per_unit(series: Series) -> list[float]:
        return [seconds / series.units for seconds in getattr(times[series], clock)]

    if claim.reference_s is None:
        reference = per_unit(claim.reference)
        name = claim.reference_name or claim.reference.program
    else:
        units = claim.reference.units
        reference = [claim.reference_s / units] * len(per_unit(claim.subject))
        name = claim.reference_name
    floor = floor_ratio = None
    if claim.floor is not None:
        against = claim.floor_reference
        floor = _each(times[claim.floor], claim.floor, clock)
        floor_ratio = ratio(
            per_unit(claim.floor), reference if against is None else per_unit(against)
        )
    target = "" if claim.limit is None else f"≤ {claim.limit:g} of {name}"
    if claim.absolute:
        target += f" ({claim.absolute})"
    return Outcome(
        block=block.key,
        title=claim.title,
        loop=claim.subject.loop,
        unit=f"µs per {claim.unit}",
        measured=_each(times[claim.subject], claim.subject, clock),
        target=target,
        limit=claim.limit,
        reference_name=name,
        reference=spread([seconds * 1e6 for seconds in reference]),
        ratio=ratio(per_unit(claim.subject), reference),
        floor=floor,
        floor_ratio=floor_ratio,
    )
