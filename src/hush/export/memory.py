"""What is on its way to the disk: written as it comes, kept while the disk does not take it.

Bounded, in spans. Never raises: who hands something over has a run to go on with. Knows
nothing of how batches are made or sent.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.export.complaints import Complaints
from hush.export.counts import counts
from hush.export.place import SpoolError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hush.export.batch_file import Payload
    from hush.export.options import Signal
    from hush.export.route import Route
    from hush.export.spool import Spool

__all__ = ("Memory",)

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_BEYOND: Final = 1.5
"""Times ``max_bytes``, beyond which writers help a sender that does not keep to it."""


class Memory:
    """Batches between who makes them and the disk.

    Attributes:
        spool: where they go.
        routes: how batches of each signal are sent.
        complaints: the log.
        trouble: why the disk does not take batches, as a reason of
            ``hush.export.dropped``; empty while it does.
    """

    def __init__(self, spool: Spool, routes: Mapping[Signal, Route]) -> None:
        """Hold nothing yet.

        Args:
            spool: where batches go.
            routes: how they are sent.
        """
        self.spool = spool
        self.routes = dict(routes)
        self._begin()

    def _begin(self) -> None:
        self.complaints = Complaints()
        self.trouble = ""
        self._lock = threading.Lock()
        self._pending: deque[Payload] = deque()
        self._in_flight: Payload | None = None
        self.count = 0
        """How many spans and the like it holds."""

    def after_fork(self) -> None:
        """Begin anew in a child: what the parent holds is the parent's."""
        self.spool.after_fork()
        self._begin()

    def put(self, payload: Payload) -> bool:
        """Take a batch and write it, or keep it where that fails.

        Args:
            payload: what to send.

        Returns:
            False where there was no room to keep it; it is counted then.
        """
        with self._lock:
            self._pending.append(payload)
            self.count += payload.count
            if self._store():
                return True
            # Alone it is kept in any case: a batch may be larger than a small queue.
            if self.count <= self.spool.options.queue_size or len(self._pending) == 1:
                return True
            self._pending.pop()
            self.count -= payload.count
        counts.drop(payload.signal, self.trouble, payload.count)
        self.complaints.warn(
            f"{payload.signal} are lost: neither the disk nor the memory has room for them",
            count=payload.count,
            why=self.trouble,
        )
        return False

    def store(self) -> bool:
        """Write what is held, and say whether all of it is on the disk now."""
        if not self._pending:
            return True
        with self._lock:
            return self._store()

    def _store(self) -> bool:
        while self._pending:
            if not self._has_room():
                self.trouble = "spool_full"
                return False
            try:
                self.spool.write(self._pending[0])
            except (OSError, SpoolError) as error:
                full = isinstance(error, OSError) and error.errno in _FULL
                self.trouble = "disk_full" if full else "disk_error"
                self.complaints.warn(
                    "the spool cannot be written; what is to be sent waits in memory",
                    error=f"{type(error).__name__}: {text_of(error)}",
                )
                return False
            self.count -= self._pending.popleft().count
        self.trouble = ""
        return True

    def _has_room(self) -> bool:
        options = self.spool.options
        used = self.spool.content().disk_bytes
        if options.when_full == "block":
            return used < options.max_bytes
        if used > options.max_bytes * _BEYOND:
            self.evict(options.max_bytes)
        return True

    def evict(self, limit_bytes: int | None) -> None:
        """Remove from the spool what is too old or too much, and count it.

        Args:
            limit_bytes: how much may stay; None for any amount.
        """
        for gone in self.spool.evict(limit_bytes):
            batch = gone.batch
            counts.drop(batch.signal, gone.reason, batch.count)
            self.complaints.warn(
                f"{batch.signal} are lost: they waited too long for the receiver"
                if gone.reason == "too_old"
                else f"{batch.signal} are lost: the spool is full, and the oldest make room",
                count=batch.count,
                spool=str(self.spool.folder),
            )

    # --- for the sender --------------------------------------------------------------------------

    def take(self, signals: Collection[Signal]) -> Payload | None:
        """Return the first batch that the disk did not take, to be sent from here.

        Args:
            signals: those that may be sent now.

        Returns:
            None where there is none; else it has to be given back or be done.
        """
        # A spool that is full and blocks has older batches, which go first.
        if self.trouble in {"", "spool_full"}:
            return None
        with self._lock:
            for payload in self._pending:
                if payload.signal in signals and payload.signal in self.routes:
                    self._in_flight = payload
                    self._pending.remove(payload)
                    return payload
        return None

    def give_back(self, payload: Payload) -> None:
        """Take a batch back that could not be sent."""
        with self._lock:
            if self._in_flight is not None:
                self._pending.appendleft(payload)
                self._in_flight = None

    def done(self) -> None:
        """Forget the batch that was sent."""
        with self._lock:
            if self._in_flight is not None:
                self.count -= self._in_flight.count
                self._in_flight = None

    def close(self) -> None:
        """Write what is left, for the last time, and count what cannot be."""
        with self._lock:
            if self._in_flight is not None:
                # Perhaps it arrives, perhaps not; twice is better than never.
                self._pending.appendleft(self._in_flight)
                self._in_flight = None
            if self._store():
                return
            lost = Counter[str]()
            for payload in self._pending:
                lost[payload.signal] += payload.count
                counts.drop(payload.signal, self.trouble, payload.count)
            self._pending.clear()
            self.count = 0
        self.complaints.warn(
            "telemetry is lost at the end of the process: the spool cannot be written",
            why=self.trouble,
            **lost,
        )

    def queued(self) -> dict[Signal, int]:
        """Return how many of each signal it holds, what is being sent from here included."""
        told: dict[Signal, int] = {}
        # Without the lock, which a slow disk may hold; so what is being sent is looked for twice:
        # it may just be taken, or given back.
        held = (self._in_flight, *list(self._pending), self._in_flight)
        for payload in {id(one): one for one in held if one is not None}.values():
            told[payload.signal] = told.get(payload.signal, 0) + payload.count
        return told
