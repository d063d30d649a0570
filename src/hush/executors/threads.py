"""Threads: calls in worker threads that are awaited, or that cancellation can leave behind."""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from anyio._core._eventloop import (
    claim_worker_thread,  # anyio has no public way to make a thread of one's own its worker
    threadlocals,
)

from hush.executors.caller import asyncio_runs

try:
    from sniffio import current_async_library_cvar
except ImportError:  # anyio needs it only on trio
    current_async_library_cvar = None  # type: ignore[assignment]  # None where it is missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from anyio.lowlevel import EventLoopToken

__all__ = ("AwaitedCall", "LeavableCall", "Outcome", "abandoned_threads", "unlimited")

_abandoned = 0
_abandoned_lock = threading.Lock()


def abandoned_threads() -> int:
    """Return how many threads were left behind and are still running."""
    return _abandoned


def _count_abandoned(change: int) -> None:
    global _abandoned  # noqa: PLW0603  # one count per process, behind a lock
    with _abandoned_lock:
        _abandoned += change


_unlimited_limiter = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("hush_unlimited")


def unlimited() -> anyio.CapacityLimiter:
    """Return a limiter that lets everything in: our own has decided before."""
    try:
        return _unlimited_limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(math.inf)
        _unlimited_limiter.set(limiter)
        return limiter


class Outcome:
    """What a call came to; keeps a StopIteration from being raised into a future."""

    __slots__ = ("_error", "_value")

    def __init__(self, value: Any, error: BaseException | None) -> None:
        """Keep one of the two."""
        self._value = value
        self._error = error

    def value(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            # The traceback refers to this frame; break the circle.
            del self


def _outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(function(), None)
    except StopIteration as error:
        wrapped = RuntimeError("a function in a worker thread raised StopIteration")
        wrapped.__cause__ = error
        return Outcome(None, wrapped)
    except Exception as error:  # noqa: BLE001  # raised again on the loop's side
        return Outcome(None, error)


class AwaitedCall:
    """A call in a worker thread that nothing leaves behind.

    anyio shields such a call from cancel scopes; a task that asyncio cancels directly
    (``task.cancel()``, ``asyncio.wait_for``) would be gone all the same, and the function
    would go on behind the back of a run that is over.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        """Prepare to call ``function``."""
        self._function = function
        self._lock = threading.Lock()
        self._state = "new"
        self._finished: anyio.Event | None = None
        self._token: Any = None

    async def call(self) -> Outcome:
        """Call, and wait for the end whatever happens."""
        try:
            return await anyio.to_thread.run_sync(self._work, limiter=unlimited())
        except BaseException:
            await self._wait()
            raise

    def _work(self) -> Outcome:
        with self._lock:
            if self._state == "dropped":
                return Outcome(None, None)
            self._state = "running"
        try:
            return _outcome(self._function)
        finally:
            with self._lock:
                self._state = "finished"
                finished = self._finished
            if finished is not None:
                with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
                    anyio.from_thread.run_sync(finished.set, token=self._token)

    async def _wait(self) -> None:
        with self._lock:
            if self._state == "new":
                self._state = "dropped"
            if self._state != "running":
                return
            self._finished = anyio.Event()
            self._token = anyio.lowlevel.current_token()
        while not self._finished.is_set():
            # Another direct cancellation must not cut the wait short either; the first one is
            # on its way already, and whoever sent it is told by it.
            with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                await self._finished.wait()


class LeavableCall:
    """A call in a daemon thread that cancellation can leave behind.

    trio's workers are daemons. Those of anyio on asyncio are not: one that never returns
    would hold up the exit of the process. There a thread is made for the occasion, which
    for the function is a worker of anyio like any other: it may call back into the loop
    (``anyio.from_thread``), or run a loop of its own.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        """Prepare to call ``function``."""
        self._function = function
        self._result: Outcome | None = None
        self._lock = threading.Lock()
        self._begun = False
        self._left = False

    async def call(self, on_abandon: Callable[[], None]) -> Outcome:
        """Call, or leave the thread behind where a cancellation comes before its end.

        Args:
            on_abandon: called where it is left.
        """
        try:
            if asyncio_runs():
                await self._in_own_thread()
            else:
                await anyio.to_thread.run_sync(
                    self._work, abandon_on_cancel=True, limiter=unlimited()
                )
        finally:
            with self._lock:
                self._left = self._result is None
                abandoned = self._left and self._begun
                if abandoned:
                    _count_abandoned(1)
            if abandoned:
                on_abandon()
        assert self._result is not None  # noqa: S101  # it came to its end
        return self._result

    async def _in_own_thread(self) -> None:
        done = asyncio.Event()
        token = anyio.lowlevel.current_token()
        with anyio.CancelScope() as scope:
            thread = threading.Thread(
                target=self._as_worker,
                args=(copy_context(), token, scope, done),
                name="hush worker",
                daemon=True,
            )
            thread.start()
            await done.wait()

    def _as_worker(
        self, context: Context, token: EventLoopToken, scope: anyio.CancelScope, done: asyncio.Event
    ) -> None:
        with claim_worker_thread(token.backend_class, token.native_token):
            threadlocals.current_cancel_scope = scope
            if current_async_library_cvar is not None:
                # The copied context says that a loop is running; in this thread none is.
                context.run(current_async_library_cvar.set, None)
            context.run(self._work)
        loop: Any = token.native_token
        with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            loop.call_soon_threadsafe(done.set)

    def _work(self) -> None:
        with self._lock:
            if self._left:
                return
            self._begun = True
        try:
            result = _outcome(self._function)
        except BaseException as error:  # noqa: BLE001  # SystemExit and the like: raised again on the loop's side
            result = Outcome(None, error)
        with self._lock:
            self._result = result
            if self._left:
                _count_abandoned(-1)
