"""The clock of one run: wall time that never steps back.

Spans that users and instrumentations open are stamped with the wall clock by the SDK, so
ours must be too: a purely monotonic clock drifts away from theirs until children lie
outside of their parents. But the wall clock may be set while a run goes on. So the wall
clock counts as long as it agrees with the monotonic one to 50 ms; after that it was
stepped, and the monotonic estimate since the run's start counts.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("AFTER_NS", "RunClock")

AFTER_NS: Final = 2_000
"""A successor starts this much after the end that released it, in nanoseconds. Jaeger
compares microseconds and wants "strictly before"; two readings in a row share one."""

STEP_NS: Final = 50_000_000
"""Further apart than this, the wall clock was stepped."""


class RunClock:
    """Instants of one run in nanoseconds since the epoch, never decreasing."""

    __slots__ = ("_last", "_offset", "_ticks", "_wall")

    def __init__(
        self,
        wall: Callable[[], int] = time_ns,
        ticks: Callable[[], int] = perf_counter_ns,
    ) -> None:
        """Start now.

        Args:
            wall: reads the wall clock, in nanoseconds since the epoch.
            ticks: reads a monotonic clock, in nanoseconds since any instant.
        """
        self._wall = wall
        self._ticks = ticks
        self._last = wall()
        self._offset = self._last - ticks()

    def now(self) -> int:
        """Return the present instant, at least that of the call before."""
        wall = self._wall()
        apart = wall - self._ticks() - self._offset
        now = wall if -STEP_NS <= apart <= STEP_NS else wall - apart
        # Threads may interleave here; each still gets no less than what it saw before.
        if now < self._last:
            return self._last
        self._last = now
        return now
