"""Spans for tests of what reads and writes traces: anything that a record can hold, and real ones."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import Any

import anyio
from hypothesis import strategies as st

from hush import semconv
from hush.core import END, PARENT, START, Each, GraphNode, MapNode, code_node
from hush.insight.record import EventRecord, LinkRecord, SpanRecord

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

_instants = st.integers(1, 2**62)
_ids = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
_texts = st.text(max_size=12)
_keys = st.text(max_size=8)
# Those of a time near now are the usual ones.
_times = st.one_of(_instants, st.integers(1_795_000_000_000_000_000, 1_795_000_000_100_000_000))


def values(*, sequences: bool = True) -> st.SearchStrategy[Any]:
    """Return what an attribute may be: what OpenTelemetry allows, now and in its extensions."""
    one = st.one_of(
        _texts,
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1.0, 2**53 + 1, "", "[1]"]),
        st.binary(max_size=6),
        st.none(),
    )
    if not sequences:
        return one
    return st.recursive(
        one,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(tuple), st.dictionaries(_keys, inner, max_size=3)
        ),
        max_leaves=5,
    )


@st.composite
def records(draw: st.DrawFn, value: st.SearchStrategy[Any] | None = None) -> SpanRecord:
    """Return a span of the trace ``TRACE``."""
    attributes = st.dictionaries(_keys, values() if value is None else value, max_size=4)
    start_ns, end_ns = sorted((draw(_times), draw(_times)))
    return SpanRecord(
        trace_id=TRACE,
        span_id=draw(_ids),
        parent_id=draw(st.none() | _ids),
        name=draw(_texts),
        start_ns=start_ns,
        end_ns=end_ns,
        status=draw(st.sampled_from(["unset", "ok", "error"])),
        status_description=draw(st.none() | st.text(min_size=1, max_size=8)),
        attributes=draw(attributes),
        events=tuple(
            draw(st.lists(st.builds(EventRecord, _texts, _times, attributes), max_size=2))
        ),
        links=tuple(
            draw(
                st.lists(
                    st.builds(
                        LinkRecord,
                        st.just(TRACE) | st.just("f" * 32),
                        _ids,
                        attributes,
                    ),
                    max_size=2,
                )
            )
        ),
        kind=draw(st.sampled_from(["internal", "server", "client", "producer", "consumer"])),
        scope=draw(st.just("hush") | _texts),
    )


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal with their types, NaN to NaN and -0.0 not to 0.0."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if type(left) is not type(right):
        return False
    if isinstance(left, (tuple, list)):
        return len(left) == len(right) and all(map(same, left, right))
    if dataclasses.is_dataclass(left):
        return all(
            same(getattr(left, field.name), getattr(right, field.name))
            for field in dataclasses.fields(left)
        )
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or repr(left) == repr(right)
    return bool(left == right)


def a_run(
    trace_id: str,
    *,
    spans: int = 3,
    graph: str = "report",
    start_ns: int = 1_795_000_000_000_000_000,
    duration_ns: int = 1_000_000_000,
    outcome: str = "ok",
    **root: Any,
) -> list[SpanRecord]:
    """Return the spans of a run as they end: its root comes last."""
    pick = random.Random(trace_id)
    root_id = f"{pick.getrandbits(64):016x}"
    nodes = [
        SpanRecord(
            trace_id,
            f"{pick.getrandbits(64):016x}",
            root_id,
            f"node n{number}",
            start_ns + number,
            start_ns + duration_ns,
            attributes={
                semconv.NODE_PATH: f"{graph}.n{number}",
                semconv.RUN_S: pick.random(),
                semconv.OUTCOME: "ok",
            },
            scope="hush",
        )
        for number in range(1, spans)
    ]
    attributes = {semconv.GRAPH_NAME: graph, semconv.OUTCOME: outcome, **root.pop("attributes", {})}
    run = SpanRecord(
        trace_id,
        root_id,
        None,
        f"run {graph}",
        start_ns,
        start_ns + duration_ns,
        attributes=attributes,
        scope="hush",
        kind="server",
    )
    return [*nodes, dataclasses.replace(run, **root)]


def report() -> GraphNode:
    """Return a graph whose run has a failed item among good ones; it takes ``items``."""

    @code_node
    async def score(item: int) -> dict[str, int]:
        await anyio.sleep(0)
        return {"y": 1 // (item - 3)}

    with GraphNode(name="report") as graph:
        with MapNode(
            name="scores", inputs={"item": Each(PARENT["items"])}, on_error="collect"
        ) as mapped:
            START >> score(inputs={"item": PARENT}, outputs={"y": PARENT}) >> END
        START >> mapped >> END
    return graph
