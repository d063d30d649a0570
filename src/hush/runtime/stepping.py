"""Stepping: whose code the event loop of a thread is in right now.

A loop runs one step at a time: from where a coroutine goes on to where it waits again. A
step that lasts holds up everything else on that loop, and nothing on the other spans says
why. So each step leaves a stamp: who, and since when.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BLOCKED_S", "Owner", "Stamp", "all_stamps", "stamp_here")

T = TypeVar("T")

BLOCKED_S: Final = 0.1
"""A step that lasts longer holds up the loop: a tenth of a second is what people notice."""


class Owner(Protocol):
    """Whoever is stepped."""

    def blocked(self, seconds: float, where: str | None) -> None:
        """Hear that a step lasted too long.

        Args:
            seconds: how long, without what was inside of it.
            where: file and line, where the watchdog saw them.
        """


class Stamp:
    """What a thread's loop is doing."""

    __slots__ = ("caught", "inner_s", "owner", "since", "thread", "where")

    def __init__(self, thread: int) -> None:
        """Start idle.

        Args:
            thread: the thread's identity.
        """
        self.thread = thread
        self.owner: Owner | None = None
        self.since = 0.0
        self.inner_s = 0.0
        """Seconds of steps inside the present one, which are theirs."""
        self.caught: Owner | None = None
        """Whom the watchdog saw."""
        self.where: str | None = None

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
        try:
            return run(*args)
        finally:
            lasted = perf_counter() - began
            if lasted - self.inner_s > BLOCKED_S:
                self.settle(owner)
            self.owner, self.since = outer, outer_since
            self.inner_s = outer_inner + lasted

    def settle(self, owner: Owner) -> None:
        """Tell an owner if its present step has lasted too long already.

        Where a step ends together with what it belongs to, that must be told before.

        Args:
            owner: whose step it is; nothing happens where it is another's.
        """
        own = perf_counter() - self.since - self.inner_s
        if own <= BLOCKED_S or self.owner is not owner:
            return
        # What was told is not told again when the step is over.
        self.inner_s += own
        where = self.where if self.caught is owner else None
        self.caught = None
        owner.blocked(own, where)


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
