"""Callers: whether whoever asked for a run wants it cancelled.

A cancel scope says for itself that it was cancelled, on either loop. On asyncio a task may
also be cancelled directly (``task.cancel()``, ``asyncio.wait_for``, ``asyncio.timeout``);
that is delivered once, may get lost in a clean-up that raises, and stands nowhere but in
the task's own count. Only this count tells it from a cancellation that user code made up.
"""

from __future__ import annotations

import asyncio
import math
import types
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

__all__ = ("TaskCaller", "asyncio_runs")


def asyncio_runs() -> bool:
    """Say whether the running loop is asyncio's."""
    return anyio.get_cancelled_exc_class() is asyncio.CancelledError


@types.coroutine
def _turn_on_asyncio() -> Generator[None, None, None]:
    """Do what ``anyio.lowlevel.checkpoint`` comes to on asyncio, at 0.7 of its 1.5 µs less."""
    yield


class TaskCaller:
    """The task that runs a workflow: a :class:`~hush.runtime.placement.Caller`."""

    __slots__ = ("_asked", "_before", "_task", "turn")

    def __init__(self) -> None:
        """Take the current task, and how often it had been asked to be cancelled by now."""
        self._task = asyncio.current_task() if asyncio_runs() else None
        self._before = 0
        self._asked = False
        self.turn: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint
        """Lets the event loop go round once, and a cancellation in."""
        if self._task is not None:
            self.turn = _turn_on_asyncio
            # A request that has not been delivered yet is the run's, not its past.
            pending = bool(getattr(self._task, "_must_cancel", False))
            self._before = self._task.cancelling() - pending

    def cancelled(self) -> bool:
        """Say whether the task was cancelled directly since the run began."""
        task = self._task
        # A scope that was cancelled has asked the task too, but sees to it by itself.
        asked = task is not None and (self._asked or task.cancelling() > self._before)
        return asked and not _scope_cancelled()

    def being_cancelled(self) -> bool:
        """Say whether a scope or task around the current one is asked to be cancelled."""
        return _scope_cancelled() or self._current_cancelled()

    def cancellation_requested(self) -> bool:
        """Say whether a cancellation that just arrived was asked for.

        On trio every one was: only scopes make them.
        """
        return self.being_cancelled() or not asyncio_runs()

    def delivered(self) -> None:
        """Take note that a cancellation came while the current task waited for its own tasks.

        The task's count may not tell: where a task in a group has a group of its own, anyio
        takes back from the outer group's task what it asked of the inner one's (4.16).
        """
        if self._task is not None and asyncio.current_task() is self._task:
            self._asked = self._asked or not _scope_cancelled()

    async def give_way(self) -> None:
        """Let a cancellation that was asked for come out; return where there is none."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._current_cancelled():
            # One that is still to be delivered comes out here, so that it does so only once.
            await anyio.lowlevel.checkpoint()
            raise asyncio.CancelledError

    def _current_cancelled(self) -> bool:
        task = asyncio.current_task() if asyncio_runs() else None
        if task is None:
            return False
        if task is self._task:
            return self._asked or task.cancelling() > self._before
        # All other tasks in which this run's work is done were made for it.
        return task.cancelling() > 0


def _scope_cancelled() -> bool:
    return anyio.current_effective_deadline() == -math.inf
