"""Finished spans as an OTLP request, written by hand: what the SDK's encoder makes, sooner.

The message is the SDK's, field by field; ``tests/export/test_span_encoder.py`` compares. What is not
known here (a subclass of the SDK's span, a value of no known type) is left to the SDK's
encoder, with the whole batch. Knows spans and their protocol, and nothing of where they go.

Fields and their numbers: ``opentelemetry/proto/trace/v1/trace.proto``. A tag is the number times
eight, and 0 for a varint, 1 for eight bytes, 2 for a length and bytes, 5 for four bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, StatusCode

from hush.export.attribute_encoder import AttributeEncoder
from hush.export.wire import delimited, text, varint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event
    from opentelemetry.trace import Link, SpanContext, TraceState

__all__ = ("SpanEncoder",)

_MOST: Final = 128
"""How many names, resources and scopes are remembered."""
_INTERNAL: Final = SpanKind.INTERNAL
_KINDS: Final = {
    SpanKind.INTERNAL: b"\x30\x01",
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
_LOCAL: Final = b"\x85\x01\x00\x01\x00\x00"
"""Flags: it is known whether the parent is in another process, and it is not."""
_REMOTE: Final = b"\x85\x01\x00\x03\x00\x00"
_TO_LOCAL: Final = b"\x35\x00\x01\x00\x00"
"""The same of a link."""
_TO_REMOTE: Final = b"\x35\x00\x03\x00\x00"
_UNSET: Final = b"\x7a\x00"

_id = Struct(">Q").pack
_span_and_parent = Struct(">QHQ").pack
_PARENT: Final = 0x2208
"""Tag and length of a parent's id."""
_times = Struct("<BQBQ").pack
_START: Final = 0x39
_END: Final = 0x41
_time = Struct("<Q").pack


class _NotKnownError(Exception):
    """Something is the SDK's to encode."""


class SpanEncoder:
    """Makes requests of spans; remembers what comes again. For one thread at a time."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._attributes = AttributeEncoder(b"\x4a")
        self._of_events = AttributeEncoder(b"\x1a")
        self._of_links = AttributeEncoder(b"\x22")
        self._internal: dict[str, bytes] = {}
        self._surroundings: dict[int, tuple[object, bytes, bytes]] = {}
        self._trace_id, self._trace = -1, b""
        self._stateless: TraceState | None = None
        self._plain = Status()

    def encode(self, spans: Sequence[ReadableSpan]) -> bytes:
        """Return the request that holds spans.

        Args:
            spans: have ended.

        Raises:
            Exception: one of them cannot be said in protobuf, by the SDK's encoder either.
        """
        try:
            return self._encoded(spans)
        except Exception:  # noqa: BLE001  # whatever it is, the SDK's encoder has the last word
            data: bytes = encode_spans(spans).SerializeToString()
            return data

    def _encoded(self, spans: Sequence[ReadableSpan]) -> bytes:
        # As in the SDK's encoder: resources and their scopes in the order in which they come.
        sorted_out: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        resource: Any = None
        scope: Any = None
        place: list[bytes] | None = None
        places: dict[tuple[int, int], list[bytes]] = {}
        for span in spans:
            if type(span) is not ReadableSpan:
                raise _NotKnownError
            record = span.__dict__
            its_resource, its_scope = record["_resource"], record["_instrumentation_scope"]
            if place is None or its_resource is not resource or its_scope is not scope:
                resource, scope = its_resource, its_scope
                # By what they are first: a resource takes long to say whom it equals.
                place = places.get((id(resource), id(scope)))
                if place is None:
                    place = sorted_out.setdefault(resource, {}).setdefault(scope, [])
                    places[id(resource), id(scope)] = place
            self._encode(record, place)
        request = []
        for one, scopes in sorted_out.items():
            inside, url = self._surrounding(one)
            pieces = [inside]
            for another, encoded in scopes.items():
                scope_inside, scope_url = self._surrounding(another)
                encoded.insert(0, scope_inside)
                encoded.append(scope_url)
                pieces.append(delimited(b"\x12", b"".join(encoded)))
            pieces.append(url)
            request.append(delimited(b"\x0a", b"".join(pieces)))
        return b"".join(request)

    def _surrounding(self, of: Resource | InstrumentationScope | None) -> tuple[bytes, bytes]:
        """Return a resource or scope as a field, and the field of its schema's address."""
        known = self._surroundings.get(id(of))
        if known is not None and known[0] is of:
            return known[1], known[2]
        into: list[bytes] = []
        url = ""
        if of is not None:
            url = of.schema_url or ""
            if isinstance(of, InstrumentationScope):
                _add_text(b"\x0a", of.name, into)
                _add_text(b"\x12", of.version, into)
                AttributeEncoder(b"\x1a").encode(of.attributes or {}, into)
            else:
                AttributeEncoder(b"\x0a").encode(of.attributes or {}, into)
        if len(self._surroundings) >= _MOST:
            self._surroundings.clear()
        inside = delimited(b"\x0a", b"".join(into))
        outside = delimited(b"\x1a", text(url)) if url else b""
        self._surroundings[id(of)] = (of, inside, outside)
        return inside, outside

    def _encode(self, record: dict[str, Any], place: list[bytes]) -> None:
        """Append a span, given what its object holds."""
        context: SpanContext = record["_context"]
        parent: SpanContext | None = record["_parent"]
        name, kind = record["_name"], record["_kind"]
        if kind is _INTERNAL:
            head = self._internal.get(name) or self._head(name, kind, self._internal)
        else:
            head = self._head(name, kind, {})
        # Contexts are tuples: their properties take twice as long.
        trace_id, span_id, _, _, state, _ = context
        if trace_id != self._trace_id:
            self._trace = b"\x0a\x10" + trace_id.to_bytes(16, "big") + b"\x12\x08"
            self._trace_id = trace_id
        flags = _LOCAL
        if parent is None:
            ids = _id(span_id)
        else:
            ids = _span_and_parent(span_id, _PARENT, parent[1])
            if parent[2]:
                flags = _REMOTE
        if state is not self._stateless and state is not None:
            if state:
                said = ",".join([f"{key}={value}" for key, value in state.items()])
                head = delimited(b"\x1a", text(said)) + head
            else:
                self._stateless = state
        start, end = record["_start_time"], record["_end_time"]
        if start and end:
            times = _times(_START, start, _END, end)
        else:
            times = b"".join(
                tag + _time(at) for tag, at in ((b"\x39", start), (b"\x41", end)) if at
            )
        pieces = [self._trace, ids, head, times]
        attributes = record["_attributes"]
        if type(attributes) is BoundedAttributes:
            # It is over: nobody writes there any more.
            self._attributes.encode(attributes._dict, pieces)  # noqa: SLF001  # to copy them takes as long as all the rest
            if attributes.dropped:
                pieces.append(b"\x50" + varint(attributes.dropped))
        elif attributes:
            self._attributes.encode(attributes, pieces)
        events, links = record["_events"], record["_links"]
        if type(events) is not BoundedList or events._dq or events.dropped:  # type: ignore[attr-defined]  # noqa: SLF001  # its length is asked for by a method
            self._add_events(events, pieces)
        if type(links) is not BoundedList or links._dq or links.dropped:  # type: ignore[attr-defined]  # noqa: SLF001  # likewise
            self._add_links(links, pieces)
        status: Status | None = record["_status"]
        if status is self._plain:
            pieces.append(_UNSET)
        elif status is not None:
            pieces.append(_said(status))
            if pieces[-1] == _UNSET:
                self._plain = status
        pieces.append(flags)
        inside = b"".join(pieces)
        place += (b"\x12" + varint(len(inside)), inside)

    def _head(self, name: str, kind: SpanKind, heads: dict[str, bytes]) -> bytes:
        head = (delimited(b"\x2a", text(name)) if name else b"") + _KINDS[kind]
        if len(heads) >= _MOST:
            heads.clear()
        heads[name] = head
        return head

    def _add_events(self, events: Sequence[Event], pieces: list[bytes]) -> None:
        for event in events:
            inside: list[bytes] = []
            if event.timestamp:
                inside.append(b"\x09" + _time(event.timestamp))
            _add_text(b"\x12", event.name, inside)
            if event.attributes:
                self._of_events.encode(event.attributes, inside)
            if event.dropped_attributes:
                inside.append(b"\x20" + varint(event.dropped_attributes))
            pieces.append(delimited(b"\x5a", b"".join(inside)))
        if type(events) is BoundedList and events.dropped:
            pieces.append(b"\x60" + varint(events.dropped))

    def _add_links(self, links: Sequence[Link], pieces: list[bytes]) -> None:
        for link in links:
            context = link.context
            inside = [
                b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08",
                _id(context.span_id),
            ]
            if link.attributes:
                self._of_links.encode(link.attributes, inside)
            if link.dropped_attributes:
                inside.append(b"\x28" + varint(link.dropped_attributes))
            inside.append(_TO_REMOTE if context.is_remote else _TO_LOCAL)
            pieces.append(delimited(b"\x6a", b"".join(inside)))
        if type(links) is BoundedList and links.dropped:
            pieces.append(b"\x70" + varint(links.dropped))


def _add_text(tag: bytes, string: str | None, into: list[bytes]) -> None:
    """Append a field of text; one that is empty is none."""
    if string:
        into.append(delimited(tag, text(string)))


def _said(status: Status) -> bytes:
    into: list[bytes] = []
    _add_text(b"\x12", status.description, into)
    if status.status_code is not StatusCode.UNSET:
        into.append(b"\x18" + varint(status.status_code.value))
    return delimited(b"\x7a", b"".join(into))
