"""A span processor that hands on what has ended in a thread of its own, never in the run.

Ending a span appends it to a queue. One daemon thread, started with the first span, takes
batches off it. Knows forks, flushes and the end of the process, and nothing of where the spans
go: what is built upon it says that.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import TraceFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("QueuedSpanProcessor",)

SAMPLED: Final = int(TraceFlags.SAMPLED)


class _Marker:
    """Stands in the queue behind what a flush waits for."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached = threading.Event()


class QueuedSpanProcessor(SpanProcessor):
    """Queues every sampled span for a thread that hands them on in batches.

    A forked child has a queue and a thread of its own; what its parent had queued stays
    the parent's.
    """

    def __init__(self, *, thread: str, batch: int, interval_s: float, roots_at_once: bool) -> None:
        """Start nothing yet.

        Args:
            thread: its name.
            batch: how many spans are handed on at once, and how many may wait unasked.
            interval_s: how long spans wait for more to come, in seconds.
            roots_at_once: whether a span that ends a trace, or this process's part of one,
                does not wait.
        """
        self._name = thread
        self._batch = batch
        self._interval_s = interval_s
        self._roots_at_once = roots_at_once
        self._begin()
        _processors.add(self)

    def _begin(self) -> None:
        """Be as new, in a new process too."""
        self._queue: deque[ReadableSpan | _Marker] = deque()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._many = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._handed = 0
        self._asks_from = self._batch
        """How many may wait until :meth:`_admit` is asked about one more."""

    # --- what is built upon it says --------------------------------------------------------------

    @abstractmethod
    def _admit(self, waiting: int) -> bool:
        """Say whether one more span may be queued; asked only where many are waiting."""

    @abstractmethod
    def _hand_on(self, spans: Sequence[ReadableSpan]) -> None:
        """Do with a batch what is to be done, in the thread; never raises."""

    @abstractmethod
    def _no_thread(self, lost: int, error: RuntimeError) -> None:
        """Take note that spans are lost as no thread can be started."""

    @abstractmethod
    def _end(self, thread: threading.Thread | None) -> None:
        """Wait for the thread, where there is one, and let go of what was used; called once."""

    # --- called by whoever ends a span -----------------------------------------------------------

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled; never raises.

        Args:
            span: has ended.
        """
        context = span.context
        if context is None or not context.trace_flags & SAMPLED or self._closed:
            return
        # No lock: a few more than the limit, of threads at the same moment, do no harm.
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._batch:
            if not self._many.is_set():
                self._many.set()
            if waiting >= self._asks_from and not self._admit(waiting):
                return
        queue.append(span)
        if not self._some.is_set():
            self._some.set()
        if self._thread is None:
            self._start()
        if self._roots_at_once and (span.parent is None or span.parent.is_remote):
            self._many.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had, or the interpreter is ending
                lost = len(self._queue)
                self._queue.clear()
                self._no_thread(lost, error)
                return
            self._thread = thread
            atexit.register(self.shutdown)
            _at_end_of_child(self)

    def _left(self) -> int:
        """Return how many spans nobody has taken, once none are added any more."""
        return sum(not isinstance(one, _Marker) for one in list(self._queue))

    def _wait_for_queued(self, timeout_s: float) -> bool:
        """Wait until all that is queued by now is handed on, and say whether it is."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return not self._queue
        marker = _Marker()
        self._queue.append(marker)
        self._many.set()
        self._some.set()
        return marker.reached.wait(timeout_s)

    def shutdown(self) -> None:
        """Hand on what is queued and stop; what ends later is not kept."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        atexit.unregister(self.shutdown)
        self._many.set()
        self._some.set()
        self._end(thread)

    # --- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        # Whoever instruments files and databases must not make spans of ours: they would never end.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003  # the value of a key
        while True:
            self._some.wait()
            self._many.wait(self._interval_s)
            closing = self._closed
            # Before looking: what is queued from now on wakes it again.
            self._many.clear()
            self._some.clear()
            while self._queue:
                self._pass(self._take())
            if closing:
                return

    def _take(self) -> list[ReadableSpan | _Marker]:
        taken: list[ReadableSpan | _Marker] = []
        while self._queue and len(taken) < self._batch:
            taken.append(self._queue.popleft())
        return taken

    def _pass(self, taken: list[ReadableSpan | _Marker]) -> None:
        spans = [one for one in taken if not isinstance(one, _Marker)]
        try:
            if spans:
                self._hand_on(spans)
        finally:
            self._handed += 1
            for one in taken:
                if isinstance(one, _Marker):
                    one.reached.set()


def _at_end_of_child(processor: QueuedSpanProcessor) -> None:
    """See that a child of ``multiprocessing`` hands on what it has: it ends without ``atexit``."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and sys.modules["multiprocessing.process"].parent_process() is not None:
        util.Finalize(processor, QueuedSpanProcessor.shutdown, (processor,), exitpriority=10)


_processors: weakref.WeakSet[QueuedSpanProcessor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for processor in list(_processors):
        if not processor._closed:  # noqa: SLF001  # same module
            processor._begin()  # noqa: SLF001  # same module


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
