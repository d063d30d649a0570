"""Whereabouts: in which run, node and item a line of the log was written.

Where log lines are wanted, an instrument around all others leaves a mark in the context for
whatever is observed, with or without a tracer. Tasks and worker threads take over the context,
and so find it. The mark is read only when there is a line.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from hush import semconv
from hush.observe.pins import context_of
from hush.observe.settings import REDACTOR, settings
from hush.runtime.instrument import NULL_OBSERVATION, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from contextvars import Token
    from types import TracebackType

    from hush.runtime.instrument import Instrument, Observation

__all__ = ("LINES", "PlacingInstrument", "mark", "whereabouts")

PLACES: Final = frozenset(("run", "node", "graph", "map", "loop", "item", "iteration"))

LINES: Final = "lines"
"""How lines of the log are written, as a driver says it to its workers."""

_here: ContextVar[_Mark | None] = ContextVar("hush_whereabouts", default=None)


class PlacingInstrument:
    """Marks the context with what is observed, and leaves the rest to the instrument inside."""

    def __init__(self, inner: Instrument) -> None:
        """Wrap an instrument.

        Args:
            inner: is told everything; must not raise.
        """
        self._inner = inner

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Watch ``scope`` as the instrument inside does, and mark the context meanwhile."""
        manager = self._inner.observe(scope)
        return _Mark(manager, scope) if scope.level in PLACES else manager

    def elsewhere(self) -> Mapping[str, Any]:
        """Return what the instrument inside does, and that lines say where they were written."""
        from hush.observe.logs import lines_now  # noqa: PLC0415  # it needs this module

        return {**self._inner.elsewhere(), REDACTOR: settings.redactor, LINES: lines_now()}

    def absorb(self, counted_elsewhere: bytes) -> None:
        """Hand on what was counted elsewhere."""
        self._inner.absorb(counted_elsewhere)

    def of_graph(self, name: str) -> None:
        """Hand on the name of the graph of a run that goes on elsewhere."""
        of_graph = getattr(self._inner, "of_graph", None)
        if of_graph is not None:
            of_graph(name)


class _Mark:
    """A place, and the one around it."""

    __slots__ = ("_manager", "_token", "around", "scope")

    _token: Token[_Mark | None]

    def __init__(self, manager: AbstractContextManager[Observation], scope: Scope) -> None:
        self._manager = manager
        self.scope = scope
        self.around = _here.get()

    def __enter__(self) -> Observation:
        self._token = _here.set(self)
        return self._manager.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # First: what the observation logs as it ends belongs to it.
        try:
            self._manager.__exit__(exc_type, exc, traceback)
        finally:
            _here.reset(self._token)


def mark(run_id: str, graph: str, path: str, index: int | None) -> None:
    """Mark this context as inside of a run that goes on elsewhere.

    Args:
        run_id: the run's id.
        graph: name of its graph.
        path: of the map or graph here.
        index: of the item; None where it is none of a map.
    """
    places: list[Scope] = [Scope("run", graph, {semconv.RUN_ID: run_id})]
    places.append(Scope("node", path, {semconv.NODE_PATH: path}))
    if index is not None:
        places.append(Scope("item", path, {semconv.ITEM_INDEX: index}))
    for place in places:
        _here.set(_Mark(NULL_OBSERVATION, place))


def whereabouts() -> dict[str, Any]:
    """Return what a line that is written here carries, by names of :mod:`hush.semconv`.

    Returns:
        Ids of trace and span, of the run, its graph, the node's path and the indexes of the
        innermost item and round, as far as there are any. Reading the ids pins no item.
    """
    found: dict[str, Any] = {}
    span = context_of(trace.get_current_span())
    if span.is_valid:
        found[semconv.LOG_TRACE_ID] = trace.format_trace_id(span.trace_id)
        found[semconv.LOG_SPAN_ID] = trace.format_span_id(span.span_id)
    mark = _here.get()
    if mark is not None:
        found |= _told(mark)
    return found


def _told(mark: _Mark) -> Mapping[str, Any]:
    inside: dict[str, Any] = {}
    suffix = ""
    path: str | None = None
    at: _Mark | None = mark
    while at is not None:
        facts = at.scope.facts
        if at.scope.level == "run":
            path = at.scope.name if path is None else path
            ids = {semconv.RUN_ID: facts.get(semconv.RUN_ID), semconv.GRAPH_NAME: at.scope.name}
            return {**ids, semconv.NODE_PATH: path + suffix, **inside}
        for name in (semconv.ITEM_INDEX, semconv.ITERATION_INDEX):
            if name in facts:
                inside.setdefault(name, facts[name])
                if path is None:
                    suffix = f"[{facts[name]}]{suffix}"
        if path is None:
            path = facts.get(semconv.NODE_PATH)
        at = at.around
    return {semconv.NODE_PATH: path + suffix, **inside} if path else inside
