"""Budget: how many spans of its items a run keeps, and how many it has left out.

Which items of a map are kept is decided by :mod:`hush.observe.selection`; meanwhile their
spans wait in :mod:`hush.observe.item_spans`. Ends come from the loop, but a nested run may
have a loop in another thread, and identities are read in any; so all of this is behind one
lock for each run, and processors are told outside of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.observe.item_spans import Item
    from hush.observe.own_span import OwnSpan

__all__ = ("FAILED_SPANS", "RUN_SPANS", "WAITING", "Around", "Count", "RunBudget", "emit")

RUN_SPANS: Final = 10_000
"""Spans of a run that are kept of items, all maps together; failures may be half as many on
top, and what is pinned does not count."""
FAILED_SPANS: Final = RUN_SPANS // 2
WAITING: Final = RUN_SPANS
"""Spans of a run that wait in items that have not ended."""


class Count:
    """How many spans were omitted inside a run or map, however deep."""

    __slots__ = ("_outer", "omitted")

    def __init__(self, outer: Count | None) -> None:
        """Start at zero.

        Args:
            outer: of what is around it, where the same spans count too.
        """
        self._outer = outer
        self.omitted = 0

    def add(self, spans: int = 1) -> None:
        """Count some more.

        Args:
            spans: how many.
        """
        count: Count | None = self
        while count is not None:
            count.omitted += spans
            count = count._outer  # noqa: SLF001  # same class


class RunBudget:
    """What all items of a run share, those of runs inside it included.

    Attributes:
        lock: guards this and all items and maps of the run.
        used: spans that were kept or wait for it, failures apart.
        failed: spans that were kept because an item failed.
        open: items that have not ended.
        waiting: spans that wait in them.
    """

    __slots__ = ("failed", "lock", "open", "used", "waiting")

    def __init__(self) -> None:
        """Start with nothing used."""
        self.lock = threading.Lock()
        self.used = self.failed = self.open = self.waiting = 0


class Around(NamedTuple):
    """What a span opens in."""

    run: RunBudget
    counts: Count
    home: Item | None
    """The innermost item that has a budget; None outside of all."""


def emit(spans: Sequence[OwnSpan]) -> None:
    """Hand spans to their processors, in order; the lock must not be held.

    Args:
        spans: have been decided upon.

    Raises:
        Exception: the first that a processor raised; all have been told all the same.
    """
    fault: Exception | None = None
    with ours:
        for span in spans:
            try:
                span.leave()
            except Exception as error:  # noqa: BLE001  # the next one must end too
                fault = fault or error
    if fault is not None:
        raise fault
