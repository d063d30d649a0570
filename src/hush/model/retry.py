"""Retry: how often a failed attempt is made again, for which errors, after which pause.

Pauses follow exponential backoff with jitter: ``initial_s * factor ** (attempt - 1)``,
at most ``max_s``, times a random number between ``1 - jitter`` and 1. Jitter keeps
clients that failed together from coming back together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hush.model.shown import shown

__all__ = ("Retry", "RetryOn", "is_finite")

RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]


@dataclass(frozen=True, slots=True)
class Retry:
    """How to try again.

    Raises:
        ValueError: a number is out of its range.
        TypeError: ``attempts`` is no integer, or a duration no number.
    """

    attempts: int = 3
    """How many attempts in all, the first one included; at least 1."""
    on: RetryOn = Exception
    """What to retry: exception class, tuple of them, or a predicate on the exception."""
    initial_s: float = 0.1
    """Pause after the first failed attempt, in seconds."""
    factor: float = 2.0
    """How much longer each pause is than the one before; at least 1."""
    max_s: float = 30.0
    """Longest pause, in seconds."""
    jitter: float = 0.5
    """Share of the pause that is random, 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if not isinstance(self.attempts, int) or isinstance(self.attempts, bool):
            msg = f"Retry(attempts={shown(self.attempts)}): expected an integer of at least 1"
            raise TypeError(msg)
        if self.attempts < 1:
            msg = f"Retry(attempts={shown(self.attempts)}): expected at least 1, the first try included"
            raise ValueError(msg)
        limits = {
            "initial_s": (0.0, math.inf),
            "factor": (1.0, math.inf),
            "max_s": (0.0, math.inf),
            "jitter": (0.0, 1.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                msg = f"Retry({name}={shown(value)}): expected a number"
                raise TypeError(msg)
            if not low <= value <= high or not is_finite(value):
                msg = f"Retry({name}={shown(value)}): expected a finite number from {low} to {high}"
                raise ValueError(msg)
        classes = self.on if isinstance(self.on, tuple) else (self.on,)
        for one in classes:
            if isinstance(one, type) and issubclass(one, Exception):
                continue
            if isinstance(one, type) or isinstance(self.on, tuple) or not callable(one):
                msg = f"Retry(on={shown(self.on)}): expected exception classes or a predicate"
                raise TypeError(msg)

    def matches(self, error: Exception) -> bool:
        """Say whether ``error`` is to be retried.

        Args:
            error: what the attempt raised.

        Returns:
            True where another attempt makes sense.
        """
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        return bool(self.on(error))

    def pause_s(self, attempt: int, random: float) -> float:
        """Return the pause after a failed attempt.

        Args:
            attempt: number of the attempt that failed, from 1.
            random: a random number in [0, 1).

        Returns:
            Seconds, at least 0.
        """
        try:
            pause = self.initial_s * self.factor ** (attempt - 1)
        except OverflowError:
            pause = self.max_s if self.initial_s else 0.0
        return min(pause, self.max_s) * (1.0 - self.jitter * random)


def is_finite(value: Any) -> bool:
    """Say whether ``value`` is a number that a float can hold."""
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer beyond every float.
        return False
