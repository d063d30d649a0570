"""A span that is no more than its values, for the floor: built once, given to the processors.

It implements the API, so that children and propagation see it, and it is the SDK's
ReadableSpan for whoever exports it. No sampler is asked and nothing is cleaned or bounded:
this is a floor, not an example to follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import getrandbits
from typing import Any, Self

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import TracerProvider, _Span
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import get_current_span, set_span_in_context

__all__ = ("Lean", "lean")

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSET = Status(StatusCode.UNSET)
SCOPE = InstrumentationScope("by hand, lean")

Lean = Callable[[str, dict[str, Any]], "LeanSpan"]


class LeanSpan(_Span):
    """A span that is current inside its ``with`` block and handed on after it."""

    _kind = SpanKind.INTERNAL
    _instrumentation_info = None
    _instrumentation_scope = SCOPE
    _events = ()
    _links = ()
    _status = UNSET

    def __init__(self, provider: TracerProvider, name: str, attributes: dict[str, Any]) -> None:
        outer = get_current_span().get_span_context()
        self._name = name
        self._attributes = attributes
        self._parent = outer if outer.span_id else None
        self._context = SpanContext(
            outer.trace_id or getrandbits(128),
            getrandbits(64) or 1,
            is_remote=False,
            trace_flags=SAMPLED,
        )
        self._provider = provider
        self._resource = provider.resource
        self._end_time = None
        self._start_time = time.time_ns()

    def __enter__(self) -> Self:
        self._token = attach(set_span_in_context(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._end_time = time.time_ns()
        detach(self._token)
        self._attributes["outcome"] = "ok"
        self._provider._active_span_processor.on_end(self)  # noqa: SLF001  # a lean span's only way in


def lean() -> Lean | None:
    """Return what makes lean spans; None where nobody has set up the SDK."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return None
    return lambda name, attributes: LeanSpan(provider, name, attributes)
