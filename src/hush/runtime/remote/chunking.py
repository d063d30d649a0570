"""Chunking: how many items go to a worker at once. Pure: no clock, no I/O.

A call costs the engine the same whatever is in it, so few large ones are cheap; but its answer
comes when all of its items are over, and a lost worker loses all of them. About a second of
work is a fair middle: of work, not of time, since items that wait for something wait together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.runtime.remote.call import ItemReport

__all__ = ("CHUNK_BYTES", "ChunkSize", "Pace", "longest_way")

WORK_S: Final = 1.0
"""CPU seconds that one chunk is to take."""
SHARED_S: Final = 0.05
"""CPU seconds that are not worth to be shared out among workers."""
FIRST: Final = 8
"""Items of a chunk as long as nothing is known of them."""
GROWTH: Final = 8
"""How many times as large as the one before a chunk may be at most."""
CHUNK_BYTES: Final = 1_048_576
"""Size of a chunk's inputs from which on no further item is added, in bytes."""
ANSWER_BYTES: Final = 8_388_608
"""About how large an answer may become, in bytes."""


class Pace:
    """What is known of the items of a map from its runs before.

    Attributes:
        size: how many of them made a good chunk, as far as it may be so large.
        item_s: CPU seconds of one; None as long as nothing is known.
    """

    __slots__ = ("item_s", "size")

    def __init__(self) -> None:
        """Know nothing."""
        self.size = FIRST
        self.item_s: float | None = None


class ChunkSize:
    """How many items the next chunk gets."""

    __slots__ = ("_limit", "_pace", "_slots")

    def __init__(
        self, max_concurrency: int, slots: int, *, idempotent: bool, pace: Pace | None = None
    ) -> None:
        """Begin with what is known.

        Args:
            max_concurrency: most items in flight.
            slots: how many calls the workers run at the same time.
            idempotent: whether items may be run again; each gets a call of its own where not.
            pace: what is known from other runs, and what these will know; None is nothing.
        """
        self._slots = slots
        self._limit = max(1, max_concurrency // slots) if idempotent else 1
        self._pace = pace or Pace()

    def next(self, left: int | None) -> int:
        """Return how many items the next chunk gets at most.

        Args:
            left: how many have not begun; None where nobody knows.
        """
        size = min(self._pace.size, self._limit)
        if left is None:
            return size
        # The last ones are shared out, so that no worker is left with nothing to do. Not where
        # they only wait: halved each time, they would wait one chunk after the other.
        item_s = self._pace.item_s
        worth = 0 if item_s is None else size if item_s <= 0.0 else int(SHARED_S / item_s)
        return max(1, min(size, max(worth, -(-left // self._slots))))

    def ended(self, count: int, cpu_s: float, answer_bytes: int = 0) -> None:
        """Learn from a chunk.

        Args:
            count: how many items it had.
            cpu_s: CPU seconds of its worker.
            answer_bytes: size of what came back.
        """
        pace, item_s = self._pace, cpu_s / count
        # The first call of a worker also loads what the items need.
        pace.item_s = item_s if pace.item_s is None else (pace.item_s + item_s) / 2
        wanted = self._limit if pace.item_s <= 0.0 else int(WORK_S / pace.item_s)
        fitting = ANSWER_BYTES * count // max(answer_bytes, 1)
        grown = min(pace.size, self._limit) * GROWTH
        pace.size = max(1, min(wanted, fitting, grown, self._limit))


def longest_way(reports: Sequence[ItemReport]) -> list[ItemReport]:
    """Return those of a chunk that its end waited for, one after the other.

    Args:
        reports: of its items.

    Returns:
        The one that ended last, before it the last that had ended when that one began, and so
        on; in order of time.
    """
    way: list[ItemReport] = []
    for report in sorted(reports, key=lambda one: one.ended_ns, reverse=True):
        if not way or report.ended_ns <= way[-1].began_ns:
            way.append(report)
    way.reverse()
    return way
