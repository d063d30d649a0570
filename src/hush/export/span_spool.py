"""A span processor that loses nothing: finished spans go to the disk, and on from there.

Ending a span only appends it to a queue. One daemon thread, started with the first span,
makes OTLP requests of what is queued and hands them to the outbox, which writes them to
disk. So a receiver that is away, slow or full is nothing that a run could notice.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from hush.errors import text_of
from hush.export.counts import counts
from hush.export.pressure import crowd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.export.outbox import Outbox

__all__ = ("SpoolingSpanProcessor",)

BRAKE: Final = 0.9
"""Share of the queue from which on whoever ends a span gives way to the writer."""
BRAKE_S: Final = 0.001
HALF: Final = 0.5
"""Share of the queue from which on new runs wait."""
REQUEST_BYTES: Final = 4 * 1024 * 1024
"""What receivers take by default, those that speak gRPC inside too."""
STALLED_S: Final = 1.0
"""How long anybody waits for a writer that gets nowhere, in seconds."""


class _Marker:
    """Stands in the queue behind what a flush waits for."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached = threading.Event()


class SpoolingSpanProcessor(SpanProcessor):
    """Hands every sampled span to an outbox, within a fraction of a second.

    A forked child has a queue and a thread of its own; what its parent had queued stays
    the parent's.
    """

    def __init__(self, outbox: Outbox) -> None:
        """Start nothing yet, unless an earlier process has left something to send.

        Args:
            outbox: the way to the receiver, with the options that count here too.
        """
        self.outbox = outbox
        self._options = outbox.options
        self._limit = self._options.queue_size
        self._brake = int(self._limit * BRAKE)
        self._half = max(int(self._limit * HALF), 1)
        self._batch = min(self._options.batch_size, self._limit)
        blocks = self._options.when_full == "block"
        self.start_wait_s = float("inf") if blocks else self._options.start_wait_s
        self._begin()
        outbox.hold(self)
        outbox.start_where_needed()
        _processors.add(self)
        if self.start_wait_s:
            crowd(self)

    def _begin(self) -> None:
        """Be as new, in a new process too."""
        self._queue: deque[ReadableSpan | _Marker] = deque()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._many = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._handed = 0
        self._stalled = -1

    # --- called by whoever ends a span -----------------------------------------------------------

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled; never raises.

        It waits, a thousandth of a second at a time, only where spans end faster than they
        can be written for so long that the queue is nearly full; and for a second, once,
        where it is full because the disk stands still.

        Args:
            span: has ended.
        """
        context = span.context
        if context is None or not context.trace_flags.sampled or self._closed:
            return
        # No lock: a few more than the limit, of threads at the same moment, do no harm.
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._batch:
            if not self._many.is_set():
                self._many.set()
            if waiting + self.outbox.memory.count >= self._brake and not self._room():
                return
        queue.append(span)
        if not self._some.is_set():
            self._some.set()
        if self._thread is None:
            self._start()

    def _room(self) -> bool:
        """Give way to the writer, and say whether there is room then."""
        memory, queue = self.outbox.memory, self._queue
        handed = self._handed
        if not memory.trouble and self._stalled != handed:
            give_up = time.monotonic() + STALLED_S
            time.sleep(BRAKE_S)
            while len(queue) + memory.count >= self._limit and not memory.trouble:
                if time.monotonic() > give_up:
                    if self._handed == handed:
                        # Nobody waits a second time for a disk that stands still.
                        self._stalled = handed
                    break
                time.sleep(BRAKE_S)
        if len(queue) + memory.count < self._limit:
            return True
        reason = memory.trouble or "queue_full"
        counts.drop("traces", reason, 1)
        memory.complaints.warn("spans are lost: the queue in memory is full", why=reason)
        return False

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            thread = threading.Thread(target=self._work, name="hush spool writer", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had, or the interpreter is ending
                lost = len(self._queue)
                self._queue.clear()
                counts.drop("traces", "no_thread", lost)
                self.outbox.memory.complaints.warn(
                    "spans are lost: no thread can be started", error=text_of(error)
                )
                return
            self._thread = thread
            atexit.register(self.shutdown)
            _at_end_of_child(self)

    def crowded(self) -> bool:
        """Say whether new runs should wait: the queue is half full, or the disk is."""
        if self._closed:
            return False
        return len(self._queue) + self.outbox.memory.count >= self._half or self.outbox.full()

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
        thread = self._thread
        if thread is not None and thread.is_alive():
            marker = _Marker()
            self._queue.append(marker)
            self._many.set()
            self._some.set()
            if not marker.reached.wait(timeout_s):
                return False
        return self.outbox.flush(max(give_up - time.monotonic(), 0.0))

    def shutdown(self) -> None:
        """Write what is queued, send for a moment where that succeeds, and stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        atexit.unregister(self.shutdown)
        self._many.set()
        self._some.set()
        if thread is not None and not self._written(thread):
            lost = sum(not isinstance(one, _Marker) for one in list(self._queue))
            counts.drop("traces", "exit", lost)
            self.outbox.memory.complaints.warn(
                "spans are lost: the disk did not take them at the end of the process", count=lost
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

    def _work(self) -> None:
        # Whoever instruments files must not make spans of our writing: they would never end.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003  # the value of a key
        while True:
            self._some.wait()
            self._many.wait(self._options.interval_s)
            closing = self._closed
            # Before looking: what is queued from now on wakes it again.
            self._many.clear()
            self._some.clear()
            while self._queue:
                try:
                    self._hand_over(self._take())
                except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
                    self.outbox.memory.complaints.warn(
                        "the spool's writer failed; it goes on", error=text_of(error)
                    )
            if closing:
                return

    def _take(self) -> list[ReadableSpan | _Marker]:
        taken: list[ReadableSpan | _Marker] = []
        while self._queue and len(taken) < self._batch:
            taken.append(self._queue.popleft())
        return taken

    def _hand_over(self, taken: list[ReadableSpan | _Marker]) -> None:
        spans = [one for one in taken if not isinstance(one, _Marker)]
        try:
            if spans:
                self._encode(spans)
        finally:
            self._handed += 1
            for one in taken:
                if isinstance(one, _Marker):
                    one.reached.set()

    def _encode(self, spans: Sequence[ReadableSpan]) -> None:
        try:
            data = encode_spans(spans).SerializeToString()
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
        self.outbox.put("traces", data, len(spans))

    def _halves(self, spans: Sequence[ReadableSpan]) -> None:
        middle = len(spans) // 2
        self._encode(spans[:middle])
        self._encode(spans[middle:])


def _at_end_of_child(processor: SpoolingSpanProcessor) -> None:
    """See that a child of ``multiprocessing`` writes what it has: it ends without ``atexit``."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and sys.modules["multiprocessing.process"].parent_process() is not None:
        util.Finalize(processor, SpoolingSpanProcessor.shutdown, (processor,), exitpriority=10)


_processors: weakref.WeakSet[SpoolingSpanProcessor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for processor in list(_processors):
        if not processor._closed:  # noqa: SLF001  # same module
            processor._begin()  # noqa: SLF001  # same module


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
