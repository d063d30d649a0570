"""Spans encoded by hand are what the SDK's encoder makes of them, whatever is in them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.export import span_encoder
from hush.export.span_encoder import SpanEncoder
from hush.export.wire import DEEPEST, TOO_DEEP
from hush.observe.tracing import override_provider

RIGHT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Texts that UTF-8 can say."""
LONG = st.builds(lambda text, times: text * times, RIGHT, st.sampled_from([1, 1, 20, 400]))
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 20_000)
INTS |= st.sampled_from([0, 127, 128, 16_383, 16_384, 2**63 - 1, -(2**63), -1])
FLAT = st.none() | st.booleans() | INTS | st.floats() | LONG | st.binary(max_size=200)
VALUES = st.recursive(
    FLAT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(RIGHT.filter(bool), inner, max_size=3)
    ),
    max_leaves=8,
)
# Few names, so that values of one type come where another was, and what is remembered is used.
KEYS = st.sampled_from(["a", "hush.node.path", "é", "n" * 200]) | RIGHT.filter(bool)
PLAIN = st.dictionaries(KEYS, VALUES, max_size=6)
COUNTS = st.sampled_from([0, 0, 0, 1, 127, 128, 70_000, 2**32 - 1])
TIMES = st.integers(1, 2**64 - 1)


def _bounded(attributes: dict[str, Any], dropped: int) -> BoundedAttributes:
    made = BoundedAttributes(attributes=attributes)
    made.dropped = dropped
    return made


SOME = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    INTS | st.floats() | RIGHT | st.booleans() | st.none() | st.lists(st.booleans(), max_size=2),
    max_size=3,
)
"""Enough to tell what they are of; what values may be is another test's."""
ATTRIBUTES = st.builds(_bounded, SOME, COUNTS) | st.none() | SOME | SOME.map(MappingProxyType)


def _state(pairs: list[tuple[str, str]]) -> TraceState:
    return TraceState(pairs)


STATES = st.lists(
    st.tuples(
        st.sampled_from(["a", "rojo", "t@v"]), st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True)
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(_state)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1) | st.just(7),
    st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 3).map(TraceFlags),
    trace_state=STATES | st.none(),
)


def _list(inside: Sequence[Any], dropped: int) -> BoundedList:
    made: BoundedList = BoundedList(None)
    made.extend(inside)
    made.dropped = dropped
    return made


def _some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(one, max_size=3)
    return st.builds(_list, lists, COUNTS) | lists | lists.map(tuple)


EVENTS = st.builds(Event, RIGHT, ATTRIBUTES, TIMES | st.just(0))
LINKS = st.builds(Link, CONTEXTS, ATTRIBUTES)
STATUSES = (
    st.sampled_from(StatusCode).map(Status)
    | RIGHT.map(lambda text: Status(StatusCode.ERROR, text))
    | st.none()
)
URLS = st.sampled_from(["", "https://opentelemetry.io/schemas/1.30.0"])
RESOURCES = st.builds(Resource, st.dictionaries(RIGHT.filter(bool), LONG | INTS, max_size=3), URLS)
SCOPES = st.none() | st.builds(
    InstrumentationScope, RIGHT, st.none() | RIGHT, URLS, st.none() | SOME
)


@st.composite
def batches(draw: st.DrawFn) -> list[ReadableSpan]:
    """Some spans of a few resources and scopes, some of which are equal and not the same."""
    resources = draw(st.lists(RESOURCES, min_size=1, max_size=3))
    resources += [Resource(dict(one.attributes), one.schema_url) for one in resources]
    scopes = draw(st.lists(SCOPES, min_size=1, max_size=3))
    scopes += [
        one and InstrumentationScope(one.name, one.version, one.schema_url, one.attributes)
        for one in scopes
    ]
    one = st.builds(
        ReadableSpan,
        name=RIGHT,
        context=CONTEXTS,
        parent=st.none() | CONTEXTS,
        resource=st.sampled_from(resources),
        attributes=ATTRIBUTES,
        events=_some(EVENTS),
        links=_some(LINKS),
        kind=st.sampled_from(SpanKind),
        status=STATUSES,
        start_time=TIMES | st.none() | st.just(0),
        end_time=TIMES | st.none() | st.just(0),
        instrumentation_scope=st.sampled_from(scopes),
    )
    return draw(st.lists(one, max_size=4))


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the SDK's encoder is asked."""

    def refuse(spans: object) -> Any:
        raise AssertionError("left to the SDK's encoder")

    monkeypatch.setattr(span_encoder, "encode_spans", refuse)


USES = pytest.mark.usefixtures("only_ours")
KEPT = SpanEncoder()
"""Has seen what came before: what it remembers must not show."""


QUICK = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)


@USES
@QUICK
@given(batches())
def test_it_is_what_the_sdk_makes(spans: list[ReadableSpan]) -> None:
    _compare(spans)


@USES
@QUICK
@given(PLAIN, COUNTS)
def test_values_of_all_types_are_what_the_sdk_makes_of_them(
    attributes: dict[str, Any], dropped: int
) -> None:
    """In spans, events, links, resources and scopes, as they are or as the SDK cleans them."""
    clean = _bounded(attributes, dropped)
    context = SpanContext(1, 2, is_remote=False)
    _compare(
        [
            _span(attributes=given, events=[Event("e", given, 5)], links=[Link(context, given)])
            for given in (attributes, clean)
        ]
    )
    scope = InstrumentationScope("s", "1", "", attributes)
    _compare([_span(resource=Resource(attributes, ""), instrumentation_scope=scope)])


def _compare(spans: list[ReadableSpan]) -> None:
    expected = encode_spans(spans)
    for encoder in (SpanEncoder(), KEPT, KEPT):
        assert _parsed(encoder.encode(spans)) == _parsed(expected.SerializeToString())


def _parsed(data: bytes) -> Any:
    # Compared as deterministic bytes, so that NaN equals itself.
    return ExportTraceServiceRequest.FromString(data).SerializeToString(deterministic=True)


def _span(**fields: Any) -> ReadableSpan:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    given = {"name": "span", "context": context, "resource": Resource({}), **fields}
    return ReadableSpan(**given)


def _read(*spans: ReadableSpan, encoder: SpanEncoder | None = None) -> list[Any]:
    data = (encoder or SpanEncoder()).encode(spans)
    request = ExportTraceServiceRequest.FromString(data)
    return [
        span
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value for pair in span.attributes}


@USES
def test_equal_values_of_different_types_stay_what_they_are() -> None:
    encoder = SpanEncoder()
    for value in (1, True, 1.0, "1", 0, False, 0.0, -0.0, ""):
        spans = [_span(attributes=BoundedAttributes(attributes={"x": value}))]
        for _ in range(2):
            assert _parsed(encoder.encode(spans)) == _parsed(
                encode_spans(spans).SerializeToString()
            )


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 300


class Ratio(float):
    """A number of an application's own class."""


@USES
def test_subclasses_of_values_are_what_they_stand_for() -> None:
    spans = [_span(attributes={"a": Colour.RED, "b": Level.HIGH, "c": Ratio(0.5)})]
    _compare(list(spans))


@USES
def test_what_the_sdk_drops_or_fails_on_arrives() -> None:
    """Half of a surrogate pair, a number beyond 64 bits, lists that no receiver could read."""
    deep: Any = "bottom"
    for _ in range(DEEPEST + 20):
        deep = {"in": [deep]}
    torn = "a\ud800b"
    span, other = _read(
        _span(
            name=torn,
            attributes={
                torn: torn,
                "large": 2**63,
                "small": -(2**63) - 1,
                "huge": 10**5_000,
                "deep": deep,
                "list": [torn, {torn: 1}],
            },
            events=[Event(torn, {torn: torn}, 5)],
            status=Status(StatusCode.ERROR, torn),
        ),
        _span(name="other"),
    )
    mended = "a\ufffdb"
    assert (span.name, span.status.message, span.events[0].name) == (mended,) * 3
    values = _values(span)
    assert values[mended].string_value == mended
    assert values["large"].string_value == "9223372036854775808"
    assert values["small"].string_value == "-9223372036854775809"
    assert int(values["huge"].string_value, 16) == 10**5_000
    assert TOO_DEEP in str(values["deep"])
    assert values["list"].array_value.values[0].string_value == mended
    assert values["list"].array_value.values[1].kvlist_value.values[0].key == mended
    assert other.name == "other"


@USES
def test_the_deepest_that_is_written_can_be_read() -> None:
    """Of mappings, which take most messages, in an event, which has one more around it."""
    deep: Any = 1
    for _ in range(DEEPEST):
        deep = {"in": deep}
    (span,) = _read(_span(events=[Event("e", {"deep": deep}, 5)]))
    assert "int_value: 1" in str(span.events[0])


class OwnSpan(ReadableSpan):
    """Somebody's own kind of span."""

    @property
    def name(self) -> str:
        return "renamed"


def test_a_span_of_another_class_is_left_to_the_sdk() -> None:
    own = OwnSpan("own", context=SpanContext(1, 3, is_remote=False), resource=Resource({}))
    assert [span.name for span in _read(_span(), own)] == ["span", "renamed"]


def test_a_value_of_no_known_type_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    (span,) = _read(_span(attributes={"odd": object(), "x": 1}))
    assert list(_values(span)) == ["x"]
    assert "odd" in caplog.text


def test_what_nobody_can_encode_raises() -> None:
    with pytest.raises(ValueError, match="out of range"):
        SpanEncoder().encode([_span(start_time=-1)])


@USES
def test_memory_is_bounded_whatever_comes() -> None:
    encoder = SpanEncoder()
    for number in range(3_000):
        spans = [
            _span(
                name=f"span {number}",
                resource=Resource({"n": number}),
                instrumentation_scope=InstrumentationScope(f"scope {number}"),
                attributes={f"key {number}": number, "k": f"text {number}", "i": number * 1_000},
            )
        ]
        (span,) = _read(*spans, encoder=encoder)
        assert span.name == f"span {number}"
        assert _values(span)["k"].string_value == f"text {number}"
    remembered = (
        encoder._internal,
        encoder._surroundings,
        encoder._attributes._keys,
        encoder._attributes._keys["k"].texts,
        encoder._attributes._keys["i"].ints,
    )
    assert all(1 <= len(one) <= 256 for one in remembered)


@USES
def test_spans_of_the_sdk_with_full_limits() -> None:
    memory = InMemorySpanExporter()
    limits = SpanLimits(max_span_attributes=2, max_events=1, max_links=1, max_event_attributes=1)
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("t", "1", "https://example.org/schema", {"scope": "yes"})
    with tracer.start_as_current_span("outer") as outer:
        links = [Link(outer.get_span_context(), {"n": n}) for n in range(3)]
        with tracer.start_as_current_span("inner", links=links, kind=SpanKind.CLIENT) as inner:
            for number in range(4):
                inner.set_attribute(f"a{number}", [number])
                inner.add_event(f"e{number}", {"x": 1, "y": number})
            inner.set_status(StatusCode.OK)
    spans = memory.get_finished_spans()
    inner_read, _ = _read(*spans)
    assert inner_read.dropped_attributes_count == 2
    assert inner_read.dropped_events_count == 3
    assert inner_read.dropped_links_count == 2
    _compare(list(spans))


@USES
def _touch(n: int) -> dict[str, int]:
    if n % 5 == 0:
        trace.get_current_span().add_event("fifth", {"n": n})
    return {"n": n}


@USES
async def test_spans_of_runs_are_ours_to_encode() -> None:
    """Lean ones and those that somebody has touched."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with GraphNode(name="shop") as graph:
        with MapNode(name="items", inputs={"n": Each(PARENT["ns"])}) as items:
            work = CodeNode(
                name="work", code_fn=_touch, return_keys=["n"], inputs={"n": PARENT["n"]}
            )
            START >> work >> END
            work["n"] >> PARENT["n"]
        START >> items >> END
    with override_provider(provider):
        await Hush(graph).run({"ns": list(range(20))})
    spans = memory.get_finished_spans()
    assert len(spans) == 42
    _compare(list(spans))


@USES
def test_a_mapping_of_attributes_may_be_of_any_class() -> None:
    class Odd(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return {"a": 1}[key]

        def __iter__(self) -> Any:
            return iter(("a",))

        def __len__(self) -> int:
            return 1

    (span,) = _read(_span(attributes={"m": Odd()}))
    assert _values(span)["m"].kvlist_value.values[0].value.int_value == 1
