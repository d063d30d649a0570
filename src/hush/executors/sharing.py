"""One connection for all who enter an executor, on whatever loops and threads they are.

The first one opens it, the last one to leave closes it. Knows no engine.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import anyio

from hush.errors import ExecutorError
from hush.executors.bridge import LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ("Connection", "Shared")

CLOSE_S: Final = 30.0
"""How long an engine may take to close; then it is left to itself."""


class Connection(Protocol):
    """What an engine has open; all of it lives on the thread's loop."""

    async def close(self) -> None:
        """Close it, and end what was started for it."""


C = TypeVar("C", bound=Connection)


class _Line(Generic[C]):
    """A thread with a loop, and what has been opened on it."""

    def __init__(self, name: str) -> None:
        self.thread = LoopThread(name)
        self.connection: C | None = None
        self._lock: asyncio.Lock | None = None

    async def open(self, connect: Callable[[], Coroutine[Any, Any, C]]) -> C:
        """Open; where somebody else does so already, wait for that."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self.connection is None:
                self.connection = await connect()
            return self.connection

    async def close(self) -> None:
        """Close, if it has been opened."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await asyncio.wait_for(connection.close(), CLOSE_S)


class Shared(Generic[C]):
    """Counts who has entered; opens with the first and closes with the last."""

    def __init__(self, name: str) -> None:
        """Open nothing yet.

        Args:
            name: of the thread in which the connection will live.
        """
        self._name = name
        self._lock = threading.Lock()
        self._entered = 0
        self._line: _Line[C] | None = None

    @property
    def connection(self) -> C | None:
        """What is open; None where nothing is."""
        line = self._line
        return None if line is None else line.connection

    def line(self) -> tuple[LoopThread, C]:
        """Return the thread and what is open on it.

        Raises:
            ExecutorError: nothing is.
        """
        line = self._line
        connection = None if line is None else line.connection
        if line is None or connection is None:
            raise ExecutorError(
                f"the executor {self._name!r} has not been entered: async with executor"
            )
        return line.thread, connection

    async def enter(self, connect: Callable[[], Coroutine[Any, Any, C]]) -> C:
        """Open, or wait until it is open.

        Args:
            connect: opens, on the loop of the thread.

        Returns:
            What is open.

        Raises:
            BaseException: what opening raised; then it counts as not entered.
        """
        with self._lock:
            self._entered += 1
            if self._line is None:
                self._line = _Line(self._name)
            line = self._line
        try:
            # What was begun is taken back before a cancellation comes out.
            return await line.thread.run(lambda: line.open(connect), end_s=CLOSE_S)
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Close, if nobody else has entered."""
        with self._lock:
            self._entered -= 1
            if self._entered or self._line is None:
                return
            line, self._line = self._line, None
        with anyio.CancelScope(shield=True):  # each step takes a bounded time
            try:
                await line.thread.run(line.close)
            except (TimeoutError, ConnectionError):
                pass  # it is left to itself
            finally:
                await line.thread.stop()
