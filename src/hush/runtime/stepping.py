"""Stepping: whose code the event loop of a thread is in right now.

A loop runs one step at a time: from where a coroutine goes on to where it waits again. A
step that lasts holds up everything else on that loop, and nothing on the other spans says
why. So each step leaves a stamp: who, and since when.
"""

from __future__ import annotations

import math
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from hush.runtime.starvation import Processor, Starvation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ("BLOCKED_S", "Owner", "Stamp", "all_stamps", "lost_s", "stamp_here", "starvation")

T = TypeVar("T")

BLOCKED_S: Final = 0.1
"""A step that lasts longer holds up the loop: a tenth of a second is what people notice."""
AT_ONCE_S: Final = 0.01
"""What follows a step that lasted so soon had waited for it; a busy machine needs no less."""
AT_ONCE_SHARE: Final = 0.05
"""Nor does who was held up for long go on at the same instant as all the others who were."""

BREATH_S: Final = 0.0005
"""How long work that never waits goes on before the loop gets its turn."""
ROUND_S: Final = 0.002
"""How long all of it together does, where several take turns: then each goes on for less."""
TURN_S: Final = 0.00004
"""How long whoever waited for something may go on when that is there: the loop has just had its
turn, but a hundred others may be ready too. In a map of items that wait, none has to wait again
before it begins."""
WOKEN_S: Final = 0.0025
"""How long all of them together may, where many are woken at the same time."""


class Owner(Protocol):
    """Whoever is stepped."""

    left_at: float
    """When its last step ended; written by the stamp."""
    over: bool
    """Whether what it does now is not its doing any more."""

    def kept_waiting(self, held_from: float, held_until: float) -> None:
        """Hear that it goes on as soon as others no longer hold the loop.

        Args:
            held_from: since when they had held it, without a gap.
            held_until: and until when.
        """

    def blocked(self, seconds: float, where: str | None) -> None:
        """Hear that a step lasted too long.

        Args:
            seconds: how long, without what was inside of it.
            where: file and line, where the watchdog saw them.
        """

    def starved(self, seconds: float) -> None:
        """Hear that a step lasted long through no fault of its own.

        Args:
            seconds: how long, without what was inside of it.
        """


class Stamp:
    """What a thread's loop is doing."""

    __slots__ = (
        "_woken_at",
        "_woken_from",
        "at_once_until",
        "caught",
        "caught_since",
        "held_from",
        "held_until",
        "inner_s",
        "owner",
        "processor",
        "since",
        "thread",
        "thrown",
        "until",
        "where",
    )

    def __init__(self, thread: int) -> None:
        """Start idle, in the thread that it is of.

        Args:
            thread: the thread's identity.
        """
        self.thread = thread
        self.processor = Processor(perf_counter())
        self.owner: Owner | None = None
        self.since = 0.0
        self.inner_s = 0.0
        """Seconds of steps inside the present one, which are theirs."""
        self.caught: Owner | None = None
        """Whom the watchdog saw."""
        self.caught_since = 0.0
        """In which of its steps: when that began."""
        self.where: str | None = None
        self.held_from = self.held_until = self.at_once_until = -math.inf
        """When the loop was held last, by steps that lasted and left nobody a turn between; and
        until when whoever goes on is taken to have waited for that."""
        self._woken_from = self._woken_at = -math.inf
        self.thrown = False
        """Whether an exception was thrown into what had waited; if it still goes on, then after the
        loop's next turn."""
        self.until = 0.0
        """How long whoever goes on now may do so before the loop has its turn; by perf_counter."""

    def had_turn(self, now: float) -> None:
        """Take note that the loop has just had its turn: something waited for it and goes on.

        Args:
            now: the instant, by perf_counter.
        """
        if self.thrown:
            self.thrown, self.until = False, 0.0
            return
        if now - self._woken_at > BREATH_S:
            # Since the one before, the loop has been elsewhere.
            self._woken_from = now
        self._woken_at = now
        if now - self._woken_from <= WOKEN_S:
            self.until = max(self.until, now + TURN_S)

    def work_for(self, seconds: float) -> None:
        """Take note that whoever goes on now may do so for a while: the loop had its turn.

        Args:
            seconds: for how long.
        """
        self._woken_from = self._woken_at = now = perf_counter()
        self.until = now + seconds

    def step(self, owner: Owner, run: Callable[..., T], *args: Any) -> T:
        """Run one step.

        Args:
            owner: whose it is.
            run: does it.
            *args: for ``run``.
        """
        outer, outer_since, outer_inner = self.owner, self.since, self.inner_s
        self.owner, self.inner_s = owner, 0.0
        began = self.since = perf_counter()
        if began < self.at_once_until:
            owner.kept_waiting(self.held_from, self.held_until)
        try:
            return run(*args)
        finally:
            owner.left_at = now = perf_counter()
            lasted = now - began
            if lasted - self.inner_s > BLOCKED_S:
                self.settle(owner)
            self.owner, self.since = outer, outer_since
            self.inner_s = outer_inner + lasted

    def step_in(
        self,
        owner: Owner,
        context: Context,
        begin: Callable[[], T],
        end: Callable[[T], object] | None,
        began: float,
    ) -> T:
        """Run a step that may be the last of its owner's, and what follows the last one.

        As two calls of :meth:`step`, with one reading of the clock for the end of the one and
        the start of the other.

        Args:
            owner: whose it is.
            context: entered for the step.
            begin: does it.
            end: called after it, outside of the context, with what came of it; says with the
                owner's ``over`` that it is not the owner's doing. None where nobody watches.
            began: the instant.
        """
        outer, outer_since, outer_inner = self.owner, self.since, self.inner_s
        self.owner, self.inner_s, self.since = owner, 0.0, began
        if began < self.at_once_until:
            owner.kept_waiting(self.held_from, self.held_until)
        try:
            result = context.run(begin)
            if end is not None:
                now = perf_counter()
                if now - began - self.inner_s > BLOCKED_S:
                    self.settle(owner)
                    # What is logged of it is nobody's doing.
                    now = perf_counter()
                self.since, self.inner_s = now, 0.0
                end(result)
            return result
        finally:
            owner.left_at = now = perf_counter()
            if now - self.since - self.inner_s > BLOCKED_S:
                self.settle(owner)
            self.owner, self.since = outer, outer_since
            self.inner_s = outer_inner + (now - began)
            owner.over = False

    def settle(self, owner: Owner) -> None:
        """Tell an owner if its present step has lasted too long already.

        Where a step ends together with what it belongs to, that must be told before.

        Args:
            owner: whose step it is; nothing happens where it is another's.
        """
        now = perf_counter()
        own = now - self.since - self.inner_s
        if own <= BLOCKED_S or self.owner is not owner:
            return
        # What was told is not told again when the step is over.
        self.inner_s += own
        caught = self.caught is owner and self.caught_since == self.since
        where = self.where if caught else None
        self.caught = None
        if starvation.blames(self.processor, self.since, now, BLOCKED_S):
            owner.starved(own)
            return
        if self.since > self.at_once_until:
            self.held_from = self.since
        self.held_until = now
        self.at_once_until = now + max(AT_ONCE_S, AT_ONCE_SHARE * (now - self.held_from))
        owner.blocked(own, where)


def lost_s(asleep_s: float, free_s: float) -> float:
    """Return about how long somebody waited for a loop that others held.

    When what it awaited was there, nobody knows: some time after the loop was taken. Of
    waits of any length equally many are taken to be twice as long as another (a log-uniform
    prior), so that who had slept a little before was ready soon, and who had slept long
    may just as well have been ready late.

    Args:
        asleep_s: from the end of its last step to the end of the others' steps.
        free_s: how much of that was over when they began.
    """
    if asleep_s <= free_s:
        return 0.0
    if free_s < AT_ONCE_S:
        return asleep_s
    return asleep_s - (asleep_s - free_s) / math.log(asleep_s / free_s)


starvation = Starvation()
"""When no thread of the process was let on, as the watchdog has seen."""
_stamps: dict[int, Stamp] = {}
_here = threading.local()


def stamp_here() -> Stamp:
    """Return this thread's stamp."""
    stamp: Stamp | None = getattr(_here, "stamp", None)
    if stamp is None:
        thread = threading.get_ident()
        # Identities are used again; whoever had it before has ended.
        stamp = _here.stamp = _stamps[thread] = Stamp(thread)
    return stamp


def all_stamps() -> list[Stamp]:
    """Return the stamps of all threads that ever ran a loop; from any thread."""
    return list(_stamps.values())
