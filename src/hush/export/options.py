"""What a user may choose about the spool; knows neither files nor OpenTelemetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import os

__all__ = ("SIGNALS", "Signal", "SpoolOptions")

Signal = Literal["traces", "metrics", "logs"]
"""What a batch holds, by the name that OTLP has for it in its paths."""
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")

_LEAST_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """Where batches wait for the collector, how many, and for how long.

    Raises:
        ValueError: a number makes no sense.
    """

    path: str | os.PathLike[str] | None = None
    """The folder that holds a folder for each receiver; None for ``$HUSH_SPOOL``, else
    ``hush/spool`` in the user's state folder."""
    max_bytes: int = 512 * 1024 * 1024
    """Disk that one receiver's batches may take, in bytes, at least 1 MiB."""
    max_age_s: float = 7 * 86_400.0
    """For how long a batch is worth sending, in seconds."""
    metrics_max_age_s: float = 3_600.0
    """The same for metrics, which backends refuse when they are old."""
    when_full: Literal["drop_oldest", "block"] = "drop_oldest"
    """What happens at ``max_bytes``: the oldest batches go, and are counted; or new runs do
    not start until there is room."""
    queue_size: int = 65_536
    """Spans that may wait in memory for the disk; what is more is dropped and counted."""
    queue_bytes: int = 128 * 1024 * 1024
    """Memory that they may take, in bytes, by what the last batches took; where spans are large,
    fewer than ``queue_size`` may wait."""
    batch_size: int = 512
    """Spans in one batch; as many wake the writer at once."""
    interval_s: float = 0.2
    """Longest time that a span waits in memory, in seconds: what a killed process can lose."""
    start_wait_s: float = 5.0
    """Longest time that the start of a run is held up while the queue is half full, in
    seconds; 0 never holds one up."""
    exit_s: float = 1.0
    """How long the end of the process waits for an answer of the receiver, in seconds. While it
    takes what it gets the process goes on sending, for ten times that in all."""
    sync: bool = False
    """Whether each batch is forced onto the disk, which only matters where the machine
    itself goes down."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.max_bytes < _LEAST_BYTES:
            raise ValueError(f"max_bytes={self.max_bytes}: expected at least {_LEAST_BYTES}")
        for name in ("queue_size", "queue_bytes", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        for name in ("max_age_s", "metrics_max_age_s", "interval_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected more than 0 seconds")
        for name in ("start_wait_s", "exit_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 seconds or more")
        if self.when_full not in {"drop_oldest", "block"}:
            raise ValueError(f"when_full={self.when_full!r}: use 'drop_oldest' or 'block'")

    def max_age_of(self, signal: Signal) -> float:
        """Return for how long a batch of a signal is kept, in seconds."""
        if signal == "metrics":
            return min(self.metrics_max_age_s, self.max_age_s)
        return self.max_age_s
