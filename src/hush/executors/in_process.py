"""In this process: worker threads and worker processes for plain callables.

The only part of the runtime's machinery that may know which event loop runs: telling a
cancellation that was asked for from one that user code made up needs asyncio's own
count on asyncio.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import math
import operator
import sys
import threading
from contextlib import suppress
from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_process
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("InProcess", "abandoned_threads")

_abandoned = 0
_abandoned_lock = threading.Lock()


def abandoned_threads() -> int:
    """Return how many threads were left behind and are still running."""
    return _abandoned


def _count_abandoned(change: int) -> None:
    global _abandoned  # noqa: PLW0603  # one count per process, behind a lock
    with _abandoned_lock:
        _abandoned += change


class InProcess:
    """Runs plain callables in threads and processes of this machine.

    One limit on threads holds for all runs that share this object, on each loop.
    """

    def __init__(self, max_threads: int) -> None:
        """Set the limit.

        Args:
            max_threads: most threads that work at the same time on one loop.
        """
        self.max_threads = max_threads
        self._limiters = anyio.lowlevel.RunVar[anyio.CapacityLimiter](f"hush_threads_{id(self)}")

    def _limiter(self) -> anyio.CapacityLimiter:
        try:
            return self._limiters.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(self.max_threads)
            self._limiters.set(limiter)
            return limiter

    async def in_thread(
        self, function: Callable[[], Any], *, on_abandon: Callable[[], None] | None
    ) -> tuple[Any, float]:
        """Call in a worker thread with the caller's context.

        Args:
            function: takes nothing.
            on_abandon: where given, cancellation leaves the thread behind and calls this.

        Returns:
            What it returned, and the seconds for which no thread was free.
        """
        limiter = self._limiter()
        borrower = object()
        waited_s = 0.0
        try:
            limiter.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock:
            began = perf_counter()
            await limiter.acquire_on_behalf_of(borrower)
            waited_s = perf_counter() - began
        try:
            if on_abandon is None:
                result = await _Awaited(function).call()
            else:
                result = await _Leavable(function).call(on_abandon)
        finally:
            limiter.release_on_behalf_of(borrower)
        value = result.value()
        # What came while the thread could not be stopped comes out now; the value is discarded.
        await anyio.lowlevel.checkpoint_if_cancelled()
        return value, waited_s

    async def in_process(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Call in a worker process, which is killed on cancellation.

        Args:
            function: importable by the worker: a module's function, also one that the
                module knows only as the ``__wrapped__`` of a decorator's result.
            args: picklable positional arguments.
            kwargs: picklable keyword arguments.

        Returns:
            What it returned.
        """
        call = functools.partial(_importable(function), *args, **kwargs)
        return await anyio.to_process.run_sync(call, cancellable=True)

    def cancellation_requested(self) -> bool:
        """Say whether a cancellation that just arrived was asked for.

        On trio every one was: only scopes make them.
        """
        return self.being_cancelled() or not _asyncio_runs()

    def being_cancelled(self) -> bool:
        """Say whether a scope or task around the caller has been asked to be cancelled.

        On asyncio also a task may have been cancelled directly, which asyncio counts.
        """
        if anyio.current_effective_deadline() == -math.inf:
            return True
        task = asyncio.current_task() if _asyncio_runs() else None
        return task is not None and task.cancelling() > 0


def _asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Wrapped:
    """A function that its module holds only inside of what a decorator made of it."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        holder = operator.attrgetter(self._name)(importlib.import_module(self._module))
        return holder.__wrapped__(*args, **kwargs)


def _importable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what can be pickled in the place of a decorated function."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or "<" in name or module not in sys.modules:
        return function
    try:
        holder = operator.attrgetter(name)(sys.modules[module])
    except AttributeError:
        return function
    if holder is not function and getattr(holder, "__wrapped__", None) is function:
        return _Wrapped(module, name)
    return function


_unlimited_limiter = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("hush_unlimited_threads")


def _unlimited() -> anyio.CapacityLimiter:
    try:
        return _unlimited_limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(math.inf)
        _unlimited_limiter.set(limiter)
        return limiter


class _Outcome:
    """What a call came to; keeps a StopIteration from being raised into a future."""

    __slots__ = ("_error", "_value")

    def __init__(self, value: Any, error: BaseException | None) -> None:
        self._value = value
        self._error = error

    def value(self) -> Any:
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            # The traceback refers to this frame; break the circle.
            del self


def _outcome(function: Callable[[], Any]) -> _Outcome:
    try:
        return _Outcome(function(), None)
    except StopIteration as error:
        wrapped = RuntimeError("a function in a worker thread raised StopIteration")
        wrapped.__cause__ = error
        return _Outcome(None, wrapped)
    except Exception as error:  # noqa: BLE001  # raised again on the loop's side
        return _Outcome(None, error)


class _Awaited:
    """A call in a worker thread that nothing leaves behind.

    anyio shields such a call from cancel scopes; a task that asyncio cancels directly
    (``task.cancel()``, ``asyncio.wait_for``) would be gone all the same, and the function
    would go on behind the back of a run that is over.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._state = "new"
        self._finished: anyio.Event | None = None
        self._token: Any = None

    async def call(self) -> _Outcome:
        try:
            # Our own limiter has let it in; anyio's own must not hold it back.
            return await anyio.to_thread.run_sync(self._work, limiter=_unlimited())
        except BaseException:
            await self._wait()
            raise

    def _work(self) -> _Outcome:
        with self._lock:
            if self._state == "dropped":
                return _Outcome(None, None)
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


class _Leavable:
    """A call in a thread of its own that cancellation can leave behind.

    anyio's workers are not daemons: one that never returns would hold up the exit of
    the process. So a thread that may be left is made for the occasion.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._done = anyio.Event()
        self._result: _Outcome | None = None
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._left = False
        self._finished = False

    async def call(self, on_abandon: Callable[[], None]) -> _Outcome:
        token = anyio.lowlevel.current_token()
        context = copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._work, token), name="hush worker", daemon=True
        )
        thread.start()
        try:
            await self._done.wait()
        finally:
            with self._lock:
                left = self._left = not self._finished
                if left:
                    _count_abandoned(1)
            if left:
                on_abandon()
        if self._failure is not None:
            raise self._failure
        assert self._result is not None  # noqa: S101  # one of the two is set before the event
        return self._result

    def _work(self, token: Any) -> None:
        try:
            self._result = _outcome(self._function)
        except BaseException as error:  # noqa: BLE001  # SystemExit and the like: raised again on the loop's side
            self._failure = error
        with self._lock:
            if self._left:
                _count_abandoned(-1)
                return
            self._finished = True
        try:
            anyio.from_thread.run_sync(self._done.set, token=token)
        except RuntimeError:
            # The loop is gone and with it whoever waited.
            return
