"""Gauges of the process: what runs and what is waited for now, read when metrics are.

They are observed from the register of what is running (:mod:`hush.runtime.presence`), not
counted up and down: so they cost a run nothing, and no cancellation can make them drift.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from hush import __version__, semconv
from hush.executors.threads import abandoned_threads
from hush.observe.labels import SERIES, Names
from hush.runtime.presence import present

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ("create_gauges", "register_gauges", "remember")

Pair = tuple[str, str | None]
"""A graph, and a node where the gauge has one."""

_registered = False
_names: Final = Names()
_idle: Final[dict[Pair, None]] = {}
"""Graphs and maps that have run while metrics were wanted: at rest they are 0, not absent."""


def remember(graph: str | None, node: str | None) -> None:
    """Take note that a graph or a map runs, so that it is told of also when it is over.

    Args:
        graph: the graph's name.
        node: the map's; None for the graph itself.
    """
    if graph is None:
        return
    pair = (graph, node)
    if pair not in _idle and len(_idle) < SERIES:
        _idle[_pair(graph, node)] = None


def register_gauges() -> None:
    """Register the observable gauges, once per process.

    Without a metrics provider this costs nothing; one that is set later is used then.
    """
    global _registered  # noqa: PLW0603  # once per process
    if _registered:
        return
    _registered = True
    from opentelemetry import metrics  # noqa: PLC0415  # needed once

    create_gauges(metrics.get_meter("hush", __version__))


def create_gauges(meter: Meter) -> None:
    """Create the observable gauges.

    Args:
        meter: of any provider.
    """
    meter.create_observable_gauge(
        semconv.METRIC_THREADS_ABANDONED,
        callbacks=[_abandoned],
        unit="{thread}",
        description="Threads left behind by a cancelled or timed-out node, still running",
    )
    meter.create_observable_gauge(
        semconv.METRIC_FAN_IN_OLDEST_WAIT,
        callbacks=[_reading(_oldest_waits)],
        unit="s",
        description="How long the longest waiting join has waited since its first arrival",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_RUN_ACTIVE,
        callbacks=[_reading(_active_runs)],
        unit="{run}",
        description="Runs that are under way",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_SLOTS_USED,
        callbacks=[_reading(_used_slots)],
        unit="{slot}",
        description="Items of maps that are under way",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_SLOTS_LIMIT,
        callbacks=[_reading(_slot_limits)],
        unit="{slot}",
        description="Items that the maps which are under way may run at once",
    )


def _reading(
    read: Callable[[], Mapping[Pair, float]],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation  # noqa: PLC0415  # only where metrics are read

        for (graph, node), value in read().items():
            labels: dict[str, Any] = {semconv.GRAPH_NAME: graph}
            if node is not None:
                labels[semconv.NODE_NAME] = node
            yield Observation(value, labels)

    return callback


def _abandoned(_options: CallbackOptions) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415  # likewise

    yield Observation(abandoned_threads())


def _pair(graph: str, node: str | None) -> Pair:
    return _names.graph(graph), None if node is None else _names.node(node)


def _resting(*, maps: bool) -> dict[Pair, float]:
    return {pair: 0 for pair in list(_idle) if (pair[1] is not None) is maps}


def _oldest_waits() -> Mapping[Pair, float]:
    oldest: dict[Pair, float] = {}
    now = perf_counter()
    for one in present():
        for wait in one.waits_now(now):
            pair = _pair(wait.graph, wait.name)
            oldest[pair] = max(wait.seconds, oldest.get(pair, 0.0))
    return oldest


def _active_runs() -> Mapping[Pair, float]:
    active = _resting(maps=False)
    for _, graph, _ in {one.run_key for one in present()}:
        pair = _pair(graph, None)
        active[pair] = active.get(pair, 0) + 1
    return active


def _used_slots() -> Mapping[Pair, float]:
    return _slots(used=True)


def _slot_limits() -> Mapping[Pair, float]:
    return _slots(used=False)


def _slots(*, used: bool) -> Mapping[Pair, float]:
    slots = _resting(maps=True)
    now = perf_counter()
    for one in present():
        for running in one.maps_now(now):
            # A path ends in the node's name, which has no dots.
            pair = _pair(one.run_key[1], running.path.rpartition(".")[2])
            count = running.running if used else running.max_concurrency
            slots[pair] = slots.get(pair, 0) + count
    return slots
