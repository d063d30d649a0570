"""Metrics of the process, through the OpenTelemetry metrics API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush import __version__, semconv
from hush.executors.in_process import abandoned_threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import CallbackOptions, Observation

__all__ = ("register_gauges",)

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

    metrics.get_meter("hush", __version__).create_observable_gauge(
        semconv.METRIC_THREADS_ABANDONED,
        callbacks=[_abandoned],
        unit="{thread}",
        description="Threads left behind by a cancelled or timed-out node, still running",
    )


def _abandoned(_options: CallbackOptions) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415  # only where metrics are read

    yield Observation(abandoned_threads())
