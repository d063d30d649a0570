"""Calling: one call to the outside, watched; it ends as whatever comes out of it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import anyio

from hush import semconv
from hush.runtime.failing import cancelled, failed
from hush.runtime.instrument import OK, Scope
from hush.runtime.lineage import Blame, Lineage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from hush.model.contract import CallObservation
    from hush.runtime.attempt import Place
    from hush.runtime.instrument import Observation

__all__ = ("Call",)


class Call:
    """A :class:`~hush.model.contract.CallObservation` and its context manager."""

    __slots__ = ("_after", "_facts", "_lineage", "_manager", "_name", "_place", "_seen")

    _manager: AbstractContextManager[Observation]
    _seen: Observation

    def __init__(
        self,
        place: Place,
        name: str,
        facts: Mapping[str, Any],
        after: CallObservation | None,
    ) -> None:
        """Prepare to watch.

        Args:
            place: of the node that calls.
            name: what is called.
            facts: what is known at the start.
            after: the call before this one, if any.
        """
        self._place = place
        self._name = name
        self._facts = facts
        self._after = after
        # The race that a call may lose is its own: the node that called goes on.
        self._lineage = Lineage(place.lineage)

    @property
    def token(self) -> object:
        """Handle for links."""
        return self._seen.token

    def __enter__(self) -> Self:
        links = (self._after.token,) if isinstance(self._after, Call) else ()
        scope = Scope("chat", self._name, self._facts, links=links)
        self._manager = self._place.run.instrument.observe(scope)
        self._seen = self._manager.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self._seen.end(OK)
        elif isinstance(exc, Exception):
            self._seen.end(failed(exc, self._place.path, recorded=False))
            self._place.tally.recorded_error = exc
        elif isinstance(exc, anyio.get_cancelled_exc_class()):
            self._seen.end(cancelled(self._lineage.why()))
        self._manager.__exit__(exc_type, exc, traceback)

    def annotate(self, name: str, value: Any) -> None:
        """Put an attribute on the call's span."""
        self._seen.annotate(name, value)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Put an event on the call's span."""
        self._seen.event(name, facts)

    def lost_to(self, winner: CallObservation) -> None:
        """Say that a cancellation from now on means: lost a race against ``winner``."""
        token = winner.token if isinstance(winner, Call) else None
        self._lineage.stop_for(Blame(semconv.REASON_RACE_LOST, self._place.path, token))
