"""What came out of a row: the target, what was measured, the ratio, whether it is met.

Frozen values that become JSON and come back. Knows nothing of how they were measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from benchmarks.sampling import Spread

__all__ = ("Cost", "Outcome", "Table")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program's work cost, be there a target for it or not."""

    block: str
    """Key of the block that it was measured in."""
    title: str
    """Of the block."""
    program: str
    loop: str
    unit: str
    measured: Spread
    peer: bool = False
    """Whether it is another runtime."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the table."""

    block: str
    title: str
    loop: str
    unit: str
    measured: Spread
    target: str
    """In words."""
    limit: float | None
    """The largest ratio, or the largest value where there is none, that is good; None where
    nothing is asked for."""
    reference_name: str = ""
    reference: Spread | None = None
    ratio: Spread | None = None
    floor: Spread | None = None
    floor_ratio: Spread | None = None

    @property
    def verdict(self) -> Literal["met", "close", "missed", ""]:
        """Whether the target is met; ``close`` where it lies within the middle half."""
        if self.limit is None:
            return ""
        judged = self.measured if self.ratio is None else self.ratio
        if judged.low <= self.limit < judged.high:
            return "close"
        return "met" if judged.median <= self.limit else "missed"


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that one run of the benchmarks found out."""

    machine: dict[str, str]
    taken: str
    """When, in ISO 8601."""
    seconds: float
    """How long it took."""
    outcomes: tuple[Outcome, ...]
    costs: tuple[Cost, ...]
    peers: dict[str, str]
    """Versions of the other runtimes, or why one was not measured."""
    load: tuple[float, float]
    """The machine's load average over a minute, before and after."""
    notes: tuple[str, ...] = ()
    """Sentences that belong to the figures."""
    quick: bool = False
    """Whether it was the quick run, with fewer rounds and smaller sizes."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``json`` can write, verdicts included for whoever reads the file."""
        said = asdict(self)
        for row, outcome in zip(said["outcomes"], self.outcomes, strict=True):
            row["verdict"] = outcome.verdict
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """Return the table that was written."""

        def spread(value: dict[str, Any] | None) -> Spread | None:
            return None if value is None else Spread(**value)

        spreads = ("measured", "reference", "ratio", "floor", "floor_ratio")
        outcomes = tuple(
            Outcome(
                **{k: spread(v) if k in spreads else v for k, v in row.items() if k != "verdict"}
            )
            for row in said["outcomes"]
        )
        costs = tuple(
            Cost(**{**row, "measured": Spread(**row["measured"])}) for row in said["costs"]
        )
        rest = {name: tuple(said[name]) for name in ("load", "notes")}
        return cls(**{**said, **rest, "outcomes": outcomes, "costs": costs})
