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
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import metrics

from hush import __version__, semconv
from hush.export.options import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

    from hush.export.options import Signal

    Read = Callable[[], Mapping[Any, float]]

__all__ = (
    "REASONS",
    "Counts",
    "Watched",
    "counts",
    "create_instruments",
    "register_instruments",
    "watch",
)

_OF_ALL: Final = (
    "rejected",
    "partial_success",
    "corrupt",
    "too_old",
    "spool_full",
    "disk_full",
    "disk_error",
    "encoding",
)
_OF_SPANS: Final = ("queue_full", "exit", "no_thread")
REASONS: Final[Mapping[str, tuple[Signal, ...]]] = {
    **dict.fromkeys(_OF_ALL, SIGNALS),
    **dict.fromkeys(_OF_SPANS, SIGNALS[:1]),
}
"""Why something is given up, and which signals that can happen to."""


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
    gauge, counter = meter.create_observable_gauge, meter.create_observable_counter

    def create(
        make: Callable[..., object], name: str, unit: str, description: str, read: Read, *also: str
    ) -> None:
        callback = _reading(read, semconv.EXPORT_SIGNAL, *also)
        make(name, callbacks=[callback], unit=unit, description=description)

    create(
        gauge,
        semconv.METRIC_EXPORT_SPOOLED_BYTES,
        "By",
        "What waits on the disk for the receiver",
        lambda: {signal: size for signal, (size, _) in _state().items()},
    )
    create(
        gauge,
        semconv.METRIC_EXPORT_OLDEST_AGE,
        "s",
        "For how long the oldest batch on the disk has been waiting",
        lambda: {signal: age for signal, (_, age) in _state().items()},
    )
    create(
        gauge,
        semconv.METRIC_EXPORT_QUEUED,
        "{item}",
        "Spans, log records and metric points that are not yet on the disk",
        _queued,
    )
    create(
        counter,
        semconv.METRIC_EXPORT_DROPPED,
        "{item}",
        "Spans, log records and metric points that will not arrive",
        _dropped,
        semconv.EXPORT_REASON,
    )
    create(
        counter,
        semconv.METRIC_EXPORT_SENT,
        "{item}",
        "Spans, log records and metric points that the receiver has taken",
        _sent,
    )
    create(
        counter,
        semconv.METRIC_EXPORT_FAILURES,
        "{request}",
        "Requests to the receiver that failed",
        lambda: counts.failures,
        semconv.ERROR_TYPE,
    )
    create(
        counter,
        semconv.METRIC_EXPORT_HELD_RUNS,
        "{run}",
        "Runs whose start was held up because too much waited to be exported",
        lambda: {(): counts.held_runs},
    )


def _reading(read: Read, *labels: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Return a callback that observes numbers by the values of labels."""

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        for key, value in list(read().items()):
            values = (key,) if isinstance(key, str) else key
            yield metrics.Observation(value, dict(zip(labels, values, strict=False)))

    return callback


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


def _queued() -> Mapping[Signal, int]:
    told: Counter[Signal] = Counter()
    for one in list(_watched):
        told.update(one.queued())
    return told


# From zero on: whoever asks how much a counter has grown cannot see its first value.


def _dropped() -> Mapping[tuple[Signal, str], int]:
    told: dict[tuple[Signal, str], int] = {}
    if _watched:
        told = {(signal, reason): 0 for reason, signals in REASONS.items() for signal in signals}
    return told | dict(counts.dropped)


def _sent() -> Mapping[Signal, int]:
    told: dict[Signal, int] = dict.fromkeys(SIGNALS, 0) if _watched else {}
    return told | dict(counts.sent)


def _after_fork_in_child() -> None:
    """What the parent has counted is the parent's."""
    with contextlib.suppress(Exception):
        counts.__init__()  # type: ignore[misc]  # begin at zero, in place: others hold it


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
