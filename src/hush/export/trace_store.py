"""A span processor that writes finished spans into the local trace store.

It never holds up a run and never raises into it: a finished span is appended to a bounded
queue, and a thread packs and writes (:mod:`hush.export.span_queue`). What cannot be kept is
counted and logged once. A span that ends a trace is written at once, so that a run can be looked
at as soon as it is over, and little is lost with a killed process.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.export.span_queue import QueuedSpanProcessor
from hush.insight.record import from_span
from hush.insight.store import TraceStore
from hush.log import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ("TraceStoreProcessor",)

BATCH: Final = 512
"""Spans that are written in one transaction."""
QUEUE: Final = 65_536
"""Spans that may wait; about two seconds' work of the writer."""
INTERVAL_S: Final = 0.2
"""How long a span that ends nothing may wait for others."""
LAST_S: Final = 1.0
"""How long the end of the process waits for what is still queued, in seconds."""


class TraceStoreProcessor(QueuedSpanProcessor):
    """Writes every sampled span into a :class:`~hush.insight.store.TraceStore`.

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
        super().__init__(
            thread="hush trace store",
            batch=min(BATCH, queue_size),
            interval_s=INTERVAL_S,
            roots_at_once=True,
        )

    def _begin(self) -> None:
        super()._begin()
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

    def _admit(self, waiting: int) -> bool:
        if waiting < self._queue_size:
            return True
        self._drop(1, "the queue is full", None)
        return False

    def _no_thread(self, lost: int, error: RuntimeError) -> None:
        self._drop(lost, "no thread can be started", error)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until all that has ended so far is written.

        Args:
            timeout_millis: how long to wait, in milliseconds.

        Returns:
            Whether it is written; False also where some of it was lost meanwhile.
        """
        lost = self._dropped
        return self._wait_for_queued(max(timeout_millis, 0) / 1_000) and self._dropped == lost

    def _end(self, thread: threading.Thread | None) -> None:
        """Write what is queued, for about a second at most."""
        if thread is not None:
            thread.join(LAST_S)
            if thread.is_alive():
                self._drop(
                    self._left() + self._writing, "the store did not take them in time", None
                )
                return  # the thread still uses the store; both end with the process
        self.store.close()

    # --- the thread ------------------------------------------------------------------------------

    def _hand_on(self, spans: Sequence[ReadableSpan]) -> None:
        self._writing = len(spans)
        try:
            self.store.add([from_span(span) for span in spans])
            self._written += len(spans)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._drop(len(spans), "the trace store cannot be written", error)
        self._writing = 0

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
