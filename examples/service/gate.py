"""The gate: how many runs there are at once, and how the last of them end.

It knows nothing of HTTP and of workflows: work is a function to await.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


class TurnedAwayError(Exception):
    """The work was not begun: too much is going on already, or the service is ending."""


class CutOffError(Exception):
    """The work was begun and then cancelled, because the service had to end."""


class Gate:
    """Lets so much work in at once, a little more wait, and turns the rest away.

    Whoever is turned away knows at once and may try another replica; a queue without end
    would answer everybody, and everybody too late.
    """

    def __init__(self, most: int, most_waiting: int, most_wait_s: float) -> None:
        """Be open.

        Args:
            most: how much work is done at once.
            most_waiting: how much may wait for its turn.
            most_wait_s: for how long, in seconds.
        """
        self.ending = False
        """Whether it will be closed soon, or is: no more work should be brought."""
        self.closed = False
        self._slots = anyio.CapacityLimiter(most)
        self._most_waiting = most_waiting
        self._most_wait_s = most_wait_s
        self._waiting: set[anyio.CancelScope] = set()
        self._inside: set[anyio.CancelScope] = set()
        self._left = anyio.Event()

    @property
    def inside(self) -> int:
        """How much is being done now."""
        return len(self._inside)

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work when it is its turn.

        Args:
            work: called once, or not at all.

        Returns:
            What the work returned.

        Raises:
            TurnedAwayError: it was not begun.
            CutOffError: it was cancelled by :meth:`cut_off`.
            Exception: what the work raised. Cancellation comes out once the work is over.
        """
        token = object()
        await self._take_slot(token)
        scope = anyio.CancelScope()
        try:
            if self.closed:
                # Closed in the moment in which the turn came.
                raise TurnedAwayError("the service is ending")
            self._inside.add(scope)
            with scope:
                return await work()
            raise CutOffError("the service had to end before this was done")
        finally:
            self._inside.discard(scope)
            self._slots.release_on_behalf_of(token)
            if not self._inside:
                self._left.set()

    async def _take_slot(self, token: object) -> None:
        if self.closed:
            raise TurnedAwayError("the service is ending")
        try:
            self._slots.acquire_on_behalf_of_nowait(token)
        except anyio.WouldBlock:
            pass
        else:
            return
        if len(self._waiting) >= self._most_waiting:
            raise TurnedAwayError("too many requests are waiting already")
        scope = anyio.move_on_after(self._most_wait_s)
        self._waiting.add(scope)
        try:
            with scope:
                await self._slots.acquire_on_behalf_of(token)
                return
        finally:
            self._waiting.discard(scope)
        said = "the service is ending" if self.closed else "it was nobody's turn in time"
        raise TurnedAwayError(said)

    def close(self) -> None:
        """Let nobody in any more; who waits is turned away, who is inside goes on."""
        self.ending = self.closed = True
        for scope in self._waiting:
            scope.cancel()

    async def wait_until_empty(self) -> None:
        """Wait until nobody is inside; the gate should be closed."""
        while self._inside:
            self._left = anyio.Event()
            await self._left.wait()

    def cut_off(self) -> None:
        """Cancel whatever is inside; it is over when :meth:`wait_until_empty` returns."""
        for scope in self._inside:
            scope.cancel()
