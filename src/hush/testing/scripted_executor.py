"""A scripted executor: calls run in threads of this process, and what becomes of each is said.

For tests of what a workflow does when workers are lost, hang or are slow, without any. It runs
what a real engine would run in its workers, but in the process of the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread

from hush.errors import ExecutorError, WorkerLostError
from hush.model.executor import Capabilities
from hush.runtime.remote.packing import unpack_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

__all__ = (
    "BreakEngine",
    "Deliver",
    "Fate",
    "FreezeWorker",
    "LoseWorker",
    "ScriptedExecutor",
    "SentCall",
)


@dataclass(frozen=True, slots=True)
class SentCall:
    """One call, as it was sent."""

    number: int
    """From 0, in order of sending."""
    path: str
    """Path of the map or graph."""
    indices: tuple[int, ...]
    """Of its items."""
    attempts: tuple[int, ...]
    """Numbers of the attempts at these."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """The call runs, and its answer arrives."""

    delay_s: float = 0.0
    """How long the answer is held up, in seconds."""


@dataclass(frozen=True, slots=True)
class LoseWorker:
    """The worker is lost."""

    after_running: bool = False
    """Whether the call has run by then, and only its answer is lost."""


@dataclass(frozen=True, slots=True)
class FreezeWorker:
    """No answer ever comes."""


@dataclass(frozen=True, slots=True)
class BreakEngine:
    """The engine fails, not a worker."""

    message: str = "the engine is broken"


Fate = Deliver | LoseWorker | FreezeWorker | BreakEngine


class ScriptedExecutor:
    """An executor whose workers do as they are told.

    Attributes:
        calls: every call so far.
        in_flight: items that were sent and not answered.
        most_in_flight: the largest that has been.
    """

    def __init__(
        self,
        script: Iterable[Fate] | Callable[[SentCall], Fate] = (),
        *,
        slots: int = 2,
        stops_running_work: bool = True,
    ) -> None:
        """Write the script.

        Args:
            script: what becomes of the calls, in order, or what says so for each; calls beyond
                its end are delivered.
            slots: how many calls run at the same time; others wait.
            stops_running_work: what it says of itself; threads run on in either case.
        """
        self._decide = script if callable(script) else None
        self._script = iter(()) if callable(script) else iter(script)
        self._slots = slots
        self._stops = stops_running_work
        self._entered = 0
        self._limiter: anyio.CapacityLimiter | None = None
        self.calls: list[SentCall] = []
        self.in_flight = self.most_in_flight = 0

    @property
    def name(self) -> str:
        """``scripted``."""
        return "scripted"

    @property
    def capabilities(self) -> Capabilities:
        """As the script says."""
        return Capabilities(
            stops_running_work=self._stops, detects_frozen_workers=False, code_by_value=True
        )

    @property
    def slots(self) -> int:
        """How many calls run at the same time."""
        return self._slots

    async def __aenter__(self) -> Self:
        """Make ready for one event loop at a time."""
        if not self._entered:
            self._limiter = anyio.CapacityLimiter(self._slots)
        self._entered += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close nothing."""
        self._entered -= 1

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        """Do with a call as the script says.

        Args:
            function: runs in a thread.
            payload: what it gets.

        Returns:
            What it returned.

        Raises:
            WorkerLostError: the script says so.
            ExecutorError: likewise, or the executor has not been entered.
            BaseException: on cancellation its thread is left behind.
        """
        if self._limiter is None or not self._entered:
            msg = "it has not been entered: async with executor"
            raise ExecutorError(msg)
        sent = unpack_call(payload)
        indices, attempts = zip(*((item.index, item.attempt) for item in sent.items), strict=True)
        call = SentCall(len(self.calls), sent.path, indices, attempts)
        self.calls.append(call)
        fate = next(self._script, Deliver()) if self._decide is None else self._decide(call)
        self.in_flight += len(indices)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with self._limiter:
                return await _done(fate, function, payload)
        finally:
            self.in_flight -= len(indices)


async def _done(fate: Fate, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
    if isinstance(fate, BreakEngine):
        raise ExecutorError(fate.message)
    if isinstance(fate, FreezeWorker):
        await anyio.sleep_forever()
    answer = b""
    if not isinstance(fate, LoseWorker) or fate.after_running:
        answer = await anyio.to_thread.run_sync(function, payload, abandon_on_cancel=True)
    if isinstance(fate, LoseWorker):
        msg = "a worker was lost, as the script says"
        raise WorkerLostError(msg)
    if isinstance(fate, Deliver) and fate.delay_s:
        await anyio.sleep(fate.delay_s)
    return answer
