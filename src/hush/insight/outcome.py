"""How a run ended, in one word: the same one wherever people and programs read of it.

The span of a run that has its outputs says ``ok``; whether something failed on the way
stands in an attribute beside it. Both together are the word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.insight.record import SpanRecord
    from hush.insight.tree import TraceTree, TreeNode

__all__ = (
    "CUT_OFF",
    "NOT_ENDED",
    "NO_RUN",
    "OUTCOMES",
    "PARTIAL",
    "UNFINISHED",
    "is_cut_off",
    "is_ours",
    "outcome_of",
    "remark_on",
    "run_of",
    "word_for",
    "word_of",
)

PARTIAL: Final = "partial"
"""The run has its outputs, but something failed on the way."""
CUT_OFF: Final = "the run was cut off, so there is no step that its end waited for"
"""Why a run that was cancelled or ran out of time may have no critical path."""
NOT_ENDED: Final = "the run has not ended: it goes on, or its process was killed"
"""What is said where only spans inside a run are there."""
NO_RUN: Final = "no run of Hush in this trace: nothing says who waited for whom"
"""What is said of a trace in which the scheduler has left no facts."""
UNFINISHED: Final = "unfinished"
"""The run's own span is not there: it goes on, or its process was killed."""
OUTCOMES: Final = (
    semconv.OUTCOME_OK,
    PARTIAL,
    semconv.OUTCOME_ERROR,
    semconv.OUTCOME_TIMEOUT,
    semconv.OUTCOME_CANCELLED,
    UNFINISHED,
)
"""Every word, the best one first."""


def word_for(outcome: str | None, *, partial_failure: bool) -> str | None:
    """Return the word.

    Args:
        outcome: one of ``semconv.OUTCOMES``; None where it is not known.
        partial_failure: whether something failed without failing the run.

    Returns:
        One of :data:`OUTCOMES`, as a rule; None where it is not known.
    """
    if partial_failure and outcome in {semconv.OUTCOME_OK, semconv.OUTCOME_HANDLED}:
        return PARTIAL
    return outcome


def word_of(record: SpanRecord) -> str | None:
    """Return how a span ended: the word for a run's, as it stands on any other."""
    partial = record.prefix == semconv.SPAN_RUN and (
        record.attributes.get(semconv.PARTIAL_FAILURE) is True
    )
    return word_for(record.outcome, partial_failure=partial)


def run_of(tree: TraceTree) -> TreeNode | None:
    """Return the run that a trace is about.

    Args:
        tree: of any size, also empty.

    Returns:
        Of the outermost runs the longest; None in a trace without a run of Hush.
    """
    return max(_outermost(tree), key=lambda node: node.duration_s, default=None)


def _outermost(tree: TraceTree) -> Iterator[TreeNode]:
    pending = list(tree.roots)
    while pending:
        node = pending.pop()
        if node.record.prefix == semconv.SPAN_RUN:
            yield node
        else:
            pending.extend(node.children)


def is_ours(tree: TraceTree) -> bool:
    """Say whether the scheduler has left facts in a trace, of a run that has ended or not."""
    return any(node.record.prefix is not None for node in tree)


def outcome_of(tree: TraceTree) -> str | None:
    """Return how the run of a trace ended, or that it has not; None where there is none."""
    run = run_of(tree)
    if run is None:
        return UNFINISHED if is_ours(tree) else None
    return word_of(run.record)


def remark_on(tree: TraceTree) -> str:
    """Say what would be missed in a trace: that it is none of Hush, or not whole; else nothing."""
    if not len(tree) or run_of(tree) is not None:
        return ""
    return NOT_ENDED if is_ours(tree) else NO_RUN


def is_cut_off(tree: TraceTree) -> bool:
    """Say whether the run of a trace was ended before its own end: cancelled, or out of time."""
    return outcome_of(tree) in {semconv.OUTCOME_CANCELLED, semconv.OUTCOME_TIMEOUT}
