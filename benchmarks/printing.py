"""The table in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.outcomes import Cost, Outcome
from benchmarks.sampling import Spread

__all__ = ("figure", "print_costs", "print_outcomes", "ratio_text")


def figure(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_text(value: Spread | None) -> str:
    """A ratio with its quartiles."""
    if value is None:
        return ""
    return f"{value.median:.2f} [{value.low:.2f}-{value.high:.2f}]"


def print_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Print rows: what it is, what was measured, the ratio, the limit, the verdict."""
    line = "{:42.42} {:8} {:>16} {:>9} {:>21} {:>6} {:>6}  {}"
    print(line.format("", "loop", "measured", "floor", "ratio [quartiles]", "floor", "limit", ""))
    for row in outcomes:
        unit = row.unit.split(" per ")[0]
        print(
            line.format(
                row.title,
                row.loop,
                f"{figure(row.measured.median)} {unit}",
                "" if row.floor is None else figure(row.floor.median),
                ratio_text(row.ratio),
                "" if row.floor_ratio is None else f"{row.floor_ratio.median:.2f}",
                "" if row.limit is None else f"{row.limit:g}",
                row.verdict,
            ),
            flush=True,
        )


def print_costs(costs: Iterable[Cost]) -> None:
    """Print what each program cost, block by block."""
    title = None
    for cost in costs:
        if cost.title != title:
            title = cost.title
            print(f"\n{title}, {cost.unit}")
        seen = cost.measured
        print(
            f"  {cost.program:24}{figure(seen.median):>10}"
            f"   [{figure(seen.low)}-{figure(seen.high)}]",
            flush=True,
        )
