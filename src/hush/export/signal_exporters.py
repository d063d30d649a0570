"""Exporters of metrics and logs that hand what they get to the spool, and so lose nothing.

For the SDK's own readers and processors: an export is done when it is on the disk, so
that nobody waits for a receiver. Metrics are kept for a shorter time than the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

from hush.errors import text_of
from hush.export.counts import counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData

    from hush.export.options import Signal
    from hush.export.outbox import Outbox

__all__ = ("SpoolingLogExporter", "SpoolingMetricExporter")


class SpoolingMetricExporter(MetricExporter):
    """Puts metrics into an outbox; for a ``PeriodicExportingMetricReader``.

    Temporality and aggregation are those that the standard variables ask for.
    """

    def __init__(self, outbox: Outbox) -> None:
        """Take what goes out from here.

        Args:
            outbox: of ``open_outbox("metrics", ...)``.
        """
        # Only the SDK's own exporter reads those variables; it is never asked to send.
        # Nor is it to read headers: what it cannot read it logs, secret or not.
        read = OTLPMetricExporter(headers={"accept": "*/*"})
        super().__init__(
            preferred_temporality=read._preferred_temporality,  # noqa: SLF001  # as its readers do
            preferred_aggregation=read._preferred_aggregation,  # noqa: SLF001  # likewise
        )
        read.shutdown()
        self.outbox = outbox
        outbox.hold(self)
        outbox.start_where_needed()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_options: Any
    ) -> MetricExportResult:
        """Write metrics to the spool.

        Args:
            metrics_data: of one collection.
            timeout_millis: not needed: nobody is waited for.

        Returns:
            FAILURE only where they were lost.
        """
        del timeout_millis
        points = sum(
            len(metric.data.data_points)
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        if not points or _put(self.outbox, "metrics", encode_metrics, metrics_data, points):
            return MetricExportResult.SUCCESS
        return MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Wait until the receiver has what is in the spool; see ``Outbox.flush``."""
        return self.outbox.flush(max(timeout_millis, 0) / 1_000)

    def queued(self) -> int:
        """Return 0: nothing waits here."""
        return 0

    def shutdown(self, timeout_millis: float = 30_000, **_options: Any) -> None:
        """Let go of the outbox, which closes with its last user."""
        del timeout_millis
        self.outbox.release(self)


class SpoolingLogExporter(LogRecordExporter):
    """Puts log records into an outbox; for a ``BatchLogRecordProcessor``."""

    def __init__(self, outbox: Outbox) -> None:
        """Take what goes out from here.

        Args:
            outbox: of ``open_outbox("logs", ...)``.
        """
        self.outbox = outbox
        outbox.hold(self)
        outbox.start_where_needed()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write records to the spool.

        Args:
            batch: of any length.

        Returns:
            FAILURE only where they were lost.
        """
        if not batch or _put(self.outbox, "logs", encode_logs, batch, len(batch)):
            return LogRecordExportResult.SUCCESS
        return LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Wait until the receiver has what is in the spool; see ``Outbox.flush``."""
        return self.outbox.flush(max(timeout_millis, 0) / 1_000)

    def queued(self) -> int:
        """Return 0: what waits is in the SDK's processor."""
        return 0

    def shutdown(self) -> None:
        """Let go of the outbox, which closes with its last user."""
        self.outbox.release(self)


def _put(outbox: Outbox, signal: Signal, encode: Any, content: Any, count: int) -> bool:
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003  # the value of a key
    try:
        try:
            data = encode(content).SerializeToString()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            counts.drop(signal, "encoding", count)
            outbox.memory.complaints.warn(
                f"{signal} are lost: they cannot be written as OTLP",
                error=f"{type(error).__name__}: {text_of(error)}",
            )
            return False
        return outbox.put(signal, data, count)
    finally:
        detach(token)
