"""The bridge: an engine's own event loop in a thread, awaited from asyncio or trio.

Engines bring asyncio code or callbacks from threads of theirs. All of it runs on one loop in
one thread here; a caller waits for an event that is set through its loop's own thread-safe
call. So no thread is blocked for a call, nothing is polled, and the caller's loop is never
held up by an engine's work. Knows no engine.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ("LoopThread", "caller_wakes")

T = TypeVar("T")

END_S: Final = 10.0
"""How long what is left on a loop that stops may take to clean up."""


def caller_wakes() -> Callable[[Callable[[], object]], None]:
    """Return what has a function called on the current loop soon, from any thread.

    It never blocks; where the loop is over it does nothing, for whoever waited there is over
    too.
    """
    token = anyio.lowlevel.current_token().native_token
    if isinstance(token, asyncio.AbstractEventLoop):
        loop = token

        def wake(function: Callable[[], object]) -> None:
            with suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(function)

        return wake

    import trio  # noqa: PLC0415  # it is running

    entry: Any = token

    def wake_trio(function: Callable[[], object]) -> None:
        with suppress(trio.RunFinishedError):
            entry.run_sync_soon(function)

    return wake_trio


class _Crossing(Generic[T]):
    """One coroutine on the thread's loop, as its caller waits for it."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._function = function
        self._wake = caller_wakes()
        self.over = anyio.Event()
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    def begin(self) -> None:
        """Start it; on the thread's loop."""
        if self._cancelled:
            self._wake(self.over.set)
            return
        self._task = asyncio.get_running_loop().create_task(self._function())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Cancel it; on the thread's loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # taken note of: a caller that was cancelled will not ask
        self._wake(self.over.set)

    def result(self) -> T:
        """Return or raise what it came to, on the caller's side."""
        if self._task is None or self._task.cancelled():
            raise ConnectionAbortedError("the connection was closed meanwhile")
        return self._task.result()


class LoopThread:
    """An asyncio loop of its own, in a thread of its own."""

    def __init__(self, name: str) -> None:
        """Start the thread.

        Args:
            name: of the thread.
        """
        self._loop = asyncio.new_event_loop()
        self._ended: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._over = False
        # A daemon: a process that ends without having closed it must not wait for it.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], Coroutine[Any, Any, T]], *, end_s: float = 0.0) -> T:
        """Run a coroutine on the thread's loop.

        Args:
            function: called there; makes the coroutine.
            end_s: how long a cancelled one is waited for, in seconds; what it comes to is
                discarded.

        Returns:
            What it returned.

        Raises:
            ConnectionAbortedError: the thread stopped before it was over.
            BaseException: what it raised; on cancellation of the caller it is cancelled.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        crossing = _Crossing(function)
        if not self._soon(crossing.begin):
            raise ConnectionAbortedError("the connection was closed before")
        try:
            await crossing.over.wait()
        except BaseException:
            if self._soon(crossing.cancel) and end_s:
                with anyio.move_on_after(end_s, shield=True):
                    await crossing.over.wait()
            raise
        return crossing.result()

    async def stop(self) -> None:
        """Cancel what still runs, and wait for the thread's end; not for longer than it may take."""
        ended, wake = anyio.Event(), caller_wakes()
        with self._lock:
            if self._over:
                ended.set()
            self._ended.append(lambda: wake(ended.set))
        self._soon(self._loop.stop)
        with anyio.move_on_after(2 * END_S, shield=True):
            await ended.wait()
            self._thread.join(END_S)  # it has nothing left to do

    def _soon(self, function: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # closed
            return False
        return True

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_ended_all())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            with self._lock:
                self._over = True
            for tell in self._ended:
                tell()


async def _ended_all() -> None:
    """Cancel all other tasks of the loop, and wait for them for a while."""
    current = asyncio.current_task()
    left = {task for task in asyncio.all_tasks() if task is not current}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=END_S)
