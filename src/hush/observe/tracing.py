"""Tracing: chooses what watches a run, by the providers that the application has set.

Spans, metrics and captured content are independent of each other: each goes to its own
provider, where there is one, and a fault of one costs nothing of the others. Uses the
OpenTelemetry API only; where no provider is set, nothing is watched.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace

from hush import __version__
from hush.observe.content import ContentInstrument, capture_wanted
from hush.observe.metering import MeteringInstrument, Meters
from hush.observe.metrics import register_gauges
from hush.observe.settings import settings
from hush.observe.spans import TracingInstrument
from hush.observe.whereabouts import PlacingInstrument
from hush.runtime.instrument import NULL_INSTRUMENT, Guard, Instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

__all__ = (
    "TracingInstrument",
    "collect_faults",
    "current_instrument",
    "override_logger_provider",
    "override_meter_provider",
    "override_provider",
    "tracer_of",
)

Value = TypeVar("Value")

_override: ContextVar[TracerProvider | None] = ContextVar("hush_tracer_provider", default=None)
_meter_override: ContextVar[MeterProvider | None] = ContextVar("hush_meter_provider", default=None)
_logger_override: ContextVar[LoggerProvider | None] = ContextVar(
    "hush_logger_provider", default=None
)
_faults: ContextVar[list[Exception] | None] = ContextVar("hush_faults", default=None)
_tracers: WeakKeyDictionary[TracerProvider, Tracer] = WeakKeyDictionary()
_guards: WeakKeyDictionary[TracerProvider, Guard] = WeakKeyDictionary()
_meters: WeakKeyDictionary[MeterProvider, Meters] = WeakKeyDictionary()


@contextmanager
def _held(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def override_provider(provider: TracerProvider) -> AbstractContextManager[None]:
    """Use ``provider`` for runs that are started in this context.

    Args:
        provider: takes the place of the global one.

    Returns:
        A context manager, for as long as that holds.
    """
    return _held(_override, provider)


def override_meter_provider(provider: MeterProvider) -> AbstractContextManager[None]:
    """Use ``provider`` for the metrics of runs started in this context.

    Args:
        provider: takes the place of the global one.

    Returns:
        A context manager, for as long as that holds.
    """
    return _held(_meter_override, provider)


def override_logger_provider(provider: LoggerProvider) -> AbstractContextManager[None]:
    """Use ``provider`` for the events of runs that are started in this context.

    Args:
        provider: takes the place of the global one.

    Returns:
        A context manager, for as long as that holds.
    """
    return _held(_logger_override, provider)


@contextmanager
def collect_faults() -> Iterator[list[Exception]]:
    """Collect what goes wrong in telemetry instead of logging it.

    Yields:
        A list that grows with each fault of runs started in this context.
    """
    found: list[Exception] = []
    with _held(_faults, found):
        yield found


_no_tracer = Guard(NULL_INSTRUMENT)
"""Logs, once, that a provider could not even give a tracer."""
_listening = Guard(NULL_INSTRUMENT)
"""Logs, once, what goes wrong in metrics and captured content."""


def current_instrument() -> Instrument:
    """Return what watches a run that starts here and now.

    Returns:
        An instrument on the providers that the application has set; one that does
        nothing where there are none or they are disabled.
    """
    faults = _faults.get()
    report = _listening.fault if faults is None else faults.append
    instrument = NULL_INSTRUMENT
    # One at a time: a provider's fault is neither the run's nor the other providers'.
    try:
        register_gauges()
        instrument = _tracing(faults)
    except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
        (_no_tracer.fault if faults is None else faults.append)(error)
    try:
        instrument = _capturing(instrument, report)
    except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
        report(error)
    try:
        instrument = _metering(instrument, report)
    except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
        report(error)
    return PlacingInstrument(instrument) if settings.placed else instrument


def tracer_of(provider: TracerProvider) -> Tracer:
    """Return what makes our spans of a provider, each time the same.

    Args:
        provider: any.
    """
    tracer = _tracers.get(provider)
    if tracer is None:
        tracer = _tracers[provider] = provider.get_tracer("hush", __version__)
    return tracer


def _tracing(faults: list[Exception] | None) -> Instrument:
    provider = _override.get() or trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return NULL_INSTRUMENT
    if faults is not None:
        return Guard(TracingInstrument(tracer_of(provider)), faults.append)
    guard = _guards.get(provider)
    if guard is None:
        tracer = tracer_of(provider)
        if isinstance(tracer, trace.NoOpTracer):
            return NULL_INSTRUMENT
        guard = _guards[provider] = Guard(TracingInstrument(tracer))
    return guard


def _capturing(inner: Instrument, report: Callable[[Exception], None]) -> Instrument:
    capture = capture_wanted()
    # Without spans there may still be a log that takes events.
    if not capture.in_event and (not capture.on_span or inner is NULL_INSTRUMENT):
        return inner
    return ContentInstrument(inner, capture, report, _logger_override.get())


def _metering(inner: Instrument, report: Callable[[Exception], None]) -> Instrument:
    provider = _meter_override.get() or metrics.get_meter_provider()
    # The API's own providers do nothing; the one that waits for another has no public name.
    if type(provider).__module__.startswith("opentelemetry.metrics"):
        return inner
    meters = _meters.get(provider)
    if meters is None:
        meter = provider.get_meter("hush", __version__)
        if isinstance(meter, metrics.NoOpMeter):
            return inner
        meters = _meters[provider] = Meters(meter)
    return MeteringInstrument(inner, meters, report)
