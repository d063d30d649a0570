"""Failing: how a failure goes up from the node that raised to the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush import semconv
from hush.errors import Failure, LLMError, NodeError, NodeTimeoutError, RunError, text_of, type_name
from hush.runtime.instrument import Ending
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.runtime.lineage import Blame
    from hush.runtime.trail import Trail

__all__ = (
    "BodyFailedError",
    "cancelled",
    "culprit_of",
    "failed",
    "failure_of",
    "only_interrupt",
    "root_of",
    "run_error",
    "trail_of",
)


class BodyFailedError(Exception):
    """A graph failed; internal, carries the failures up and never reaches a user."""

    def __init__(
        self, failures: Sequence[Failure], culprit: object, trail: Trail = NO_TRAIL
    ) -> None:
        """Keep the failures.

        Args:
            failures: the root failure first, then what failed at the same time.
            culprit: token of what failed first, for links to it.
            trail: what the time until then was spent on.
        """
        super().__init__(str(failures[0]))
        self.failures = tuple(failures)
        self.culprit = culprit
        self.trail = trail


def root_of(error: BaseException) -> BaseException:
    """Return the user's exception behind a failure."""
    if isinstance(error, BodyFailedError):
        return error.failures[0].exception or error
    return error


def culprit_of(error: BaseException | None, token: object) -> object:
    """Return the token of what failed first.

    Args:
        error: what came out of a scope.
        token: the scope's own, for where nothing inside it is to blame.
    """
    return error.culprit if isinstance(error, BodyFailedError) else token


def trail_of(error: BaseException | None, trail: Trail) -> Trail:
    """Return what the time was spent on until something failed, if it did.

    Args:
        error: what came out of a scope; None where nothing did.
        trail: the scope's own, for where it did not fail.
    """
    return error.trail if isinstance(error, BodyFailedError) else trail


def failure_of(
    error: Exception, path: str, *, index: int | None, attempts: int = 1
) -> tuple[Failure, ...]:
    """Describe what failed.

    Args:
        error: what came out of a node.
        path: the node's path.
        index: index of the innermost item.
        attempts: how many attempts were made.

    Returns:
        The failures, the root one first.
    """
    if isinstance(error, BodyFailedError):
        return error.failures
    kind = "timeout" if isinstance(error, NodeTimeoutError) else "raised"
    late = error.late if isinstance(error, NodeTimeoutError) else ()
    return (
        Failure(path, kind, type_name(error), text_of(error), index, attempts, exception=error),
        *late,
    )


def failed(error: Exception, path: str, *, recorded: bool) -> Ending:
    """Return the ending of a scope out of which ``error`` came.

    Args:
        error: the exception.
        path: the scope's path.
        recorded: whether a scope inside this one has recorded the exception.
    """
    root = root_of(error)
    inside = isinstance(error, BodyFailedError)
    timed_out = isinstance(root, NodeTimeoutError)
    return Ending(
        semconv.OUTCOME_TIMEOUT if timed_out else semconv.OUTCOME_ERROR,
        error=root,
        raised_here=not (inside or recorded),
        failed_path=error.failures[0].path if isinstance(error, BodyFailedError) else path,
        error_type=root.error_type if isinstance(root, LLMError) else None,
    )


def cancelled(blame: Blame) -> Ending:
    """Return the ending of a scope that was cancelled."""
    return Ending(
        semconv.OUTCOME_CANCELLED,
        reason=blame.reason,
        cause_path=blame.path,
        cause=blame.token,
    )


def only_interrupt(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the interrupt that a group consists of; None where it holds anything else."""
    found: BaseException | None = None
    for error in group.exceptions:
        inner = only_interrupt(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(inner, (KeyboardInterrupt, SystemExit)):
            return None
        found = found or inner
    return found


def run_error(failures: Sequence[Failure], run_id: str, trace_id: str | None) -> RunError:
    """Make the error with which a run fails.

    Args:
        failures: the root failure first.
        run_id: the run's id.
        trace_id: the trace's id; None when untraced.
    """
    root = failures[0]
    cause = root.exception
    said = f"{root.error_type}: {root.message}"
    if cause is not None:
        # Our own errors carry their path in the text, which stands before this already.
        text = cause.message if isinstance(cause, NodeError) else text_of(cause)
        said = f"{type_name(cause)}: {text}"
    return RunError(root.path, said, failures, run_id=run_id, trace_id=trace_id)
