"""Lineage: who contains whom while running, to tell who is to blame for a cancellation.

When a cancellation arrives, nothing on the exception says why. But whoever cancels a
scope of ours writes it down first, and a time limit's scope knows that it expired. So
the victim asks its containers, from the inside out. Who was first is the cause: a time limit
may pass while what it limits is being stopped for another reason.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from hush import semconv
from hush.runtime.ledger import Ledger
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hush.errors import Failure
    from hush.model.usage import Usage
    from hush.runtime.instrument import Observation
    from hush.runtime.trail import Trail

__all__ = ("Blame", "Lineage")


@dataclass(frozen=True, slots=True)
class Blame:
    """Why something was cancelled."""

    reason: str
    path: str | None = None
    token: object = None


EXTERNAL = Blame(semconv.REASON_EXTERNAL)


class Lineage:
    """One container of running work: a run, a graph, a map, an item, a node."""

    __slots__ = ("_blamed_at", "_late", "_limits", "blame", "cut", "ledger", "outer", "partial")

    def __init__(self, outer: Lineage | None) -> None:
        """Hang below another container.

        Args:
            outer: what contains this one.
        """
        self.outer = outer
        self.blame: Blame | None = None
        self._blamed_at = math.inf
        self.partial = False
        """Whether something inside failed without failing the run."""
        self.ledger: Ledger | None = None
        """What was used and waited for inside; None where nothing was."""
        self.cut: Trail = NO_TRAIL
        """Critical path of what was inside when it was cut off."""
        self._late: list[Failure] | None = None
        self._limits: list[tuple[anyio.CancelScope, Blame]] = []

    @contextmanager
    def limited(self, scope: anyio.CancelScope, path: str, token: object) -> Iterator[None]:
        """Know of a time limit while what it limits is under way.

        Args:
            scope: cancelled by its deadline only.
            path: whose limit it is.
            token: of that one's observation.
        """
        self._limits.append((scope, Blame(semconv.REASON_TIMEOUT, path, token)))
        try:
            yield
        finally:
            self._limits.pop()

    def accuse(self, blame: Blame, *, being_cancelled: bool) -> None:
        """Say who is to blame for the cancellation that this container now asks for.

        Args:
            blame: who. Does not count where something else is the cause already: what fails
                while it is cancelled has only got in the way.
            being_cancelled: whether something outside of the run has asked for a cancellation.
        """
        if not being_cancelled and self.why() is EXTERNAL:
            self.stop_for(blame)

    def stop_for(self, blame: Blame) -> None:
        """Say why what is in here is cancelled now, whatever else is going on."""
        self.blame = blame
        self._blamed_at = anyio.current_time()

    def add_late(self, failures: Iterable[Failure]) -> None:
        """Keep what failed inside while it was ended for another reason.

        It travels outwards with the cancellation, for whoever had asked for that to tell.
        """
        if self._late is None:
            self._late = []
        self._late.extend(failures)

    def take_late(self) -> list[Failure]:
        """Return what failed so inside; whoever takes it, tells it or hands it on."""
        late, self._late = self._late, None
        return late or []

    def mark_partial(self) -> None:
        """Tell every container that something failed without failing the run."""
        at: Lineage | None = self
        while at is not None and not at.partial:
            at.partial = True
            at = at.outer

    def book(self, usage: Usage, model: str) -> None:
        """Tell every container what a call to a model used.

        Args:
            usage: of one call.
            model: the model that was asked for.
        """
        for ledger in self._ledgers():
            ledger.book(usage, model)

    def waited(self, limiter: str, seconds: float) -> None:
        """Tell every container of a wait for a shared limit.

        Args:
            limiter: the limit's name.
            seconds: how long.
        """
        for ledger in self._ledgers():
            ledger.waited(limiter, seconds)

    def annotate(self, seen: Observation) -> None:
        """Put what was used and waited for in here on a span.

        Args:
            seen: this container's observation.
        """
        if self.ledger is not None:
            for name, value in self.ledger.facts():
                seen.annotate(name, value)

    def _ledgers(self) -> Iterator[Ledger]:
        at: Lineage | None = self
        while at is not None:
            if at.ledger is None:
                at.ledger = Ledger()
            yield at.ledger
            at = at.outer

    def why(self) -> Blame:
        """Return who is to blame for a cancellation that arrives here now."""
        found, first = EXTERNAL, math.inf
        at: Lineage | None = self
        while at is not None:
            if at.blame is not None and at._blamed_at < first:  # noqa: SLF001  # of the same class
                found, first = at.blame, at._blamed_at  # noqa: SLF001  # likewise
            for scope, blame in reversed(at._limits):  # noqa: SLF001  # likewise
                if scope.cancel_called and scope.deadline < first:
                    found, first = blame, scope.deadline
            at = at.outer
        return found
