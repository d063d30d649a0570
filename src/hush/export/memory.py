"""What is on its way to the disk: written as it comes, kept while the disk does not take it.

Bounded, in spans and in bytes. Never raises, and waits for a disk that stands still only
for a moment: who hands something over has a run to go on with. Knows nothing of how
batches are made or sent.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.export.complaints import Complaints
from hush.export.counts import counts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hush.export.batch_file import Payload
    from hush.export.options import Signal
    from hush.export.route import Route
    from hush.export.spool import Spool

__all__ = ("Memory",)

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
STALLED_S: Final = 1.0
"""How long anybody waits for somebody else who is writing, in seconds."""
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
        stalled: whether somebody was writing for so long that others gave up waiting.
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
        self.stalled = False
        self._lock = threading.Lock()  # of what is below, never held while files are written
        self._disk = threading.Lock()  # held by whoever writes, for as long as that takes
        self._pending: deque[Payload] = deque()
        self._in_flight: Payload | None = None
        self.count = 0
        """How many spans and the like it holds."""
        self.gone = 0
        """How many have left it for the disk or the receiver."""
        self._bytes = 0

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
            self._hold(payload, 1)
        if self.store():
            return True
        options = self.spool.options
        with self._lock:
            fits = self.count <= options.queue_size and self._bytes <= options.queue_bytes
            # Alone it is kept in any case: a batch may be larger than a small queue.
            if fits or len(self._pending) == 1 or not self._removed(payload):
                return True
            self._hold(payload, -1)
        counts.drop(payload.signal, self.trouble, payload.count)
        self.complaints.warn(
            f"{payload.signal} are lost: neither the disk nor the memory has room for them",
            count=payload.count,
            why=self.trouble,
        )
        return False

    def _hold(self, payload: Payload, sign: int) -> None:
        self.count += sign * payload.count
        self._bytes += sign * len(payload.data)

    def _removed(self, payload: Payload) -> bool:
        """Take a batch out, unless it is not there any more."""
        for place, one in enumerate(self._pending):
            if one is payload:
                del self._pending[place]
                return True
        return False

    def store(self, wait_s: float = STALLED_S) -> bool:
        """Write what is held, and say whether all of it is on the disk now.

        Args:
            wait_s: how long to wait for somebody else who is writing, in seconds.
        """
        if not self._pending:
            return True
        if not self._disk.acquire(timeout=wait_s):
            self.stalled = True
            self.trouble = self.trouble or "disk_error"
            self.complaints.warn("the disk stands still; what is to be sent waits in memory")
            return False
        try:
            self.stalled = False
            self.trouble = self._stored()
        finally:
            self._disk.release()
        return not self.trouble

    def _stored(self) -> str:
        """Write what is held, and return why that did not go on."""
        while True:
            with self._lock:
                payload = self._pending[0] if self._pending else None
            if payload is None:
                return ""
            try:
                if not self._has_room():
                    return "spool_full"
                batch = self.spool.write(payload)
                with self._lock:
                    ours = self._removed(payload)
                    if ours:
                        self._hold(payload, -1)
                        self.gone += payload.count
                if not ours:
                    # It took so long that somebody has sent it from here, or counted it as lost.
                    self.spool.remove(batch)
            except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
                self.complaints.warn(
                    "the spool cannot be written; what is to be sent waits in memory",
                    error=f"{type(error).__name__}: {text_of(error)}",
                )
                full = isinstance(error, OSError) and error.errno in _FULL
                return "disk_full" if full else "disk_error"

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
                    self._removed(payload)
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
                self._hold(self._in_flight, -1)
                self.gone += self._in_flight.count
                self._in_flight = None

    def close(self, *, write: bool) -> None:
        """Write what is left, for the last time, and count what cannot be.

        Args:
            write: False where the disk is known to stand still.
        """
        with self._lock:
            if self._in_flight is not None:
                # Perhaps it arrives, perhaps not; twice is better than never.
                self._pending.appendleft(self._in_flight)
                self._in_flight = None
        if write and self.store():
            return
        why = self.trouble if write and not self.stalled else "exit"
        lost = Counter[str]()
        with self._lock:
            for payload in self._pending:
                lost[payload.signal] += payload.count
                counts.drop(payload.signal, why, payload.count)
            self._pending.clear()
            self.count = self._bytes = 0
        if not lost:
            return
        self.complaints.warn(
            "telemetry is lost at the end of the process: the spool cannot be written",
            why=why,
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
