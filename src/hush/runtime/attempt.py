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
from hush.runtime.failing import cancelled, failed, failure_of, root_of
from hush.runtime.instrument import OK, Scope
from hush.runtime.trail import NO_TRAIL, Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hush.model.retry import Retry
    from hush.runtime.instrument import Ending, Observation
    from hush.runtime.lineage import Lineage
    from hush.runtime.state import Run
    from hush.runtime.trail import Trail

__all__ = ("Place", "Policy", "Tally", "answer", "interrupted", "persist", "timed_out")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """How an execution may be repeated and how long it may take."""

    retry: Retry | None
    timeout_s: float | None
    deadline_s: float | None

    @property
    def trivial(self) -> bool:
        """Whether there is one attempt and no time limit."""
        return self.retry is None and not self.limited

    @property
    def limited(self) -> bool:
        """Whether there is a time limit."""
        return self.timeout_s is not None or self.deadline_s is not None


@dataclass(slots=True)
class Tally:
    """What the attempts came to."""

    attempts: int = 0
    backoff_s: float = 0.0
    failed_s: float = 0.0
    """Seconds that went into attempts after which there was another one, without what is
    counted below."""
    waited_s: float = 0.0
    """Seconds for which a limit held it back: on threads, or of a shared resource."""
    shared_s: float = 0.0
    """Of these, those for a shared resource."""
    recorded: bool = False
    """Whether the last attempt's own span has recorded its exception."""
    elsewhere: bool = False
    """Whether a thread or a process has been asked to do the work."""
    seen: Observation | None = None
    """The observation of the attempt that is under way; None where attempts have none."""
    recorded_error: BaseException | None = None
    """The exception that the span of a call inside has recorded."""
    spoiled: Exception | None = None
    """What the last attempt raised in the place of a cancellation that had been asked for.
    The cancellation goes on; this is why the span is red."""

    def has_recorded(self, error: BaseException) -> bool:
        """Say whether a span inside has recorded ``error``, or what it was raised from."""
        seen = self.recorded_error
        return self.recorded or (seen is not None and seen in (error, error.__cause__))

    def trail(self, inner: Trail) -> Trail:
        """Return what the time was spent on: what held the attempts up, then the last one.

        Args:
            inner: critical path of the last attempt.
        """
        if not (self.failed_s or self.waited_s or self.backoff_s):
            return inner
        held = (
            Step(" (failed attempts)", self.failed_s),
            Step(" (waited for a limit)", self.waited_s, shared_s=self.shared_s),
            Step(" (paused)", self.backoff_s),
        )
        return (*(step for step in held if step.seconds > 0.0), *inner)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose attempts these are."""

    run: Run
    name: str
    path: str
    seen: Observation
    lineage: Lineage
    tally: Tally
    index: int | None
    """Index of the innermost item; None outside of all."""


def interrupted(place: Place) -> Ending:
    """Return the ending of a node, item or attempt out of which a cancellation came."""
    spoiled, tally = place.tally.spoiled, place.tally
    if spoiled is None:
        return cancelled(place.lineage.why())
    ending = failed(spoiled, place.path, recorded=tally.has_recorded(spoiled))
    tally.recorded = True
    return ending


def timed_out(lineage: Lineage, path: str, message: str) -> NodeTimeoutError:
    """Make the error of a time limit; what failed because of the limit comes with it.

    Args:
        lineage: of what was limited.
        path: whose limit it is.
        message: what was exceeded, and the remedy.
    """
    error = NodeTimeoutError(path, message)
    late = lineage.take_late()
    if late:
        error.late = tuple(late)
        error.__cause__ = late[0].exception
    return error


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
    place.seen.event(semconv.EVENT_TIMEOUT, {semconv.LIMIT_S: policy.deadline_s})
    said = f"deadline_s={policy.deadline_s:g} was exceeded in attempt {place.tally.attempts}. "
    said += "Raise the deadline, or look at what it waited for in the trace"
    raise _too_late(place, said)


def _too_late(place: Place, message: str) -> NodeTimeoutError:
    tally = place.tally
    # Whatever was recorded by now, this was not; and the cancellation ends here.
    tally.recorded = False
    tally.recorded_error = tally.spoiled = None
    return timed_out(place.lineage, place.path, message)


async def _tries(execute: Callable[[], Awaitable[T]], policy: Policy, place: Place) -> T:
    retry, tally = policy.retry, place.tally
    previous: object = None
    while True:
        tally.attempts += 1
        tally.recorded = False
        tally.recorded_error = tally.spoiled = None
        if retry is None or retry.attempts == 1:
            return await _once(execute, policy, place, place.seen)
        scope = Scope(
            "attempt",
            place.name,
            {semconv.ATTEMPT: tally.attempts},
            released_by=previous,
            ready=previous is None,
        )
        began, held_s = place.run.clock(), tally.waited_s + tally.backoff_s
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
                seen.end(interrupted(place))
                raise
            else:
                seen.end(OK)
                return result
            previous = seen.token
        held_s = tally.waited_s + tally.backoff_s - held_s
        tally.failed_s += place.run.clock() - began - held_s
        place.lineage.cut = NO_TRAIL
        facts = {
            semconv.ATTEMPT: tally.attempts,
            semconv.ERROR_TYPE: kind,
            semconv.BACKOFF_S: pause,
        }
        place.seen.event(semconv.EVENT_RETRY, facts)
        tally.backoff_s += pause
        began = place.run.clock()
        try:
            await anyio.sleep(pause)
        except anyio.get_cancelled_exc_class():
            tally.backoff_s -= max(0.0, pause - (place.run.clock() - began))
            raise


def _pause_s(error: Exception, retry: Retry, place: Place) -> float | None:
    """Return the pause before the next attempt, None where there is none."""
    root, tally = root_of(error), place.tally
    if tally.attempts >= retry.attempts or not isinstance(root, Exception):
        return None
    if not retry.matches(root) or place.run.caller.being_cancelled():
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
    said = f"timeout_s={policy.timeout_s:g} was exceeded. "
    said += "Raise the timeout, or look at what it waited for in the trace"
    raise _too_late(place, said)


async def _asked(execute: Callable[[], Awaitable[T]], place: Place) -> T:
    """Execute; see to it that a cancellation that was asked for comes out, and no other does."""
    try:
        return await execute()
    except BaseException as error:
        await answer(error, place)
        raise


async def answer(error: BaseException, place: Place) -> None:
    """Let what came out of user code stand, or raise what has to come out in its place.

    To be awaited where ``error`` is being handled.

    Args:
        error: anything.
        place: whose code it was.

    Raises:
        UnexpectedCancellationError: it is a cancellation that nobody had asked for.
        BaseException: the cancellation that was asked for, and got lost in it.
    """
    caller = place.run.caller
    if isinstance(error, Exception):
        if caller.being_cancelled():
            await _give_way(error, place)
    elif isinstance(error, anyio.get_cancelled_exc_class()):
        if not caller.cancellation_requested():
            raise _made_up(place) from error
    elif isinstance(error, BaseExceptionGroup):
        # Cancellation and errors at once: the cancellation must get through alone, else
        # the scope that asked for it cannot take it.
        swept, rest = error.split(anyio.get_cancelled_exc_class())
        if swept is None or not (rest is None or isinstance(rest, Exception)):
            return
        if not caller.cancellation_requested():
            raise _made_up(place) from error
        if rest is not None:
            _spoil(rest, place)
        await caller.give_way()
        raise swept from None


async def _give_way(error: Exception, place: Place) -> None:
    """Let the cancellation that was asked for come out in the place of what came of it.

    A clean-up that raises would otherwise keep the caller, or the time limit, from what
    was asked for. What this run itself cancels, a failure's siblings, it also awaits and
    tells; there the error stays.
    """
    if place.lineage.why().reason in (semconv.REASON_EXTERNAL, semconv.REASON_TIMEOUT):
        _spoil(error, place)
        await place.run.caller.give_way()


def _spoil(error: Exception, place: Place) -> None:
    place.tally.spoiled = error
    attempts = max(place.tally.attempts, 1)
    late = failure_of(error, place.path, index=place.index, attempts=attempts)
    place.lineage.add_late(late)


def _made_up(place: Place) -> UnexpectedCancellationError:
    return UnexpectedCancellationError(
        place.path,
        "was cancelled although no scope of this run asked for it; probably it awaited "
        "a task or future that something else cancelled. Catch that where it happens",
    )
