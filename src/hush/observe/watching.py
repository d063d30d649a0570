"""Watching: what observes a call, and gathers what there is to tell of each attempt.

As the driver is watched, so are its calls: spans if it makes any, metrics if it counts, with
its redactor and its choice of content, whatever the worker's own environment says.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from hush.log import log_fault
from hush.observe.content import capture_as_told
from hush.observe.counted_elsewhere import COUNTED, GatheringMeterProvider
from hush.observe.logs import write_lines_like
from hush.observe.redactors import redacting
from hush.observe.settings import REDACTOR, settings
from hush.observe.tracing import current_instrument, override_meter_provider, override_provider
from hush.observe.whereabouts import LINES, mark
from hush.runtime.instrument import NULL_INSTRUMENT
from hush.runtime.remote.pickling import loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.observe.gathered import GatheredAttempt, Gathering
    from hush.runtime.instrument import Instrument
    from hush.runtime.remote.call import Call, CallItem, Worker

__all__ = ("UNSEEN", "Watching", "watching_of")

SETTINGS: Final = 16
"""Drivers whose settings are kept unpacked."""

_lock = threading.Lock()
_known: OrderedDict[bytes, Mapping[str, Any]] = OrderedDict()


class Watching(Protocol):
    """Watches one call."""

    @property
    def instrument(self) -> Instrument:
        """Watches the attempts."""

    def attempt(self, item: CallItem) -> GatheredAttempt | None:
        """Return what gathers the spans of an attempt, while it is entered; None where none are."""

    def metrics(self) -> bytes | None:
        """Return what was counted in all attempts; None where nothing was."""


class _Unseen:
    instrument = NULL_INSTRUMENT

    def attempt(self, item: CallItem) -> None:
        del item

    def metrics(self) -> None:
        return None


UNSEEN: Final[Watching] = _Unseen()
"""Watches nothing."""


class _Seen:
    def __init__(
        self,
        call: Call,
        gathering: Gathering | None,
        meters: GatheringMeterProvider | None,
    ) -> None:
        self._call = call
        self._gathering = gathering
        self._meters = meters
        self.instrument = current_instrument()
        of_graph = getattr(self.instrument, "of_graph", None)
        if of_graph is not None:
            of_graph(call.graph)

    def attempt(self, item: CallItem) -> GatheredAttempt | None:
        call = self._call
        if settings.placed:
            index = item.index if call.level == "item" else None
            mark(call.run_id, call.graph, call.path, index)
        if self._gathering is None:
            return None
        try:
            return self._gathering.attempt(item.carrier)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            log_fault("hush.telemetry", "an attempt cannot be watched; it goes unseen", error)
            return None

    def metrics(self) -> bytes | None:
        return None if self._meters is None else self._meters.packed()


@contextmanager
def watching_of(call: Call, worker: Worker) -> Iterator[Watching]:
    """Watch a call as its driver is watched, in this context.

    Args:
        call: is about to run.
        worker: this one.
    """
    facts = None if call.telemetry is None else _settings(call.telemetry)
    if not facts:
        yield UNSEEN
        return
    with ExitStack() as held:
        try:
            watching = _enter(held, call, worker, facts)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            log_fault("hush.telemetry", "a worker cannot watch a call; it runs unseen", error)
            watching = UNSEEN
        yield watching


def _enter(held: ExitStack, call: Call, worker: Worker, facts: Mapping[str, Any]) -> Watching:
    held.enter_context(redacting(facts[REDACTOR]))
    provider = gathering = None
    spans = facts.get("spans")
    if spans is not None:
        from hush.observe.gathered import Gathering  # noqa: PLC0415  # it needs the SDK
        from hush.observe.worker_provider import provider_for  # noqa: PLC0415  # likewise

        provider = provider_for(spans, worker)
        gathering = Gathering(provider)
    held.enter_context(override_provider(provider or NoOpTracerProvider()))
    meters = GatheringMeterProvider() if facts.get(COUNTED) else None
    held.enter_context(override_meter_provider(meters or NoOpMeterProvider()))
    capture_as_told(facts)
    write_lines_like(facts.get(LINES))
    return _Seen(call, gathering, meters)


def _settings(data: bytes) -> Mapping[str, Any] | None:
    with _lock:
        known = _known.get(data)
        if known is not None:
            _known.move_to_end(data)
            return known
    try:
        facts: Mapping[str, Any] = loads(data)
    except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
        said = "how its driver is watched cannot be unpickled in a worker, which runs unseen"
        log_fault("hush.telemetry", said, error)
        return None
    with _lock:
        # The same objects for all calls, so that what is remembered of them stays.
        facts = _known.setdefault(data, facts)
        while len(_known) > SETTINGS:
            _known.popitem(last=False)
    return facts
