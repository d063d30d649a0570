"""A span processor that writes finished spans into the local trace store.

It never holds up a run and never raises into it: a finished span is appended to a bounded
queue, and one daemon thread, started with the first span, packs and writes. What cannot
be kept is counted and logged once. A span that ends a trace is written at once, so that
a run can be looked at as soon as it is over, and little is lost with a killed process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from hush.errors import text_of
from hush.insight.record import from_span
from hush.insight.store import TraceStore
from hush.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.insight.record import SpanRecord

__all__ = ("TraceStoreProcessor",)

BATCH: Final = 512
"""Spans that are written in one transaction."""
QUEUE: Final = 65_536
"""Spans that may wait; about two seconds' work of the writer."""
INTERVAL_S: Final = 0.2
"""How long a span that ends nothing may wait for others."""
LAST_S: Final = 1.0
"""How long the end of the process waits for what is still queued, in seconds."""


class _Marker:
    """Stands in the queue behind what a flush waits for."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached = threading.Event()


class TraceStoreProcessor(SpanProcessor):
    """Writes every sampled span into a :class:`~hush.insight.store.TraceStore`.

    A forked child has a queue and a thread of its own; what its parent had queued stays
    the parent's.

    Attributes:
        store: where to.
        on_loss: told once why spans are lost, and by which error, if by one; by default the
            log is.
    """

    def __init__(self, store: TraceStore | None = None, *, queue_size: int = QUEUE) -> None:
        """Start nothing yet.

        Args:
            store: where to; None for the one at ``default_path()``.
            queue_size: how many spans may wait; more are dropped and counted.

        Raises:
            ValueError: the queue is too small for one span.
        """
        if queue_size < 1:
            raise ValueError(f"queue_size={queue_size}: must be at least 1")
        self.store = TraceStore() if store is None else store
        self.on_loss: Callable[[str, Exception | None], object] = _log_loss
        self._queue_size = queue_size
        self._begin()
        _processors.add(self)

    def _begin(self) -> None:
        """Be as new, in a new process too."""
        self._queue: deque[ReadableSpan | _Marker] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._said: set[str] = set()
        self._dropped = 0
        self._written = 0
        self._writing = 0

    @property
    def dropped(self) -> int:
        """How many spans were lost: the queue was full, or the store could not be written."""
        return self._dropped

    @property
    def written(self) -> int:
        """How many spans the store has taken."""
        return self._written

    # --- called by whoever ends a span -----------------------------------------------------------

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled; never blocks and never raises.

        Args:
            span: has ended.
        """
        context = span.context
        if context is None or not context.trace_flags.sampled or self._closed:
            return
        # No lock: a few more than the limit, of threads at the same moment, do no harm.
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._queue_size:
            self._drop(1, "the queue is full", None)
            return
        queue.append(span)
        if self._thread is None:
            self._start()
        if waiting + 1 >= BATCH or span.parent is None or span.parent.is_remote:
            self._wake.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            thread = threading.Thread(target=self._work, name="hush trace store", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had, or the interpreter is ending
                lost = len(self._queue)
                self._queue.clear()
                self._drop(lost, "no thread can be started", error)
                return
            self._thread = thread
            atexit.register(self.shutdown)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all that has ended so far is written.

        Args:
            timeout_millis: how long to wait, in milliseconds.

        Returns:
            Whether it is written; False also where some of it was lost meanwhile.
        """
        thread = self._thread
        if thread is None or not thread.is_alive():
            return not self._queue
        lost = self._dropped
        marker = _Marker()
        self._queue.append(marker)
        self._wake.set()
        return marker.reached.wait(max(timeout_millis, 0) / 1_000) and self._dropped == lost

    def shutdown(self) -> None:
        """Write what is queued, for about a second at most; what ends later is not kept."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        atexit.unregister(self.shutdown)
        self._wake.set()
        if thread is not None:
            thread.join(LAST_S)
            if thread.is_alive():
                queued = sum(not isinstance(one, _Marker) for one in list(self._queue))
                self._drop(queued + self._writing, "the store did not take them in time", None)
                return  # the thread still uses the store; both end with the process
        self.store.close()

    # --- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        # Whoever instruments SQLite must not make spans of our writing: they would never end.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003  # the value of a key
        while True:
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            closing = self._closed
            while self._queue:
                self._write(self._take())
            if closing and not self._queue:
                return

    def _take(self) -> list[ReadableSpan | _Marker]:
        taken: list[ReadableSpan | _Marker] = []
        while self._queue and len(taken) < BATCH:
            taken.append(self._queue.popleft())
        return taken

    def _write(self, taken: list[ReadableSpan | _Marker]) -> None:
        spans = [one for one in taken if not isinstance(one, _Marker)]
        if spans:
            self._writing = len(spans)
            try:
                self.store.add(self._records(spans))
                self._written += len(spans)
            except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
                self._drop(len(spans), "the trace store cannot be written", error)
            self._writing = 0
        for one in taken:
            if isinstance(one, _Marker):
                one.reached.set()

    @staticmethod
    def _records(spans: list[ReadableSpan]) -> list[SpanRecord]:
        return [from_span(span) for span in spans]

    def _drop(self, count: int, why: str, error: Exception | None) -> None:
        if not count:
            return
        self._dropped += count
        if why in self._said:
            return
        self._said.add(why)
        with contextlib.suppress(Exception):  # a log handler that raises has nobody to tell
            self.on_loss(why, error)


def _log_loss(why: str, error: Exception | None) -> None:
    facts = {} if error is None else {"error": f"{type(error).__name__}: {text_of(error)}"}
    get_logger("hush.traces").warning(
        "spans are lost to the local trace store; runs go on, this is said once", why=why, **facts
    )


_processors: weakref.WeakSet[TraceStoreProcessor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for processor in list(_processors):
        if not processor._closed:  # noqa: SLF001  # same module
            processor._begin()  # noqa: SLF001  # same module


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
