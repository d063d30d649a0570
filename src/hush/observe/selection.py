"""Selection: which items of a map are kept, decided while it runs, in memory of the budget's size.

In this order: what failed (at most half of the budget), the slowest, what was retried, an
even sample of the ordinary. Failures and the first half of the sample leave as soon as they
end; the rest waits until the map ends, unless better ones take its place. A map that is known
to have no more items than its budget keeps them all, and they all leave at once.

The sample is even and needs neither chance nor the number of items: multiples of the golden
ratio, modulo 1, spread evenly, so those items whose multiple is below some threshold are
spread evenly too, and a full buffer lowers the threshold by dropping the largest.
"""

from __future__ import annotations

from heapq import heappop, heappush, heappushpop
from typing import TYPE_CHECKING, Final, TypeAlias

from hush.observe.budget import FAILED_SPANS, RUN_SPANS, Count, emit

if TYPE_CHECKING:
    from hush.observe.budget import Around
    from hush.observe.item_spans import Item
    from hush.observe.own_span import OwnSpan

__all__ = ("MapBudget",)

GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
"""The golden ratio's fraction, of TURN."""
TURN: Final = 2**64

Heap: TypeAlias = "list[tuple[float, int, Item]]"
"""Rank, order of arrival (later first) and item; the first is the first to go."""


class MapBudget:
    """The budget of one map.

    Attributes:
        around: what the map is in.
        count: spans that were omitted inside the map.
        pinned: spans of its items that were kept because they were pinned.
    """

    __slots__ = (
        "_again",
        "_arrived",
        "_early",
        "_failures",
        "_left",
        "_limit",
        "_most_again",
        "_most_early",
        "_most_failures",
        "_most_slow",
        "_ordinary",
        "_room",
        "_sample",
        "_slow",
        "_surplus",
        "_threshold",
        "around",
        "count",
        "pinned",
    )

    def __init__(self, limit: int, total: int | None, around: Around) -> None:
        """Open the budget of a map.

        Args:
            limit: how many items are kept.
            total: how many there are; None where that is not known.
            around: what the map is in.
        """
        self.around = around
        self.count = Count(around.counts)
        self.pinned = 0
        self._limit = limit
        # Shares of the budget: what one does not use is the sample's.
        self._most_failures = max(1, limit // 2)
        self._most_slow = max(1, limit // 8, min(5, limit // 4))
        self._most_again = limit // 8
        # A quarter is the sample's in any case; this is half of that.
        self._most_early = limit // 8
        if total is not None and total <= limit:
            self._most_early = limit
        self._threshold = TURN if total is None else self._most_early * TURN // max(total, 1)
        # Items around this map need some of the run's room for themselves.
        depth = 0
        home = around.home
        while home is not None:
            depth, home = depth + 1, home.outer
        self._room = RUN_SPANS * (4 - min(depth, 3)) // 4
        # A tenth is left for what is slow or was retried in maps to come.
        self._ordinary = self._room * 9 // 10
        self._left = self._failures = self._early = self._arrived = 0
        self._slow: Heap = []
        self._again: Heap = []
        self._sample: Heap = []
        # Failures beyond half of the budget: only where the ordinary leave room.
        self._surplus: Heap = []

    def close(self) -> None:
        """Keep what waits, now that all items have ended."""
        out: list[OwnSpan] = []
        with self.around.run.lock:
            waiting = [*self._slow, *self._again, *self._sample, *self._surplus]
            # In the order in which they ended.
            for _, _, item in sorted(waiting, key=lambda one: -one[1]):
                self.pinned += item.size if item.pinned else 0
                item.keep(out)
            for heap in (self._slow, self._again, self._sample, self._surplus):
                heap.clear()
        emit(out)

    # --- called with the run's lock held -----------------------------------------------------

    def judge(
        self,
        item: Item,
        index: int,
        seconds: float,
        out: list[OwnSpan],
        *,
        failed: bool,
        retried: bool,
    ) -> None:
        """Decide on an item that has ended, or let it wait.

        Args:
            item: has ended.
            index: its index.
            seconds: how long it ran.
            out: gets what leaves.
            failed: whether anything in it did.
            retried: whether it took more than one attempt.
        """
        key = index * GOLDEN % TURN
        if item.pinned:
            self._left += 1
            self.pinned += item.size
            item.keep(out)
        elif failed and self._may_fail(item):
            self._left += 1
            self._failures += 1
            item.reserve(failed=True)
            item.keep(out)
        else:
            item.reserve()
            if self._leaves_early(key, failed=failed):
                self._left += 1
                self._early += 1
                item.keep(out)
            else:
                item.key, item.failed, item.retried = key, failed, retried
                self._wait(item, seconds)
        self._trim(out)

    def _may_fail(self, item: Item) -> bool:
        if self._failures >= self._most_failures:
            return False
        return self.around.run.failed + item.direct <= FAILED_SPANS

    def _leaves_early(self, key: int, *, failed: bool) -> bool:
        if self._early >= self._most_early or self._left >= self._limit:
            return False
        if failed and self._most_early < self._limit:
            return False
        return key < self._threshold and self.around.run.used <= self._ordinary

    def _wait(self, item: Item, seconds: float) -> None:
        self._arrived += 1
        order = -self._arrived
        if len(self._slow) < self._most_slow:
            heappush(self._slow, (seconds, order, item))
            return
        # The fastest of the slow competes as what else it is.
        _, order, item = heappushpop(self._slow, (seconds, order, item))
        if item.retried:
            heappush(self._again, (-item.key, order, item))
            if len(self._again) <= self._most_again:
                return
            _, order, item = heappop(self._again)
        heappush(self._surplus if item.failed else self._sample, (-item.key, order, item))

    def _trim(self, out: list[OwnSpan]) -> None:
        """Drop what is too much, the least wanted first."""
        run = self.around.run
        if run.used <= self._ordinary and not self._is_over:
            return
        for heap, room in (
            (self._surplus, self._ordinary),
            (self._sample, self._ordinary),
            (self._again, self._room),
            (self._slow, self._room),
        ):
            while heap and (self._is_over or run.used > room):
                item = heappop(heap)[2]
                if not item.omit(out):
                    self._left += 1
                    self.pinned += item.size

    @property
    def _is_over(self) -> bool:
        waiting = len(self._slow) + len(self._again) + len(self._sample) + len(self._surplus)
        return self._left + waiting > self._limit
