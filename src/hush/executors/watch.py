"""A watch over a cluster: calls that nobody is left to answer are ended.

Engines wait for ever for a cluster that has no workers any more, or that is gone. Looks now
and then, on the loop of the connection; knows no engine.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hush.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ("Watch",)

T = TypeVar("T")

LOOK_S: Final = 2.0
"""How often it looks."""


class Watch:
    """Ends calls where there has been no worker for too long."""

    def __init__(
        self, look: Callable[[], Coroutine[Any, Any, bool]], patience_s: float, remedy: str
    ) -> None:
        """Begin.

        Args:
            look: says whether there is anybody to work; raises where nobody can be asked.
            patience_s: for how long that may not be so, in seconds.
            remedy: what the error begins and ends with, around ``{}``.
        """
        self._look = look
        self._patience_s = patience_s
        self._remedy = remedy
        self._seen = time.monotonic()
        self._ends: set[asyncio.Future[None]] = set()
        self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def over(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work, for as long as there is somebody who may do it.

        Raises:
            ExecutorError: there is not; then, and where this is cancelled, work is cancelled
                and its end awaited.
        """
        end = asyncio.get_running_loop().create_future()
        self._ends.add(end)
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                end.result()
            return task.result()
        finally:
            self._ends.discard(end)
            end.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(Exception):  # nobody there; that it is so for long is what counts
                if await asyncio.wait_for(self._look(), 10 * LOOK_S):
                    self._seen = time.monotonic()
            without_s = time.monotonic() - self._seen
            if without_s > self._patience_s:
                for end in [one for one in self._ends if not one.done()]:
                    end.set_exception(ExecutorError(self._remedy.format(f"{without_s:.0f} s")))

    async def stop(self) -> None:
        """Look no more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
