"""The limits of one resource: concurrency, requests and tokens per minute, in one queue.

One limiter per resource and process; its nodes, runs and event loops, in several threads,
share it. It knows nothing of language models: a request has a number of tokens, that is
all. First come, first served: whoever is at the head holds up everyone behind, so that a
large request is never overtaken for ever by small ones.

Two halves. :class:`~hush.providers.admission.Queue` decides: events in, entries to wake out,
without I/O. The desk takes the events from all threads. Nobody ever waits for its lock: what is to be done goes
into an inbox, and whoever gets the lock works the inbox off, also for the others. A lock
that is waited for would be a trap, since the garbage collector may close a forgotten
coroutine, which then gives up its place, while its own thread holds the lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio.lowlevel

from hush.providers.admission import Entry, Queue
from hush.providers.buckets import Bucket
from hush.providers.waking import Sleeper

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Limiter", "LimiterSnapshot", "Permit")


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


class _Desk:
    """Where all threads bring their events to the queue. No thread waits for another."""

    def __init__(self, queue: Queue, clock: Callable[[], float]) -> None:
        self.queue = queue
        self.clock = clock
        self._inbox: deque[Callable[[float], None]] = deque()
        self._lock = threading.Lock()

    def tell(self, event: Callable[[float], None], teller: Entry | None = None) -> None:
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

    def __init__(self, desk: _Desk | None = None, entry: Entry | None = None) -> None:
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
        self._queue = Queue(
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

    async def acquire(
        self, tokens: int, on_cut: Callable[[str, float], None] | None = None
    ) -> Permit:
        """Wait until all limits let a request through. Always a checkpoint.

        Cancelled while it waits, also at the very moment of admission, it leaves the queue
        and holds nothing. There is nothing to release then; after it has returned, the
        caller must release the permit, whatever happens.

        Args:
            tokens: how many the request will probably use; at least 0.
            on_cut: called where the wait is cut short, with the limit that held it up and
                the seconds until then.

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
        entry = Entry(tokens, Sleeper())
        try:
            desk.tell(partial(queue.join, entry), entry)
            if entry.admitted:
                await anyio.lowlevel.cancel_shielded_checkpoint()
            while not entry.admitted:
                await entry.sleeper.sleep(entry.until - desk.clock())
                if not entry.admitted and desk.clock() >= entry.until:
                    desk.tell(partial(queue.look, entry), entry)
        except BaseException:
            limit = queue.blocked_by
            if on_cut is not None and limit is not None:
                on_cut(limit, max(0.0, desk.clock() - entry.arrived))
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
