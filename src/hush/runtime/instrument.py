"""The one narrow door between the scheduler and whoever watches it.

The runtime says what begins, what is known of it and how it ended. It has never heard
of spans. Whoever implements :class:`Instrument` may fail: :class:`Guard` logs the first
fault and lets the run go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

from hush import semconv
from hush.log import log_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from contextvars import Context
    from types import TracebackType

    from hush.runtime.lookout import Lookout
    from hush.runtime.remote.passage import Passage

__all__ = (
    "NULL_INSTRUMENT",
    "NULL_OBSERVATION",
    "Ending",
    "Guard",
    "Instrument",
    "Level",
    "Observation",
    "Scope",
    "begin",
    "finish",
)

Level = Literal["run", "graph", "node", "map", "loop", "item", "iteration", "attempt", "chat"]


class Scope(NamedTuple):
    """Something that begins."""

    level: Level
    name: str
    """Name of the graph or node; low-cardinality."""
    facts: Mapping[str, Any] = MappingProxyType({})
    """What is known at the start, by names of :mod:`hush.semconv`."""
    released_by: object = None
    """Token of what released this one; it began right after that ended. None where it
    begins now."""
    ready: bool = False
    """Whether it began when its surroundings did (a first node of a graph)."""
    links: Sequence[object] = ()
    """Tokens of the predecessors."""
    budget: int | None = None
    """Of an item: how many of its map's items need to be told of; None for all."""
    total: int | None = None
    """Of an item: how many items its map has; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How something ended."""

    outcome: str
    """One of ``semconv.OUTCOMES``."""
    error: BaseException | None = None
    """The exception behind it."""
    raised_here: bool = False
    """Whether the exception came from this very scope, and not from one inside it."""
    failed_path: str | None = None
    """Path of the node that failed."""
    message: str | None = None
    """Text of a handled failure."""
    reason: str | None = None
    """Why it was cancelled, one of ``semconv.REASON_*``."""
    cause_path: str | None = None
    """Path of what caused the cancellation."""
    cause: object = None
    """Token of what caused the cancellation."""
    error_type: str | None = None
    """What kind of error it was, where that says more than the exception's class."""


class Observation(Protocol):
    """Something that is being watched."""

    @property
    def token(self) -> object:
        """An opaque handle for links; keep it, never look into it."""

    @property
    def trace_id(self) -> str | None:
        """Id of the trace as 32 hex digits; None where there is none."""

    def annotate(self, name: str, value: Any) -> None:
        """Add a fact."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add something that happened at this instant."""

    def end(self, ending: Ending) -> None:
        """Say how it ends; it does end when the context manager is left."""

    def carrier(self) -> Mapping[str, str]:
        """Return the headers by which what runs elsewhere is seen inside of it; may be empty."""

    def adopt(self, seen_elsewhere: bytes, passage: Passage) -> None:
        """Take in what was observed elsewhere inside of it.

        Args:
            seen_elsewhere: of one attempt, as a worker reports it.
            passage: when the call went there and back.
        """


class Instrument(Protocol):
    """Whoever watches runs."""

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Watch ``scope`` for as long as the context manager is open."""

    def elsewhere(self) -> Mapping[str, Any]:
        """Return how to watch what runs elsewhere, opaque; empty where nobody does."""

    def absorb(self, counted_elsewhere: bytes) -> None:
        """Count what was counted elsewhere.

        Args:
            counted_elsewhere: during one call, as a worker reports it.
        """


def begin(
    instrument: Instrument, scope: Scope
) -> tuple[AbstractContextManager[Observation], Observation]:
    """Begin to watch, for who ends it in another place.

    Args:
        instrument: watches.
        scope: what begins.

    Returns:
        The context manager, which has been entered, and the observation.
    """
    manager = instrument.observe(scope)
    return manager, manager.__enter__()


def finish(
    manager: AbstractContextManager[Observation],
    context: Context,
    error: BaseException | None = None,
) -> None:
    """End what was begun in a context that is given up now.

    Args:
        manager: as :func:`begin` returned it.
        context: in which that was called.
        error: what came out, if anything.
    """
    # An observation may know how to end outside of its context.
    end_outside = getattr(manager, "end_outside", None)
    if end_outside is not None:
        end_outside(error)
    elif error is None:
        context.run(manager.__exit__, None, None, None)
    else:
        context.run(manager.__exit__, type(error), error, error.__traceback__)


class _NullObservation:
    """Watches nothing; one for all."""

    __slots__ = ()
    token = None
    trace_id = None

    def annotate(self, name: str, value: Any) -> None:
        pass

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        pass

    def end(self, ending: Ending) -> None:
        pass

    def carrier(self) -> Mapping[str, str]:
        return {}

    def adopt(self, seen_elsewhere: bytes, passage: Passage) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        pass


class _NullInstrument:
    __slots__ = ()

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:  # noqa: ARG002  # nothing is watched
        return NULL_OBSERVATION

    def elsewhere(self) -> Mapping[str, Any]:
        return {}

    def absorb(self, counted_elsewhere: bytes) -> None:
        pass


NULL_OBSERVATION = _NullObservation()
NULL_INSTRUMENT: Instrument = _NullInstrument()
"""Watches nothing and costs next to nothing."""


class Guard:
    """Keeps an instrument's faults away from the run.

    Attributes:
        on_fault: called with each fault instead of logging it; tests raise it later.
    """

    def __init__(
        self, instrument: Instrument, on_fault: Callable[[Exception], None] | None = None
    ) -> None:
        """Wrap an instrument.

        Args:
            instrument: may raise whatever it likes.
            on_fault: gets each fault; None logs the first one of this guard.
        """
        self._instrument = instrument
        self._on_fault = on_fault
        self._logged = False
        self._safely = getattr(instrument, "observe_safely", None)
        self._lookout = getattr(instrument, "lookout_safely", None)
        self._told = self.fault

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Watch ``scope``, or nothing where the instrument fails."""
        # An instrument may have observations of its own that never raise.
        manager: AbstractContextManager[Observation] | None = None
        if self._safely is not None:
            manager = self._safely(scope, self._told)
        return _Guarded(self, scope) if manager is None else manager

    def lookout(self) -> Lookout | None:
        """Return what watches the straight way in the current context, where there is such."""
        return None if self._lookout is None else self._lookout(self._told)

    def inside(self, seen: Observation) -> Instrument:
        """Return what has to watch what begins inside of an observation.

        Args:
            seen: an observation of this instrument.
        """
        try:
            unseen = getattr(seen, "unseen", False)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self.fault(error)
            return self
        return NULL_INSTRUMENT if unseen else self

    def elsewhere(self) -> Mapping[str, Any]:
        """Return how to watch elsewhere; nothing where the instrument fails."""
        try:
            return self._instrument.elsewhere()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self.fault(error)
            return {}

    def absorb(self, counted_elsewhere: bytes) -> None:
        """Count what was counted elsewhere, if the instrument does."""
        try:
            self._instrument.absorb(counted_elsewhere)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self.fault(error)

    def open(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Ask the instrument itself."""
        return self._instrument.observe(scope)

    def fault(self, error: Exception) -> None:
        """Take note of a fault."""
        if self._on_fault is not None:
            self._on_fault(error)
        elif not self._logged:
            self._logged = True
            log_fault("hush.telemetry", "telemetry failed; the run goes on without it", error)


class _Guarded:
    """An observation whose every call may fail without harm."""

    __slots__ = ("_guard", "_manager", "_scope", "_seen")

    def __init__(self, guard: Guard, scope: Scope) -> None:
        self._guard = guard
        self._scope = scope
        self._manager: AbstractContextManager[Observation] = NULL_OBSERVATION
        self._seen: Observation = NULL_OBSERVATION

    def __enter__(self) -> Self:
        try:
            manager = self._guard.open(self._scope)
            self._seen = manager.__enter__()
            self._manager = manager
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._guard.fault(error)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._manager.__exit__(exc_type, exc, traceback)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            if error is not exc:
                self._guard.fault(error)

    @property
    def token(self) -> object:
        return self._seen.token

    @property
    def trace_id(self) -> str | None:
        return self._seen.trace_id

    @property
    def unseen(self) -> bool:
        return bool(getattr(self._seen, "unseen", False))

    def annotate(self, name: str, value: Any) -> None:
        try:
            self._seen.annotate(name, value)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._guard.fault(error)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        try:
            self._seen.event(name, facts)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._guard.fault(error)

    def end(self, ending: Ending) -> None:
        try:
            self._seen.end(ending)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._guard.fault(error)

    def carrier(self) -> Mapping[str, str]:
        try:
            return self._seen.carrier()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._guard.fault(error)
            return {}

    def adopt(self, seen_elsewhere: bytes, passage: Passage) -> None:
        try:
            self._seen.adopt(seen_elsewhere, passage)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._guard.fault(error)


OK = Ending(semconv.OUTCOME_OK)
