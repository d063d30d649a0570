"""Counted elsewhere: metrics of workers, gathered as plain data and replayed by the driver.

In a worker the same instruments record as in any process, on a meter provider that keeps what
they record until the call is over. It has no reader, no thread and no clock of its own.
"""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import (
    Meter,
    MeterProvider,
    NoOpCounter,
    NoOpHistogram,
    NoOpObservableCounter,
    NoOpObservableGauge,
    NoOpObservableUpDownCounter,
    NoOpUpDownCounter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context

__all__ = ("COUNTED", "GatheringMeterProvider", "unpack_points")

COUNTED: Final = "counted"
"""That workers are to count, as a driver says it to them."""

Labels = tuple[tuple[str, Any], ...]


class _Points:
    """What has been recorded: amounts by metric and label set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._amounts: dict[tuple[str, Labels], list[float]] = {}

    def add(
        self, name: str, amount: float, labels: Mapping[str, Any] | None, *, sums: bool
    ) -> None:
        key = name, tuple(sorted((labels or {}).items()))
        with self._lock:
            amounts = self._amounts.setdefault(key, [])
            if sums and amounts:
                amounts[0] += amount
            else:
                amounts.append(amount)

    def take(self) -> dict[tuple[str, Labels], list[float]]:
        with self._lock:
            amounts, self._amounts = self._amounts, {}
        return amounts


class _Histogram(NoOpHistogram):
    name: str
    points: _Points

    def record(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        del context
        self.points.add(self.name, amount, attributes, sums=False)


class _Counter(NoOpCounter):
    name: str
    points: _Points

    def add(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        del context
        self.points.add(self.name, amount, attributes, sums=True)


class _GatheringMeter(Meter):
    """Gathers what histograms and counters record; what is observed by callbacks, it is not."""

    points: _Points

    def create_histogram(self, name: str, *details: Any, **options: Any) -> _Histogram:
        del details, options
        made = _Histogram(name)
        made.name, made.points = name, self.points
        return made

    def create_counter(self, name: str, unit: str = "", description: str = "") -> _Counter:
        made = _Counter(name, unit, description)
        made.name, made.points = name, self.points
        return made

    def create_up_down_counter(
        self, name: str, unit: str = "", description: str = ""
    ) -> NoOpUpDownCounter:
        return NoOpUpDownCounter(name, unit, description)

    def create_observable_counter(self, name: str, *details: Any) -> NoOpObservableCounter:
        return NoOpObservableCounter(name, *details)

    def create_observable_gauge(self, name: str, *details: Any) -> NoOpObservableGauge:
        return NoOpObservableGauge(name, *details)

    def create_observable_up_down_counter(
        self, name: str, *details: Any
    ) -> NoOpObservableUpDownCounter:
        return NoOpObservableUpDownCounter(name, *details)


class GatheringMeterProvider(MeterProvider):
    """A meter provider whose metrics are taken away as data."""

    def __init__(self) -> None:
        """Gather nothing yet."""
        self._points = _Points()

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Meter:
        """Return a meter that records here."""
        del attributes
        meter = _GatheringMeter(name, version, schema_url)
        meter.points = self._points
        return meter

    def packed(self) -> bytes | None:
        """Return what has been recorded since the last time; None where nothing was."""
        amounts = self._points.take()
        return pickle.dumps(amounts, pickle.HIGHEST_PROTOCOL) if amounts else None


def unpack_points(data: bytes) -> Iterator[tuple[str, dict[str, Any], list[float]]]:
    """Yield what a worker counted.

    Args:
        data: from :meth:`GatheringMeterProvider.packed`.

    Yields:
        Name of the metric, label set, and the amounts: each one of a histogram, the sum of a
        counter.
    """
    amounts: dict[tuple[str, Labels], list[float]] = pickle.loads(data)  # noqa: S301  # from a worker, see SECURITY.md
    for (name, labels), recorded in amounts.items():
        yield name, dict(labels), recorded
