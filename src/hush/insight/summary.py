"""A trace in one line: how many spans, and how many of them went wrong.

This module counts; it knows nothing of terminals.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.wording import raised_here

if TYPE_CHECKING:
    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("Summary", "is_origin", "summarise")


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over one trace."""

    spans: int
    red: int
    """Spans with status ERROR: those that failed, and the containers of them that failed
    with them."""
    failed: int
    """Of the red ones, those where a failure comes from: without the containers that it
    passed through, and without what was handled."""
    timeouts: int
    """Of the failed ones, those that ran out of time."""
    handled: int
    """Of the red ones, those whose failure the user's own code caught and returned."""
    cancelled: int
    duration_s: float
    """From the earliest start to the latest end, in seconds."""

    def __str__(self) -> str:
        """Return, for example, ``412 spans, 3 failed (1 timed out), 2 handled, 1 cancelled``."""
        parts = [f"{self.spans:,} span{'' if self.spans == 1 else 's'}"]
        if self.failed:
            late = f" ({self.timeouts} timed out)" if self.timeouts else ""
            parts.append(f"{self.failed:,} failed{late}")
        counts = ((self.handled, "handled"), (self.cancelled, "cancelled"))
        parts += [f"{count:,} {what}" for count, what in counts if count]
        return ", ".join(parts)


def is_origin(node: TreeNode) -> bool:
    """Say whether a red span is where a failure comes from, not one that it passed through."""
    record = node.record
    return record.is_red and (
        raised_here(record)
        or record.outcome == semconv.OUTCOME_HANDLED
        or not any(child.record.is_red for child in node.children)
    )


def summarise(tree: TraceTree) -> Summary:
    """Count what a trace holds.

    Args:
        tree: of any size, also empty.

    Returns:
        The counts.
    """
    outcomes = Counter(node.record.outcome for node in tree)
    origins = [
        node.record.outcome
        for node in tree
        if is_origin(node) and node.record.outcome != semconv.OUTCOME_HANDLED
    ]
    return Summary(
        spans=len(tree),
        red=sum(node.record.is_red for node in tree),
        failed=len(origins),
        timeouts=origins.count(semconv.OUTCOME_TIMEOUT),
        handled=outcomes[semconv.OUTCOME_HANDLED],
        cancelled=outcomes[semconv.OUTCOME_CANCELLED],
        duration_s=tree.duration_s,
    )
