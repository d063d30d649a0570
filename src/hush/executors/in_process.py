"""In this process: where items run that were given no other place.

The runtime runs them itself, with nothing in between, and reads this as "here". Whoever
calls it like any other executor gets a thread.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel

from hush.errors import WorkerLostError
from hush.executors.cpus import usable_cpus
from hush.executors.threads import LeavableCall
from hush.model.executor import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ("InProcess",)


class InProcess:
    """Runs items in the process and on the event loop of the run: the default, said aloud.

    For a map within an engine that was given another executor.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def name(self) -> str:
        """``in_process``."""
        return "in_process"

    @property
    def capabilities(self) -> Capabilities:
        """A thread cannot be stopped; there is no worker that could freeze by itself."""
        return Capabilities(
            stops_running_work=False, detects_frozen_workers=False, code_by_value=True
        )

    @property
    def slots(self) -> int:
        """One for each CPU that this process may use; nothing limits calls to it."""
        return usable_cpus()

    async def __aenter__(self) -> Self:
        """Nothing has to be made ready."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing has to be closed."""

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        """Call a function in a thread of this process.

        Args:
            function: takes the payload and raises nothing.
            payload: what it gets.

        Returns:
            What it returned.

        Raises:
            WorkerLostError: it asked for the end of the process, which goes on.
            BaseException: on cancellation its thread is left behind.
        """
        outcome = await LeavableCall(functools.partial(function, payload)).call(lambda: None)
        try:
            result: bytes = outcome.value()
        except SystemExit as error:
            raise WorkerLostError(f"a thread was told to end by what ran in it: {error}") from error
        return result
