"""configure(): the only place that chooses an SDK, an exporter and global providers.

A library must leave that to the application; calling this is the application's choice.
It follows the standard ``OTEL_*`` variables and respects a provider that is already set.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry import trace

from hush.log import get_logger
from hush.observe.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import TracerProvider

    from hush.observe.redaction import Redactor

__all__ = ("Telemetry", "configure")

QUEUE: Final = 65_536
"""Spans that the batch processor holds; the SDK's default of 2,048 drops spans of maps."""
BATCH: Final = 512
"""Spans in one request, the standard's default."""
TRACES_PATH: Final = "/v1/traces"
"""Where OTLP/HTTP receivers take spans."""

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What :func:`configure` has set up."""

    provider: TracerProvider
    """The tracer provider in use."""
    owned: bool
    """Whether it was made here; one that was already set stays the application's."""

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Send what is queued.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            Whether the provider was done in time; the SDK's is done also where an
            exporter failed, which only the log of ``opentelemetry`` tells.
        """
        flush = getattr(self.provider, "force_flush", None)
        if flush is None:
            return True
        answers: list[bool] = []
        # In a thread that can be left: the SDK does not keep to the limit that it is given.
        thread = threading.Thread(
            target=lambda: answers.append(bool(flush(int(timeout_s * 1000)))),
            name="hush flush",
            daemon=True,
        )
        thread.start()
        thread.join(timeout_s)
        return bool(answers and answers[0])

    def shutdown(self) -> None:
        """Send what is queued and stop; only where the provider was made here."""
        stop = getattr(self.provider, "shutdown", None)
        if self.owned and stop is not None:
            stop()


def configure(
    *,
    service_name: str | None = None,
    endpoint: str | None = None,
    processors: Sequence[SpanProcessor] = (),
    redactor: Redactor | None = None,
) -> Telemetry:
    """Set up tracing for this process.

    Standard variables count, and an argument goes before its variable:
    ``OTEL_SDK_DISABLED``, ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_TRACES_EXPORTER`` (``otlp``, ``console``, ``none`` or a list), ``OTEL_TRACES_SAMPLER``,
    ``OTEL_EXPORTER_OTLP_*`` (``http/protobuf`` unless a protocol is set), ``OTEL_BSP_*``
    and ``OTEL_SPAN_*`` limits. An empty one counts as not set. Calling it again, or after the application has set a
    provider of its own, changes only ``redactor`` and adds ``processors``.

    Args:
        service_name: name of the service; None reads the variable, else ``hush``.
        endpoint: base URL of an OTLP/HTTP receiver such as ``http://localhost:4318``, with
            or without ``/v1/traces``; None reads the variable, else the standard's default.
        processors: span processors to add.
        redactor: passes every text that leaves on a span; None keeps the current one,
            by default :func:`hush.observe.redaction.redact_secrets`.

    Returns:
        A handle to flush and to shut down.

    Raises:
        ValueError: a variable names an unknown exporter or protocol, or an endpoint is no
            address of HTTP.
    """
    if redactor is not None:
        settings.redactor = redactor
    with _lock, _without_empty_variables():
        provider = trace.get_tracer_provider()
        if not isinstance(provider, trace.ProxyTracerProvider):
            _add(provider, processors)
            return Telemetry(provider, owned=False)
        made = _make_provider(service_name, endpoint)
        _add(made, processors)
        trace.set_tracer_provider(made)
        return Telemetry(made, owned=True)


def _add(provider: TracerProvider, processors: Sequence[SpanProcessor]) -> None:
    if not processors or isinstance(provider, trace.NoOpTracerProvider):
        return
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        get_logger("hush.telemetry").warning(
            "the application's tracer provider takes no span processors; they are not used",
            provider=type(provider).__name__,
        )
        return
    for processor in processors:
        add(processor)


def _make_provider(service_name: str | None, endpoint: str | None) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415  # the SDK is needed only here
    from opentelemetry.sdk.trace import TracerProvider as SdkProvider  # noqa: PLC0415  # likewise
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # likewise

    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return trace.NoOpTracerProvider()
    resource = Resource.create()
    if service_name is not None:
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    elif str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "hush"}))
    provider = SdkProvider(resource=resource)
    queue = _number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE)
    batch = min(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH), queue)
    delay_ms = _number("OTEL_BSP_SCHEDULE_DELAY", 5_000)
    for exporter in _exporters(endpoint):
        processor = BatchSpanProcessor(
            exporter,
            max_queue_size=queue,
            schedule_delay_millis=delay_ms,
            max_export_batch_size=batch,
        )
        provider.add_span_processor(processor)
    return provider


@contextmanager
def _without_empty_variables() -> Iterator[None]:
    """Hide ``OTEL_*`` variables that are empty, which the standard takes for not set.

    The SDK and its exporters do so with some and stumble over others; all of them read the
    environment where they are made.
    """
    empty = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("OTEL_") and not value.strip()
    }
    for name in empty:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in empty.items():
            os.environ.setdefault(name, value)


def _number(variable: str, default: int) -> int:
    """Return the number that a variable gives, at least 1; else say so and take the default."""
    said = os.environ.get(variable)
    if said is None:
        return default
    try:
        number = int(said)
    except ValueError:
        number = 0
    if number < 1:
        get_logger("hush.telemetry").warning(
            f"{variable} is no number of at least 1; the default is used",
            value=said,
            default=default,
        )
        return default
    return number


def _exporters(endpoint: str | None) -> list[SpanExporter]:
    wanted = "otlp" if endpoint is not None else os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    exporters: list[SpanExporter] = []
    for name in (part.strip().lower() for part in wanted.split(",")):
        if name in {"", "otlp"}:
            exporters.append(_otlp(endpoint))
        elif name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415  # likewise

            exporters.append(ConsoleSpanExporter())
        elif name != "none":
            msg = f"OTEL_TRACES_EXPORTER={wanted!r}: {name!r} is unknown; use otlp, console or none"
            raise ValueError(msg)
    return exporters


def _otlp(endpoint: str | None) -> SpanExporter:
    variable = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    if variable not in os.environ:
        variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = os.environ.get(variable, "http/protobuf").strip()
    if endpoint is not None or protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # needs requests and protobuf
            OTLPSpanExporter,
        )

        if endpoint is not None:
            return OTLPSpanExporter(endpoint=_traces_url(endpoint))
        for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
            if name in os.environ:
                _check_url(name, os.environ[name])
                break
        return OTLPSpanExporter()
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415  # needs grpc
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter()
    msg = f"{variable}={protocol!r}: use http/protobuf or grpc"
    raise ValueError(msg)


def _traces_url(endpoint: str) -> str:
    """Return where a receiver takes spans, given its base or that very address."""
    _check_url("endpoint", endpoint)
    url = urlsplit(endpoint)
    base = url.path.rstrip("/").removesuffix(TRACES_PATH)
    return url._replace(path=base + TRACES_PATH).geturl()


def _check_url(name: str, said: str) -> None:
    try:
        url = urlsplit(said)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in {"http", "https"} or not url.netloc:
        address = said.rpartition("://")[2]
        if not address[:1].isalnum():
            address = "localhost:4318"
        msg = (
            f"{name}={said!r} is no address of HTTP, so nothing would arrive; "
            f"use http:// or https:// and a host, such as http://{address}"
        )
        raise ValueError(msg)
