"""RunStream: a run whose events are iterated while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import anyio

from hush.errors import RunError, RunNotFinishedError
from hush.runtime.events import StreamSink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from hush.core.result import RunResult
    from hush.runtime.events import Event, EventSink

__all__ = ("RunStream",)


class RunStream:
    """The events of one run, in order; made by :meth:`hush.core.Hush.stream`."""

    def __init__(self, run: Callable[[EventSink], Awaitable[RunResult]]) -> None:
        """Prepare; nothing starts before the block is entered.

        Args:
            run: runs the workflow with a place for events.
        """
        self._run = run
        self._sink: StreamSink | None = None
        self._group: TaskGroup | None = None
        self._result: RunResult | None = None
        self._error: RunError | None = None
        self._raised = False
        self._over = False
        self._left = False

    async def __aenter__(self) -> Self:
        """Start the run."""
        self._sink = StreamSink()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._main, self._sink)
        return self

    async def _main(self, sink: StreamSink) -> None:
        try:
            self._result = await self._run(sink)
        except RunError as error:
            self._error = error
        finally:
            sink.finish()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Cancel what still runs and wait until it is over."""
        assert self._group is not None  # noqa: S101  # entered
        assert self._sink is not None  # noqa: S101  # likewise
        self._left = True
        self._group.cancel_scope.cancel()
        # The block's own error must come out bare, not wrapped in a group; only a
        # cancellation has to pass through the scope that takes it.
        is_cancel = exc is not None and isinstance(exc, anyio.get_cancelled_exc_class())
        try:
            if is_cancel:
                return await self._group.__aexit__(exc_type, exc, traceback)
            await self._group.__aexit__(None, None, None)
        finally:
            self._sink.close()
        return None

    def __aiter__(self) -> Self:
        """Iterate over the events."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event; raise the run's error once all were returned.

        Raises:
            RunError: the run failed.
            RunNotFinishedError: the block was not entered, or left before the last event.
        """
        if self._sink is None:
            msg = "the stream is not open: use 'async with engine.stream(inputs) as events:'"
            raise RunNotFinishedError(msg)
        if self._left and not self._over:
            msg = "the block has been left, which cancelled the run; iterate inside of it"
            raise RunNotFinishedError(msg)
        event = None if self._over else await self._sink.take()
        if event is not None:
            return event
        self._over = True
        if self._error is not None and not self._raised:
            self._raised = True
            raise self._error
        raise StopAsyncIteration

    @property
    def result(self) -> RunResult:
        """The run's result.

        Raises:
            RunError: the run failed.
            RunNotFinishedError: it is not over, or was cancelled by leaving the block.
        """
        if self._error is not None:
            raise self._error
        if self._result is None:
            msg = "the run is not over; iterate to its end before asking for the result"
            raise RunNotFinishedError(msg)
        return self._result
