"""Finding: one thing that held a run up, made it fail or was wasted, and what would help.

The thresholds of the whole diagnosis stand here, beside what they decide about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from hush.insight.causes.replay import NO_CHANGE, Change

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Candidate", "Finding", "Kind", "worth_s")

Kind = Literal[
    "failed",
    "unfinished",
    "no_run",
    "cancelled",
    "slow_predecessor",
    "limit_too_low",
    "nested_map",
    "rate_limit",
    "thread_limit",
    "straggler",
    "blocking_node",
    "cpu_bound",
    "retry_storm",
    "slow_source",
    "workers",
    "timeout",
    "partial_failure",
    "waste",
    "all_fine",
]
"""What was found."""

WORTH_SHARE: Final = 0.05
"""Share of the run from which on a gain is worth a sentence ..."""
WORTH_MOST_S: Final = 5.0
"""... or so many seconds, whatever the share: nobody turns these down in a long run."""
WORTH_LEAST_S: Final = 0.02
"""Less than this is the machinery's and the machine's noise, whatever the share."""
STRAGGLES: Final = 2.0
"""An item straggles when it takes longer than so many medians. Where more than one and than
this share of all do ..."""
STRAGGLERS: Final = 0.1
APART: Final = 1.5
"""... the longest of them straggle only if they take so many times as long as the next: else
that is simply how the items are."""
LEAST_ITEMS: Final = 3
"""Of two items nobody can say which one is usual."""
EXPLAINS: Final = 0.5
"""A symptom is left out where one cause is worth this share of it and leaves less than that
share of it over."""
OVERLAPS: Final = 0.2
"""From this share on it is said that a gain comes already with those told before."""
COMPUTES: Final = 0.5
"""Who held the event loop computed where the process used CPU for this share of that time."""
TOLD: Final = 3
"""Names in a sentence before "and 5 more"."""


def worth_s(wall_s: float) -> float:
    """Return from how many seconds on a gain is worth telling.

    Args:
        wall_s: what the run took.
    """
    return max(WORTH_LEAST_S, min(WORTH_SHARE * wall_s, WORTH_MOST_S))


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, in words and in numbers."""

    kind: Kind
    path: str
    """What it is about, such as ``g.pages[3].fetch``; without indices where all items are."""
    gain_s: float
    """By how much the run would be shorter were it mended alone; never more than the run
    took, 0.0 where it is not about time."""
    text: str
    """What happened, in whole sentences."""
    remedy: str
    """What would help, in a whole sentence; empty where nothing needs to be done."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The numbers and names in the text, by what they are; durations end in ``_s``."""

    def __str__(self) -> str:
        """Return text and remedy."""
        return f"{self.text} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding and how its gain is found; what comes of it is decided among all."""

    finding: Finding
    change: Change = NO_CHANGE
    """What mending it changes; nothing where it is not about time."""
    depth: int = 2
    """How near to the root of the matter it is: 2 a cause, 1 a symptom such as one long item,
    0 a symptom of symptoms such as a fan-in that waited for one."""
