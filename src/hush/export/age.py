"""For how long a batch has been waiting, as far as clocks can be trusted with that.

The wall clock may be wrong now, or have been wrong when a batch was written, and what is
thrown away for its age is gone. So for that only those count who cannot be wrong by
themselves: this process where it has watched all the time, by a clock that runs evenly;
or the wall clock together with the receiver's, which is told with each answer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hush.export.batch_file import Batch

__all__ = ("Ages",)

_PLAUSIBLE_S: Final = 1_735_689_600.0
"""The year 2025: whoever wrote something before had no idea of the time."""


class Ages:
    """The ages of the batches of one spool, for one process."""

    def __init__(self) -> None:
        """Begin to watch."""
        self._wall_s = time.time()
        self._began_s = time.monotonic()
        self._told: tuple[float, float] | None = None

    @property
    def vouched(self) -> bool:
        """Whether anybody else's clock is known."""
        return self._told is not None

    def vouch(self, date_s: float) -> None:
        """Take note of what somebody else's clock says.

        Args:
            date_s: now by the receiver's, in seconds since the epoch.
        """
        self._told = date_s, time.monotonic()

    def seen_s(self, batch: Batch) -> float:
        """Return how long a batch seems to have been waiting, in seconds, to be shown."""
        return max(self._now_s() - batch.created_s, 0.0)

    def sure_s(self, batch: Batch) -> float:
        """Return how long a batch has been waiting for sure, in seconds."""
        # The order never goes back: where it is ahead, the clock was behind.
        born_s = max(batch.created_s, batch.sequence / 1e9)
        watched_s = time.monotonic() - self._began_s
        proven_s = watched_s
        if self._told is not None and born_s >= _PLAUSIBLE_S:
            date_s, then_s = self._told
            proven_s = max(watched_s, date_s + time.monotonic() - then_s - born_s)
        return max(min(self._now_s() - born_s, proven_s), 0.0)

    def _now_s(self) -> float:
        """Return the time by the wall clock, as far as one that runs evenly bears it out."""
        return min(time.time(), self._wall_s + time.monotonic() - self._began_s)
