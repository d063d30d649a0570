"""Where metrics go: the readers that arguments and variables ask for.

Only :mod:`hush.observe.meter_provider` asks; nothing is set up here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from hush.observe.exporters import TRACES_PATH, traces_url
from hush.observe.spooling import outbox_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader

__all__ = ("PROMETHEUS", "metric_exporter_names", "otlp_protocol", "readers_of", "signal_url")

EXPORTERS: Final = "OTEL_METRICS_EXPORTER"
PROMETHEUS: Final = "prometheus"
"""What the variable calls the endpoint that is scraped."""


def metric_exporter_names(*, wanted: bool | None, endpoint: str | None) -> tuple[str, ...]:
    """Say where metrics go: ``otlp``, ``console``, ``prometheus``, in any number and each once.

    Args:
        wanted: as for :func:`~hush.observe.configuration.configure`.
        endpoint: likewise.

    Raises:
        ValueError: the variable names something unknown.
    """
    said = os.environ.get(EXPORTERS, "")
    names = [part.strip().lower() for part in said.split(",")]
    for name in names:
        if name not in {"", "otlp", "console", PROMETHEUS, "none"}:
            msg = f"{EXPORTERS}={said!r}: {name!r} is unknown"
            raise ValueError(f"{msg}; use otlp, console, {PROMETHEUS} or none")
    if wanted is False:
        return ()
    # A receiver of spans need not take metrics, Jaeger does not: one that was named for
    # both is not enough to go by.
    if not any(names) and (wanted or "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" in os.environ):
        names = ["otlp"]
    if wanted and endpoint is not None and "otlp" not in names:
        names.append("otlp")
    return tuple(dict.fromkeys(name for name in names if name not in {"", "none"}))


def readers_of(endpoint: str | None, names: Sequence[str]) -> list[MetricReader]:
    """Make the readers that export now and then; Prometheus asks by itself.

    Args:
        endpoint: as for :func:`~hush.observe.configuration.configure`.
        names: where metrics go.

    Raises:
        ValueError: an address or a protocol cannot be used.
    """
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415  # the SDK is needed only here
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )

    exporters: list[MetricExporter] = []
    for name in names:
        if name == "otlp":
            exporters.append(_otlp(endpoint))
        elif name == "console":
            exporters.append(ConsoleMetricExporter())
    return [PeriodicExportingMetricReader(exporter) for exporter in exporters]


def _otlp(endpoint: str | None) -> MetricExporter:
    if otlp_protocol("METRICS", endpoint) == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415  # needs grpc
            OTLPMetricExporter as GrpcExporter,
        )

        return GrpcExporter()
    url = signal_url("METRICS", endpoint)
    outbox = outbox_of("metrics", endpoint)
    if outbox is not None:
        from hush.export.signal_exporters import SpoolingMetricExporter  # noqa: PLC0415  # needs requests and protobuf

        return SpoolingMetricExporter(outbox)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415  # likewise
        OTLPMetricExporter,
    )

    return OTLPMetricExporter(endpoint=url)


def otlp_protocol(signal: str, endpoint: str | None) -> str:
    """Return the protocol for a signal, ``http/protobuf`` or ``grpc``.

    Args:
        signal: as variables spell it, such as ``METRICS``.
        endpoint: an argument's, which is of HTTP.

    Raises:
        ValueError: a variable names another one.
    """
    variable = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    if variable not in os.environ:
        variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    said = os.environ.get(variable, "http/protobuf").strip()
    if endpoint is not None or said == "http/protobuf":
        return "http/protobuf"
    if said == "grpc":
        return said
    msg = f"{variable}={said!r}: use http/protobuf or grpc"
    raise ValueError(msg)


def signal_url(signal: str, endpoint: str | None) -> str | None:
    """Return where a receiver takes a signal; None where the exporter reads the variables.

    Args:
        signal: as variables spell it, such as ``METRICS``.
        endpoint: the receiver's base, or its address for spans.

    Raises:
        ValueError: it, or a variable's, is no address of HTTP.
    """
    if endpoint is not None:
        return traces_url(endpoint).removesuffix(TRACES_PATH) + f"/v1/{signal.lower()}"
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if variable in os.environ:
            try:
                traces_url(os.environ[variable])
            except ValueError as error:
                raise ValueError(str(error).replace("endpoint", variable, 1)) from None
            break
    return None
