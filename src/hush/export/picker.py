"""Which batches are sent next: the oldest first, small ones together, damaged ones not at all.

For one thread, that of the sender who has the lock. Knows nothing of HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.export.batch_file import CorruptBatchError, NewerBatchError, Payload
from hush.export.counts import counts
from hush.export.options import SIGNALS
from hush.export.receiver import compressed, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hush.export.batch_file import Batch
    from hush.export.memory import Memory
    from hush.export.options import Signal
    from hush.export.spool import Aside, Content

__all__ = ("Picker", "told")

GROUP_BATCHES: Final = 4
"""Spans of so many full batches go together, where they have piled up."""
GROUP_BYTES: Final = 1024 * 1024
GROUP_FILES: Final = 64
"""Most that is sent in one request: small batches that have piled up go together."""
SKIP_S: Final = 60.0
"""For how long a file that cannot be read is left alone."""
POSTPONE_S: Final = 600.0
"""For how long a batch that alone is answered with a fault is passed over."""


class Picker:
    """Picks from one spool."""

    def __init__(self, memory: Memory) -> None:
        """Look at nothing yet.

        Args:
            memory: has the spool and the routes.
        """
        self._memory = memory
        self._spool = memory.spool
        self._complaints = memory.complaints
        self._listed: Content | None = None
        self._queues: dict[Signal, deque[Batch]] = {}
        self._skipped: dict[str, float] = {}
        self._alone: set[str] = set()
        self._taken = 0
        self._blamed: dict[str, int] = {}
        self._postponed: set[str] = set()

    def pick(
        self, ready: Collection[Signal], *, ending: bool
    ) -> tuple[list[Batch], Payload | None]:
        """Return batches that go in one request, and what they hold together.

        Args:
            ready: signals that may be sent now.
            ending: everything counts, and what was seen a moment ago may not be all.

        Returns:
            Nothing where there is nothing; else what has to be finished, or parted, or is
            picked again the next time.
        """
        self._look(fresh=ending and not any(self._queues.values()))
        now = time.monotonic()
        while True:
            heads = [
                (queue[0], signal)
                for signal, queue in self._queues.items()
                if queue and signal in ready and signal in self._memory.routes
            ]
            if not heads:
                return [], None
            _, signal = min(heads)
            group, payload = self._gather(signal, self._queues[signal], now)
            if payload is not None:
                return group, payload

    def finish(self, group: Sequence[Batch]) -> None:
        """Forget what was picked last.

        Args:
            group: all of it.
        """
        for batch in group:
            self._queues[batch.signal].remove(batch)
            self._alone.discard(batch.name)
            self._postponed.discard(batch.name)
            self._blamed.pop(batch.name, None)
        self._taken += 1

    def part(self, group: Sequence[Batch]) -> None:
        """Pick each by itself the next time.

        Args:
            group: what was picked last.
        """
        self._alone.update(batch.name for batch in group)

    def blame(self, group: Sequence[Batch]) -> None:
        """Find out whether a fault of the receiver's is that of a batch.

        The next time each is picked by itself, and the ones behind it go first. Who fails by
        itself once more, after another was taken, is passed over for a while, and never dropped.

        Args:
            group: what was picked last, and the receiver has answered with a fault.
        """
        if len(group) > 1:
            self.part(group)
            return
        (batch,) = group
        before = self._blamed.get(batch.name, self._taken)
        self._blamed[batch.name] = self._taken
        if before == self._taken:
            return
        self._postponed.add(batch.name)
        self._skipped[batch.name] = time.monotonic() + POSTPONE_S
        self._complaints.warn(
            "the receiver faults on a batch again and again; it is kept, and others are sent first",
            batch=batch.name,
            again_s=POSTPONE_S,
            spool=str(self._spool.folder),
        )

    def postpones(self, name: str) -> bool:
        """Say whether a batch is passed over; for any thread."""
        return name in self._postponed

    def leave(self, batch: Batch) -> None:
        """Never pick a batch again in this process."""
        self._skipped[batch.name] = float("inf")

    def leaves(self, name: str) -> bool:
        """Say whether a batch is left alone; for any thread."""
        return name in self._skipped

    def set_aside(self, batch: Batch, where: Aside) -> bool:
        """Move a batch to where it is not sent from; where that fails, leave it alone.

        Returns:
            False where it was gone already.
        """
        try:
            return self._spool.set_aside(batch, where)
        except OSError:
            self.leave(batch)
            return True

    def _look(self, *, fresh: bool) -> None:
        content = self._spool.content(fresh=fresh)
        if content is self._listed:
            return
        self._listed = content
        self._queues = {signal: deque() for signal in SIGNALS}
        for batch in content.batches:
            self._queues[batch.signal].append(batch)

    def _gather(
        self, signal: Signal, queue: deque[Batch], now: float
    ) -> tuple[list[Batch], Payload | None]:
        group: list[Batch] = []
        payloads: list[Payload] = []
        count = size = 0
        first = list(islice(queue, GROUP_FILES))
        # Who has failed by itself goes behind those that have not, until one of them is taken.
        for batch in [one for one in first if self._blamed.get(one.name) != self._taken] or first:
            alone = batch.name in self._alone
            fits = (
                count + batch.count <= GROUP_BATCHES * self._spool.options.batch_size
                and size + batch.size_bytes <= GROUP_BYTES
                and not alone
            )
            if group and not fits:
                break
            payload = self._read(batch, now)
            if payload is None:
                queue.remove(batch)
                continue
            group.append(batch)
            payloads.append(payload)
            count, size = count + batch.count, size + batch.size_bytes
            if alone:
                break
        return group, self._joined(signal, payloads)

    def _read(self, batch: Batch, now: float) -> Payload | None:
        if self._skipped.get(batch.name, 0.0) > now:
            return None
        try:
            payload = self._spool.read(batch)
            return Payload(payload.signal, payload.count, plain(payload))
        except FileNotFoundError:  # it was too old, or the spool too full
            return None
        except (CorruptBatchError, ValueError) as error:
            if not isinstance(error, NewerBatchError):
                self._damaged(batch, error)
                return None
            problem: Exception = error
        except Exception as error:  # noqa: BLE001  # no file may end the export
            problem = error
        self._skipped[batch.name] = now + SKIP_S
        self._complaints.warn("a batch cannot be read; the others are sent", error=told(problem))
        return None

    def _damaged(self, batch: Batch, error: Exception) -> None:
        if not self.set_aside(batch, "corrupt"):
            return
        counts.drop(batch.signal, "corrupt", batch.count)
        self._complaints.warn(
            "a batch is damaged; it was set aside and the others are sent",
            count=batch.count,
            error=told(error),
            spool=str(self._spool.folder),
        )

    def _joined(self, signal: Signal, payloads: list[Payload]) -> Payload | None:
        """Make one payload of several: requests of OTLP can be put one behind the other."""
        if not payloads:
            return None
        count = sum(one.count for one in payloads)
        data = b"".join(one.data for one in payloads)
        return Payload(signal, count, *compressed(data, self._memory.routes[signal].compression))


def told(error: Exception) -> str:
    """Return an exception in words."""
    return f"{type(error).__name__}: {text_of(error)}"
