"""The way out for everything that goes to one receiver: memory, disk, sender.

One for each receiver in a process, shared by spans, metrics and logs; forked children
begin anew. Takes OTLP requests as bytes and knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hush.export.batch_file import Payload
from hush.export.counts import counts, watch
from hush.export.lock import lockable, read_status
from hush.export.memory import STALLED_S, Memory
from hush.export.options import SIGNALS, SpoolOptions
from hush.export.place import (
    VARIABLE,
    SpoolError,
    default_root,
    folder_for,
    prepare,
    said_by_variable,
)
from hush.export.receiver import compressed
from hush.export.route import route_of
from hush.export.sender import Sender
from hush.export.spool import Spool
from hush.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.export.options import Signal
    from hush.export.receiver import Answer
    from hush.export.route import Route

__all__ = ("Holder", "Outbox", "open_outbox", "spool_root", "spool_supported")

_LOOK_S: Final = 0.005
_STATUS_S: Final = 0.25


def spool_supported() -> bool:
    """Say whether this system has what a spool needs; Windows has not."""
    return lockable()


class Holder(Protocol):
    """Who uses an outbox."""

    def queued(self) -> int:
        """Return how many spans wait there for the outbox."""


class Outbox:
    """Everything on its way to one receiver."""

    def __init__(self, spool: Spool, routes: Mapping[Signal, Route]) -> None:
        """Stand for it; threads and files come with the first batch.

        Args:
            spool: where batches wait.
            routes: how those of each signal are sent.
        """
        self.memory = Memory(spool, routes)
        self._begin()
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        _outboxes.add(self)
        watch(self)

    def _begin(self) -> None:
        self._sender = Sender(self.memory)
        self._closing = threading.Lock()
        self._closed = False
        self._started = False

    def _after_fork(self) -> None:
        self._sender.forget()
        self.memory.after_fork()
        if not self._closed:
            self._begin()

    @property
    def spool(self) -> Spool:
        """Where batches wait."""
        return self.memory.spool

    @property
    def place(self) -> str:
        """The folder; tells spools apart."""
        return str(self.spool.folder)

    @property
    def options(self) -> SpoolOptions:
        """Caps and the like."""
        return self.spool.options

    def put(self, signal: Signal, data: bytes, count: int) -> bool:
        """Take an OTLP request; it is on the disk when this returns, unless the disk fails.

        Args:
            signal: what it holds.
            data: the request as protobuf.
            count: how many spans, log records or metric points are in it.

        Returns:
            False where it was dropped; it is counted then.
        """
        route = self.memory.routes[signal]
        self.start()  # before: the disk may not come back
        kept = self.memory.put(Payload(signal, count, *compressed(data, route.compression)))
        self._sender.wake()
        return kept

    def start(self) -> None:
        """See that there is somebody who sends."""
        if self._started or self._closed:
            return
        self._started = self._sender.start()

    def start_where_needed(self) -> None:
        """Start sending now where an earlier process has left something."""
        if self.spool.content(fresh=True).batches:
            self.start()

    def failures(self) -> dict[Signal, Answer]:
        """Return what the receiver last answered, of each signal that it does not take."""
        found: dict[Signal, Answer] = {}
        for signal, backoff in self._sender.backoffs.items():
            if backoff.answer is not None:
                found[signal] = backoff.answer
        return found

    def drains(self, signal: Signal) -> bool:
        """Say whether what waits in memory gets anywhere: to the disk, or to the receiver.

        Args:
            signal: what waits.
        """
        return not self.memory.trouble or not self._sender.backoffs[signal].failures

    def full(self) -> bool:
        """Say whether new runs are to wait for room on the disk."""
        options = self.options
        if options.when_full != "block":
            return False
        return self.spool.content().disk_bytes >= options.max_bytes

    def flush(self, timeout_s: float) -> bool:
        """Wait until the receiver has what is in the spool now.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            Whether it has. False at once where it does not answer: what is in the spool
            stays there until it does.
        """
        lost = sum(counts.dropped.values())
        give_up = time.monotonic() + timeout_s
        stored = self.memory.store(min(timeout_s, STALLED_S))
        if self.memory.stalled:
            return False
        asked = waiting = {batch.name for batch in self.spool.content(fresh=True).batches}
        if waiting or not stored:
            self.start()
            self._sender.wake()
        next_status = time.monotonic() + _STATUS_S
        while waiting or self.memory.count or not self._sender.idle:
            now = time.monotonic()
            if now >= give_up or self._sender.failing or self._closed:
                return False
            if not self._sender.holds and now >= next_status:
                next_status = now + _STATUS_S
                if read_status(self.spool.folder).get("failing"):
                    return False
            time.sleep(_LOOK_S)
            waiting = waiting & {batch.name for batch in self.spool.content().batches}
            waiting = {name for name in waiting if not self._sender.leaves(name)}
        postponed = any(self._sender.postpones(name) for name in asked)
        return sum(counts.dropped.values()) == lost and not postponed

    # --- the end ---------------------------------------------------------------------------------

    def hold(self, holder: Holder) -> None:
        """Stay open for one more, who must let go at the end of the process.

        There is no end of its own: it would come before those that still have something to
        write.

        Args:
            holder: is held weakly.
        """
        self._holders.add(holder)

    def release(self, holder: Holder) -> None:
        """Let one go; with the last one the outbox closes.

        Args:
            holder: as for :meth:`hold`.
        """
        self._holders.discard(holder)
        if not self._holders:
            self.close()

    def close(self) -> None:
        """Put everything on the disk, send for as long as that succeeds, and stop.

        It takes about a second where the receiver does not answer, see ``exit_s``, and little
        more where the disk stands still: files are the business of the sender's thread, and
        where that does not come back nobody follows it.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._sender.close(self.options.exit_s)
        self.memory.close(write=not self._sender.stuck())
        with _opening:
            if _open.get(self.place) is self:
                del _open[self.place]

    # --- for metrics -----------------------------------------------------------------------------

    def spooled(self) -> Mapping[Signal, tuple[int, float]]:
        """Return, of each signal, bytes on the disk and the oldest age in seconds."""
        empty: dict[Signal, tuple[int, float]] = dict.fromkeys(SIGNALS, (0, 0.0))
        return empty | self.spool.counts()

    def queued(self) -> Mapping[Signal, int]:
        """Return how many of each signal wait in memory."""
        told: dict[Signal, int] = dict.fromkeys(SIGNALS, 0) | self.memory.queued()
        told["traces"] += sum(holder.queued() for holder in list(self._holders))
        return told


_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
_open: dict[str, Outbox] = {}
_opening = threading.Lock()


def open_outbox(
    signal: Signal, endpoint: str | None = None, options: SpoolOptions | None = None
) -> Outbox:
    """Return the way out for a signal, which others to the same receiver share.

    Args:
        signal: what is to be sent.
        endpoint: base URL of the receiver; None reads the standard variables.
        options: where batches wait and how many; None for the defaults. Who comes later to
            the same folder gets what the first has asked for.

    Raises:
        SpoolError: a folder that was asked for by name cannot be a spool.
    """
    options = SpoolOptions() if options is None else options
    route = route_of(signal, endpoint)
    root, asked = spool_root(options)
    folder = folder_for(root, route.base, route.headers)
    with _opening:
        outbox = _open.get(str(folder))
        if outbox is None:
            try:
                if asked:
                    prepare(folder, route.base)
            except OSError as error:
                # It is tried again with each batch, and said there as well.
                get_logger("hush.export").warning(
                    f"the spool cannot be made; see {VARIABLE}",
                    folder=str(folder),
                    error=str(error),
                )
            outbox = Outbox(Spool(folder, route.base, options), {})
            # Other signals that an earlier process has left there go the same way.
            for other in SIGNALS:
                found = route_of(other, endpoint)
                if folder_for(root, found.base, found.headers) == folder:
                    outbox.memory.routes[other] = found
            _open[str(folder)] = outbox
        outbox.memory.routes[signal] = route
    return outbox


def spool_root(options: SpoolOptions) -> tuple[Path, bool]:
    """Return the folder of all spools, and whether somebody has asked for it by name.

    Args:
        options: may name it; else the variable or the default counts.
    """
    said = said_by_variable()
    named = options.path or (said if isinstance(said, str) else None)
    if named:
        return Path(named).expanduser().absolute(), True
    try:
        return default_root(), False
    except SpoolError:
        # Nowhere to write: what is sent goes from memory, and the first failure says so.
        return Path("/nonexistent") / "hush" / "spool", False


def _after_fork_in_child() -> None:
    global _opening  # noqa: PLW0603  # the parent may have held it
    _opening = threading.Lock()
    for outbox in list(_outboxes):
        with contextlib.suppress(Exception):
            outbox._after_fork()  # noqa: SLF001  # same module


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
