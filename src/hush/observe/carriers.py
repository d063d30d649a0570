"""Carriers: a span's identity, and the baggage with it, as W3C headers and back.

Always W3C's, whatever propagators the application has set: both ends are this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("context_from", "headers_of")

LENGTH: Final = 55
"""Of a header of the version that there is, in characters."""

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
    if len(headers) == 1:
        span = _plain(headers.get("traceparent", ""))
        if span is not None:
            return set_span_in_context(NonRecordingSpan(span), Context())
    return _baggage.extract(headers, _trace.extract(headers, Context()))


def _plain(header: str) -> SpanContext | None:
    """Read a header as :func:`headers_of` writes most; None where it is another."""
    if len(header) != LENGTH or header[:3] != "00-":
        return None
    try:
        trace_id, span_id = int(header[3:35], 16), int(header[36:52], 16)
        flags = TraceFlags(int(header[53:], 16))
    except ValueError:
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
