"""Events: what a running workflow tells its caller, typed and frozen.

Delivery is part of the run: a slow consumer slows it. Only events of cancelled work
never wait, since nobody may be left to take them.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from hush.log import log_fault
from hush.model.contract import ChunkReceived

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.runtime.placement import Caller

__all__ = (
    "BUFFER",
    "CallbackSink",
    "ChunkReceived",
    "Event",
    "EventSink",
    "ItemEnded",
    "ItemStarted",
    "NodeEnded",
    "NodeStarted",
    "RunEnded",
    "RunStarted",
    "StreamSink",
)

BUFFER = 64
"""Events that a stream holds before the run waits for its consumer."""

GRACE_S = 1.0
"""How long a callback may take over the events of cancelled work, in seconds."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run began."""

    path: str
    run_id: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over; nothing follows."""

    path: str
    run_id: str
    outcome: str
    run_s: float


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node began."""

    path: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class NodeEnded:
    """A node ended."""

    path: str
    name: str
    kind: str
    outcome: str
    run_s: float
    error: str | None = None
    """Type and text of what it raised."""


@dataclass(frozen=True, slots=True)
class ItemStarted:
    """A map's item or a loop's iteration began."""

    path: str
    node: str
    """Path of the map or loop."""
    index: int
    key: str | None
    total: int | None
    """Number of items, where the source says it."""


@dataclass(frozen=True, slots=True)
class ItemEnded:
    """A map's item or a loop's iteration ended."""

    path: str
    node: str
    index: int
    key: str | None
    total: int | None
    outcome: str
    run_s: float
    error: str | None = None
    """Type and text of its failure, handled ones included."""


Event = RunStarted | RunEnded | NodeStarted | NodeEnded | ItemStarted | ItemEnded | ChunkReceived


class EventSink(Protocol):
    """Where events go."""

    async def emit(self, event: Event) -> None:
        """Deliver; may wait for the consumer."""

    async def emit_cancelled(self, event: Event) -> None:
        """Deliver an event of cancelled work without waiting for long."""


class CallbackSink:
    """Calls the user's function for each event."""

    def __init__(
        self, callback: Callable[..., Any], caller: Caller, name: str = "on_event"
    ) -> None:
        """Keep the callback.

        Args:
            callback: sync or async; its first fault is logged, the run goes on.
            caller: of the run; tells whether a cancellation is the callback's own fault.
            name: what the user knows it as.
        """
        self._callback = callback
        self._caller = caller
        self._name = name
        self._logged = False

    async def emit(self, event: Event) -> None:
        """Call, and await what comes back where it can be awaited."""
        try:
            answer = self._callback(event)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001  # an observer's fault is not the run's
            self._log(error)
        except (anyio.get_cancelled_exc_class(), BaseExceptionGroup) as error:
            if self._caller.cancellation_requested() or not _only_cancelled(error):
                raise
            # It awaited something that was cancelled; of this run nothing was.
            self._log(error)

    def _log(self, error: BaseException) -> None:
        if not self._logged:
            self._logged = True
            said = f"{self._name} raised; the run goes on, further faults are not logged"
            log_fault("hush", said, error)

    async def emit_cancelled(self, event: Event) -> None:
        """Call, protected from the cancellation for a moment."""
        with anyio.move_on_after(GRACE_S, shield=True):
            await self.emit(event)


def _only_cancelled(error: BaseException) -> bool:
    """Say whether ``error`` is made of cancellations and ordinary errors."""
    if isinstance(error, BaseExceptionGroup):
        return all(_only_cancelled(one) for one in error.exceptions)
    return isinstance(error, (Exception, anyio.get_cancelled_exc_class()))


class StreamSink:
    """Keeps events for a consumer; the run waits while ``BUFFER`` are not taken."""

    def __init__(self) -> None:
        """Start empty."""
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Event, bool]](math.inf)
        self._room = anyio.Semaphore(BUFFER)

    async def emit(self, event: Event) -> None:
        """Wait for room, then put the event in."""
        await self._room.acquire()
        self._send.send_nowait((event, True))

    async def emit_cancelled(self, event: Event) -> None:
        """Put the event in without waiting: at most one per unit of work under way."""
        self._send.send_nowait((event, False))

    async def take(self) -> Event | None:
        """Return the next event; None once the run is over and all are taken."""
        try:
            event, counted = await self._receive.receive()
        except anyio.EndOfStream:
            return None
        if counted:
            self._room.release()
        return event

    def finish(self) -> None:
        """Say that no further event comes."""
        self._send.close()

    def close(self) -> None:
        """Give up both ends."""
        self._send.close()
        self._receive.close()
