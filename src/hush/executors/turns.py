"""Turns: as many calls at a time as workers have nothing to do; the others wait here.

An engine that binds to a worker at once whatever it is given, lets it wait there for the long
item that this one has, while others are idle. Belongs to one asyncio loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ("Turns",)


class Turns:
    """Lets in who comes first, as many at a time as there are slots."""

    def __init__(self, slots: int) -> None:
        """Begin with nobody.

        Args:
            slots: how many calls the workers run at the same time; at least one is let in.
        """
        self._slots = slots
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def slots(self) -> int:
        """How many there are; may be changed at any time."""
        return self._slots

    @slots.setter
    def slots(self, slots: int) -> None:
        self._slots = slots
        self._let_in()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a slot, and keep it for the length of a block."""
        if self._waiting or self._taken >= max(1, self._slots):
            asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(asked)
            try:
                await asked
            except asyncio.CancelledError:
                if asked.done() and not asked.cancelled():
                    self._give_back()
                raise
        else:
            self._taken += 1
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self._taken -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._taken < max(1, self._slots):
            asked = self._waiting.popleft()
            if not asked.done():
                self._taken += 1
                asked.set_result(None)
