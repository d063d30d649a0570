"""A span processor that loses nothing: finished spans go to the disk, and on from there.

Ending a span only queues it (:mod:`hush.export.span_queue`). A thread makes OTLP requests of
what is queued and hands them to the outbox, which writes them to disk. So a receiver that is
away, slow or full is nothing that a run could notice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.export.counts import counts
from hush.export.pressure import crowd
from hush.export.span_encoder import SpanEncoder
from hush.export.span_queue import QueuedSpanProcessor

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from hush.export.outbox import Outbox

__all__ = ("SpoolingSpanProcessor",)

BRAKE: Final = 0.9
"""Share of the queue from which on whoever ends a span gives way to the writer."""
BRAKE_S: Final = 0.001
HALF: Final = 0.5
"""Share of the queue from which on new runs wait."""
REQUEST_BYTES: Final = 4 * 1024 * 1024
"""What receivers take by default, those that speak gRPC inside too."""
SPAN_BYTES: Final = 3_000
"""What a span takes in memory, without what is in it."""
WEIGHT: Final = 1.5
"""Times what it takes when written, it takes besides."""
FADING: Final = 0.9
"""Share of their weight that large spans keep with each batch that has none."""
STALLED_S: Final = 1.0
"""How long anybody waits for a writer that gets nowhere, in seconds."""


class SpoolingSpanProcessor(QueuedSpanProcessor):
    """Hands every sampled span to an outbox, within a fraction of a second.

    Whoever ends a span waits, a thousandth of a second at a time, only where spans end faster
    than they can be written for so long that the queue is nearly full; and for a second, once,
    where it is full because the disk stands still.
    """

    def __init__(self, outbox: Outbox) -> None:
        """Start nothing yet, unless an earlier process has left something to send.

        Args:
            outbox: the way to the receiver, with the options that count here too.
        """
        self.outbox = outbox
        options = outbox.options
        self._options = options
        self._span_bytes = 0.0
        self._allow(options.queue_size)
        self._blocks = options.when_full == "block"
        self.start_wait_s = float("inf") if self._blocks else options.start_wait_s
        super().__init__(
            thread="hush spool writer",
            batch=min(options.batch_size, options.queue_size),
            interval_s=options.interval_s,
            roots_at_once=False,
        )
        outbox.hold(self)
        outbox.start_where_needed()
        if self.start_wait_s:
            crowd(self)

    def _begin(self) -> None:
        super()._begin()
        self._encoder = SpanEncoder()
        self._got_to, self._got_there_s = -1, 0.0

    def _allow(self, limit: int) -> None:
        """Set how many spans may wait."""
        self._limit = limit
        self._brake = int(limit * BRAKE)
        self._half = max(int(limit * HALF), 1)

    # --- called by whoever ends a span -----------------------------------------------------------

    def _admit(self, waiting: int) -> bool:
        return waiting + self.outbox.memory.count < self._brake or self._room()

    def _room(self) -> bool:
        """Give way to the writer, and say whether there is room then."""
        memory, queue = self.outbox.memory, self._queue
        if not memory.trouble and not self._stands_still():
            give_up = time.monotonic() + STALLED_S
            time.sleep(BRAKE_S)
            while len(queue) + memory.count >= self._limit and not memory.trouble:
                if time.monotonic() > give_up:
                    break
                time.sleep(BRAKE_S)
        if len(queue) + memory.count < self._limit:
            return True
        reason = memory.trouble or "queue_full"
        counts.drop("traces", reason, 1)
        memory.complaints.warn("spans are lost: the queue in memory is full", why=reason)
        return False

    def _stands_still(self) -> bool:
        """Say whether nothing has left the memory since somebody first asked, a while ago."""
        now = time.monotonic()
        gone = self.outbox.memory.gone
        if self._got_to != gone:
            self._got_to, self._got_there_s = gone, now
        return now - self._got_there_s > STALLED_S

    def _no_thread(self, lost: int, error: RuntimeError) -> None:
        counts.drop("traces", "no_thread", lost)
        self.outbox.memory.complaints.warn(
            "spans are lost: no thread can be started", error=text_of(error)
        )

    def crowded(self) -> bool:
        """Say whether new runs should wait: the queue is half full, or the disk is.

        Not where neither the disk nor the receiver takes anything: then the queue stays as it is
        until one of them is back, and a run waits for neither, unless that was chosen.
        """
        memory = self.outbox.memory
        if self._closed:
            return False
        if self._blocks and self.outbox.full():
            return True
        if len(self._queue) + memory.count < self._half:
            return False
        helps = self.outbox.drains("traces") and not self._stands_still()
        return self._blocks or helps

    def queued(self) -> int:
        """Return how many spans are not yet written."""
        return len(self._queue)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write all that has ended so far to the disk, and wait until the receiver has it.

        Args:
            timeout_millis: how long to wait, in milliseconds.

        Returns:
            Whether the receiver has it all. False soon where it does not answer; what was
            written is sent when it does, by the next process if need be.
        """
        timeout_s = max(timeout_millis, 0) / 1_000
        give_up = time.monotonic() + timeout_s
        if not self._wait_for_queued(timeout_s):
            return False
        return self.outbox.flush(max(give_up - time.monotonic(), 0.0))

    def _end(self, thread: threading.Thread | None) -> None:
        """Write what is queued, send for a moment where that succeeds, and stop."""
        if thread is not None and not self._written(thread):
            # What the thread has in hand is the outbox's to count.
            lost = self._left()
            if lost:
                counts.drop("traces", "exit", lost)
                self.outbox.memory.complaints.warn(
                    "spans are lost: the disk did not take them at the end of the process",
                    count=lost,
                )
        self.outbox.release(self)

    def _written(self, thread: threading.Thread) -> bool:
        """Wait for the writer as long as it gets on, and say whether it is done."""
        left = len(self._queue)
        while True:
            thread.join(STALLED_S)
            if not thread.is_alive():
                return True
            before, left = left, len(self._queue)
            if left >= before:
                return False

    # --- the thread ------------------------------------------------------------------------------

    def _hand_on(self, spans: Sequence[ReadableSpan]) -> None:
        try:
            self._encode(spans)
            # What waits for the disk changes here only, but for batches of other signals.
            self._asks_from = max(self._brake - self.outbox.memory.count, self._batch)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self.outbox.memory.complaints.warn(
                "the spool's writer failed; it goes on", error=text_of(error)
            )

    def _encode(self, spans: Sequence[ReadableSpan]) -> None:
        try:
            data = self._encoder.encode(spans)
        except Exception as error:  # noqa: BLE001  # one span that cannot be said in protobuf must not cost the others
            if len(spans) > 1:
                self._halves(spans)
                return
            counts.drop("traces", "encoding", 1)
            self.outbox.memory.complaints.warn(
                "a span is lost: it cannot be written as OTLP",
                error=f"{type(error).__name__}: {text_of(error)}",
            )
            return
        if len(data) > REQUEST_BYTES and len(spans) > 1:
            self._halves(spans)
            return
        self._weigh(len(data) / len(spans))
        self.outbox.put("traces", data, len(spans))

    def _weigh(self, written_bytes: float) -> None:
        """Let as many spans wait as fit, by what those of this batch take when written."""
        each = SPAN_BYTES + WEIGHT * written_bytes
        self._span_bytes = max(each, self._span_bytes * FADING)
        options = self._options
        fit = max(int(options.queue_bytes / self._span_bytes), self._batch)
        self._allow(min(options.queue_size, fit))

    def _halves(self, spans: Sequence[ReadableSpan]) -> None:
        middle = len(spans) // 2
        self._encode(spans[:middle])
        self._encode(spans[middle:])
