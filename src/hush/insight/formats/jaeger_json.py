"""Traces in Jaeger's JSON: what its UI downloads and what ``/api/traces/ID`` answers.

The format has whole microseconds, tags of five types, references without attributes and
no place for scope, kind and status, which stand in tags by the names that OpenTelemetry's
mapping to Jaeger gives them. Sequences are the text of their JSON; those that Hush itself
emits are sequences again when they are read.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.errors import text_of
from hush.insight.formats.json_reading import Place, parse_json, reading
from hush.insight.record import EventRecord, LinkRecord, SpanRecord, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hush.insight.tree import TraceTree

__all__ = ("parse_jaeger_json", "read_traces", "to_jaeger_json")

_US: Final = 1_000
_CHILD_OF: Final = "CHILD_OF"
_FOLLOWS_FROM: Final = "FOLLOWS_FROM"
_KIND: Final = "span.kind"
_ERROR: Final = "error"
_STATUS: Final = "otel.status_code"
_DESCRIPTION: Final = "otel.status_description"
_SCOPE: Final = "otel.scope.name"
_SCOPE_VERSION: Final = "otel.scope.version"
_EVENT: Final = "event"
_STATUSES: Final[Mapping[str, Status]] = {"OK": "ok", "ERROR": "error"}
_KINDS: Final = frozenset({"internal", "server", "client", "producer", "consumer"})
_SEQUENCES: Final = frozenset(
    {
        semconv.CRITICAL_PATH,
        semconv.FAN_IN_ARRIVALS,
        semconv.FAN_IN_CANCELLED,
        semconv.FAN_IN_LATE,
        semconv.GEN_AI_FINISH_REASONS,
        semconv.GEN_AI_STOP_SEQUENCES,
        semconv.MAP_SLOWEST,
        semconv.SKIPPED,
    }
)
"""Attributes of ours that are sequences; any other text stays one, whatever it looks like."""
_EXACT: Final = 2**53
"""Beyond it JavaScript is not exact: Jaeger writes such whole numbers as text."""


# --- reading ---------------------------------------------------------------------------------


def parse_jaeger_json(text: str | bytes, source: str = "Jaeger JSON") -> list[SpanRecord]:
    """Read a download of Jaeger's UI or an answer of its query API.

    Args:
        text: the JSON: ``{"data": [trace, ...]}``, a list of traces, or one trace.
        source: what it came from, for messages.

    Returns:
        The spans in their order, of one trace or of several.

    Raises:
        TraceFormatError: it is no such document; the message names the place.
    """
    return read_traces(parse_json(text, source))


def read_traces(top: Place) -> list[SpanRecord]:
    """Read the spans of a document that is parsed already.

    Args:
        top: where the document stands.

    Returns:
        Its spans in their order.

    Raises:
        TraceFormatError: it is no such document; the message names the place.
    """
    with reading(str(top)):
        if top.has("spans"):
            traces: Iterable[Place] = [top]
        elif top.has("data"):
            traces = top.member("data").members()
        elif isinstance(top.value, list):
            traces = top.members()
        else:
            raise top.wrong("Jaeger's JSON, an object with the member 'data'")
        return [_span(span) for trace in traces for span in trace.member("spans").members()]


def _span(span: Place) -> SpanRecord:
    trace_id = span.member("traceID").hex_id(32)
    start_ns = span.member("startTime").instant(_US)
    parent_id, links = _references(span, trace_id)
    tags = _tags(span.member("tags"))
    status = _status(tags)
    kind = tags.get(_KIND)
    if kind in _KINDS:
        del tags[_KIND]
    scope = _take_text(tags, _SCOPE)
    tags.pop(_SCOPE_VERSION, None)
    return SpanRecord(
        trace_id=trace_id,
        span_id=span.member("spanID").hex_id(16),
        parent_id=parent_id,
        name=span.member("operationName").text(""),
        start_ns=start_ns,
        end_ns=start_ns + span.member("duration").instant(_US, default=0),
        status=status,
        status_description=_take_text(tags, _DESCRIPTION) or None,
        attributes=tags,
        # Jaeger gives them by name.
        events=tuple(
            sorted(
                (_event(log) for log in span.member("logs").members()),
                key=lambda event: event.time_ns,
            )
        ),
        links=links,
        kind=kind if kind in _KINDS else "internal",
        scope=scope,
    )


def _references(span: Place, trace_id: str) -> tuple[str | None, tuple[LinkRecord, ...]]:
    parent_id: str | None = None
    links: list[LinkRecord] = []
    for reference in span.member("references").members():
        target = LinkRecord(
            reference.member("traceID").hex_id(32), reference.member("spanID").hex_id(16)
        )
        if reference.member("refType").text() == _CHILD_OF and parent_id is None:
            parent_id = target.span_id
        else:
            links.append(target)
    if parent_id is None:
        # Of a parent that is linked too, Jaeger keeps the link alone; its UI reads it so.
        parent_id = next((link.span_id for link in links if link.trace_id == trace_id), None)
    return parent_id, tuple(links)


def _tags(tags: Place) -> dict[str, Any]:
    return {tag.member("key").text(): _value(tag) for tag in tags.members()}


def _value(tag: Place) -> Any:
    place = tag.member("value")
    kind = tag.member("type").text("")
    value = place.value
    if kind == "int64":
        return place.whole()
    if kind == "float64":
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                return float(value)
            except (ValueError, OverflowError):
                pass
        raise place.wrong("a number")
    if kind == "binary":
        try:
            return base64.b64decode(place.text(), validate=True)
        except (binascii.Error, ValueError):
            raise place.wrong("bytes in base64") from None
    if kind == "bool" and not isinstance(value, bool):
        if not isinstance(value, str) or value not in {"true", "false"}:
            raise place.wrong("true or false")
        return value == "true"
    if isinstance(value, str) and tag.member("key").value in _SEQUENCES:
        return _sequence(value)
    if isinstance(value, (str, bool, int, float)):
        return value
    raise place.wrong("a text, a number or true or false")


def _sequence(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return tuple(found) if isinstance(found, list) else text


def _status(tags: dict[str, Any]) -> Status:
    """Take the status out of the tags."""
    said = tags.get(_STATUS)
    status = _STATUSES.get(said) if isinstance(said, str) else None
    if status is not None:
        del tags[_STATUS]
    if tags.get(_ERROR) is True:
        del tags[_ERROR]
        return status or "error"
    return status or "unset"


def _take_text(tags: dict[str, Any], name: str) -> str:
    return str(tags.pop(name)) if isinstance(tags.get(name), str) else ""


def _event(log: Place) -> EventRecord:
    name: str | None = None
    attributes: dict[str, Any] = {}
    for field in log.member("fields").members():
        value = _value(field)
        key = field.member("key").text()
        # The first: an event may have an attribute of that name, too.
        if key == _EVENT and name is None and isinstance(value, str):
            name = value
        else:
            attributes[key] = value
    return EventRecord(name or "", log.member("timestamp").instant(_US), attributes)


# --- writing ---------------------------------------------------------------------------------


def to_jaeger_json(
    tree: TraceTree, *, service_name: str = "hush", indent: int | None = None
) -> str:
    """Write a trace as Jaeger's UI downloads it and takes it again.

    Args:
        tree: of any size, also empty.
        service_name: the process's name; records do not hold it.
        indent: spaces for each level; None writes one line.

    Returns:
        JSON in ASCII. Instants are cut to microseconds, so children stay in their
        parents; attributes of links have no place and are left out.
    """
    trace = {
        "traceID": tree.trace_id,
        "spans": [_span_json(node.record) for node in tree],
        "processes": {"p1": {"serviceName": service_name, "tags": []}},
        "warnings": None,
    }
    document = {
        "data": [trace] if len(tree) else [],
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }
    return json.dumps(
        document, indent=indent, separators=None if indent else (",", ":"), allow_nan=False
    )


def _span_json(record: SpanRecord) -> dict[str, Any]:
    start_us, end_us = record.start_ns // _US, record.end_ns // _US
    return {
        "traceID": record.trace_id,
        "spanID": record.span_id,
        "operationName": record.name,
        "references": list(_references_json(record)),
        "startTime": start_us,
        "duration": max(0, end_us - start_us),
        "tags": [_tag(key, value) for key, value in _all_tags(record)],
        "logs": [
            {
                "timestamp": event.time_ns // _US,
                "fields": [
                    _tag(_EVENT, event.name),
                    *(_tag(key, value) for key, value in event.attributes.items()),
                ],
            }
            for event in record.events
        ],
        "processID": "p1",
        "warnings": None,
    }


def _references_json(record: SpanRecord) -> Iterator[dict[str, str]]:
    if record.parent_id is not None:
        yield {"refType": _CHILD_OF, "traceID": record.trace_id, "spanID": record.parent_id}
    for link in record.links:
        yield {"refType": _FOLLOWS_FROM, "traceID": link.trace_id, "spanID": link.span_id}


def _all_tags(record: SpanRecord) -> Iterator[tuple[str, Any]]:
    yield from record.attributes.items()
    yield _KIND, record.kind
    if record.scope:
        yield _SCOPE, record.scope
    if record.status != "unset":
        yield _STATUS, record.status.upper()
    if record.status == "error":
        yield _ERROR, True
    if record.status_description:
        yield _DESCRIPTION, record.status_description


def _tag(key: str, value: Any) -> dict[str, Any]:
    kind, said = _typed(value)
    return {"key": str(key), "type": kind, "value": said}


def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        return "string", value
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return "int64", value if abs(value) <= _EXACT else _digits(value)
    if isinstance(value, float):
        # JSON has no word for these; Jaeger itself cannot show a trace that has one.
        return "float64", value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray)):
        return "binary", base64.b64encode(value).decode("ascii")
    if isinstance(value, (list, tuple, Mapping)):
        plain = dict(value) if isinstance(value, Mapping) else list(value)
        return "string", json.dumps(
            plain, separators=(",", ":"), ensure_ascii=False, default=text_of
        )
    return "string", "" if value is None else text_of(value)


def _digits(value: Any) -> str:
    return text_of(value)  # Python refuses to write out numbers of thousands of digits
