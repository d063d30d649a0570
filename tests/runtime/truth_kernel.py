"""Processes in simulated time: what happens when, and what it was waited for.

A :class:`Moment` remembers which moment had to come before it, and for what the time between
them was waited. Nothing of Hush, of asyncio or of trio is in here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple


class Moment:
    """An instant at which something could go on."""

    __slots__ = ("at", "before", "label")

    def __init__(self, at: float, label: str = "", *before: Moment) -> None:
        self.at = at
        self.label = label
        """For what was waited since ``before``."""
        self.before = before
        """What came before; several where each of them is as good an answer."""

    def after(self, at: float, label: str) -> Moment:
        return Moment(at, label, self)

    @property
    def took(self) -> float:
        return self.at - self.before[0].at

    def follows(self, other: Moment) -> bool:
        """Say whether this came of another one that was at the same instant."""
        if self is other:
            return True
        return any(one.at == other.at and one.follows(other) for one in self.before)

    def back_to(self, began: float) -> Iterator[tuple[str, float]]:
        """Yield what was waited for and how long since an instant, the last first."""
        at = self
        while at.before and at.at > began:
            yield at.label, at.took
            at = at.before[0]

    def ways(self) -> list[list[tuple[str, float]]]:
        """Return all that was waited for, from the beginning, one answer after the other."""
        steps: list[tuple[str, float]] = []
        at = self
        while at.before:
            steps.append((at.label, at.took))
            if len(at.before) > 1:
                return [way + steps[::-1] for one in at.before for way in one.ways()]
            at = at.before[0]
        return [steps[::-1]]


class Blame(NamedTuple):
    """Why something was cancelled."""

    reason: str
    cause: str | None


class CancelledError(Exception):
    """Thrown into a process that is to stop."""


@dataclass
class End:
    """How something ended."""

    outcome: str
    """``ok``, ``error``, ``timeout`` or ``cancelled``."""
    moments: list[Moment]
    """What made it end then; where it was cancelled with several things in it, each of those
    that stopped last."""
    failed: str | None = None
    """Path of what failed."""

    def __post_init__(self) -> None:
        """Make one moment of several that are as good."""
        one = self.moments[0]
        self.moment = one if len(self.moments) == 1 else Moment(one.at, "", *self.moments)
        self.at = one.at


class Mailbox:
    """What a process waits for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.letters: list[Any] = []
        self.wake: Callable[[], None] | None = None

    def put(self, letter: Any) -> None:
        self.letters.append(letter)
        if self.wake is not None:
            self.world.later(self.world.now, self.wake)
            self.wake = None

    def take(self) -> Waiting:
        while not self.letters:
            yield self
        return self.letters.pop(0)


Waiting = Generator[Any, None, Any]
"""Yields the instant, or the mailbox, that it waits for."""


class World:
    """The clock and what is to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self.number = itertools.count()
        self.coming: list[tuple[float, bool, int, Callable[[], None]]] = []
        self.unclear: str | None = None
        """Why two answers would be right."""

    def later(self, at: float, call: Callable[[], None], *, last: bool = False) -> None:
        """Call something at an instant; ``last`` of all that happens then, cancellations too."""
        heappush(self.coming, (at, last, next(self.number), call))

    def run(self) -> None:
        while self.coming:
            self.now, _, _, call = heappop(self.coming)
            call()


class Process:
    """Something that goes on by itself and can be cancelled."""

    def __init__(
        self,
        world: World,
        body: Callable[[Process], Waiting],
        start: Moment,
        ended: Callable[[End], None],
    ) -> None:
        self.world = world
        self.body = body(self)
        self.start = start
        self.ended = ended
        self.turn = 0
        self.over = False
        self.blame: Blame | None = None
        self.shielded = False
        self.failing = False
        """Whether it stops what is in it, because something there failed."""
        world.later(world.now, self._waker())

    def _waker(self) -> Callable[[], None]:
        self.turn += 1
        turn = self.turn
        return lambda: self._go(turn, None)

    def _go(self, turn: int, error: Exception | None) -> None:
        if self.over or turn != self.turn:
            return
        try:
            wait = next(self.body) if error is None else self.body.throw(error)
        except StopIteration as stop:
            self.over = True
            self.ended(stop.value)
        except CancelledError:
            self.over = True
            self.ended(End("cancelled", [self.start]))
        else:
            if isinstance(wait, Mailbox):
                wait.wake = self._waker()
            else:
                self.world.later(wait, self._waker())

    def cancel(self, blame: Blame) -> None:
        if self.over or self.blame is not None:
            return
        if self.failing:
            self.world.unclear = "cancelled while it was failing"
        if self.world.now == self.start.at:
            self.world.unclear = "cancelled in the moment in which it began"
        self.blame = blame
        if not self.shielded:
            self.turn += 1
            turn = self.turn
            self.world.later(self.world.now, lambda: self._go(turn, CancelledError()))


class Limiter:
    """So many at a time, in the order in which they ask."""

    def __init__(self, world: World, places: int) -> None:
        self.world = world
        self.places = places
        self.queue: list[Mailbox] = []

    def acquire(self) -> Waiting:
        if self.places:
            self.places -= 1
            return
        mine = Mailbox(self.world)
        self.queue.append(mine)
        try:
            yield from mine.take()
        except CancelledError:
            if mine in self.queue:
                self.queue.remove(mine)
            else:
                self.release()
            raise

    def release(self) -> None:
        self.world.later(self.world.now, self._pass_on, last=True)

    def _pass_on(self) -> None:
        if self.queue:
            self.queue.pop(0).put("yours")
        else:
            self.places += 1


def drained(
    me: Process,
    running: dict[int, Process],
    box: Mailbox,
    stopped: Callable[[int, End], list[Moment]],
    moments: list[Moment],
) -> Waiting:
    """Cancel what is running and wait until all of it has stopped."""
    me.shielded = True
    for process in running.values():
        process.cancel(me.blame)
    while running:
        i, end = yield from box.take()
        if i not in running:
            continue
        del running[i]
        if end.outcome != "cancelled":
            me.world.unclear = "ended in the same moment in which it was cancelled"
        moments += stopped(i, end)
    latest = max(one.at for one in moments)
    return End("cancelled", [one for one in moments if one.at == latest])
