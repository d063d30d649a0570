"""The neutral form of a finished span, wherever it came from.

Spans are read from an SDK in memory, from a local store or back from a backend; whoever
reads them afterwards sees only these records. This module knows no OpenTelemetry: a
span of its SDK is read by the names of its attributes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("EventRecord", "LinkRecord", "SpanRecord", "Status", "from_span")

Status = Literal["unset", "ok", "error"]

_NO_ATTRIBUTES: Mapping[str, Any] = {}
_OUR_SCOPES = frozenset({"hush", ""})
_STATUSES: Mapping[str, Status] = {"UNSET": "unset", "OK": "ok", "ERROR": "error"}
_SPAN_PREFIXES = frozenset(
    {
        semconv.SPAN_RUN,
        semconv.SPAN_NODE,
        semconv.SPAN_GRAPH,
        semconv.SPAN_MAP,
        semconv.SPAN_ITEM,
        semconv.SPAN_LOOP,
        semconv.SPAN_ITERATION,
        semconv.SPAN_ATTEMPT,
        semconv.SPAN_CHAT,
    }
)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened at one instant of a span."""

    name: str
    time_ns: int
    """When, in nanoseconds since the epoch."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """A causal reference to another span."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One finished span."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    parent_id: str | None
    """16 hex digits; None where the span has no parent."""
    name: str
    start_ns: int
    """Nanoseconds since the epoch."""
    end_ns: int
    """Nanoseconds since the epoch."""
    status: Status = "unset"
    status_description: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[EventRecord, ...] = ()
    links: tuple[LinkRecord, ...] = ()
    kind: str = "internal"
    """``internal``, ``server``, ``client``, ``producer`` or ``consumer``."""
    scope: str = ""
    """Name of the instrumentation scope (the tracer); empty where unknown."""

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def prefix(self) -> str | None:
        """First word of the name of one of our spans (``item``); None for anyone else's."""
        if self.scope not in _OUR_SCOPES:
            # A user's own "loop over rows" is none of our loops.
            return None
        first, space, _ = self.name.partition(" ")
        return first if space and first in _SPAN_PREFIXES else None

    @property
    def outcome(self) -> str | None:
        """One of ``semconv.OUTCOMES``; ``error`` for a foreign span that is red; else None."""
        outcome = self.attributes.get(semconv.OUTCOME)
        if isinstance(outcome, str):
            return outcome
        return semconv.OUTCOME_ERROR if self.status == "error" else None

    @property
    def index(self) -> int | None:
        """Index of an item or iteration; None for everything else."""
        wanted = {
            semconv.SPAN_ITEM: semconv.ITEM_INDEX,
            semconv.SPAN_ITERATION: semconv.ITERATION_INDEX,
        }.get(self.prefix or "")
        value = None if wanted is None else self.attributes.get(wanted)
        return value if isinstance(value, int) else None

    @property
    def is_red(self) -> bool:
        """Whether a viewer of traces draws it red."""
        return self.status == "error"

    def seconds(self, name: str) -> float:
        """Return a duration from the attributes.

        Args:
            name: the attribute's name, one that ends in ``_s``.

        Returns:
            Its value in seconds; 0.0 where it is absent, negative, endless or no number.
        """
        value = self.attributes.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return 0.0
        return float(value) if 0 < value < math.inf else 0.0


def from_span(span: Any) -> SpanRecord:
    """Read a finished span of OpenTelemetry's SDK.

    Args:
        span: a ``ReadableSpan`` that has ended, or anything with the same attributes.

    Returns:
        A record that shares nothing mutable with the span.

    Raises:
        ValueError: the span has not ended.
    """
    if span.end_time is None:
        raise ValueError(f"span {span.name!r} has not ended; only finished spans become records")
    scope = getattr(span, "instrumentation_scope", None)
    return SpanRecord(
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        parent_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=span.name,
        start_ns=span.start_time,
        end_ns=span.end_time,
        status=_STATUSES.get(span.status.status_code.name, "unset"),
        status_description=span.status.description,
        attributes=dict(span.attributes or _NO_ATTRIBUTES),
        events=tuple(
            EventRecord(event.name, event.timestamp, dict(event.attributes or _NO_ATTRIBUTES))
            for event in span.events
        ),
        links=tuple(
            LinkRecord(
                f"{link.context.trace_id:032x}",
                f"{link.context.span_id:016x}",
                dict(link.attributes or _NO_ATTRIBUTES),
            )
            for link in span.links
        ),
        kind=span.kind.name.lower(),
        scope="" if scope is None else scope.name,
    )
