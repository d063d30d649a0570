"""The meter provider: chosen where the application asked for metrics, and left alone where
it has set one of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics

from hush.log import get_logger
from hush.observe.metric_exporters import PROMETHEUS, readers_of
from hush.observe.patience import EXIT_S, done_within
from hush.observe.prometheus import MetricsServer, is_reader, make_reader
from hush.observe.resource import resource_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

__all__ = ("MetricsSetUp", "is_unset", "set_up_metrics")

PORT: Final = 9464
"""Where OpenTelemetry serves Prometheus by default."""

_lock = threading.Lock()
_added: list[MetricReader] = []
"""Readers that were added to a provider that was there already."""
_servers: dict[tuple[str, int], MetricsServer] = {}


@dataclass(frozen=True, slots=True)
class MetricsSetUp:
    """What was set up for metrics."""

    provider: MeterProvider
    owned: bool
    """Whether the provider was made here."""
    servers: tuple[MetricsServer, ...] = ()
    """Where metrics are served by this set-up."""
    _readers: list[MetricReader] = field(default_factory=list)

    def flush(self, timeout_s: float) -> bool:
        """Export what has been measured.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            Whether it was done in time; as with spans, also where an exporter failed.
        """
        flush = getattr(self.provider, "force_flush", None)
        if flush is None:
            return True
        return done_within(timeout_s, lambda: flush(timeout_s * 1_000), "flush of metrics")

    def shutdown(self, timeout_s: float = EXIT_S) -> None:
        """Export once more and stop what was made here.

        Args:
            timeout_s: how long that may take, in seconds; then it is left.
        """
        with _lock:
            for server in self.servers:
                if _servers.get((server.host, server.port)) is server:
                    del _servers[server.host, server.port]
                    server.close()
            for reader in self._readers:
                if reader in _added:
                    _added.remove(reader)
                    remove = getattr(self.provider, "remove_metric_reader", None)
                    if remove is not None:
                        remove(reader)
        stop = getattr(self.provider, "shutdown", None)
        if self.owned and stop is not None and not getattr(self.provider, "_shutdown", False):
            done_within(timeout_s, lambda: stop(timeout_s * 1_000), "last export of metrics")


def is_unset(provider: MeterProvider) -> bool:
    """Say whether a provider is the API's own that waits for another one."""
    # It has no public name.
    return type(provider).__name__ == "_ProxyMeterProvider"


def set_up_metrics(
    *,
    names: Sequence[str],
    serve: tuple[str, int] | None,
    endpoint: str | None = None,
    service_name: str | None = None,
) -> MetricsSetUp | None:
    """Let metrics go where they are wanted.

    Args:
        names: exporters, by :func:`~hush.observe.metric_exporters.metric_exporter_names`.
        serve: host and port for Prometheus; None serves nothing.
        endpoint: base of an OTLP/HTTP receiver; None reads the variables.
        service_name: name of the service; None reads the variables.

    Returns:
        What was set up; None where nothing is wanted.

    Raises:
        ImportError: Prometheus is wanted and its extra is not installed.
        ValueError: an address or a protocol cannot be used.
        OSError: the port cannot be listened on.
    """
    scraped = PROMETHEUS in names or serve is not None
    if not names and not scraped:
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    with _lock:
        provider = metrics.get_meter_provider()
        owned = is_unset(provider)
        added: list[MetricReader] = []
        if owned:
            provider = _make(names, endpoint, service_name, scraped=scraped)
        else:
            added = _extend(provider, scraped=scraped)
        servers = () if serve is None else (_serve(*serve),)
        if owned:
            metrics.set_meter_provider(provider)
        made = MetricsSetUp(provider, owned, servers, added)
    if owned:
        atexit.register(made.shutdown)
    return made


def _make(
    names: Sequence[str], endpoint: str | None, service_name: str | None, *, scraped: bool
) -> MeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider as SdkProvider  # noqa: PLC0415  # the SDK is needed only here

    # First what can fail without a trace: a reader that exports has started a thread.
    readers = [make_reader()] if scraped else []
    readers += readers_of(endpoint, names)
    # Ours is registered in its place, with an end to the waiting.
    return SdkProvider(readers, resource=resource_of(service_name), shutdown_on_exit=False)


def _extend(provider: MeterProvider, *, scraped: bool) -> list[MetricReader]:
    """Let Prometheus read a provider that is there already; say what was added for that."""
    if not scraped:
        return []
    readers = [*getattr(provider, "_metric_readers", ()), *_added]
    if any(is_reader(reader) for reader in readers):
        return []
    add = getattr(provider, "add_metric_reader", None)
    if add is None:
        get_logger("hush.telemetry").warning(
            "the application's meter provider takes no readers; Prometheus sees none of its metrics",
            provider=type(provider).__name__,
        )
        return []
    reader = make_reader()
    add(reader)
    _added.append(reader)
    return [reader]


def _serve(host: str, port: int) -> MetricsServer:
    known = _servers.get((host, port))
    if known is None or known.closed:
        known = MetricsServer(host, port)
        _servers[known.host, known.port] = known
    return known
