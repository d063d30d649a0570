"""A spool: batches as files in one folder, written whole or not at all, the oldest first.

Several processes write into one folder and one of them sends. Nobody waits for another:
a file appears under its name when it is complete, and whoever removes it removes it once.
Knows nothing of who sends, of HTTP or of spans.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from hush.export.age import Ages
from hush.export.batch_file import Batch, encode, name_of, parse_name
from hush.export.place import SpoolError, prepare
from hush.export.stored_file import is_left, read_batch
from hush.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hush.export.batch_file import Payload
    from hush.export.options import Signal, SpoolOptions

__all__ = ("Content", "Eviction", "Spool")

Aside = Literal["rejected", "corrupt"]
"""Folders inside for what is not sent: what the receiver refused, what is no batch."""
ASIDE: Final[tuple[Aside, ...]] = ("rejected", "corrupt")
ASIDE_SHARE: Final = 0.1
"""Of ``max_bytes``: what each of them may take."""

_HIGHEST: Final = 2**62
"""The highest number that others' files may raise the order to: the year 2116."""
_LARGE: Final = 8 * 1024 * 1024
"""Names that say more are not believed: hardly any batch is so large."""
_EVICT_TO: Final = 0.95
"""Share of the cap to which a full spool is emptied, lest each further batch evict again."""
_LIST_SHARE: Final = 50
"""A listing is used for so many times as long as it took, so that a huge folder costs 2 %."""
_MANY: Final = 1_000
_LEAST_LIST_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Eviction:
    """A batch that was removed unsent."""

    batch: Batch
    """It is gone."""
    reason: Literal["too_old", "spool_full"]
    """Why."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a spool."""

    batches: tuple[Batch, ...] = ()
    """In the order in which they are sent."""

    @property
    def disk_bytes(self) -> int:
        """What they take on the disk."""
        return sum(batch.disk_bytes for batch in self.batches)


class Spool:
    """The batches for one receiver.

    Attributes:
        folder: where they are.
        options: caps and the like.
        ages: for how long batches have been waiting.
    """

    def __init__(self, folder: Path, base: str, options: SpoolOptions) -> None:
        """Stand for a spool; nothing is made yet.

        Args:
            folder: the receiver's own.
            base: the receiver's address.
            options: caps and the like.
        """
        self.folder = folder
        self.options = options
        self._base = base
        self._begin()

    def _begin(self) -> None:
        """Be as new, in a forked process too."""
        self._lock = threading.Lock()
        self._token = os.urandom(4).hex()
        self._last = 0
        self._ready = False
        self._temporaries = 0
        self._seen: Content | None = None
        self._seen_until = 0.0
        self._unsynced = False
        self.ages = Ages()

    def after_fork(self) -> None:
        """Begin anew in a child, whose names must differ from its parent's."""
        self._begin()

    # --- writing ---------------------------------------------------------------------------------

    def write(self, payload: Payload) -> Batch:
        """Write a batch: it is there as a whole, or not.

        Args:
            payload: what to write.

        Raises:
            OSError: it cannot be written, for instance because the disk is full.
            SpoolError: the folder may not be used.
        """
        content = encode(payload)
        try:
            return self._write(payload, content)
        except FileNotFoundError:  # somebody removed the folder; make it again
            self._ready = False
            return self._write(payload, content)

    def _write(self, payload: Payload, content: bytes) -> Batch:
        self.make_ready()
        with self._lock:
            self._temporaries += 1
            temporary = self.folder / f"{os.getpid()}-{self._token}-{self._temporaries}.tmp"
        # Never through a link, and never over what is there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(temporary, flags, 0o600)
        try:
            try:
                _write_all(descriptor, content)
                if self.options.sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            batch = self._named(payload, len(content))
            temporary.rename(self.folder / batch.name)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if self.options.sync:
            self._sync_folder()
        self._seen_anew()
        return batch

    def _seen_anew(self) -> None:
        """See to it that a new batch is found at once, unless there is much to do before it."""
        seen = self._seen
        if seen is not None and len(seen.batches) < _MANY:
            self._seen_until = 0.0

    def make_ready(self) -> None:
        """Make the folder, and find out where its order stands.

        Raises:
            OSError: it cannot be made.
            SpoolError: it may not be used.
        """
        if not self._ready:
            prepare(self.folder, self._base)
            self._ready = True
            self.content(fresh=True)

    def _named(self, payload: Payload, size_bytes: int) -> Batch:
        name = name_of(self._next_sequence(), time.time(), payload, size_bytes, self._token)
        batch = parse_name(name)
        if batch is None:  # nobody would ever find it
            raise SpoolError(f"{name} is no name of a batch, so it cannot be written")
        return batch

    def _next_sequence(self) -> int:
        """Return a number above all that were seen here, and near the wall clock."""
        with self._lock:
            self._last = max(min(time.time_ns(), _HIGHEST), self._last + 1)
            return self._last

    def _sync_folder(self) -> None:
        try:
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            # The batch is there: were this an error, it would be sent twice.
            if not self._unsynced:
                self._unsynced = True
                get_logger("hush.export").warning(
                    "the spool's folder cannot be forced onto the disk; its files are",
                    folder=str(self.folder),
                    error=str(error),
                )

    # --- reading ---------------------------------------------------------------------------------

    def content(self, *, fresh: bool = False) -> Content:
        """Return what is in the spool.

        Args:
            fresh: look now; else what was found a moment ago may be told again.

        Returns:
            Nothing where there is no folder or it cannot be read.
        """
        seen = self._seen
        if not fresh and seen is not None and time.monotonic() < self._seen_until:
            return seen
        began = time.monotonic()
        batches = sorted(self._batches())
        seen = Content(tuple(batches))
        now = time.monotonic()
        with self._lock:
            for batch in reversed(batches):
                if batch.sequence <= _HIGHEST:
                    self._last = max(self._last, batch.sequence)
                    break
            self._seen = seen
            self._seen_until = now + max(_LEAST_LIST_S, _LIST_SHARE * (now - began))
        return seen

    def _batches(self) -> Iterator[Batch]:
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    batch = parse_name(entry.name)
                    if batch is not None and batch.size_bytes > _LARGE:
                        size = entry.stat(follow_symlinks=False).st_size
                        batch = replace(batch, size_bytes=size)
                    if batch is not None:
                        yield batch
        except OSError:
            return

    def read(self, batch: Batch) -> Payload:
        """Read a batch.

        Raises:
            FileNotFoundError: it is gone.
            CorruptBatchError: it is not what was written.
            NewerBatchError: it is in a later format.
            OSError: it cannot be read.
        """
        return read_batch(self.folder / batch.name, batch)

    # --- removing --------------------------------------------------------------------------------

    def remove(self, batch: Batch) -> bool:
        """Remove a batch.

        Returns:
            Whether it was there; of several who remove it one gets True.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            (self.folder / batch.name).unlink()
        except FileNotFoundError:
            return False
        return True

    def set_aside(self, batch: Batch, where: Aside) -> bool:
        """Move a batch to where it is not sent from.

        Returns:
            Whether it was there.

        Raises:
            OSError: it cannot be moved.
        """
        aside = self.folder / where
        aside.mkdir(mode=0o700, exist_ok=True)
        try:
            (self.folder / batch.name).rename(aside / batch.name)
        except FileNotFoundError:
            return False
        self._shrink(where)
        return True

    def aside(self, where: Aside) -> list[Batch]:
        """Return what was set aside, the oldest first."""
        try:
            names = [path.name for path in (self.folder / where).iterdir()]
        except OSError:
            return []
        return sorted(batch for batch in map(parse_name, names) if batch is not None)

    def restore(self) -> int:
        """Put back what the receiver had refused, and return how many batches that were."""
        count = 0
        for batch in self.aside("rejected"):
            with contextlib.suppress(OSError):
                (self.folder / "rejected" / batch.name).rename(self.folder / batch.name)
                count += 1
        return count

    def _shrink(self, where: Aside) -> None:
        """Keep what was set aside, and counted then, within its share."""
        kept = self.aside(where)
        excess = sum(one.disk_bytes for one in kept) - self.options.max_bytes * ASIDE_SHARE
        for one in kept[:-1]:
            if excess <= 0 and self.ages.sure_s(one) <= self.options.max_age_s:
                continue
            with contextlib.suppress(OSError):
                (self.folder / where / one.name).unlink()
                excess -= one.disk_bytes

    def evict(self, limit_bytes: int | None = None) -> list[Eviction]:
        """Remove what is too old, and the oldest where there is too much.

        Args:
            limit_bytes: how much may stay; None for any amount.

        Returns:
            What was removed here.
        """
        found = self.content(fresh=True).batches
        gone: list[Eviction] = []
        kept = []
        for batch in found:
            if self.ages.sure_s(batch) <= self.options.max_age_of(batch.signal):
                kept.append(batch)
            elif self._removed(batch):
                gone.append(Eviction(batch, "too_old"))
        if limit_bytes is not None:
            excess = sum(batch.disk_bytes for batch in kept) - limit_bytes
            if excess > 0:
                excess += int(limit_bytes * (1 - _EVICT_TO))
                gone += self._evict_oldest(kept, excess)
        if gone:
            self.content(fresh=True)
        return gone

    def _evict_oldest(self, batches: Sequence[Batch], excess: int) -> Iterator[Eviction]:
        for batch in batches:
            if excess <= 0:
                return
            excess -= batch.disk_bytes
            if self._removed(batch):
                yield Eviction(batch, "spool_full")

    def _removed(self, batch: Batch) -> bool:
        try:
            return self.remove(batch)
        except OSError:
            return False

    def clean(self) -> None:
        """Remove what processes left that were killed while they wrote. Never raises."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if is_left(entry):
                    with contextlib.suppress(OSError):
                        (self.folder / entry.name).unlink()

    def counts(self) -> dict[Signal, tuple[int, float]]:
        """Return, of each signal that has any, bytes on the disk and the oldest age in seconds."""
        told: dict[Signal, tuple[int, float]] = {}
        for batch in self.content().batches:
            size, age = told.get(batch.signal, (0, 0.0))
            told[batch.signal] = (size + batch.disk_bytes, max(age, self.ages.seen_s(batch)))
        return told


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        # A disk that fills up takes a part first, and says so at the next try.
        view = view[os.write(descriptor, view) :]
