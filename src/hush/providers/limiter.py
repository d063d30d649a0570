"""The limits of one resource: concurrency, requests and tokens per minute, in one queue.

One limiter per resource and process; its nodes, runs and event loops, in several threads,
share it. It knows nothing of language models: a request has a number of tokens, that is
all. First come, first served: whoever is at the head holds up everyone behind, so that a
large request is never overtaken for ever by small ones.

Two halves. :class:`_Queue` decides: events in, entries to wake out, without I/O. The desk
takes the events from all threads. Nobody ever waits for its lock: what is to be done goes
into an inbox, and whoever gets the lock works the inbox off, also for the others. A lock
that is waited for would be a trap, since the garbage collector may close a forgotten
coroutine, which then gives up its place, while its own thread holds the lock.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.lowlevel

from hush.providers.buckets import Bucket
from hush.providers.waking import Sleeper

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Limiter", "LimiterSnapshot", "Permit")

_LIMITS: Final = ("max_concurrency", "requests_per_minute", "tokens_per_minute")


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    """How a limiter stands, for diagnosis."""

    in_use: int
    """Permits held; always 0 where nothing is limited, because nothing is counted then."""
    waiting: int
    """Tasks in the queue, on all event loops."""
    request_level: float | None
    """Requests that may start now; below 0 is debt. None where they are not limited."""
    token_level: float | None
    """Tokens that may be taken now; below 0 is debt. None where they are not limited."""


@dataclass(slots=True, eq=False)
class _Entry:
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


class _Queue:
    """Who is in, who waits, and who is next. Its caller holds the lock and tells the time.

    After every event :meth:`settle` lets in whom the limits allow.
    """

    def __init__(self, slots: int | None, requests: Bucket | None, tokens: Bucket | None) -> None:
        self.slots = slots
        self.requests = requests
        self.tokens = tokens
        self.in_use = 0
        self.waiting = 0
        self.to_wake: list[_Entry] = []
        """Whose tasks are to look how they stand; the caller wakes them and empties it."""
        self._joined = 0
        # By event loop those who wait on it, in the order of arrival.
        self._lines: dict[object, OrderedDict[int, _Entry]] = {}
        # By limit: how much longer it holds up the head, and how long heads were held up in
        # all. Whoever is behind the head waits for what the head waits for.
        self._delays: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._held: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._since = 0.0

    def join(self, entry: _Entry, now: float) -> None:
        self._account(now)
        entry.number, entry.arrived, entry.held = self._joined, now, self._held
        self._joined += 1
        self._lines.setdefault(entry.sleeper.loop, OrderedDict())[entry.number] = entry
        self.waiting += 1

    def look(self, entry: _Entry, _now: float) -> None:
        """Take note that its time has come; :meth:`settle` sets the next."""
        entry.until = math.inf

    def give_up(self, entry: _Entry, now: float) -> None:
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

    def release(self, entry: _Entry, _now: float) -> None:
        if not entry.over:
            entry.over = True
            self.in_use -= 1

    def correct(self, entry: _Entry, real_tokens: int, now: float) -> None:
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
    def _first(line: OrderedDict[int, _Entry]) -> _Entry:
        return next(iter(line.values()))

    def _delays_of(self, entry: _Entry, now: float) -> tuple[float, ...]:
        full = self.slots is not None and self.in_use >= self.slots
        return (
            math.inf if full else 0.0,
            0.0 if self.requests is None else self.requests.delay(1, now),
            0.0 if self.tokens is None else self.tokens.delay(entry.tokens, now),
        )

    def _admit(self, entry: _Entry, now: float) -> None:
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

    def _leave(self, entry: _Entry) -> None:
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


class _Desk:
    """Where all threads bring their events to the queue. No thread waits for another."""

    def __init__(self, queue: _Queue, clock: Callable[[], float]) -> None:
        self.queue = queue
        self.clock = clock
        self._inbox: deque[Callable[[float], None]] = deque()
        self._lock = threading.Lock()

    def tell(self, event: Callable[[float], None], teller: _Entry | None = None) -> None:
        """Bring an event, and see to it that it is worked off soon, by whichever thread.

        Args:
            event: called with the time, by whoever holds the lock.
            teller: whose task calls this and looks anyway, so need not be woken.
        """
        self._inbox.append(event)
        # Whoever holds the lock meanwhile looks into the inbox once more after letting go.
        while self._inbox and self._lock.acquire(blocking=False):
            try:
                while self._inbox:
                    now = self.clock()
                    self._inbox.popleft()(now)
                    self.queue.settle(now)
                to_wake, self.queue.to_wake = self.queue.to_wake, []
            finally:
                self._lock.release()
            for entry in to_wake:
                if entry is not teller and not entry.sleeper.wake():
                    self._inbox.append(partial(self.queue.give_up, entry))


class Permit:
    """Leave to make one request, until it is released."""

    __slots__ = ("_desk", "_entry", "blocked_by", "waited_s")

    def __init__(self, desk: _Desk | None = None, entry: _Entry | None = None) -> None:
        """Hand out what :meth:`Limiter.acquire` waited for.

        Args:
            desk: where to tell what becomes of it; None where nothing is limited.
            entry: what the queue knows of it; None likewise.
        """
        self._desk = desk
        self._entry = entry
        self.waited_s: float = 0.0 if entry is None else entry.waited_s
        """Seconds from arrival to admission; exactly 0.0 where it went through at once."""
        self.blocked_by: str | None = None if entry is None else entry.blocked_by
        """Which limit held it, or those ahead of it, back the longest: ``max_concurrency``,
        ``requests_per_minute`` or ``tokens_per_minute``; None where it went through at once."""

    def correct(self, real_tokens: int) -> None:
        """Charge what was really used in place of the estimate; only the first time counts.

        From any thread, before or after :meth:`release`.

        Args:
            real_tokens: tokens used; below 0 counts as 0.
        """
        if self._desk is not None and self._entry is not None:
            correct = self._desk.queue.correct
            self._desk.tell(partial(correct, self._entry, max(0, real_tokens)))

    def release(self) -> None:
        """Free the place for the next; a second time has no effect. From any thread."""
        if self._desk is not None and self._entry is not None:
            self._desk.tell(partial(self._desk.queue.release, self._entry))


class Limiter:
    """The limits of one resource, shared by everyone in this process who uses it.

    Safe for threads, each of which may run an asyncio or a trio loop.
    """

    def __init__(
        self,
        name: str,
        *,
        max_concurrency: int | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limits; None means that there is none.

        Args:
            name: the resource's, for whoever reports the wait.
            max_concurrency: permits held at the same time; at least 1.
            requests_per_minute: permits given out in a minute, evenly: after a pause one
                second's worth at once. Above 0.
            tokens_per_minute: tokens in a minute, likewise.
            clock: tells the time in seconds, at the pace of the event loops' own clocks.

        Raises:
            ValueError: a limit is out of its range.
        """
        if max_concurrency is not None and max_concurrency < 1:
            msg = f"Limiter(max_concurrency={max_concurrency!r}): expected at least 1, or None"
            raise ValueError(msg)
        self.name = name
        self._queue = _Queue(
            max_concurrency,
            None if requests_per_minute is None else Bucket(requests_per_minute),
            None if tokens_per_minute is None else Bucket(tokens_per_minute),
        )
        self._desk = _Desk(self._queue, clock)
        self._unlimited = max_concurrency is requests_per_minute is tokens_per_minute is None

    @property
    def unlimited(self) -> bool:
        """Whether there are no limits at all, so that every request passes at once."""
        return self._unlimited

    async def acquire(self, tokens: int) -> Permit:
        """Wait until all limits let a request through. Always a checkpoint.

        Cancelled while it waits, also at the very moment of admission, it leaves the queue
        and holds nothing. There is nothing to release then; after it has returned, the
        caller must release the permit, whatever happens.

        Args:
            tokens: how many the request will probably use; at least 0.

        Returns:
            The permit.

        Raises:
            ValueError: ``tokens`` is below 0.
        """
        if tokens < 0:
            msg = f"acquire(tokens={tokens!r}): expected at least 0"
            raise ValueError(msg)
        if self._unlimited:
            await anyio.lowlevel.checkpoint()
            return Permit()
        await anyio.lowlevel.checkpoint_if_cancelled()
        queue, desk = self._queue, self._desk
        entry = _Entry(tokens, Sleeper())
        try:
            desk.tell(partial(queue.join, entry), entry)
            if entry.admitted:
                await anyio.lowlevel.cancel_shielded_checkpoint()
            while not entry.admitted:
                await entry.sleeper.sleep(entry.until - desk.clock())
                if not entry.admitted and desk.clock() >= entry.until:
                    desk.tell(partial(queue.look, entry), entry)
        except BaseException:
            desk.tell(partial(queue.give_up, entry))
            raise
        return Permit(desk, entry)

    def snapshot(self) -> LimiterSnapshot:
        """Tell how things stand, without stopping anyone: numbers of nearly one moment.

        Returns:
            The numbers.
        """
        now, queue = self._desk.clock(), self._queue
        return LimiterSnapshot(
            in_use=queue.in_use,
            waiting=queue.waiting,
            request_level=None if queue.requests is None else queue.requests.level(now),
            token_level=None if queue.tokens is None else queue.tokens.level(now),
        )
