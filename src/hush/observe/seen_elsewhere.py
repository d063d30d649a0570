"""Seen elsewhere: spans of a worker as plain data, and how they are to be made there.

Imported only where there is an SDK.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.trace import SpanLimits

from hush.observe.settings import REDACTOR, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ("SPANS", "SeenAttempt", "SpanData", "SpanSettings", "data_of", "drives", "span_facts")

SPANS: Final = "spans"
"""How spans are made in workers, as a driver says it to them."""

OF_A_PROCESS: Final = ("container.", "host.", "k8s.", "os.", "process.", "service.instance.")
"""Attributes of a resource that say where it is: a worker has its own."""


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """How spans are made in workers: as in the driver."""

    resource: tuple[tuple[str, Any], ...]
    """Attributes of the driver's resource that are not of its process."""
    limits: tuple[tuple[str, int | None], ...]

    def span_limits(self) -> SpanLimits:
        """Return the limits for a provider."""
        made = SpanLimits()
        for name, value in self.limits:
            setattr(made, name, value)
        return made


class _Here:
    driver = False


_here: Final = _Here()


def drives() -> bool:
    """Say whether this process has sent calls to workers: then it is not only one itself."""
    return _here.driver


def span_facts(tracer: Any) -> Mapping[str, Any]:
    """Return what a driver says to its workers of spans.

    Args:
        tracer: the SDK's.
    """
    _here.driver = True
    kept = {
        name: value
        for name, value in tracer.resource.attributes.items()
        if not name.startswith(OF_A_PROCESS)
    }
    limits = vars(tracer._span_limits)  # noqa: SLF001  # has no public name
    made = SpanSettings(tuple(sorted(kept.items())), tuple(sorted(limits.items())))
    return {SPANS: made, REDACTOR: settings.redactor}


class SpanData(NamedTuple):
    """A span that has ended, as plain data; ids as numbers, instants in ns since the epoch."""

    name: str
    trace_id: int
    span_id: int
    flags: int
    state: str
    """The trace state as a header; empty where there is none."""
    parent_id: int
    """0 where it has none."""
    parent_remote: bool
    kind: int
    start_ns: int
    end_ns: int
    status: int
    description: str | None
    attributes: dict[str, Any]
    events: tuple[tuple[str, int, dict[str, Any]], ...]
    links: tuple[tuple[int, int, int, dict[str, Any]], ...]
    """Trace id, span id, flags and attributes of each."""
    scope: tuple[str, str | None, str | None]
    """Name, version and schema of who made it."""


class SeenAttempt(NamedTuple):
    """What was observed of one attempt."""

    resource: tuple[tuple[str, Any], ...]
    spans: tuple[SpanData, ...]
    """In the order in which they ended."""
    root_id: int
    """Of the attempt's own span."""
    omitted: int
    """Spans that were left out by budgets of maps inside."""
    pinned: bool
    """Whether somebody has read the identity of one."""

    def packed(self) -> bytes:
        """Return it for the way."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def unpacked(data: bytes) -> SeenAttempt:
        """Return what a worker has packed."""
        made: SeenAttempt = pickle.loads(data)  # noqa: S301  # from a worker, see SECURITY.md
        return made


def data_of(span: ReadableSpan) -> SpanData:
    """Return a span as data.

    Args:
        span: has ended.
    """
    context, parent, scope = span.context, span.parent, span.instrumentation_scope
    assert context is not None  # noqa: S101  # it was made by a tracer
    return SpanData(
        span.name,
        context.trace_id,
        context.span_id,
        int(context.trace_flags),
        context.trace_state.to_header() if context.trace_state else "",
        0 if parent is None else parent.span_id,
        parent is not None and parent.is_remote,
        span.kind.value,
        span.start_time or 0,
        span.end_time or 0,
        span.status.status_code.value,
        span.status.description,
        _plain(span._attributes),  # noqa: SLF001  # without the lock for each of them
        tuple((one.name, one.timestamp, _plain(one.attributes)) for one in span.events),
        tuple(
            (
                one.context.trace_id,
                one.context.span_id,
                int(one.context.trace_flags),
                _plain(one.attributes),
            )
            for one in span.links
        ),
        ("", None, None) if scope is None else (scope.name, scope.version, scope.schema_url),
    )


def _plain(attributes: Any) -> dict[str, Any]:
    """Return attributes of a span that has ended, which nobody changes any more."""
    inside = getattr(attributes, "_dict", None)
    return dict(attributes or {}) if inside is None else dict(inside)
