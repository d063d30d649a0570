"""The spans of an item wait here until it ends, and leave whole or not at all.

Every span of ours inside an item ends into that item; where the item is kept, its spans go
on to the item around it, and from the outermost to the processors. What is omitted ends for
the processors at once, and unsampled. An item ends after all that is inside it, and a span
after its children, so whatever is left out has nothing below it that is kept: no orphans.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from hush.observe.budget import WAITING, emit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.observe.own_span import OwnSpan
    from hush.observe.selection import MapBudget

__all__ = ("Item", "State")


class State(Enum):
    """What is known about an item."""

    OPEN = "open"
    ENDED = "ended"
    KEPT = "kept"
    OMITTED = "omitted"


class Item:
    """The spans of one item.

    Attributes:
        outer: the item around its map.
        size: its spans that have ended and were not lost.
        lost: its spans that were omitted before it ended, because too many waited.
        pinned: whether it is kept in any case: somebody has read its identity.
        state: what is known about it.
        key: its place in the order in which an even sample takes items.
        failed: whether anything in it did.
        retried: whether it took more than one attempt.
    """

    __slots__ = (
        "_held",
        "_inner_failed",
        "_inner_used",
        "_map",
        "_run",
        "failed",
        "key",
        "lost",
        "outer",
        "pinned",
        "retried",
        "size",
        "state",
    )

    def __init__(self, owner: MapBudget) -> None:
        """Make the item of spans to come.

        Args:
            owner: its map.
        """
        self._run, _, self.outer = owner.around
        self._map = owner
        self._held: list[OwnSpan] = []
        # Of those held: what came out of items inside, by what it is counted as.
        self._inner_used = self._inner_failed = 0
        self.size = self.lost = 0
        self.pinned = self.failed = self.retried = False
        self.key = 0
        self.state = State.OPEN

    def begin(self) -> None:
        """Take note that its first span has been opened."""
        with self._run.lock:
            self._run.open += 1

    # --- called by spans -------------------------------------------------------------------

    def read(self, span: OwnSpan) -> bool:
        """Pin the item and all around it, unless the span is omitted already."""
        if self.pinned:
            return not span.omitted
        with self._run.lock:
            above = list(self._upwards())
            if span.omitted or any(item.state is State.OMITTED for item in above):
                return False
            for item in above:
                item.pinned = True
        return True

    def ended(self, span: OwnSpan) -> None:
        """Let a span wait here, or follow those that have left."""
        out: list[OwnSpan] = []
        run = self._run
        with run.lock:
            self.size += 1
            self._held.append(span)
            if self.state is not State.OPEN:
                self._follow(out)
            else:
                run.waiting += 1
                if self.pinned:
                    self._flush(out)
                elif run.waiting > WAITING and len(self._held) * run.open >= WAITING:
                    # This one has more than its share of what may wait.
                    self._shed(out)
        if out:
            emit(out)

    def finish(self, index: int, seconds: float, *, failed: bool, retried: bool) -> None:
        """Decide, now that all of the item has ended.

        Args:
            index: its index.
            seconds: how long it ran.
            failed: whether anything in it did.
            retried: whether it took more than one attempt.
        """
        out: list[OwnSpan] = []
        with self._run.lock:
            self._run.open -= 1
            self._run.waiting -= self.direct
            self.state = State.ENDED
            self._map.judge(self, index, seconds, out, failed=failed, retried=retried)
        emit(out)

    # --- called with the lock held -----------------------------------------------------------

    @property
    def direct(self) -> int:
        """Spans that wait here and are not counted yet: they are the item's own."""
        return len(self._held) - self._inner_used - self._inner_failed

    def reserve(self, *, failed: bool = False) -> None:
        """Count what the item adds, until it is omitted.

        Args:
            failed: whether as a failure.
        """
        direct = self.direct
        if failed:
            self._run.failed += direct
            self._inner_failed += direct
        else:
            self._run.used += direct
            self._inner_used += direct

    def keep(self, out: list[OwnSpan]) -> None:
        """Keep the item, as far as it is up to its map.

        Args:
            out: gets what leaves.
        """
        self.state = State.KEPT
        self._flush(out)

    def omit(self, out: list[OwnSpan]) -> bool:
        """Omit the item, unless it has been pinned.

        Args:
            out: gets what leaves.

        Returns:
            Whether it was omitted.
        """
        if self.pinned:
            self.keep(out)
            return False
        self.state = State.OMITTED
        self._drop(out)
        return True

    def _shed(self, out: list[OwnSpan]) -> None:
        """Let go of what waits. What ends later is above it, so nothing becomes an orphan."""
        self._run.waiting -= self.direct
        self.lost += len(self._held)
        self.size -= len(self._held)
        self._drop(out)

    def _drop(self, out: list[OwnSpan]) -> None:
        self._run.used -= self._inner_used
        self._run.failed -= self._inner_failed
        for span in self._held:
            span.omitted = True
            span.count.add()
        out += self._clear()

    def _flush(self, out: list[OwnSpan]) -> None:
        """Send on what waits."""
        if self.state is State.OPEN:
            self._run.waiting -= self.direct
        used, failed = self._inner_used, self._inner_failed
        spans = self._clear()
        if self.outer is None:
            out += spans
        else:
            self.outer._receive(spans, used, failed, out)  # noqa: SLF001  # same class

    def _clear(self) -> list[OwnSpan]:
        spans, self._held = self._held, []
        self._inner_used = self._inner_failed = 0
        return spans

    def _receive(self, spans: list[OwnSpan], used: int, failed: int, out: list[OwnSpan]) -> None:
        """Take what was kept of an item inside."""
        self.size += len(spans)
        self._held += spans
        self._inner_used += used
        self._inner_failed += failed
        if self.state is not State.OPEN:
            self._follow(out)
            return
        # What is counted as neither was pinned, and so this is too.
        self._run.waiting += len(spans) - used - failed
        if self.pinned:
            self._flush(out)

    def _follow(self, out: list[OwnSpan]) -> None:
        """Let what came after the item's end go where the others went: somebody left it running."""
        if self.state is State.OMITTED:
            self._drop(out)
        elif self.state is State.KEPT:
            self._flush(out)
        else:
            self.reserve()

    def _upwards(self) -> Sequence[Item]:
        above: list[Item] = []
        item: Item | None = self
        while item is not None:
            above.append(item)
            item = item.outer
        return above
