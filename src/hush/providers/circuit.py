"""The circuit of one resource: after repeated failures no call is made for a while.

Closed, every call may pass. As many failures in a row as are allowed open it: calls are
refused for the cooldown. Then it is half open: one call at a time may pass as a probe. A
probe that succeeds closes it, one that fails opens it for another cooldown.

Each opening and closing begins a new generation. What becomes of a call counts only in
the generation in which it was let in, so that stragglers of a bad time neither open,
extend nor close anything later.

No I/O and no event loop; what a failure is, its callers decide. The pattern is Michael
Nygard's "Circuit Breaker" ("Release It!").
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Circuit", "Pass", "Refusal")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that may not be made."""

    retry_in_s: float
    """Seconds until a call may pass again as a probe; 0 while a probe is under way, whose
    end nobody knows."""


class Pass:
    """A call that may be made, and the duty to say how it ended, once.

    Only what is said first counts. One that is garbage collected unsaid counts as dropped.
    """

    __slots__ = ("__weakref__", "_circuit", "counted", "generation", "probe")

    def __init__(self, circuit: Circuit, generation: int, counted: int, *, probe: bool) -> None:
        """Let a call in.

        Args:
            circuit: whose.
            generation: during which it is let in.
            counted: how many failures had counted by then.
            probe: whether the circuit is half open.
        """
        self._circuit: Circuit | None = circuit
        self.generation = generation
        self.counted = counted
        self.probe = probe
        """Whether the circuit's state hangs on this call."""

    def succeeded(self) -> bool:
        """Say that the resource answered.

        Returns:
            Whether this closed the circuit.
        """
        return self._end("succeeded")

    def failed(self) -> bool:
        """Say that the resource failed.

        Returns:
            Whether this opened the circuit, for the first time or once more.
        """
        return self._end("failed")

    def dropped(self) -> None:
        """Say that nothing was learnt: it was cancelled, or failed for the caller's fault."""
        self._end("dropped")

    def _end(self, outcome: Literal["succeeded", "failed", "dropped"]) -> bool:
        circuit, self._circuit = self._circuit, None
        return circuit is not None and circuit.settle(self, outcome)


class Circuit:
    """Whether calls to a resource make sense. Safe for threads; nothing in it waits."""

    def __init__(
        self,
        failures: int | None = 5,
        cooldown_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start closed.

        Args:
            failures: how many in a row open it, at least 1; None: it never opens. Calls that
                fail while they are under way together count as one.
            cooldown_s: how long it then refuses every call, in seconds.
            clock: tells the time in seconds.

        Raises:
            ValueError: a number is out of its range.
        """
        if failures is not None and failures < 1:
            msg = f"Circuit(failures={failures!r}): expected at least 1, or None for never"
            raise ValueError(msg)
        if not math.isfinite(cooldown_s) or cooldown_s < 0:
            msg = f"Circuit(cooldown_s={cooldown_s!r}): expected a finite number of at least 0"
            raise ValueError(msg)
        self._failures = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        # Reentrant: the garbage collector may end a forgotten call, which drops its pass, at
        # any point of this thread, also within the lock. All that dropping does is harmless.
        self._lock = threading.RLock()
        self._generation = 0
        self._in_a_row = 0
        self._counted = 0
        """Failures that ever counted."""
        self._opened_at: float | None = None
        # Weak, so that a probe that nobody speaks for any more does not keep its place.
        self._probe: weakref.ref[Pass] | None = None

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """What happens to a call now: it passes, is refused, or passes if no probe is out."""
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "open" if self._cooldown_left_s() > 0 else "half_open"

    def try_enter(self) -> Pass | Refusal:
        """Ask whether a call may be made.

        Returns:
            A pass, of which the caller must say how the call ended, or how long to stay away.
        """
        with self._lock:
            if self._opened_at is None:
                return Pass(self, self._generation, self._counted, probe=False)
            left_s = self._cooldown_left_s()
            if left_s > 0:
                return Refusal(left_s)
            if self._probe is not None and self._probe() is not None:
                return Refusal(0.0)
            probe = Pass(self, self._generation, self._counted, probe=True)
            self._probe = weakref.ref(probe)
            return probe

    def settle(self, call: Pass, outcome: Literal["succeeded", "failed", "dropped"]) -> bool:
        """Take note of how a call ended; its :class:`Pass` calls this, once.

        Args:
            call: which.
            outcome: how.

        Returns:
            Whether it opened or closed the circuit.
        """
        with self._lock:
            if call.generation != self._generation or self._failures is None:
                return False
            if call.probe:
                self._probe = None
                if outcome == "dropped":
                    return False
                self._turn(self._clock() if outcome == "failed" else None)
                return True
            if outcome == "failed":
                if call.counted != self._counted:
                    # It was under way already when the last one that counts failed: what
                    # fails at the same time is one failure, however many calls it hits.
                    return False
                self._counted += 1
                self._in_a_row += 1
                if self._in_a_row >= self._failures:
                    self._turn(self._clock())
                    return True
            elif outcome == "succeeded":
                self._in_a_row = 0
            return False

    def _turn(self, opened_at: float | None) -> None:
        """Open or close it; whoever was let in before has no say any more."""
        self._generation += 1
        self._in_a_row = 0
        self._opened_at = opened_at

    def _cooldown_left_s(self) -> float:
        assert self._opened_at is not None  # noqa: S101  # asked only where it is not closed
        now = self._clock()
        # A clock that went back must not make the cooldown longer than it is.
        self._opened_at = min(self._opened_at, now)
        return self._opened_at + self._cooldown_s - now
