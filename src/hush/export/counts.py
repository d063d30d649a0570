"""What the export says of itself, through the OpenTelemetry metrics API.

Plain numbers, which cost a run nothing; they are read when a metrics provider asks, one
that is set later too. Counts are of this process, the state of a spool is everybody's
who shares it. Knows nothing of how anything is sent.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from opentelemetry import metrics

from hush import __version__, semconv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

    from hush.export.options import Signal

__all__ = ("Counts", "Watched", "counts", "create_instruments", "register_instruments", "watch")


class Watched(Protocol):
    """What has a spool and a queue."""

    @property
    def place(self) -> str:
        """Tells spools apart."""

    def spooled(self) -> Mapping[Signal, tuple[int, float]]:
        """Of each signal: bytes on the disk, age of the oldest batch in seconds."""

    def queued(self) -> Mapping[Signal, int]:
        """Of each signal: how many wait in memory."""


class Counts:
    """Counters of one process."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._lock = threading.Lock()
        self.dropped: Counter[tuple[Signal, str]] = Counter()
        self.sent: Counter[Signal] = Counter()
        self.failures: Counter[tuple[Signal, str]] = Counter()
        self.held_runs = 0

    def drop(self, signal: Signal, reason: str, count: int) -> None:
        """Count what will not arrive."""
        with self._lock:
            self.dropped[signal, reason] += count

    def send(self, signal: Signal, count: int) -> None:
        """Count what has arrived."""
        with self._lock:
            self.sent[signal] += count

    def fail(self, signal: Signal, error: str) -> None:
        """Count a request that failed."""
        with self._lock:
            self.failures[signal, error] += 1

    def hold(self) -> None:
        """Count a run whose start was held up."""
        with self._lock:
            self.held_runs += 1

    def dropped_for(self, reason: str) -> int:
        """Return how many were dropped for a reason, of all signals."""
        return sum(n for (_, why), n in list(self.dropped.items()) if why == reason)


counts = Counts()
_watched: weakref.WeakSet[Watched] = weakref.WeakSet()
_registered = False


def watch(one: Watched) -> None:
    """Report the state of one more spool.

    Args:
        one: is held weakly.
    """
    _watched.add(one)
    register_instruments()


def register_instruments() -> None:
    """Register the instruments, once per process."""
    global _registered  # noqa: PLW0603  # once per process
    if not _registered:
        _registered = True
        create_instruments(metrics.get_meter("hush", __version__))


def create_instruments(meter: Meter) -> None:
    """Create the instruments.

    Args:
        meter: of any provider.
    """
    meter.create_observable_gauge(
        semconv.METRIC_EXPORT_SPOOLED_BYTES,
        callbacks=[_spooled_bytes],
        unit="By",
        description="What waits on the disk for the receiver",
    )
    meter.create_observable_gauge(
        semconv.METRIC_EXPORT_OLDEST_AGE,
        callbacks=[_oldest_age],
        unit="s",
        description="For how long the oldest batch on the disk has been waiting",
    )
    meter.create_observable_gauge(
        semconv.METRIC_EXPORT_QUEUED,
        callbacks=[_queued],
        unit="{item}",
        description="Spans, log records and metric points that are not yet on the disk",
    )
    meter.create_observable_counter(
        semconv.METRIC_EXPORT_DROPPED,
        callbacks=[_dropped],
        unit="{item}",
        description="Spans, log records and metric points that will not arrive",
    )
    meter.create_observable_counter(
        semconv.METRIC_EXPORT_SENT,
        callbacks=[_sent],
        unit="{item}",
        description="Spans, log records and metric points that the receiver has taken",
    )
    meter.create_observable_counter(
        semconv.METRIC_EXPORT_FAILURES,
        callbacks=[_failures],
        unit="{request}",
        description="Requests to the receiver that failed",
    )
    meter.create_observable_counter(
        semconv.METRIC_EXPORT_HELD_RUNS,
        callbacks=[_held_runs],
        unit="{run}",
        description="Runs whose start was held up because too much waited to be exported",
    )


def _observation(value: float, labels: Mapping[str, str] | None = None) -> Observation:
    return metrics.Observation(value, labels)


def _spooled_bytes(_options: CallbackOptions) -> Iterable[Observation]:
    for signal, (size, _) in _state().items():
        yield _observation(size, {semconv.EXPORT_SIGNAL: signal})


def _oldest_age(_options: CallbackOptions) -> Iterable[Observation]:
    for signal, (_, age) in _state().items():
        yield _observation(age, {semconv.EXPORT_SIGNAL: signal})


def _state() -> dict[str, tuple[int, float]]:
    """Return bytes and the oldest age for each signal, over all spools of this process."""
    told: dict[str, tuple[int, float]] = {}
    seen = set()
    for one in list(_watched):
        if one.place in seen:
            continue
        seen.add(one.place)
        for signal, (size, age) in one.spooled().items():
            before = told.get(signal, (0, 0.0))
            told[signal] = (before[0] + size, max(before[1], age))
    return told


def _queued(_options: CallbackOptions) -> Iterable[Observation]:
    told: Counter[str] = Counter()
    for one in list(_watched):
        told.update(one.queued())
    for signal, count in told.items():
        yield _observation(count, {semconv.EXPORT_SIGNAL: signal})


def _dropped(_options: CallbackOptions) -> Iterable[Observation]:
    for (signal, reason), count in list(counts.dropped.items()):
        labels = {semconv.EXPORT_SIGNAL: signal, semconv.EXPORT_REASON: reason}
        yield _observation(count, labels)


def _sent(_options: CallbackOptions) -> Iterable[Observation]:
    for signal, count in list(counts.sent.items()):
        yield _observation(count, {semconv.EXPORT_SIGNAL: signal})


def _failures(_options: CallbackOptions) -> Iterable[Observation]:
    for (signal, error), count in list(counts.failures.items()):
        labels = {semconv.EXPORT_SIGNAL: signal, semconv.ERROR_TYPE: error}
        yield _observation(count, labels)


def _held_runs(_options: CallbackOptions) -> Iterable[Observation]:
    yield _observation(counts.held_runs)


def _after_fork_in_child() -> None:
    """What the parent has counted is the parent's."""
    with contextlib.suppress(Exception):
        counts.__init__()  # type: ignore[misc]  # begin at zero, in place: others hold it


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
