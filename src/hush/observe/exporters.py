"""Where spans go: the exporters and the trace store that arguments and variables ask for.

Only :func:`hush.observe.configuration.configure` asks; nothing is set up here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = (
    "STORE",
    "StoreChoice",
    "check_endpoint",
    "exporter_names",
    "exporters_of",
    "receiver_named",
    "traces_url",
)

TRACES_PATH: Final = "/v1/traces"
"""Where OTLP/HTTP receivers take spans."""
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables that name a receiver, the one that goes before the other first."""
STANDARD: Final = "http://localhost:4318"
"""Where the standard sends spans unless it is said otherwise."""
STORE: Final = "hush"
"""What ``OTEL_TRACES_EXPORTER`` calls the local trace store."""

StoreChoice = bool | str | os.PathLike[str] | None
"""Whether spans go to the trace store, or to which; None leaves it to the variables."""


def exporter_names(endpoint: str | None, store: StoreChoice) -> tuple[str, ...]:
    """Say where spans go: ``otlp``, ``console``, ``hush``, in any number and each once.

    Args:
        endpoint: as for :func:`~hush.observe.configuration.configure`.
        store: likewise.

    Raises:
        ValueError: the variable names something unknown.
    """
    said = os.environ.get("OTEL_TRACES_EXPORTER", "")
    names = [part.strip().lower() for part in said.split(",")]
    for name in names:
        if name not in {"", "otlp", "console", STORE, "none"}:
            msg = f"OTEL_TRACES_EXPORTER={said!r}: {name!r} is unknown"
            raise ValueError(f"{msg}; use otlp, console, {STORE} (the local trace store) or none")
    if endpoint is not None:
        names = ["otlp", *(name for name in names if name == STORE)]
    elif not any(names):
        named = any(variable in os.environ for variable in ENDPOINTS)
        names = ["otlp"] if named or store is False else [STORE]
    names = [name for name in names if name not in {"", "none"}]
    if store is False:
        names = [name for name in names if name != STORE]
    elif store is not None:
        names.append(STORE)
    return tuple(dict.fromkeys(names))


def receiver_named() -> str | None:
    """Return the address that new spans are sent to instead of the store; None for none."""
    try:
        names = exporter_names(None, None)
    except ValueError:
        return None
    if "otlp" not in names:
        return None
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), STANDARD)


def exporters_of(
    endpoint: str | None, names: Sequence[str], *, spooled: bool = False
) -> list[SpanExporter]:
    """Make the exporters among what :func:`exporter_names` returns.

    Args:
        endpoint: as for :func:`~hush.observe.configuration.configure`.
        names: where spans go; the trace store is no exporter.
        spooled: spans go to the OTLP receiver by way of the spool, which needs none.

    Raises:
        ValueError: an address or a protocol cannot be used.
    """
    exporters: list[SpanExporter] = []
    for name in names:
        if name == "otlp" and not spooled:
            exporters.append(_otlp(endpoint))
        elif name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415  # the SDK is needed only here

            exporters.append(ConsoleSpanExporter())
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

        check_endpoint(endpoint)
        if endpoint is not None:
            return OTLPSpanExporter(endpoint=traces_url(endpoint))
        return OTLPSpanExporter()
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415  # needs grpc
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter()
    msg = f"{variable}={protocol!r}: use http/protobuf or grpc"
    raise ValueError(msg)


def traces_url(endpoint: str) -> str:
    """Return where a receiver takes spans, given its base or that very address."""
    _check_url("endpoint", endpoint)
    url = urlsplit(endpoint)
    base = url.path.rstrip("/").removesuffix(TRACES_PATH)
    return url._replace(path=base + TRACES_PATH).geturl()


def check_endpoint(endpoint: str | None) -> None:
    """See that a receiver's address is one of HTTP, wherever it is said.

    Args:
        endpoint: as for :func:`~hush.observe.configuration.configure`.

    Raises:
        ValueError: it is not.
    """
    if endpoint is not None:
        _check_url("endpoint", endpoint)
        return
    for name in ENDPOINTS:
        if name in os.environ:
            _check_url(name, os.environ[name])
            return


def _check_url(name: str, said: str) -> None:
    try:
        url = urlsplit(said)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in {"http", "https"} or not url.netloc:
        # Without what may be secret in it.
        said = re.split(r"[?#]", said, maxsplit=1)[0].rpartition("@")[2]
        address = said.rpartition("://")[2]
        if not address[:1].isalnum():
            address = "localhost:4318"
        msg = (
            f"{name}={said!r} is no address of HTTP, so nothing would arrive; "
            f"use http:// or https:// and a host, such as http://{address}"
        )
        raise ValueError(msg)
