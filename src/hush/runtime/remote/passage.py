"""Passage: when a call went to a worker and when its answer came back, by two clocks.

The worker's instants are by its clock, the driver's by its own. What is certain of the two: a
call is received after it was sent, and its answer comes back after it was given. Where the
clocks may agree by that, they are taken to; else the worker's is ahead by at least so much as
makes it true.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Passage",)


@dataclass(frozen=True, slots=True)
class Passage:
    """Four instants of one call, in nanoseconds since the epoch."""

    sent_ns: int
    """When the driver handed it to the engine, by the driver's clock."""
    received_ns: int
    """When the worker began with it, by the worker's."""
    answered_ns: int
    """When the worker was done, by the worker's."""
    returned_ns: int
    """When the driver had the answer, by the driver's."""

    @property
    def skew_ns(self) -> int:
        """By how much the worker's clock is ahead at least, negative where it is behind.

        0 where both may agree: a queue on the way must not be taken for a clock.
        """
        most = self.received_ns - self.sent_ns
        least = self.answered_ns - self.returned_ns
        if least > most:
            # One of the clocks was set meanwhile.
            return (least + most) // 2
        return min(max(0, least), most)

    def by_driver(self, worker_ns: int) -> int:
        """Return an instant of the worker by the driver's clock."""
        return worker_ns - self.skew_ns

    @property
    def queue_s(self) -> float:
        """Seconds from sending to receipt: the engine's queue and the way."""
        return max(0, self.by_driver(self.received_ns) - self.sent_ns) / 1e9

    def chunk_s(self, began_ns: int) -> float:
        """Return the seconds from receipt to the beginning of an attempt.

        Args:
            began_ns: by the worker's clock.
        """
        return max(0, began_ns - self.received_ns) / 1e9

    def answer_s(self, ended_ns: int) -> float:
        """Return the seconds from the end of an attempt until the driver had the answer.

        Args:
            ended_ns: by the worker's clock.
        """
        return max(0, self.returned_ns - self.by_driver(ended_ns)) / 1e9
