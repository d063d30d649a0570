"""Admission: who of those that wait for a resource may go, and who is next.

Events in, entries to wake out, without I/O, locks or clocks: the time is told with each
event, and whoever calls keeps the threads apart.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hush.providers.buckets import Bucket
    from hush.providers.waking import Sleeper

__all__ = ("Entry", "Queue")

_LIMITS: Final = ("max_concurrency", "requests_per_minute", "tokens_per_minute")


@dataclass(slots=True, eq=False)
class Entry:
    """One request's way through the queue."""

    tokens: int
    sleeper: Sleeper
    number: int = -1
    """Its place in the order of arrival."""
    arrived: float = 0.0
    held: tuple[float, ...] = ()
    """For how long each limit had held up the queue when it arrived."""
    until: float = math.inf
    """When it is to look by itself."""
    admitted: bool = False
    over: bool = False
    """Whether it has left: released, given up, or dropped together with its loop."""
    corrected: bool = False
    waited_s: float = 0.0
    blocked_by: str | None = None


class Queue:
    """Who is in, who waits, and who is next. Its caller holds the lock and tells the time.

    After every event :meth:`settle` lets in whom the limits allow.
    """

    def __init__(self, slots: int | None, requests: Bucket | None, tokens: Bucket | None) -> None:
        self.slots = slots
        self.requests = requests
        self.tokens = tokens
        self.in_use = 0
        self.waiting = 0
        self.to_wake: list[Entry] = []
        """Whose tasks are to look how they stand; the caller wakes them and empties it."""
        self._joined = 0
        # By event loop those who wait on it, in the order of arrival.
        self._lines: dict[object, OrderedDict[int, Entry]] = {}
        # By limit: how much longer it holds up the head, and how long heads were held up in
        # all. Whoever is behind the head waits for what the head waits for.
        self._delays: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._held: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._since = 0.0

    @property
    def blocked_by(self) -> str | None:
        """The limit that holds up the head now; None where nobody is held up."""
        if not any(self._delays):
            return None
        return _LIMITS[max(range(3), key=self._delays.__getitem__)]

    def join(self, entry: Entry, now: float) -> None:
        """Put it at the end of the queue."""
        self._account(now)
        entry.number, entry.arrived, entry.held = self._joined, now, self._held
        self._joined += 1
        self._lines.setdefault(entry.sleeper.loop, OrderedDict())[entry.number] = entry
        self.waiting += 1

    def look(self, entry: Entry, _now: float) -> None:
        """Take note that its time has come; :meth:`settle` sets the next."""
        entry.until = math.inf

    def give_up(self, entry: Entry, now: float) -> None:
        """Let it leave with nothing; what it was given meanwhile, it has not used."""
        if entry.over:
            return
        if entry.admitted:
            if self.requests is not None:
                self.requests.give(1, now)
            self.correct(entry, 0, now)
            self.release(entry, now)
        else:
            entry.over = True
            self._leave(entry)

    def release(self, entry: Entry, _now: float) -> None:
        """Free its slot, once."""
        if not entry.over:
            entry.over = True
            self.in_use -= 1

    def correct(self, entry: Entry, real_tokens: int, now: float) -> None:
        """Charge what it really took instead of the estimate, once."""
        if not entry.corrected:
            entry.corrected = True
            if self.tokens is not None:
                self.tokens.give(entry.tokens - real_tokens, now)

    def settle(self, now: float) -> None:
        """Let in everyone who may go, and see to it that somebody looks again in time."""
        self._account(now)
        for line in list(self._lines.values()):
            while line and self._first(line).sleeper.lost:
                self.give_up(self._first(line), now)
        delays: tuple[float, ...] = (0.0, 0.0, 0.0)
        while self._lines:
            head = min(map(self._first, self._lines.values()), key=lambda entry: entry.number)
            delays = self._delays_of(head, now)
            if any(delays):
                break
            self._admit(head, now)
        self._delays = delays
        if delays[0]:
            # Only an event frees a slot, and after each event somebody settles.
            return
        alarm = now + max(delays)
        # Not the head alone: its loop may be closed, or busy with something else.
        for first in map(self._first, self._lines.values()):
            if first.until > alarm:
                first.until = alarm
                self.to_wake.append(first)

    @staticmethod
    def _first(line: OrderedDict[int, Entry]) -> Entry:
        return next(iter(line.values()))

    def _delays_of(self, entry: Entry, now: float) -> tuple[float, ...]:
        full = self.slots is not None and self.in_use >= self.slots
        return (
            math.inf if full else 0.0,
            0.0 if self.requests is None else self.requests.delay(1, now),
            0.0 if self.tokens is None else self.tokens.delay(entry.tokens, now),
        )

    def _admit(self, entry: Entry, now: float) -> None:
        self._leave(entry)
        self.in_use += 1
        if self.requests is not None:
            self.requests.take(1, now)
        if self.tokens is not None:
            self.tokens.take(entry.tokens, now)
        entry.waited_s = max(0.0, now - entry.arrived)
        if entry.waited_s:
            # The second key decides where the differences were lost in rounding.
            entry.blocked_by = _LIMITS[
                max(range(3), key=lambda i: (self._held[i] - entry.held[i], self._delays[i]))
            ]
        entry.admitted = True
        self.to_wake.append(entry)

    def _leave(self, entry: Entry) -> None:
        line = self._lines[entry.sleeper.loop]
        del line[entry.number]
        self.waiting -= 1
        if not line:
            del self._lines[entry.sleeper.loop]

    def _account(self, now: float) -> None:
        """Book the time gone by on the limits that held up the head. Settling follows."""
        elapsed_s, self._since = max(0.0, now - self._since), now
        if any(self._delays):
            pairs = zip(self._held, self._delays, strict=True)
            self._held = tuple(held + min(elapsed_s, delay) for held, delay in pairs)
