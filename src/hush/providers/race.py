"""Race: two calls for one answer; the second starts when the first is slow.

Who answers first wins, with a stream who sends the first piece first; the other one is
cancelled and knows against whom it lost. Where one fails, the other goes on alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from hush.errors import LLMCircuitError, LLMError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.providers.answer import ChatAnswer, Piece
    from hush.providers.chat_call import ChatCall

__all__ = ("Race",)


class Race:
    """A race for one answer."""

    def __init__(self, second: Callable[[], ChatCall], *, streams: bool) -> None:
        """Prepare.

        Args:
            second: makes the second call.
            streams: whether the first piece decides, not the whole answer.
        """
        self._second = second
        self._streams = streams
        self._running: dict[ChatCall, anyio.CancelScope] = {}
        self._winner: ChatCall | None = None
        self._answer: ChatAnswer | None = None
        self.errors: list[LLMError] = []
        """What the calls failed with, in order."""
        self._fault: Exception | None = None
        """What is no failure of a call, but a mistake."""
        self._opened = anyio.Event()
        self._decided = anyio.Event()

    async def run(self, first: ChatCall, after_s: float) -> ChatAnswer:
        """Run the race.

        Args:
            first: the first call.
            after_s: when the second one starts, in seconds after the first one was let in
                by its limits, if nothing is decided by then.

        Returns:
            The winner's answer; the other call is over.

        Raises:
            LLMError: no call answered; the last one's error.
        """
        first.on_open = self._opened.set
        async with anyio.create_task_group() as group:
            group.start_soon(self._enter, first)
            await self._opened.wait()
            with anyio.move_on_after(after_s):
                await self._decided.wait()
            if not self._decided.is_set():
                group.start_soon(self._enter, self._second())
        if self._fault is not None:
            # Raised out here, lest the task group wrap it.
            raise self._fault
        if self._answer is None:
            # A circuit that did not let the hedge in is no reason of the failure.
            own = [error for error in self.errors if not isinstance(error, LLMCircuitError)]
            raise (own or self.errors)[-1]
        return self._answer

    async def _enter(self, call: ChatCall) -> None:
        if self._winner is not None:
            # Decided between this task's start and its first step.
            return
        call.claim = lambda: self._claim(call)
        if self._streams:
            listen = call.on_piece

            def take(piece: Piece) -> None:
                if self._claim(call) and listen is not None:
                    listen(piece)

            call.on_piece = take
        with anyio.CancelScope() as scope:
            self._running[call] = scope
            try:
                answer = await call.run()
                if self._winner is call:
                    self._answer = answer
            except LLMError as error:
                self.errors.append(error)
            except Exception as error:  # noqa: BLE001  # raised again by run
                self._fault = error
                self._decided.set()
        del self._running[call]
        self._opened.set()
        if not self._running:
            # What failed before the other one started is retried, not hedged.
            self._decided.set()

    def _claim(self, call: ChatCall) -> bool:
        """Say whether a call has won; the first one to ask does, and the other is cancelled."""
        if self._winner is None:
            self._winner = call
            self._decided.set()
            for other, scope in self._running.items():
                if other is not call:
                    other.lose_to(call)
                    scope.cancel()
        return self._winner is call
