"""Traces in OTLP JSON and Jaeger JSON: round trips are exact, and what is broken is told."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hush import semconv
from hush.insight.formats.detection import read_document
from hush.insight.formats.jaeger_json import parse_jaeger_json, to_jaeger_json
from hush.insight.formats.json_reading import MAX_NS, parse_json
from hush.insight.formats.otlp_json import parse_otlp_json, to_otlp_json
from hush.insight.formats.packed import pack, unpack
from hush.insight.record import EventRecord, LinkRecord, SpanRecord
from hush.insight.source_errors import TraceFormatError
from hush.insight.tree import TraceTree
from tests.insight.records import TRACE, records, same, values

US = 1_000


def tree_of(spans: list[SpanRecord]) -> TraceTree:
    return TraceTree(spans)


def by_id(spans: Any) -> dict[str, SpanRecord]:
    return {span.span_id: span for span in spans}


def by_node(tree: TraceTree) -> dict[str, SpanRecord]:
    return by_id(node.record for node in tree)


# --- round trips ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(records(), max_size=4))
def test_otlp_json_keeps_all(spans: list[SpanRecord]):
    tree = tree_of(spans)

    text = to_otlp_json(tree)

    assert same(by_id(parse_otlp_json(text)), by_node(tree))
    assert same(by_id(parse_otlp_json(to_otlp_json(tree, indent=2))), by_node(tree))
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


RESERVED = {
    "error",
    "event",
    "otel.scope.name",
    "otel.scope.version",
    "otel.status_code",
    "otel.status_description",
    "span.kind",
}
flat = values(sequences=False).filter(
    lambda one: one is None or isinstance(one, (str, bool, int, float, bytes))
)


def as_jaeger_holds(span: SpanRecord) -> SpanRecord:
    """Cut a span to what Jaeger's format has a place for."""

    def us(time_ns: int) -> int:
        return time_ns // US * US

    def held(attributes: Any) -> dict[str, Any]:
        return {key: "" if value is None else value for key, value in attributes.items()}

    links = tuple(dataclasses.replace(link, attributes={}) for link in span.links)
    parent_id = span.parent_id
    if parent_id is None:
        parent_id = next((link.span_id for link in links if link.trace_id == TRACE), None)
    return dataclasses.replace(
        span,
        parent_id=parent_id,
        start_ns=us(span.start_ns),
        end_ns=us(span.end_ns),
        attributes=held(span.attributes),
        events=tuple(
            sorted(
                (
                    EventRecord(event.name, us(event.time_ns), held(event.attributes))
                    for event in span.events
                ),
                key=lambda event: event.time_ns,
            )
        ),
        links=links,
    )


def without_reserved(span: SpanRecord) -> SpanRecord:
    kept = {key: value for key, value in span.attributes.items() if key not in RESERVED}
    return dataclasses.replace(span, attributes=kept)


@given(st.lists(records(flat).map(without_reserved), max_size=5))
def test_jaeger_json_keeps_what_it_has_a_place_for(spans: list[SpanRecord]):
    tree = tree_of(spans)

    text = to_jaeger_json(tree)

    expected = {span_id: as_jaeger_holds(span) for span_id, span in by_node(tree).items()}
    assert same(by_id(parse_jaeger_json(text)), expected)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@given(records())
def test_packed_column_keeps_all(span: SpanRecord):
    assert same(unpack(pack(span)), (span.attributes, span.events, span.links))


def test_packed_column_keeps_long_numbers_and_halves_of_surrogate_pairs():
    odd = {"long": 10**5_000, "negative": -(2**70), "half": "\ud800", "mapping": {"bytes": b"\0"}}
    span = SpanRecord(TRACE, "1" * 16, None, "n", 0, 1, attributes=odd)

    assert unpack(pack(span)) == (odd, (), ())


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100)))
def test_damaged_column_is_one_error(packed: bytes | str):
    with contextlib.suppress(ValueError):
        unpack(packed)


def test_sequences_of_ours_are_sequences_again_in_jaeger_json():
    attributes = {
        semconv.MAP_SLOWEST: ("3:1.500", "1:0.200"),
        semconv.GEN_AI_FINISH_REASONS: ("stop",),
        semconv.ITEM_KEY: "[1, 2]",
        "mine": ("a", "b"),
    }
    span = SpanRecord(TRACE, "1" * 16, None, "map m", 0, 1_000, attributes=attributes)

    (read,) = parse_jaeger_json(to_jaeger_json(tree_of([span])))

    assert read.attributes == {**attributes, "mine": '["a","b"]'}


def test_children_stay_inside_their_parents_in_jaeger_json():
    spans = [
        SpanRecord(TRACE, "1" * 16, None, "parent", 1_999, 5_001),
        SpanRecord(TRACE, "2" * 16, "1" * 16, "child", 2_000, 5_000),
    ]

    parent, child = parse_jaeger_json(to_jaeger_json(tree_of(spans)))

    assert parent.start_ns <= child.start_ns
    assert child.end_ns <= parent.end_ns


def test_empty_tree():
    empty = TraceTree([])

    assert parse_otlp_json(to_otlp_json(empty)) == []
    assert parse_jaeger_json(to_jaeger_json(empty)) == []


# --- what other writers write -------------------------------------------------------------------


def otlp(**fields: Any) -> dict[str, Any]:
    span = {
        "traceId": TRACE,
        "spanId": "00f067aa0ba902b7",
        "name": "n",
        "startTimeUnixNano": "5",
        "endTimeUnixNano": "7",
        **fields,
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def one_of(document: Any) -> SpanRecord:
    (span,) = read_document(parse_json(json.dumps(document), "a.json"))
    return span


def test_otlp_with_names_numbers_and_upper_case():
    span = one_of(
        otlp(
            traceId=TRACE.upper(),
            kind="SPAN_KIND_CLIENT",
            startTimeUnixNano=5,
            status={"code": "STATUS_CODE_ERROR"},
            parentSpanId="",
            attributes=[
                {"key": "i", "value": {"intValue": 3}},
                {"key": "d", "value": {"doubleValue": 2}},
                {"key": "none", "value": {}},
                {"key": "absent"},
            ],
        )
    )

    assert (span.trace_id, span.kind, span.status, span.parent_id) == (
        TRACE,
        "client",
        "error",
        None,
    )
    assert span.attributes == {"i": 3, "d": 2.0, "none": None, "absent": None}
    assert isinstance(span.attributes["d"], float)


def test_otlp_of_an_unfinished_span_and_of_a_kind_to_come():
    span = one_of(otlp(endTimeUnixNano="0", kind=17, status={"code": 9}, parentSpanId="0" * 16))

    assert (span.end_ns, span.kind, span.status, span.parent_id) == (5, "internal", "unset", None)


def test_other_signals_hold_no_spans():
    assert read_document(parse_json('{"resourceLogs": []}', "a.json")) == []


def jaeger(**fields: Any) -> dict[str, Any]:
    span = {
        "traceID": TRACE,
        "spanID": "00f067aa0ba902b7",
        "operationName": "n",
        "startTime": 5,
        "duration": 2,
        **fields,
    }
    return {"data": [{"traceID": TRACE, "spans": [span], "processes": {}}]}


def test_jaeger_of_older_writers():
    span = one_of(
        jaeger(
            traceID="abc",
            spanID="f",
            references=None,
            tags=[
                {"key": "error", "type": "bool", "value": True},
                {"key": "i", "type": "int64", "value": "9223372036854775807"},
                {"key": "n", "type": "float64", "value": 1},
                {"key": "untyped", "value": 2},
                {"key": "b", "type": "bool", "value": "true"},
                {"key": "span.kind", "value": "server"},
            ],
            logs=[{"timestamp": 6, "fields": [{"key": "event", "value": "e"}]}],
        )
    )

    assert (span.trace_id, span.span_id) == ("abc".zfill(32), "f".zfill(16))
    assert (span.status, span.kind, span.start_ns, span.end_ns) == ("error", "server", 5_000, 7_000)
    assert span.attributes == {"i": MAX_NS, "n": 1.0, "untyped": 2, "b": True}
    assert span.events == (EventRecord("e", 6_000),)


def test_parent_that_jaeger_keeps_as_a_link_only():
    reference = {"refType": "FOLLOWS_FROM", "traceID": TRACE, "spanID": "1" * 16}

    span = one_of(jaeger(references=[reference]))

    assert span.parent_id == "1" * 16
    assert span.links == (LinkRecord(TRACE, "1" * 16),)


@pytest.mark.parametrize("top", [lambda document: document["data"], lambda d: d["data"][0]])
def test_jaeger_without_its_envelope(top: Any):
    assert one_of(top(jaeger())).name == "n"


# --- what is broken -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (otlp(traceId=None), r"a\.json: resourceSpans\[0\]\.scopeSpans\[0\]\.spans\[0\]\.traceId: missing"),
        (otlp(traceId="xyz"), "traceId: expected an id of 32 hex digits, found 'xyz'"),
        (otlp(spanId="+1"), "spanId: expected an id of 16 hex digits"),
        (otlp(startTimeUnixNano="soon"), "startTimeUnixNano: expected a whole number, found 'soon'"),
        (otlp(startTimeUnixNano=-1), "expected an instant between 1970 and 2262"),
        (otlp(name=3), "name: expected a text"),
        (otlp(attributes={}), "attributes: expected a list"),
        (otlp(attributes=[3]), r"attributes\[0\]: expected an object"),
        (otlp(attributes=[{"key": "a", "value": {"x": 1}}]), "a value with its type"),
        (otlp(attributes=[{"key": "a", "value": {"bytesValue": "?"}}]), "bytes in base64"),
        (otlp(attributes=[{"key": "a", "value": {"doubleValue": "x"}}]), "expected a number"),
        (jaeger(spanID=5), r"data\[0\]\.spans\[0\]\.spanID: expected an id"),
        (jaeger(startTime=None), "startTime: missing; expected a whole number"),
        (jaeger(tags=[{"key": "a", "value": []}]), "expected a text, a number or true or false"),
        (jaeger(tags=[{"key": "a", "type": "bool", "value": []}]), "expected true or false"),
        ({"spam": 1}, r"a\.json: expected OTLP JSON .* or Jaeger JSON"),
        (3, "expected OTLP JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(document: Any, said: str):
    with pytest.raises(TraceFormatError, match=said):
        one_of(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", r"no JSON: .*\(line 1"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 900 + b"]" * 900, None),
        (b"9" * 5_000, "no JSON|expected OTLP"),
    ],
)
def test_text_that_is_no_document(text: bytes, said: str | None):
    try:
        found = read_document(parse_json(text, "a.json"))
    except TraceFormatError as error:
        assert said is None or re.search(said, str(error))
    else:
        assert found == []


def test_deep_values_are_refused_or_read_never_more():
    value: Any = {"stringValue": "deep"}
    for _ in range(290):
        value = {"arrayValue": {"values": [value]}}

    try:
        one_of(otlp(attributes=[{"key": "a", "value": value}]))
    except TraceFormatError as error:
        assert "nested too deeply" in str(error)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([TRACE, "00f067aa0ba902b7", "int64", "float64", "binary", "CHILD_OF"]),
)
KEYS = [
    "attributes",
    "data",
    "duration",
    "event",
    "events",
    "fields",
    "intValue",
    "key",
    "kind",
    "links",
    "logs",
    "name",
    "operationName",
    "parentSpanId",
    "refType",
    "references",
    "resourceSpans",
    "result",
    "scope",
    "scopeSpans",
    "spanID",
    "spanId",
    "spans",
    "startTime",
    "startTimeUnixNano",
    "status",
    "stringValue",
    "tags",
    "timestamp",
    "traceID",
    "traceId",
    "type",
    "value",
    "values",
    "arrayValue",
    "kvlistValue",
    "doubleValue",
    "boolValue",
    "bytesValue",
    "code",
    "message",
]
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(documents)
def test_any_document_is_read_or_refused(document: Any):
    try:
        found = read_document(parse_json(json.dumps(document), "a.json"))
    except TraceFormatError as error:
        assert str(error).startswith("a.json")
    else:
        assert all(isinstance(span, SpanRecord) for span in found)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if not isinstance(value, (dict, list)):
        return found
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        found.extend(paths_in(one, (*path, key)))
    return found


def rich() -> TraceTree:
    span = SpanRecord(
        TRACE,
        "2" * 16,
        "1" * 16,
        "node n",
        1_000,
        2_000,
        "error",
        "it broke",
        {"s": "a", "b": True, "i": 1, "f": math.inf, "t": (1, 2), "m": {"k": b"x"}},
        (EventRecord("e", 1_500, {"a": 1}),),
        (LinkRecord(TRACE, "3" * 16, {"a": 1}),),
        "client",
        "hush",
    )
    return tree_of([span])


@pytest.mark.parametrize("write", [to_otlp_json, to_jaeger_json])
@given(data=st.data())
def test_mutilated_document_is_read_or_refused(write: Any, data: st.DataObject):
    document = json.loads(write(rich()))
    for _ in range(data.draw(st.integers(1, 3))):
        places = paths_in(document)
        if not places:
            break
        *outer, last = data.draw(st.sampled_from(places))
        inner = document
        for key in outer:
            inner = inner[key]
        if data.draw(st.booleans()):
            del inner[last]
        else:
            inner[last] = data.draw(documents)

    with contextlib.suppress(TraceFormatError):
        read_document(parse_json(json.dumps(document), "a.json"))


@pytest.mark.parametrize("write", [to_otlp_json, to_jaeger_json])
@given(cut=st.integers(0, 3_000), junk=st.binary(max_size=5))
@example(cut=3_000, junk=b"")
def test_cut_document_is_read_or_refused(write: Any, cut: int, junk: bytes):
    with contextlib.suppress(TraceFormatError):
        read_document(parse_json(write(rich()).encode()[:cut] + junk, "a.json"))
