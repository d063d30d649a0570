"""Time that passes only when everybody waits: hours of sleeping in no time, on both loops."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import trio.testing

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: where nothing is ready, the loop's clock jumps instead."""

    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.jump(timeout)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 1_000.0
        selector = _Selector()
        selector.jump = self._jump
        super().__init__(selector)

    def _jump(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        return self._now


def run_virtually(function: Callable[[], Awaitable[T]], backend: str) -> T:
    """Run a coroutine function on a loop whose time is virtual.

    Args:
        function: called without arguments; must use no threads.
        backend: ``asyncio`` or ``trio``.
    """
    options: dict[str, Any] = {"loop_factory": _Loop}
    if backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return anyio.run(function, backend=backend, backend_options=options)
