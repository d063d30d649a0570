"""Supply: which items go to a worker next: those to be tried again, then what the source gives.

It decides and never waits; :mod:`hush.runtime.remote.driver` does.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from hush.runtime.remote.chunking import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hush.runtime.remote.sent_item import SentItem

__all__ = ("LINGER_S", "Supply")

LINGER_S: Final = 0.01
"""For how long an item that is there waits for others to share its chunk, in seconds, where the
source has to be waited for."""


class Supply:
    """Items that have not been sent, or are to be sent again.

    Attributes:
        held: pulled and not sent; never more than have room.
        over: whether the source has nothing left.
    """

    def __init__(self, pull_now: Callable[[], SentItem | None] | None) -> None:
        """Start with nothing.

        Args:
            pull_now: takes the source's next item, None at its end; None where the source has
                to be waited for, and somebody else puts what it gives into :attr:`held`.
        """
        self.held: deque[SentItem] = deque()
        self.over = False
        self._pull_now = pull_now
        self._again: list[tuple[float, int, SentItem]] = []
        self._count = 0
        self._held_since = 0.0

    def hold(self, item: SentItem, now: float) -> None:
        """Keep what the source gave until it is sent."""
        if not self.held:
            self._held_since = now
        self.held.append(item)

    def again(self, item: SentItem, due: float) -> None:
        """Keep an item that is to be tried again.

        Args:
            item: has been sent before.
            due: when, by the event loop's clock.
        """
        self._count += 1
        # Where its time is over before, that is when there is something to do about it.
        heapq.heappush(self._again, (min(due, item.deadline), self._count, item))

    def waiting(self) -> Iterator[SentItem]:
        """Yield the items that are to be tried again."""
        return (item for _, _, item in self._again)

    @property
    def empty(self) -> bool:
        """Whether nothing is left but what is under way."""
        return self.over and not self.held and not self._again

    def due(self, size: int, now: float) -> list[SentItem]:
        """Take items that are to be tried again now.

        Args:
            size: how many may share a chunk.
            now: by the event loop's clock.

        Returns:
            As many as may go together: where one has lost a worker, or has a time limit of its
            own, it goes alone.
        """
        chunk: list[SentItem] = []
        while self._again and self._again[0][0] <= now and len(chunk) < size:
            item = self._again[0][2]
            alone = item.losses > 0 or item.deadline < math.inf
            if chunk and alone:
                break
            heapq.heappop(self._again)
            chunk.append(item)
            if alone:
                break
        return chunk

    def fresh(self, size: int, now: float) -> list[SentItem]:
        """Take items that have not been sent.

        Args:
            size: how many at most.
            now: by the event loop's clock.

        Returns:
            None of them where it is better to wait a little for more.

        Raises:
            MapSourceError: the source raised.
        """
        if self._pull_now is None and not self.over:
            short = len(self.held) < size
            if not self.held or (short and now < self._held_since + LINGER_S):
                return []
        chunk: list[SentItem] = []
        filled = 0
        while len(chunk) < size:
            item = self._next()
            if item is None:
                break
            if chunk and filled + len(item.packed) > CHUNK_BYTES:
                self.held.appendleft(item)
                break
            filled += len(item.packed)
            chunk.append(item)
        self._held_since = now
        return chunk

    def until(self, now: float) -> float:
        """Return when there will be something to do though nothing else happens.

        Args:
            now: by the event loop's clock, as what is returned.
        """
        again = self._again[0][0] if self._again else math.inf
        linger = self._held_since + LINGER_S
        # What has waited for others long enough, waits for room now.
        return min(again, linger if self.held and linger > now else math.inf)

    def _next(self) -> SentItem | None:
        if self.held:
            return self.held.popleft()
        if self._pull_now is None or self.over:
            return None
        item = self._pull_now()
        self.over = item is None
        return item
