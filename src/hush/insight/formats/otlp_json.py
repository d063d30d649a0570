"""Traces in OpenTelemetry's own JSON: OTLP's ``ExportTraceServiceRequest``.

Follows the encoding of the OTLP specification (opentelemetry-proto 1.x, "JSON Protobuf
encoding"): ids in hex, 64-bit integers as text, enums as numbers. What is read may also
name its enums and write its integers as numbers, as other writers do. Whatever a span
record holds survives, but for whole numbers beyond 64 bits, which become text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hush.errors import text_of
from hush.insight.formats.json_reading import Place, parse_json, reading
from hush.insight.record import EventRecord, LinkRecord, SpanRecord, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.insight.tree import TraceTree

__all__ = ("parse_otlp_json", "read_request", "to_otlp_json")

_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES: Final[tuple[Status, ...]] = ("unset", "ok", "error")
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_NO_ID: Final = "0" * 16


# --- reading ---------------------------------------------------------------------------------


def parse_otlp_json(text: str | bytes, source: str = "OTLP JSON") -> list[SpanRecord]:
    """Read one request.

    Args:
        text: the JSON of an ``ExportTraceServiceRequest``.
        source: what it came from, for messages.

    Returns:
        Its spans in their order, of one trace or of several.

    Raises:
        TraceFormatError: it is no such request; the message names the place.
    """
    return read_request(parse_json(text, source))


def read_request(request: Place) -> list[SpanRecord]:
    """Read the spans of a request that is parsed already.

    Args:
        request: where an ``ExportTraceServiceRequest`` stands.

    Returns:
        Its spans in their order.

    Raises:
        TraceFormatError: it is no such request; the message names the place.
    """
    with reading(str(request)):
        return list(_spans(request))


def _spans(request: Place) -> Iterator[SpanRecord]:
    for resource in request.member("resourceSpans").members():
        for scoped in resource.member("scopeSpans").members():
            scope = scoped.member("scope")
            name = "" if scope.value is None else scope.member("name").text("")
            for span in scoped.member("spans").members():
                yield _span(span, name)


def _span(span: Place, scope: str) -> SpanRecord:
    start_ns = span.member("startTimeUnixNano").instant()
    status = span.member("status")
    described = "" if status.value is None else status.member("message").text("")
    return SpanRecord(
        trace_id=span.member("traceId").hex_id(32),
        span_id=span.member("spanId").hex_id(16),
        parent_id=_parent(span.member("parentSpanId")),
        name=span.member("name").text(""),
        start_ns=start_ns,
        # Zero says that the end is not known.
        end_ns=span.member("endTimeUnixNano").instant(default=0) or start_ns,
        status="unset"
        if status.value is None
        else _STATUSES[_enum(status.member("code"), _STATUSES)],
        status_description=described or None,
        attributes=_attributes(span),
        events=tuple(_event(event) for event in span.member("events").members()),
        links=tuple(_link(link) for link in span.member("links").members()),
        kind=_KINDS[_enum(span.member("kind"), _KINDS) or 1],
        scope=scope,
    )


def _parent(place: Place) -> str | None:
    if not place.value:
        return None
    parent_id = place.hex_id(16)
    return None if parent_id == _NO_ID else parent_id


def _event(event: Place) -> EventRecord:
    return EventRecord(
        event.member("name").text(""),
        event.member("timeUnixNano").instant(default=0),
        _attributes(event),
    )


def _link(link: Place) -> LinkRecord:
    return LinkRecord(
        link.member("traceId").hex_id(32), link.member("spanId").hex_id(16), _attributes(link)
    )


def _enum(place: Place, words: tuple[str, ...]) -> int:
    """Read an enum by number or by name; one that is not known counts as not set."""
    if isinstance(place.value, str) and not place.value.isdecimal():
        word = place.value.rpartition("_")[2].lower()
        return words.index(word) if word in words else 0
    number = place.whole(0)
    return number if 0 <= number < len(words) else 0


def _attributes(owner: Place) -> dict[str, Any]:
    return _pairs(owner.member("attributes"))


def _pairs(pairs: Place) -> dict[str, Any]:
    return {pair.member("key").text(): _value(pair.member("value")) for pair in pairs.members()}


def _value(place: Place) -> Any:
    """Read an ``AnyValue``."""
    held = place.value
    if held is None or held == {}:
        return None
    if place.has("stringValue"):
        return place.member("stringValue").text()
    if place.has("intValue"):
        return place.member("intValue").whole()
    if place.has("doubleValue"):
        return _double(place.member("doubleValue"))
    if place.has("boolValue"):
        flag = place.member("boolValue")
        if not isinstance(flag.value, bool):
            raise flag.wrong("true or false")
        return flag.value
    if place.has("arrayValue"):
        array = place.member("arrayValue")
        values = () if array.value is None else array.member("values").members()
        return tuple(_value(one) for one in values)
    if place.has("kvlistValue"):
        mapping = place.member("kvlistValue")
        return {} if mapping.value is None else _pairs(mapping.member("values"))
    if place.has("bytesValue"):
        return _bytes(place.member("bytesValue"))
    raise place.wrong('a value with its type, such as {"stringValue": "a"}')


def _double(place: Place) -> float:
    value = place.value
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # also of "NaN", "Infinity" and "-Infinity"
        except (ValueError, OverflowError):
            pass
    raise place.wrong("a number")


def _bytes(place: Place) -> bytes:
    try:
        return base64.b64decode(place.text(), validate=True)
    except (binascii.Error, ValueError):
        raise place.wrong("bytes in base64") from None


# --- writing ---------------------------------------------------------------------------------


def to_otlp_json(tree: TraceTree, *, service_name: str = "hush", indent: int | None = None) -> str:
    """Write a trace as one request, which OTLP/HTTP receivers take as ``application/json``.

    Args:
        tree: of any size, also empty.
        service_name: the resource's ``service.name``; records do not hold it.
        indent: spaces for each level; None writes one line, as a collector's file has it.

    Returns:
        JSON in ASCII.
    """
    scopes: dict[str, list[dict[str, Any]]] = {}
    for node in tree:
        scopes.setdefault(node.record.scope, []).append(_span_json(node.record))
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": _pairs_json({"service.name": service_name})},
                "scopeSpans": [
                    {"scope": {"name": name} if name else {}, "spans": spans}
                    for name, spans in scopes.items()
                ],
            }
        ]
    }
    return json.dumps(
        request, indent=indent, separators=None if indent else (",", ":"), allow_nan=False
    )


def _span_json(record: SpanRecord) -> dict[str, Any]:
    span: dict[str, Any] = {"traceId": record.trace_id, "spanId": record.span_id}
    if record.parent_id is not None:
        span["parentSpanId"] = record.parent_id
    span["name"] = record.name
    span["kind"] = _KINDS.index(record.kind) if record.kind in _KINDS else 1
    span["startTimeUnixNano"] = str(record.start_ns)
    span["endTimeUnixNano"] = str(record.end_ns)
    if record.attributes:
        span["attributes"] = _pairs_json(record.attributes)
    if record.events:
        span["events"] = [
            {
                "timeUnixNano": str(event.time_ns),
                "name": event.name,
                "attributes": _pairs_json(event.attributes),
            }
            for event in record.events
        ]
    if record.links:
        span["links"] = [
            {
                "traceId": link.trace_id,
                "spanId": link.span_id,
                "attributes": _pairs_json(link.attributes),
            }
            for link in record.links
        ]
    status: dict[str, Any] = {}
    if record.status != "unset":
        status["code"] = _STATUSES.index(record.status)
    if record.status_description:
        status["message"] = record.status_description
    span["status"] = status
    return span


def _pairs_json(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": str(key), "value": _value_json(value)} for key, value in attributes.items()]


def _value_json(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and _LEAST <= value <= _MOST:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _not_finite(value)}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value_json(one) for one in value]}}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _pairs_json(value)}}
    if isinstance(value, (bytes, bytearray)):
        return {"bytesValue": base64.b64encode(value).decode("ascii")}
    return {"stringValue": text_of(value)}


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
