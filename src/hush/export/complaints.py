"""What goes wrong in the export, said in the log: at once, and then not for every batch.

A receiver that is away for a day is one line when it goes and one when it is back. What
may happen batch by batch is told once a minute, with how many times it happened.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Final

from hush.log import get_logger

__all__ = ("Complaints",)

_EVERY_S: Final = 60.0


class Complaints:
    """The log of one spool."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def warn(self, event: str, **facts: Any) -> None:
        """Warn of something, unless that was done within the last minute. Never raises.

        Args:
            event: what happened and what follows; tells one complaint from another.
            **facts: more about it.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._next.get(event, 0.0):
                self._unsaid[event] = self._unsaid.get(event, 0) + 1
                return
            self._next[event] = now + _EVERY_S
            unsaid = self._unsaid.pop(event, 0)
        if unsaid:
            facts["times_since"] = unsaid
        with contextlib.suppress(Exception):  # a log handler that raises has nobody to tell
            get_logger("hush.export").warning(event, **facts)

    def tell(self, event: str, **facts: Any) -> None:
        """Tell of something good. Never raises."""
        with contextlib.suppress(Exception):  # likewise
            get_logger("hush.export").info(event, **facts)
