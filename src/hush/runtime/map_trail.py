"""What the end of a map waited for: the critical path through its workers and its source.

Each worker keeps the chain of its own items. Here is which of these chains counts, and what
the source's last item had been released by. Constant memory, whatever the number of items.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hush.runtime.trail import NO_TRAIL, WORTH_A_STEP, Chain, Step

if TYPE_CHECKING:
    from hush.runtime.trail import Trail

__all__ = ("MapTrail",)


class MapTrail:
    """The critical path of one map, as far as it has come.

    Attributes:
        last: chain of whoever ended last; the map's end waited for that one.
    """

    __slots__ = (
        "_asked",
        "_failed",
        "_failed_at",
        "_pulled",
        "_pulled_at",
        "_stopped",
        "last",
    )

    def __init__(self, now: float) -> None:
        """Begin where the map is ready.

        Args:
            now: the instant.
        """
        self.last: Chain | None = None
        self._failed: Chain | None = None
        """What led to the failure that stopped the map."""
        self._failed_at = 0.0
        self._stopped: tuple[int, float] | None = None
        """The item that stopped last after that, and when."""
        self._pulled = Chain()
        """What released the source's last item; of sources that are waited for."""
        self._pulled_at = now
        self._asked = math.inf
        """When that worker asked for an item which waited longest as the map was cut off."""

    def gave(self, chain: Chain, asked: float, now: float) -> Chain:
        """Take note that the source gave something to a worker, if only that it is over.

        Args:
            chain: what the worker that asked for it had done until then.
            asked: when it did.
            now: the instant.

        Returns:
            What the worker has been released by from then on.
        """
        chain = self._waited(chain, asked, now)
        self._pulled_at, self._pulled = now, chain.copy()
        return chain

    def cut_off_waiting(self, chain: Chain, asked: float, now: float) -> None:
        """Take note that a worker was cancelled that waited for the source; arguments as above."""
        if asked < self._asked:
            # Of all that wait, the source was busy for the one that asked first.
            self._asked = asked
            self.last = self._waited(chain, asked, now)

    def cut_off(self, chain: Chain, index: int, now: float) -> None:
        """Take note that an item was cancelled and has stopped.

        Args:
            chain: of its worker, the item with it.
            index: the item's.
            now: the instant.
        """
        self._stopped = index, now
        # Of whatever is cut off, the last to stop is what was waited for.
        self.last = chain

    def stops(self, now: float) -> None:
        """Take note that the map has failed, and that its items are being stopped.

        Args:
            now: the instant.
        """
        self._failed, self._failed_at = self.last, now

    def trail(self) -> Trail:
        """Return the path up to now."""
        if self._failed is None:
            return NO_TRAIL if self.last is None else self.last.trail()
        trail = self._failed.trail()
        if self._stopped is None:
            return trail
        index, at = self._stopped
        stopping_s = at - self._failed_at
        if stopping_s <= WORTH_A_STEP * sum(step.seconds for step in trail):
            return trail
        return (*trail, Step(f"[{index}] (stopping)", stopping_s))

    def _waited(self, chain: Chain, asked: float, now: float) -> Chain:
        if asked < self._pulled_at or not chain.count:
            # The source was busy with an item for another worker, and began with this one then;
            # and a new worker is there because the one before it got an item.
            chain = self._pulled.copy()
            asked = self._pulled_at
        chain.waited(now - asked)
        return chain
