"""Pace: many that work in turns, and an event loop that has its own turn in between.

A loop goes round once for all who are ready, so a thousand workers that make one step each hold
it a thousand steps long. Here they go on a few at a time. Who waits costs nothing: it is
called when it is its turn, and asks nobody before. Knows no nodes, no maps and no clock but
the stamp's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from hush.runtime.stepping import BREATH_S, ROUND_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hush.runtime.stepping import Stamp

__all__ = ("AT_A_TIME", "Pace")

AT_A_TIME: Final = 16
"""How many go on each time that the loop goes round."""


class _Place:
    """Of one who waits."""

    __slots__ = ("called", "gone", "leads", "share_s")

    def __init__(self) -> None:
        self.share_s = BREATH_S
        self.called = anyio.Event()
        self.leads = False
        """Whether it calls the next."""
        self.gone = False


class Pace:
    """Lets the loop have its turn between those who work for one run."""

    __slots__ = ("_behind", "_led", "_stamp")

    def __init__(self, stamp: Stamp) -> None:
        """Begin with nobody waiting.

        Args:
            stamp: of the thread; learns until when whoever goes on may do so.
        """
        self._stamp = stamp
        self._behind: deque[_Place] = deque()
        self._led = False
        """Whether somebody will call those who wait."""

    async def breathe(self, turn: Callable[[], Awaitable[object]]) -> None:
        """Let the loop go round, and a cancellation in; then it is the caller's turn to work.

        To be awaited where the stamp's ``until`` has passed. Who comes first goes on
        in the next round. The others queue behind, and a few of them go on each round, in the
        order in which they came.

        Args:
            turn: lets the loop go round once.
        """
        if not self._led:
            self._led = True
            try:
                await turn()
            finally:
                self._call()
                self._stamp.work_for(BREATH_S)
            return
        place = _Place()
        self._behind.append(place)
        try:
            await place.called.wait()
        finally:
            place.gone = True
            if place.leads:  # cancelled or not: the others rely on it
                self._call()
            self._stamp.work_for(place.share_s)

    def _call(self) -> None:
        """Call the next; they go on in the next round."""
        behind = self._behind
        called: list[_Place] = []
        while behind and len(called) < AT_A_TIME:
            place = behind.popleft()
            if not place.gone:
                called.append(place)
        self._led = bool(called)
        if called:
            called[0].leads = True
            share_s = min(ROUND_S / len(called), BREATH_S)
            for place in called:
                place.share_s = share_s
                place.called.set()
