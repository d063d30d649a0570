"""Carriers: a span's identity, and the baggage with it, as W3C headers and back.

Always W3C's, whatever propagators the application has set: both ends are this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("context_from", "headers_of")

_trace: Final = TraceContextTextMapPropagator()
_baggage: Final = W3CBaggagePropagator()


def headers_of(context: Context) -> dict[str, str]:
    """Return the headers of a context.

    Reading them pins no item: what is seen below it comes back and goes where it goes.

    Args:
        context: in which a span is current.
    """
    headers: dict[str, str] = {}
    with ours:
        _trace.inject(headers, context)
        _baggage.inject(headers, context)
    return headers


def context_from(headers: Mapping[str, str]) -> Context:
    """Return the context that headers lead to, empty where they lead nowhere.

    Args:
        headers: from :func:`headers_of`, in another process.
    """
    return _baggage.extract(headers, _trace.extract(headers, Context()))
