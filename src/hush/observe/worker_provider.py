"""The tracer provider of a worker process: as the driver's, with the worker as its resource.

Nothing is exported from here: see :mod:`hush.observe.gathered`. Imported only where there is an
SDK.
"""

from __future__ import annotations

import os
import random
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from hush import semconv
from hush.observe.gathered import gathering_processor
from hush.observe.seen_elsewhere import drives

if TYPE_CHECKING:
    from hush.observe.seen_elsewhere import SpanSettings
    from hush.runtime.remote.call import Worker

__all__ = ("provider_for",)

PROVIDERS: Final = 8
"""Drivers with settings of their own whose providers a worker keeps."""


class _Ids(IdGenerator):
    """Ids that user code does not repeat by seeding the standard generator for each item."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311  # an id is no secret
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


_lock = threading.Lock()
_providers: OrderedDict[tuple[SpanSettings, Worker], TracerProvider] = OrderedDict()


def provider_for(settings: SpanSettings, worker: Worker) -> TracerProvider:
    """Return what makes the spans of a driver's calls in this process.

    The first one becomes the process's provider where none is set, so that the user's own
    spans are made by it too.

    Args:
        settings: the driver's.
        worker: this one.
    """
    key = settings, worker
    with _lock:
        provider = _providers.get(key)
        if provider is None:
            provider = _made(settings, worker)
            _providers[key] = provider
            if len(_providers) > PROVIDERS:
                _providers.popitem(last=False)
            unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
            if unset and not drives():
                trace.set_tracer_provider(provider)
        _providers.move_to_end(key)
    return provider


def _made(settings: SpanSettings, worker: Worker) -> TracerProvider:
    # What this process's variables say of it, but not whose it is: that is the driver's to say.
    own = {
        name: value
        for name, value in OTELResourceDetector().detect().attributes.items()
        if not name.startswith("service.")
    }
    identity: dict[str, Any] = {
        semconv.HOST_NAME: worker.host,
        semconv.PROCESS_PID: worker.pid,
        semconv.WORKER_NAME: worker.name,
    }
    provider = TracerProvider(
        resource=Resource({**dict(settings.resource), **own, **identity}),
        sampler=ParentBased(ALWAYS_ON),
        id_generator=_Ids(),
        span_limits=settings.span_limits(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(gathering_processor)
    return provider
