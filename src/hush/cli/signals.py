"""Signals while a workflow runs: SIGUSR1 asks how it stands, SIGINT and SIGTERM end it.

SIGUSR1 is answered from a thread, also while a node holds the event loop. The first
Ctrl-C cancels the run as the event loop does it; what runs in threads has to be waited
for then, and whoever cannot wait presses it again. SIGTERM is treated as Ctrl-C.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from hush.cli import exits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ("Signals", "write_raw")

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM})
_AT_ONCE = "left at once: what had not ended is not in the trace, the run itself neither\n"


class Signals:
    """What happens on signals while the block lasts; only in the main thread.

    Attributes:
        terminated: whether it was SIGTERM that ended the run.
    """

    def __init__(
        self,
        picture: Callable[[], object],
        stopping: Callable[[], object],
        leave: Callable[[], object],
    ) -> None:
        """Listen to nothing yet.

        Args:
            picture: shows how the run stands; called from a thread of its own.
            stopping: says that the run is being cancelled; called from a signal handler.
            leave: saves what can be saved when the process is left at once; likewise.
        """
        self.terminated = False
        self._picture = picture
        self._stopping = stopping
        self._leave = leave
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._interrupts = 0
        self._ignored = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen to SIGUSR1 and SIGTERM."""
        if hasattr(signal, "SIGUSR1"):  # not on Windows
            threading.Thread(target=self._answer, name="hush snapshot", daemon=True).start()
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_ask)
            # The user's own calls into the system are to go on as if nothing had been.
            signal.siginterrupt(signal.SIGUSR1, False)  # noqa: FBT003  # the signature of the library
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._on_term)
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._asked.put(False)  # noqa: FBT003  # the thread's end

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let what would end the run wait while an event loop starts, which cannot bear it then.

        It comes once :meth:`interrupts` listens.
        """
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # A shell's background job. SIGTERM ends the run through SIGINT all the same, and
            # event loops listen to that only where nobody has said otherwise.
            self._ignored = True
            self._before[signal.SIGINT] = signal.SIG_IGN
        mask = getattr(signal, "pthread_sigmask", None)
        before = mask(signal.SIG_BLOCK, _ENDING) if mask else None
        if self._ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            if mask:
                mask(signal.SIG_SETMASK, before)

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Listen to Ctrl-C as well, inside an event loop, whose own handler is called first."""
        before = signal.getsignal(signal.SIGINT)
        if not callable(before):  # not Python's
            before = signal.default_int_handler

        def on_interrupt(number: int, frame: FrameType | None) -> None:
            if self._ignored and not self.terminated:
                return
            self._interrupts += 1
            if self._interrupts > 1:
                self._end_at_once()
            self._stopping()
            before(number, frame)

        signal.signal(signal.SIGINT, on_interrupt)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _end_at_once(self) -> None:
        write_raw(_AT_ONCE)
        try:
            self._leave()
        finally:
            os._exit(exits.TERMINATED if self.terminated else exits.INTERRUPTED)

    def _on_ask(self, *_: object) -> None:
        # A SimpleQueue may be used in a handler that interrupts its own put.
        self._asked.put(True)  # noqa: FBT003  # one picture, please

    def _on_term(self, *_: object) -> None:
        self.terminated = True
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            raise KeyboardInterrupt  # no event loop runs yet
        signal.raise_signal(signal.SIGINT)

    def _answer(self) -> None:
        while self._asked.get():
            try:
                self._picture()
            except Exception as error:  # noqa: BLE001  # who asks must not disturb the run
                write_raw(f"no picture of the run: {type(error).__name__}\n")


def write_raw(text: str) -> None:
    """Write to standard error past ``sys.stderr``, which a signal may have interrupted.

    Args:
        text: with the ends of its lines.
    """
    with suppress(OSError, ValueError):  # closed: nobody is there to be told
        os.write(sys.stderr.fileno(), text.encode())
