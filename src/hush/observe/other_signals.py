"""Other signals: metrics and log lines, as far as :func:`configure` was asked for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush.observe.logs import STYLES, configure_logging
from hush.observe.meter_provider import PORT, set_up_metrics
from hush.observe.metric_exporters import PROMETHEUS, metric_exporter_names

if TYPE_CHECKING:
    from hush.observe.log_output import LogStyle
    from hush.observe.logs import LoggingSetUp
    from hush.observe.meter_provider import MetricsSetUp

__all__ = ("OtherSignals", "SignalChoice")

LARGEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class SignalChoice:
    """What :func:`~hush.observe.configuration.configure` was asked for; see there."""

    metrics: bool | None = None
    prometheus_port: int | None = None
    prometheus_host: str = "127.0.0.1"
    logs: LogStyle | bool | None = None

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is set up.

        Raises:
            ValueError: a value is none that is known.
        """
        port = self.prometheus_port
        if port is not None and (
            isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= LARGEST_PORT
        ):
            raise ValueError(f"prometheus_port={port!r}: expected a port, 0 for any, or None")
        if self.metrics is False and port is not None:
            raise ValueError(f"prometheus_port={port!r} with metrics=False: leave one of them out")
        if self.logs not in {None, True, False, *STYLES}:
            said = ", ".join(STYLES)
            raise ValueError(f"logs={self.logs!r}: expected True, False, None or one of {said}")
        metric_exporter_names(wanted=self.metrics, endpoint=None)

    def set_up(self, endpoint: str | None, service_name: str | None) -> OtherSignals:
        """Set up what was asked for.

        Args:
            endpoint: as for :func:`~hush.observe.configuration.configure`.
            service_name: likewise.

        Raises:
            ImportError: Prometheus is wanted and its extra is not installed.
            ValueError: an address, a protocol or a variable cannot be used.
            OSError: the port cannot be listened on.
        """
        names = metric_exporter_names(wanted=self.metrics, endpoint=endpoint)
        metrics = set_up_metrics(
            names=names,
            serve=self._serving(names),
            endpoint=endpoint,
            service_name=service_name,
        )
        logs = None
        if self.logs:
            style: LogStyle = "auto" if self.logs is True else self.logs
            logs = configure_logging(style, endpoint=endpoint, service_name=service_name)
        return OtherSignals(metrics, logs)

    def _serving(self, names: tuple[str, ...]) -> tuple[str, int] | None:
        if self.prometheus_port is not None:
            return self.prometheus_host, self.prometheus_port
        if PROMETHEUS not in names:
            return None
        said = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", str(PORT)).strip()
        if not said.isdecimal() or int(said) > LARGEST_PORT:
            raise ValueError(f"OTEL_EXPORTER_PROMETHEUS_PORT={said!r} is no port")
        return os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", self.prometheus_host), int(said)


@dataclass(frozen=True, slots=True)
class OtherSignals:
    """What was set up besides tracing; None for what was not."""

    metrics: MetricsSetUp | None = None
    logs: LoggingSetUp | None = None

    def flush(self, timeout_s: float) -> bool:
        """Send what is queued; say whether that was done in time."""
        done = self.metrics is None or self.metrics.flush(timeout_s)
        return (self.logs is None or self.logs.flush(timeout_s)) and done

    def shutdown(self) -> None:
        """Send what is queued and stop; lines are still written, to the end of the process."""
        if self.metrics is not None:
            self.metrics.shutdown()
        if self.logs is not None:
            self.logs.end_export()
