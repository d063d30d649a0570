"""Starvation: whether a loop stood still because its thread was not let on.

A step of a node lasts for one of two reasons: the node does not let go, or its thread gets
no processor, since other threads compute in Python and hold the interpreter, or the machine
is busy. The watchdog's thread needs both just the same. If it came late too, while the
loop's thread used hardly any processor time, the node is innocent.

No clock is read here but that of a thread's processor time: the instants are told.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ("Processor", "Starvation")

REMEMBERED: Final = 64
"""How many looks and late wake-ups are remembered: those of the last few seconds."""
LATE_S: Final = 0.01
"""A wake-up that comes later than this after its time is late."""
MOST: Final = 0.5
"""Share of a step in which nobody was let on, from which on it is nobody's fault."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a thread had had at an instant."""

    at: float
    used_s: float
    """Processor time."""
    queued_s: float
    """For how long it could have run and none was free."""


class Processor:
    """The processor time of one thread; made in that thread, looked at by any."""

    __slots__ = ("_clock", "_looks", "_queue")

    def __init__(self, now: float) -> None:
        """Find the current thread's clock, and look at it.

        Args:
            now: the instant.
        """
        self._clock: int | None = None
        self._looks: deque[_Look] = deque(maxlen=REMEMBERED)
        # Of Linux (proc(5), schedstat): nanoseconds on a processor, and waiting for one.
        self._queue = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self.look(now)

    def look(self, now: float) -> None:
        """Remember how much it is now. Safe also when the thread has ended.

        Args:
            now: the instant.
        """
        if self._clock is None:
            return
        try:
            used_s = time.clock_gettime(self._clock)
        except OSError:
            self._clock = None
            return
        self._looks.append(_Look(now, used_s, self.queued_s()))

    def queued_s(self) -> float:
        """Return for how long it could have run and no processor was free; 0 if unknown.

        Safe to be asked in any thread.
        """
        try:
            with open(self._queue, encoding="ascii") as file:  # noqa: PTH123  # a path object costs as much again
                return int(file.read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def since(self, instant: float) -> tuple[float, float]:
        """Return what the thread had since an instant, or a little more.

        Only to be asked in the thread itself.

        Args:
            instant: when.

        Returns:
            Processor time in seconds, infinite where that cannot be told; and for how many
            seconds it could have run and no processor was free, 0 where that cannot be told.
        """
        for look in reversed(self._looks.copy()):
            if look.at <= instant:
                return time.thread_time() - look.used_s, self.queued_s() - look.queued_s
        return math.inf, 0.0


@dataclass(frozen=True, slots=True)
class _Late:
    """For how long the watchdog was not there although it was due."""

    begin: float
    end: float
    queued_s: float
    """For how much of that it only had no processor, which says nothing of others."""

    def within(self, since: float, now: float) -> float:
        """Return for how long of a period something else kept it."""
        late_s = self.end - self.begin
        overlap_s = min(self.end, now) - max(self.begin, since)
        if late_s <= 0.0 or overlap_s <= 0.0:
            return 0.0
        return overlap_s * max(0.0, 1.0 - self.queued_s / late_s)


class Starvation:
    """When the watchdog was not let on."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._late: deque[_Late] = deque(maxlen=REMEMBERED)
        self._due = math.inf
        self._watcher: Processor | None = None
        self._queued_s = 0.0

    def goes_on(self, now: float, due: float, watcher: Processor | None = None) -> None:
        """Take note that the watchdog is there.

        Args:
            now: the instant.
            due: when it should be next: now where it has work to do, later where it sleeps.
            watcher: of its thread; None where that does not run yet.
        """
        if now - self._due > LATE_S:
            self._late.append(self._lateness(now))
        self._watcher = watcher
        self._queued_s = 0.0 if watcher is None else watcher.queued_s()
        self._due = due

    def _lateness(self, now: float) -> _Late:
        queued_s = 0.0 if self._watcher is None else self._watcher.queued_s() - self._queued_s
        return _Late(self._due, now, queued_s)

    def rests(self) -> None:
        """Take note that there is no watchdog any more."""
        self._due = math.inf
        self._watcher = None

    def blames(self, processor: Processor, since: float, now: float, most_s: float) -> bool:
        """Say whether a step lasted because nobody was let on.

        Args:
            processor: of the loop's thread, which asks.
            since: when the step began.
            now: when it ended.
            most_s: how much processor time it may have used to be innocent.
        """
        late = [*self._late, self._lateness(now)]
        late_s = sum(one.within(since, now) for one in late)
        used_s, queued_s = processor.since(since)
        return max(late_s, queued_s) > MOST * (now - since) and used_s < most_s
