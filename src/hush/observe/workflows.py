"""Workflows: measures runs, nodes and items as they end, whatever becomes of their spans.

Each is recorded while its span is still open and current, so that an exemplar leads to the
trace. Items that the budget leaves out of the trace count here like all others.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self

from hush import semconv
from hush.observe.before import ObservationBefore
from hush.observe.describing import error_type_of
from hush.observe.metrics import remember
from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from hush.observe.workflow_meters import WorkflowMeters
    from hush.runtime.instrument import Ending, Observation, Scope

__all__ = ("RunMetrics",)

ITEMS: Final = frozenset(("item", "iteration"))
HEARD: Final = frozenset(
    (
        semconv.MAP_BOUND_BY,
        semconv.PARTIAL_FAILURE,
        semconv.TOKENS_WASTED,
        semconv.WAIT_LIMITER_S,
        semconv.WASTED_USD,
    )
)
"""Facts that are told later than at the start, and measured."""


class RunMetrics:
    """The metrics of one run: they all have its graph's name."""

    __slots__ = ("_graph", "_of_items", "_of_nodes", "meters", "on_fault")

    def __init__(self, meters: WorkflowMeters, on_fault: Callable[[Exception], None]) -> None:
        """Measure nothing yet.

        Args:
            meters: take what is measured.
            on_fault: gets what goes wrong here.
        """
        self.meters = meters
        self.on_fault = on_fault
        self._graph: str | None = None
        # What most of them come to, item after item: made once in a run.
        self._of_items: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        self._of_nodes: dict[tuple[str, object], dict[str, str]] = {}

    def watch(
        self, manager: AbstractContextManager[Observation], scope: Scope
    ) -> AbstractContextManager[Observation]:
        """Measure what is observed.

        Args:
            manager: the observation of the instrument inside.
            scope: what begins.
        """
        level = scope.level
        if level == "attempt":
            return manager
        names = self.meters.names
        if level == "run":
            self._graph = names.graph(scope.name)
            remember(scope.name, None)
        elif level == "map":
            remember(self._graph, scope.name)
        return _Measured(manager, scope, self)

    def of_graph(self, name: str) -> None:
        """Take over a graph's name, where its run is observed elsewhere."""
        self._graph = self.meters.names.graph(name)

    def begun(self, scope: Scope) -> tuple[str | None, str]:
        """Return the labels of graph and node."""
        return self._graph, self.meters.names.node(scope.name)

    def repeat(self, scope: Scope, facts: Mapping[str, Any]) -> None:
        """Count an attempt that is made again."""
        meters = self.meters
        kind = str(facts.get(semconv.ERROR_TYPE))
        meters.retries.take(1, *self.begun(scope), self._kind(scope), meters.errors.bounded(kind))

    def block(self, scope: Scope, seconds: float) -> None:
        """Count how long a node held up the event loop."""
        self.meters.blocked.take(seconds, *self.begun(scope))

    def close(self, scope: Scope, ending: Ending, took: float, heard: Mapping[str, Any]) -> None:
        """Record what has ended.

        Args:
            scope: what it was.
            ending: how it ended.
            took: how many seconds.
            heard: what was told of it meanwhile, as far as it is measured.
        """
        if scope.level in ITEMS:
            self._item(scope, ending, took)
        elif scope.level == "run":
            self._run(ending, took, heard)
        else:
            self._node(scope, ending, took, heard)

    def _run(self, ending: Ending, took: float, heard: Mapping[str, Any]) -> None:
        meters, graph, outcome = self.meters, self._graph, ending.outcome
        meters.run.take(took, graph, outcome, self._error(ending))
        if heard.get(semconv.PARTIAL_FAILURE):
            meters.partial.take(1, graph, outcome)
        if heard.get(semconv.TOKENS_WASTED):
            meters.tokens_wasted.take(heard[semconv.TOKENS_WASTED], graph)
        if heard.get(semconv.WASTED_USD):
            meters.cost_wasted.take(heard[semconv.WASTED_USD], graph)

    def _item(self, scope: Scope, ending: Ending, took: float) -> None:
        meters, facts, outcome = self.meters, scope.facts, ending.outcome
        known = self._of_items.get(scope.name) if outcome == semconv.OUTCOME_OK else None
        if known is None:
            key = (*self.begun(scope), outcome)
            known = meters.item.labels(*key), meters.item_wait.labels(*key)
            if outcome == semconv.OUTCOME_OK:
                self._of_items[scope.name] = known
        meters.item.record(took, known[0])
        slot_s = facts.get(semconv.WAIT_SLOT_S)
        if slot_s is not None:
            waited = slot_s + facts.get(semconv.WAIT_SOURCE_S, 0.0)
            meters.item_wait.record(max(waited, 0.0), known[1])
        if outcome == semconv.OUTCOME_CANCELLED:
            self._cancelled(scope, ending)

    def _node(self, scope: Scope, ending: Ending, took: float, heard: Mapping[str, Any]) -> None:
        meters, facts, outcome = self.meters, scope.facts, ending.outcome
        if outcome == semconv.OUTCOME_OK:
            kind = (scope.name, facts.get(semconv.NODE_KIND))
            labels = self._of_nodes.get(kind)
            if labels is None:
                key = (*self.begun(scope), self._kind(scope), outcome, None)
                labels = self._of_nodes[kind] = meters.node.labels(*key)
            meters.node.record(took, labels)
        else:
            error = self._error(ending)
            meters.node.take(took, *self.begun(scope), self._kind(scope), outcome, error)
        if semconv.FAN_IN_COUNT in facts:
            self._fan_in(facts, *self.begun(scope), outcome)
        if scope.level == "map":
            bound_by = heard.get(semconv.MAP_BOUND_BY) or semconv.BOUND_BY_NONE
            meters.maps.take(1, *self.begun(scope), bound_by)
        elif scope.level == "node" and heard:
            # Of what contains others it is the sum of theirs.
            waited = heard.get(semconv.WAIT_LIMITER_S)
            if waited:
                meters.limiter_wait.take(waited, *self.begun(scope))
        if outcome == semconv.OUTCOME_CANCELLED:
            self._cancelled(scope, ending)

    def _fan_in(self, facts: Mapping[str, Any], graph: str | None, node: str, outcome: str) -> None:
        meters = self.meters
        spread = facts.get(semconv.FAN_IN_SPREAD_S)
        if spread is not None:
            meters.spread.take(spread, graph, node, outcome)
        last = facts.get(semconv.FAN_IN_LAST)
        if last is not None:
            last = meters.names.node(last)
            meters.releases.take(1, graph, node, last)
            meters.lead.take(facts.get(semconv.FAN_IN_LEAD_S, 0.0), graph, node, last)

    def _cancelled(self, scope: Scope, ending: Ending) -> None:
        reason = ending.reason or semconv.REASON_EXTERNAL
        self.meters.cancellations.take(1, *self.begun(scope), self._kind(scope), reason)

    def _kind(self, scope: Scope) -> str:
        if scope.level in ITEMS:
            return scope.level
        return self.meters.names.kind(scope.facts.get(semconv.NODE_KIND, scope.level))

    def _error(self, ending: Ending) -> str | None:
        error = error_type_of(ending)
        return None if error is None else self.meters.errors.bounded(error)


class _Measured(ObservationBefore):
    """An observation that is measured."""

    __slots__ = ("_began", "_heard", "_of", "_scope")

    def __init__(
        self, manager: AbstractContextManager[Observation], scope: Scope, of: RunMetrics
    ) -> None:
        super().__init__(manager)
        self._scope = scope
        self._of = of
        self._heard: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._seen = self._manager.__enter__()
        self._began = perf_counter()
        return self

    def _close(self, ending: Ending) -> None:
        self._of.close(self._scope, ending, perf_counter() - self._began, self._heard)

    def _fault(self, error: Exception) -> None:
        self._of.on_fault(error)

    def annotate(self, name: str, value: Any) -> None:
        if name in HEARD:
            self._heard[name] = value
        self._seen.annotate(name, value)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        try:
            if name == semconv.EVENT_RETRY:
                with ours:
                    self._of.repeat(self._scope, facts)
            elif name == semconv.EVENT_LOOP_BLOCKED:
                with ours:
                    self._of.block(self._scope, facts[semconv.LOOP_BLOCKED_S])
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._of.on_fault(error)
        self._seen.event(name, facts)
