"""In this process: worker threads and worker processes for plain callables."""

from __future__ import annotations

import functools
import importlib
import operator
import os
import pickle
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from hush.executors.caller import TaskCaller
from hush.executors.threads import AwaitedCall, LeavableCall, unlimited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("LocalPlacement",)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What one engine may use on one loop."""

    threads: anyio.CapacityLimiter
    processes: anyio.CapacityLimiter


class LocalPlacement:
    """Runs plain callables in threads and processes of this machine.

    One limit on threads and one on processes hold for all runs that share this object, on
    each loop.
    """

    def __init__(self, max_threads: int, max_processes: int | None = None) -> None:
        """Set the limits.

        Args:
            max_threads: most threads that work at the same time on one loop.
            max_processes: most processes likewise; None means one for each CPU.
        """
        self.max_threads = max_threads
        self.max_processes = max_processes or os.cpu_count() or 1

    def _limits(self) -> _Limits:
        try:
            known = _limits_of.get()
        except LookupError:
            known = WeakKeyDictionary()
            _limits_of.set(known)
        limits = known.get(self)
        if limits is None:
            limits = known[self] = _Limits(
                anyio.CapacityLimiter(self.max_threads), anyio.CapacityLimiter(self.max_processes)
            )
        return limits

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
        limiter = self._limits().threads
        borrower = object()
        waited_s = await _acquire(limiter, borrower)
        try:
            if on_abandon is None:
                result = await AwaitedCall(function).call()
            else:
                result = await LeavableCall(function).call(on_abandon)
        finally:
            limiter.release_on_behalf_of(borrower)
        value = result.value()
        # What came while the thread could not be stopped comes out now; the value is discarded.
        await anyio.lowlevel.checkpoint_if_cancelled()
        return value, waited_s

    async def in_process(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, float]:
        """Call in a worker process, which is killed on cancellation.

        Args:
            function: importable by the worker: a module's function, also one that the
                module knows only as the ``__wrapped__`` of a decorator's result.
            args: picklable positional arguments.
            kwargs: picklable keyword arguments.

        Returns:
            What it returned, and the seconds for which no process was free.
        """
        if _of_another_script(function):
            call = _by_value(function, args, kwargs)
        else:
            call = functools.partial(_importable(function), *args, **kwargs)
        limiter = self._limits().processes
        borrower = object()
        waited_s = await _acquire(limiter, borrower)
        try:
            # It brings all of subprocess with it; few workflows have nodes in processes.
            from anyio import to_process  # noqa: PLC0415  # as above

            value = await to_process.run_sync(call, cancellable=True, limiter=unlimited())
        finally:
            limiter.release_on_behalf_of(borrower)
        return value.value() if isinstance(value, _Given) else value, waited_s

    def caller(self) -> TaskCaller:
        """Return the current task as the caller of a run that begins now."""
        return TaskCaller()


# Weak, so that an engine that was made for one request takes its limits with it.
_limits_of = anyio.lowlevel.RunVar[WeakKeyDictionary[LocalPlacement, _Limits]]("hush_limits")


async def _acquire(limiter: anyio.CapacityLimiter, borrower: object) -> float:
    """Take a place under a limit; return for how many seconds there was none."""
    try:
        limiter.acquire_on_behalf_of_nowait(borrower)
    except anyio.WouldBlock:
        began = perf_counter()
        await limiter.acquire_on_behalf_of(borrower)
        return perf_counter() - began
    return 0.0


class _Wrapped:
    """A function that its module holds only inside of what a decorator made of it."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        holder = operator.attrgetter(self._name)(importlib.import_module(self._module))
        return holder.__wrapped__(*args, **kwargs)


def _by_value(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[], Any]:
    """Return a call that can be pickled of a function that was sent here by value itself."""
    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415  # seldom needed; has no types

    return functools.partial(_called, cloudpickle.dumps((function, args, dict(kwargs))))


def _called(data: bytes) -> _Given:
    import cloudpickle  # noqa: PLC0415  # as above

    function, args, kwargs = pickle.loads(data)  # noqa: S301  # from the process that started this one
    return _Given(cloudpickle.dumps(function(*args, **kwargs)))


class _Given:
    """What came of such a call; its classes may be the script's too."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def value(self) -> Any:
        return pickle.loads(self._data)  # noqa: S301  # from a process that was started here


def _of_another_script(function: Callable[..., Any]) -> bool:
    """Say whether a function is of a script that is not the one of this process."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<")
    if module != "__main__" or "<" in name:
        return False
    return not hasattr(sys.modules["__main__"], name.partition(".")[0])


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
