"""Placement: where a plain callable runs and who asked for the run, as the runtime needs it.

The runtime asks; :mod:`hush.executors` answers. Only there is anything known of threads
and processes, or of which event loop is running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ("Caller", "Placement")


class Caller(Protocol):
    """Whoever asked for a run and may want it cancelled."""

    turn: Callable[[], Awaitable[object]]
    """Lets the event loop go round once, and a cancellation in."""

    def cancelled(self) -> bool:
        """Say whether the caller's task was cancelled directly, past all scopes.

        Cheap, and asked after each node: it is delivered once, and code of a node that
        caught it has not ended the run.
        """

    def being_cancelled(self) -> bool:
        """Say whether a scope or task around the current one is asked to be cancelled."""

    def cancellation_requested(self) -> bool:
        """Say whether a cancellation that just arrived was asked for by a scope or task."""

    def delivered(self) -> None:
        """Take note that a cancellation came to a task that only waited for tasks it had spawned.

        Nobody's code can have made it up, then.
        """

    async def give_way(self) -> None:
        """Let a cancellation that was asked for come out; return where there is none."""


class Placement(Protocol):
    """Runs plain callables elsewhere than on the loop."""

    async def in_thread(
        self, function: Callable[[], Any], *, on_abandon: Callable[[], None] | None
    ) -> tuple[Any, float]:
        """Call in a worker thread with the caller's context.

        Args:
            function: takes nothing.
            on_abandon: where given, cancellation leaves the thread behind and calls this;
                else the thread is awaited and its result discarded.

        Returns:
            What it returned, and the seconds for which no thread was free.
        """

    async def in_process(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, float]:
        """Call in a worker process, which is killed on cancellation.

        Args:
            function: importable by the worker.
            args: picklable.
            kwargs: picklable.

        Returns:
            What it returned, and the seconds for which no process was free.
        """

    def caller(self) -> Caller:
        """Return the current task as the caller of a run that begins now."""
