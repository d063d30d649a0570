"""When a receiver that failed is asked again: later each time, and as it asks itself."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hush.export.receiver import Answer

__all__ = ("Backoff",)

FIRST_S: Final = 0.25
LONGEST_S: Final = 30.0
_SPREAD_S: Final = 1.0
"""Senders that were told the same time do not come at the same moment."""


class Backoff:
    """The failures of one signal in a row.

    Attributes:
        failures: how many; 0 while all is well.
        until: instant of ``time.monotonic`` before which nothing is sent.
        answer: the last one; None while all is well.
    """

    def __init__(self) -> None:
        """Begin well."""
        self.failures = 0
        self.until = 0.0
        self.since = 0.0
        self.answer: Answer | None = None

    def ready(self, now: float) -> bool:
        """Say whether something may be sent."""
        return now >= self.until

    def fail(self, answer: Answer, now: float) -> None:
        """Take note of a failure.

        Args:
            answer: what came of the request.
            now: of ``time.monotonic``.
        """
        if not self.failures:
            self.since = now
        self.failures += 1
        self.answer = answer
        # Half of it by chance: many processes that lost one receiver spread out.
        pause = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures - 1, 16))
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        asked = answer.retry_after_s
        if asked:
            pause = max(pause, asked + random.uniform(0.0, min(_SPREAD_S, asked / 10)))  # noqa: S311  # likewise
        self.until = now + pause

    def succeed(self) -> float | None:
        """Take note of a success.

        Returns:
            For how long it had failed before, in seconds; None where it had not.
        """
        if not self.failures:
            return None
        took = time.monotonic() - self.since
        self.failures, self.until, self.answer = 0, 0.0, None
        return took
