"""Metrics of the process, through the OpenTelemetry metrics API."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from hush import __version__, semconv
from hush.executors.in_process import abandoned_threads
from hush.runtime.presence import present

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ("create_gauges", "register_gauges")

_registered = False


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
        callbacks=[_oldest_waits],
        unit="s",
        description="How long the longest waiting join has waited since its first arrival",
    )


def _abandoned(_options: CallbackOptions) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415  # only where metrics are read

    yield Observation(abandoned_threads())


def _oldest_waits(_options: CallbackOptions) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415  # likewise

    oldest: dict[tuple[str, str], float] = {}
    now = perf_counter()
    for one in present():
        for wait in one.waits_now(now):
            key = (wait.graph, wait.name)
            oldest[key] = max(wait.seconds, oldest.get(key, 0.0))
    for (graph, name), seconds in oldest.items():
        yield Observation(seconds, {semconv.GRAPH_NAME: graph, semconv.NODE_NAME: name})
