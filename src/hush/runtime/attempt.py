"""Attempt: one execution under its policies: tries, time limits, backoff.

The same for a node and for a map's item. Each limit is a cancel scope of its own; what
was cancelled by it becomes a NodeTimeoutError that names whose limit it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio

from hush import semconv
from hush.errors import NodeTimeoutError, UnexpectedCancellationError, type_name
from hush.runtime.failing import BodyFailedError, cancelled, failed, failure_of, root_of
from hush.runtime.instrument import OK, Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hush.model.retry import Retry
    from hush.runtime.instrument import Observation
    from hush.runtime.lineage import Lineage
    from hush.runtime.state import Run

__all__ = ("Policy", "Tally", "persist")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """How an execution may be repeated and how long it may take."""

    retry: Retry | None
    timeout_s: float | None
    deadline_s: float | None

    @property
    def limited(self) -> bool:
        """Whether there is a time limit."""
        return self.timeout_s is not None or self.deadline_s is not None


@dataclass(slots=True)
class Tally:
    """What the attempts came to."""

    attempts: int = 0
    backoff_s: float = 0.0
    waited_s: float = 0.0
    """Seconds for which a limit held it back: on threads, or of a shared resource."""
    recorded: bool = False
    """Whether the last attempt's own span has recorded its exception."""
    seen: Observation | None = None
    """The observation of the attempt that is under way; None where attempts have none."""
    recorded_error: BaseException | None = None
    """The exception that the span of a call inside has recorded."""

    def has_recorded(self, error: BaseException) -> bool:
        """Say whether a span inside has recorded ``error``, or what it was raised from."""
        seen = self.recorded_error
        return self.recorded or (seen is not None and seen in (error, error.__cause__))


@dataclass(frozen=True, slots=True)
class Place:
    """Whose attempts these are."""

    run: Run
    name: str
    path: str
    seen: Observation
    lineage: Lineage
    tally: Tally


async def persist(execute: Callable[[], Awaitable[T]], policy: Policy, place: Place) -> T:
    """Execute under a policy.

    Args:
        execute: makes one attempt each time it is called.
        policy: retry, timeout of one attempt, deadline of all.
        place: whose attempts these are; its tally is valid also when this raises.

    Returns:
        What the attempt that succeeded returned.

    Raises:
        NodeTimeoutError: the last attempt or all of them took too long.
        UnexpectedCancellationError: cancelled though nobody had asked for it.
    """
    if policy.deadline_s is None:
        return await _tries(execute, policy, place)
    with (
        anyio.CancelScope(deadline=anyio.current_time() + policy.deadline_s) as scope,
        place.lineage.limited(scope, place.path, place.seen.token),
    ):
        return await _tries(execute, policy, place)
    place.tally.recorded = False
    place.seen.event(semconv.EVENT_TIMEOUT, {semconv.LIMIT_S: policy.deadline_s})
    raise NodeTimeoutError(
        place.path,
        f"deadline_s={policy.deadline_s:g} was exceeded in attempt {place.tally.attempts}. "
        f"Raise the deadline, or look at what it waited for in the trace",
    )


async def _tries(execute: Callable[[], Awaitable[T]], policy: Policy, place: Place) -> T:
    retry, tally = policy.retry, place.tally
    previous: object = None
    while True:
        tally.attempts += 1
        tally.recorded = False
        tally.recorded_error = None
        if retry is None or retry.attempts == 1:
            return await _once(execute, policy, place, place.seen)
        scope = Scope(
            "attempt",
            place.name,
            {semconv.ATTEMPT: tally.attempts},
            released_by=previous,
            ready=previous is None,
        )
        with place.run.instrument.observe(scope) as seen:
            tally.seen = seen
            try:
                result = await _once(execute, policy, place, seen)
            except Exception as error:
                seen.end(failed(error, place.path, recorded=tally.has_recorded(error)))
                tally.recorded = True
                pause = _pause_s(error, retry, place)
                if pause is None:
                    raise
                if place.run.forget_skipped(place.path):
                    # Only what the attempt that counts skipped was skipped.
                    place.seen.annotate(semconv.SKIPPED, [])
                seen.annotate(semconv.BACKOFF_S, pause)
                kind = type_name(root_of(error))
            except anyio.get_cancelled_exc_class():
                seen.end(cancelled(place.lineage.why()))
                raise
            else:
                seen.end(OK)
                return result
            previous = seen.token
        facts = {
            semconv.ATTEMPT: tally.attempts,
            semconv.ERROR_TYPE: kind,
            semconv.BACKOFF_S: pause,
        }
        place.seen.event(semconv.EVENT_RETRY, facts)
        tally.backoff_s += pause
        await anyio.sleep(pause)


def _pause_s(error: Exception, retry: Retry, place: Place) -> float | None:
    """Return the pause before the next attempt, None where there is none."""
    root, tally = root_of(error), place.tally
    if tally.attempts >= retry.attempts or not isinstance(root, Exception):
        return None
    if not retry.matches(root):
        return None
    return retry.pause_s(tally.attempts, place.run.random.random())


async def _once(
    execute: Callable[[], Awaitable[T]], policy: Policy, place: Place, seen: Observation
) -> T:
    if policy.timeout_s is None:
        return await _asked(execute, place)
    with (
        anyio.CancelScope(deadline=anyio.current_time() + policy.timeout_s) as scope,
        place.lineage.limited(scope, place.path, seen.token),
    ):
        return await _asked(execute, place)
    seen.event(semconv.EVENT_TIMEOUT, {semconv.LIMIT_S: policy.timeout_s})
    raise NodeTimeoutError(
        place.path,
        f"timeout_s={policy.timeout_s:g} was exceeded. "
        f"Raise the timeout, or look at what it waited for in the trace",
    )


async def _asked(execute: Callable[[], Awaitable[T]], place: Place) -> T:
    """Execute; tell a cancellation that was asked for from one that user code made up."""
    try:
        return await execute()
    except anyio.get_cancelled_exc_class() as error:
        if place.run.placement.cancellation_requested():
            raise
        raise UnexpectedCancellationError(
            place.path,
            "was cancelled although no scope of this run asked for it; probably it awaited "
            "a task or future that something else cancelled. Catch that where it happens",
        ) from error
    except BodyFailedError:
        raise
    except BaseExceptionGroup as group:
        # Cancellation and errors at once: the cancellation must get through alone, else
        # the scope that asked for it cannot take it.
        swept, rest = group.split(anyio.get_cancelled_exc_class())
        if swept is None or isinstance(group, Exception):
            raise
        if rest is not None and not isinstance(rest, Exception):
            raise
        if rest is not None:
            for failure in failure_of(rest, place.path, index=None):
                place.run.note(failure)
        raise swept from None
