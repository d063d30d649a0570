"""Waking a task of another event loop, without holding up the loop that wakes it.

The only part of the limits that may know which event loop runs. Both kinds have one call
that is safe from any thread and returns at once: ``call_soon_threadsafe`` on asyncio,
``run_sync_soon`` on trio. trio need not be installed for it: anyio hands out what stands
for the running loop, whichever it is.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    import trio

__all__ = ("Sleeper",)


class Sleeper:
    """A task that may be woken from any thread. Made by the task itself, on its loop."""

    __slots__ = ("_event", "loop")

    def __init__(self) -> None:
        """Remember the event loop that runs in this thread.

        Raises:
            anyio.NoEventLoopError: none runs here.
        """
        self.loop: object = anyio.lowlevel.current_token().native_token
        """What stands for the loop: the same object for all sleepers of one loop."""
        self._event = anyio.Event()

    @property
    def lost(self) -> bool:
        """Whether the loop is closed. Of a trio loop only :meth:`wake` finds out; yet trio
        ends no run before its tasks, asyncio's may be closed over their heads.
        """
        return isinstance(self.loop, asyncio.AbstractEventLoop) and self.loop.is_closed()

    def wake(self) -> bool:
        """Let the task's sleep, or where it is awake its next one, end. From any thread.

        Returns:
            False where the loop is over, and the task with it.
        """
        try:
            if isinstance(self.loop, asyncio.AbstractEventLoop):
                self.loop.call_soon_threadsafe(self._ring)
            else:
                cast("trio.lowlevel.TrioToken", self.loop).run_sync_soon(self._ring)
        except RuntimeError:
            # What asyncio raises for a closed loop; trio's RunFinishedError is one too.
            return False
        return True

    async def sleep(self, timeout_s: float) -> None:
        """Sleep until woken.

        Args:
            timeout_s: for how long at most, in seconds; infinity means no limit.
        """
        if timeout_s == math.inf:
            await self._event.wait()
        else:
            with anyio.move_on_after(timeout_s):
                await self._event.wait()
        if self._event.is_set():
            # Set and replaced on this loop alone, so nothing comes between.
            self._event = anyio.Event()

    def _ring(self) -> None:
        self._event.set()
