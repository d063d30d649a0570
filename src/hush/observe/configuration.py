"""configure(): the only place that chooses an SDK, an exporter and global providers.

A library must leave that to the application; calling this is the application's choice.
It follows the standard ``OTEL_*`` variables and respects a provider that is already set.
Where nobody has named a receiver, spans stay on this machine, in the local trace store.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from hush.log import get_logger
from hush.model.policies import is_duration
from hush.observe.exporters import STORE, exporter_names, exporters_of
from hush.observe.other_signals import OtherSignals, SignalChoice
from hush.observe.resource import resource_of
from hush.observe.settings import settings
from hush.observe.spooling import add_spool
from hush.observe.variables import number_from
from hush.runtime.watchdog import watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import TracerProvider

    from hush.observe.exporters import StoreChoice
    from hush.observe.log_output import LogStyle
    from hush.observe.redaction import Redactor
    from hush.observe.spooling import SpoolChoice

__all__ = ("Telemetry", "configure")

QUEUE: Final = 65_536
"""Spans that the batch processor holds; the SDK's default of 2,048 drops spans of maps."""
BATCH: Final = 512
"""Spans in one request, the standard's default."""

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What :func:`configure` has set up."""

    provider: TracerProvider
    """The tracer provider in use."""
    owned: bool
    """Whether it was made here; one that was already set stays the application's."""
    store: Path | None = None
    """The local trace store that was set up here; None where spans do not go to one."""
    spool: Path | None = None
    """The folder where spans wait for the receiver; None where they do not go by a spool."""
    other: OtherSignals = field(default_factory=OtherSignals)
    """What was set up for metrics and log lines."""

    @property
    def prometheus_port(self) -> int | None:
        """The port on which metrics are served; None where this set-up serves none."""
        metrics = self.other.metrics
        return metrics.servers[0].port if metrics is not None and metrics.servers else None

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Send what is queued.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            With the spool: whether the receiver has it all; False soon where it does not
            answer, and then what is in the spool is sent later. Without: whether the
            provider was done in time; the SDK's is done also where an exporter failed,
            which only the log of ``opentelemetry`` tells.
        """
        return self._flush_spans(timeout_s) & self.other.flush(timeout_s)

    def _flush_spans(self, timeout_s: float) -> bool:
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
        self.other.shutdown()
        stop = getattr(self.provider, "shutdown", None)
        if self.owned and stop is not None:
            stop()


def configure(
    *,
    service_name: str | None = None,
    endpoint: str | None = None,
    processors: Sequence[SpanProcessor] = (),
    redactor: Redactor | None = None,
    store: StoreChoice = None,
    stuck_join_s: float | None = None,
    metrics: bool | None = None,
    prometheus_port: int | None = None,
    prometheus_host: str = "127.0.0.1",
    logs: LogStyle | bool | None = None,
    spool: SpoolChoice = None,
) -> Telemetry:
    """Set up tracing for this process, and metrics and log lines where they are asked for.

    Standard variables count, and an argument goes before its variable:
    ``OTEL_SDK_DISABLED``, ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``,
    ``OTEL_TRACES_EXPORTER`` (``otlp``, ``console``, ``hush``, ``none`` or a list),
    ``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_*`` (``http/protobuf`` unless a protocol is
    set), ``OTEL_BSP_*`` and ``OTEL_SPAN_*`` limits. An empty one counts as not set. Where
    neither an endpoint nor an exporter is named, spans go to the local trace store, which
    the command ``hush`` reads; ``hush`` as an exporter asks for it beside others.

    Calling it again, or after the application has set a provider of its own, changes only
    ``redactor`` and ``stuck_join_s`` and adds ``processors`` and, where ``store`` asks for it, the trace store.

    Args:
        service_name: name of the service; None reads the variable, else ``hush``.
        endpoint: base URL of an OTLP/HTTP receiver such as ``http://localhost:4318``, with
            or without ``/v1/traces``; None reads the variables.
        processors: span processors to add.
        redactor: passes every text that leaves on a span; None keeps the current one,
            by default :func:`hush.observe.redaction.redact_secrets`.
        store: True writes spans into the local trace store, besides whatever else is asked
            for; a path does so with a store there; False never does, and without endpoint
            and exporter the standard's default counts, ``http://localhost:4318``. None
            does so where no receiver is named.
        stuck_join_s: after how many seconds a join that waits is logged with what it
            waits for, once; None keeps what is set, by default 60.
        metrics: True sends metrics to the receiver; False sets up none. None does what
            ``OTEL_METRICS_EXPORTER`` says (``otlp``, ``prometheus``, ``console``, ``none``),
            and sends them where ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`` is set.
        prometheus_port: serves metrics for Prometheus there, at ``/metrics``; 0 takes any
            port, see :attr:`Telemetry.prometheus_port`. None serves none.
        prometheus_host: the address to listen on; ``0.0.0.0`` for all of the machine's.
        logs: writes log lines, see :func:`~hush.observe.logs.configure_logging`: ``json``,
            ``console``, or ``auto``, which True means too. None and False leave logging alone.
        spool: whether what goes to an OTLP receiver waits on the disk until it has taken it:
            False keeps them in memory only, a path is the folder to use, and
            :class:`~hush.export.options.SpoolOptions` say more. None reads ``HUSH_SPOOL``,
            and does unless that is ``off``.

    Returns:
        A handle to flush and to shut down.

    Raises:
        ValueError: a variable names an unknown exporter or protocol, an endpoint is no
            address of HTTP, a folder that is named for the spool is not safe to use,
            ``stuck_join_s`` no positive number, or another argument none of what it may be.
        ImportError: Prometheus is wanted and the extra ``prometheus`` is not installed.
        OSError: ``prometheus_port`` cannot be listened on.
    """
    others = SignalChoice(metrics, prometheus_port, prometheus_host, logs)
    others.check()
    if stuck_join_s is not None:
        if not is_duration(stuck_join_s):
            raise ValueError(f"stuck_join_s={stuck_join_s!r}: expected a positive number, or None")
        watch.stuck_join_s = stuck_join_s
    # Said before anything is set up, for a provider cannot be taken back.
    if store is not None and not isinstance(store, bool | str | os.PathLike):
        raise ValueError(f"store={store!r}: expected True, False, None or a path")
    if redactor is not None:
        settings.redactor = redactor
    if spool is not None:
        settings.spool = spool
    with _lock, _without_empty_variables():
        provider = trace.get_tracer_provider()
        if not isinstance(provider, trace.ProxyTracerProvider):
            _add(provider, processors)
            kept = _add_store(provider, store) if store not in {None, False} else None
            other = others.set_up(endpoint, service_name)
            return Telemetry(provider, owned=False, store=kept, other=other)
        names = exporter_names(endpoint, store)
        made, spooled = _make_provider(service_name, endpoint, names, spool)
        kept = _add_store(made, store) if STORE in names else None
        _add(made, processors)
        other = others.set_up(endpoint, service_name)
        trace.set_tracer_provider(made)
        return Telemetry(made, owned=True, store=kept, spool=spooled, other=other)


def _add_store(provider: TracerProvider, store: StoreChoice) -> Path | None:
    """Let spans go to the trace store as well, and say where that is."""
    from hush.export.trace_store import TraceStoreProcessor  # noqa: PLC0415  # needs the SDK and SQLite
    from hush.insight.store import TraceStore  # noqa: PLC0415  # likewise

    where = None if store is None or isinstance(store, bool) else Path(store)
    processor = TraceStoreProcessor(TraceStore(where))
    if not _add(provider, (processor,)):
        return None
    settings.store = processor
    return processor.store.path


def _add(provider: TracerProvider, processors: Sequence[SpanProcessor]) -> bool:
    """Add processors and say whether the provider takes any."""
    if not processors or isinstance(provider, trace.NoOpTracerProvider):
        return False
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        get_logger("hush.telemetry").warning(
            "the application's tracer provider takes no span processors; they are not used",
            provider=type(provider).__name__,
        )
        return False
    for processor in processors:
        add(processor)
    return True


def _make_provider(
    service_name: str | None, endpoint: str | None, names: Sequence[str], spool: SpoolChoice
) -> tuple[TracerProvider, Path | None]:
    from opentelemetry.sdk.trace import TracerProvider as SdkProvider  # noqa: PLC0415  # the SDK is needed only here
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # likewise

    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return trace.NoOpTracerProvider(), None
    provider = SdkProvider(resource=resource_of(service_name))
    queue = number_from("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE)
    batch = min(number_from("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH), queue)
    delay_ms = number_from("OTEL_BSP_SCHEDULE_DELAY", 5_000)
    spooled = add_spool(provider, endpoint, spool) if "otlp" in names else None
    for exporter in exporters_of(endpoint, names, spooled=spooled is not None):
        processor = BatchSpanProcessor(
            exporter,
            max_queue_size=queue,
            schedule_delay_millis=delay_ms,
            max_export_batch_size=batch,
        )
        provider.add_span_processor(processor)
    return provider, spooled


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
