"""A trace in one line: how many spans, and how many of them went wrong.

This module counts; it knows nothing of terminals.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hush import semconv

if TYPE_CHECKING:
    from hush.insight.tree import TraceTree

__all__ = ("Summary", "summarise")


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over one trace."""

    spans: int
    red: int
    """Spans with status ERROR: those that failed, and the containers of them that failed
    with them."""
    handled: int
    """Of the red ones, those whose failure the user's own code caught and returned."""
    timeouts: int
    """Of the red ones, those that ran out of time."""
    cancelled: int
    duration_s: float
    """From the earliest start to the latest end, in seconds."""

    def __str__(self) -> str:
        """Return, for example, ``412 spans, 3 red (2 handled), 1 cancelled``."""
        parts = [f"{self.spans} span{'' if self.spans == 1 else 's'}"]
        if self.red:
            kinds = [
                f"{count} {what}"
                for count, what in ((self.handled, "handled"), (self.timeouts, "timed out"))
                if count
            ]
            parts.append(f"{self.red} red" + (f" ({', '.join(kinds)})" if kinds else ""))
        if self.cancelled:
            parts.append(f"{self.cancelled} cancelled")
        return ", ".join(parts)


def summarise(tree: TraceTree) -> Summary:
    """Count what a trace holds.

    Args:
        tree: of any size, also empty.

    Returns:
        The counts.
    """
    outcomes = Counter(node.record.outcome for node in tree)
    return Summary(
        spans=len(tree),
        red=sum(node.record.is_red for node in tree),
        handled=outcomes[semconv.OUTCOME_HANDLED],
        timeouts=outcomes[semconv.OUTCOME_TIMEOUT],
        cancelled=outcomes[semconv.OUTCOME_CANCELLED],
        duration_s=tree.duration_s,
    )
