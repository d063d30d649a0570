"""Log export: log records as OpenTelemetry's, for those who ask for it.

The same plain data as on a line, redacted and bounded; the SDK's own handler sends texts as
they are, and is deprecated. The context is that of the line, so a backend finds the line in
its place in the trace.
"""

from __future__ import annotations

import atexit
import logging
import os
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import _logs as otel_logs
from opentelemetry import context as otel_context
from opentelemetry._logs import SeverityNumber

from hush import __version__, semconv
from hush.log import log_fault
from hush.observe.log_lines import line_of
from hush.observe.metric_exporters import otlp_protocol, signal_url
from hush.observe.patience import EXIT_S, done_within
from hush.observe.pins import ours
from hush.observe.resource import resource_of
from hush.observe.spooling import outbox_of
from hush.observe.variables import number_from

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

__all__ = ("ExportHandler", "export_wanted", "logger_provider")

VARIABLE: Final = "OTEL_LOGS_EXPORTER"
OWN: Final = ("opentelemetry", "urllib3", "requests", "grpc", "hush.export", "hush.telemetry")
"""Loggers of what exports: a line about an export that fails must not be exported."""
SKIPPED: Final = frozenset(
    (
        semconv.LOG_TIMESTAMP,
        semconv.LOG_LEVEL,
        semconv.LOG_LOGGER,
        semconv.LOG_EVENT,
        semconv.LOG_TRACE_ID,
        semconv.LOG_SPAN_ID,
    )
)
"""Fields for which a record of OpenTelemetry has a place of its own."""
QUEUE: Final = 65_536
DELAY_MS: Final = 200
"""How long a record may wait to be written to the spool, in milliseconds."""
LOGGERS: Final = 1_000
"""Most loggers that are told apart."""

SEVERITIES: Final = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
    (logging.INFO, SeverityNumber.INFO, "INFO"),
    (logging.DEBUG, SeverityNumber.DEBUG, "DEBUG"),
)


def export_wanted(*, said: bool | None) -> bool:
    """Say whether log records are to be exported.

    Args:
        said: by argument; None leaves it to the variable, and what that does not say, no.

    Raises:
        ValueError: the variable names something unknown.
    """
    if said is not None:
        return said
    name = os.environ.get(VARIABLE, "").strip().lower()
    if name not in {"", "otlp", "none"}:
        raise ValueError(f"{VARIABLE}={name!r} is unknown; use otlp or none")
    return name == "otlp"


def logger_provider(endpoint: str | None, service_name: str | None) -> tuple[LoggerProvider, bool]:
    """Return the provider that the application has set, else make one that exports.

    Args:
        endpoint: base of an OTLP/HTTP receiver; None reads the variables.
        service_name: name of the service; None reads the variables.

    Returns:
        The provider, and whether it was made here; then it is the global one by now.

    Raises:
        ValueError: an address or a protocol cannot be used.
    """
    known = otel_logs.get_logger_provider()
    if type(known).__name__ != "ProxyLoggerProvider":
        return known, False
    from opentelemetry.sdk._logs import LoggerProvider as SdkProvider  # noqa: PLC0415  # the SDK is needed only here
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415  # likewise

    exporter: Any
    queue = delay_ms = None
    if otlp_protocol("LOGS", endpoint) == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (  # noqa: PLC0415  # needs grpc
            OTLPLogExporter as GrpcExporter,
        )

        exporter = GrpcExporter()
    else:
        url = signal_url("LOGS", endpoint)
        outbox = outbox_of("logs", endpoint)
        if outbox is not None:
            from hush.export.signal_exporters import SpoolingLogExporter  # noqa: PLC0415  # needs requests

            exporter = SpoolingLogExporter(outbox)
            # The queue has to hold what comes until it is written; nobody waits for a receiver.
            queue = number_from("OTEL_BLRP_MAX_QUEUE_SIZE", QUEUE)
            delay_ms = number_from("OTEL_BLRP_SCHEDULE_DELAY", DELAY_MS)
        else:
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415  # likewise

            exporter = OTLPLogExporter(endpoint=url)
    made = SdkProvider(resource=resource_of(service_name), shutdown_on_exit=False)
    made.add_log_record_processor(
        BatchLogRecordProcessor(exporter, schedule_delay_millis=delay_ms, max_queue_size=queue)
    )
    otel_logs.set_logger_provider(made)
    atexit.register(stop, made)
    return made, True


def stop(provider: object) -> None:
    """Export what is left and stop; for at most ``EXIT_S``."""
    atexit.unregister(stop)
    shutdown = getattr(provider, "shutdown", None)
    if shutdown is not None:
        done_within(EXIT_S, shutdown, "last export of log records")


class ExportHandler(logging.Handler):
    """Hands records to a logger provider of OpenTelemetry."""

    def __init__(self, provider: LoggerProvider) -> None:
        """Export nothing yet.

        Args:
            provider: takes the records.
        """
        super().__init__()
        self.provider = provider
        self._loggers: dict[str, Logger] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Export a record; what goes wrong costs only this."""
        if any(record.name == own or record.name.startswith(f"{own}.") for own in OWN):
            return
        try:
            self._emit(record)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            log_fault("hush.telemetry", "a log record was not exported", error)

    def _emit(self, record: logging.LogRecord) -> None:
        line = line_of(record)
        number, text = _severity(record.levelno)
        # Reading the context of the line is ours, and pins no item.
        with ours:
            self._logger(str(line[semconv.LOG_LOGGER])).emit(
                timestamp=int(record.created * 1e9),
                observed_timestamp=time_ns(),
                context=otel_context.get_current(),
                severity_number=number,
                severity_text=text,
                body=line[semconv.LOG_EVENT],
                attributes={
                    name: value
                    for name, value in line.items()
                    if name not in SKIPPED and value is not None
                },
            )

    def _logger(self, name: str) -> Logger:
        logger = self._loggers.get(name)
        if logger is None:
            if len(self._loggers) >= LOGGERS:
                name = "other"
            logger = self._loggers[name] = self.provider.get_logger(name, __version__)
        return logger


def _severity(level: int) -> tuple[SeverityNumber, str]:
    for least, number, text in SEVERITIES:
        if level >= least:
            return number, text
    return SeverityNumber.TRACE, "TRACE"
