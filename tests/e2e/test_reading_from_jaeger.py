"""Traces to a real Jaeger and back: what is read is what was written."""

from __future__ import annotations

import dataclasses
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hush.core import Hush
from hush.insight.formats.jaeger_api import fetch_trace
from hush.insight.formats.jaeger_json import to_jaeger_json
from hush.insight.formats.otlp_json import to_otlp_json
from hush.insight.record import EventRecord, LinkRecord, SpanRecord
from hush.insight.source_errors import TraceNotFoundError
from hush.insight.sources import load_traces, open_trace
from hush.insight.store import TraceStore
from hush.insight.tree import TraceTree
from hush.testing import capture_spans
from tests.e2e.jaeger_server import JaegerServer
from tests.insight.records import a_run, report, same

ARRIVAL_S = 20.0
WIDE = 20_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(tmp_path / "traces.sqlite3") as made:
        yield made


def send(jaeger: JaegerServer, tree: TraceTree) -> None:
    request = urllib.request.Request(
        f"{jaeger.otlp_http}/v1/traces",
        to_otlp_json(tree).encode(),
        {"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        assert response.read() == b'{"partialSuccess":{}}'


def arrived(read: Callable[[], TraceTree], spans: int) -> TraceTree:
    give_up = time.monotonic() + ARRIVAL_S
    while True:
        try:
            tree = read()
        except TraceNotFoundError:
            tree = TraceTree([])
        if len(tree) >= spans:
            return tree
        assert time.monotonic() < give_up, f"{len(tree)} of {spans} spans"
        time.sleep(0.05)


def by_id(tree: TraceTree) -> dict[str, SpanRecord]:
    return {node.record.span_id: node.record for node in tree}


async def captured_run() -> TraceTree:
    with capture_spans() as capture:
        await Hush(report()).run(inputs={"items": list(range(8))})
    return TraceTree(capture.spans)


async def test_run_comes_back_equal(jaeger: JaegerServer, store: TraceStore):
    tree = await captured_run()
    send(jaeger, tree)

    read = arrived(lambda: fetch_trace(jaeger.query, tree.trace_id), len(tree))

    assert same(by_id(read), by_id(tree))
    for where in (
        f"{jaeger.query}/trace/{tree.trace_id}",
        f"{jaeger.query}/api/traces/{tree.trace_id}",
    ):
        assert same(by_id(open_trace(where)), by_id(tree))
    # Also by way of the store, which keeps what it is given.
    store.add(node.record for node in read)
    assert same(by_id(open_trace(tree.trace_id, store=store)), by_id(tree))


def test_every_kind_of_value_comes_back_equal(jaeger: JaegerServer, store: TraceStore):
    trace_id = f"{time.time_ns():032x}"
    now = time.time_ns()
    attributes = {
        "text": "ä\n\U0001f600",
        "empty": "",
        "yes": True,
        "no": False,
        "whole": 5,
        "long": 2**63 - 1,
        "negative": -(2**63),
        "exact": 2**53 + 1,
        "half": 0.5,
        "float": 1.0,
        "tiny": 5e-324,
        "infinite": float("-inf"),
        "none": float("nan"),
        "texts": ("a", "b"),
        "wholes": (1, 2),
        "floats": (1.0, 2.5),
        "nothing": (),
        "bytes": b"\x00\xff",
        "mapping": {"a": 1, "b": ("c",)},
    }
    other = LinkRecord("f" * 32, "e" * 16, {"offset": 1.5})
    spans = [
        SpanRecord(trace_id, "1" * 16, None, "run g", now, now + 5_001, kind="server"),
        SpanRecord(
            trace_id,
            "2" * 16,
            "1" * 16,
            "chat m",
            now + 1,
            now + 4_999,
            "error",
            "it broke",
            attributes,
            (EventRecord("e", now + 2, {"event": "mine", **attributes}), EventRecord("", now + 3)),
            (other, LinkRecord(trace_id, "3" * 16)),
            "client",
            "hush",
        ),
        SpanRecord(trace_id, "3" * 16, "1" * 16, "x", now + 1, now + 2, "ok", scope="other"),
    ]
    tree = TraceTree(spans)
    send(jaeger, tree)

    read = arrived(lambda: open_trace(trace_id, store=store, jaeger=jaeger.query), 3)

    assert same(by_id(read), by_id(tree))


def test_jaeger_stretches_a_span_without_duration_and_says_so(jaeger: JaegerServer):
    trace_id = f"{time.time_ns():032x}"
    now = time.time_ns()
    send(jaeger, TraceTree([SpanRecord(trace_id, "1" * 16, None, "x", now, now)]))

    (node,) = arrived(lambda: fetch_trace(jaeger.query, trace_id), 1)

    assert node.record.end_ns == now + 1
    (warning,) = node.record.attributes["@jaeger@warnings"]
    assert "sanitizing end timestamp" in warning


async def test_our_jaeger_json_says_what_jaegers_own_says(jaeger: JaegerServer, tmp_path: Path):
    tree = await captured_run()
    send(jaeger, tree)
    arrived(lambda: fetch_trace(jaeger.query, tree.trace_id), len(tree))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{jaeger.query}/api/traces/{tree.trace_id}", timeout=30) as response:
        (tmp_path / "downloaded").write_bytes(response.read())
    (tmp_path / "written").write_text(to_jaeger_json(tree))

    (theirs,) = load_traces(tmp_path / "downloaded")
    (ours,) = load_traces(tmp_path / "written")

    def without_ends(tree: TraceTree) -> dict[str, SpanRecord]:
        # Jaeger cuts start and duration each, so its ends may be a microsecond off.
        return {key: dataclasses.replace(span, end_ns=0) for key, span in by_id(tree).items()}

    assert same(without_ends(theirs), without_ends(ours))
    assert all(
        abs(by_id(theirs)[key].end_ns - span.end_ns) <= 1_000 for key, span in by_id(ours).items()
    )


def test_wide_trace_comes_back_whole(jaeger: JaegerServer):
    spans = a_run(f"{time.time_ns():032x}", spans=WIDE, start_ns=time.time_ns() // 1_000 * 1_000)
    for begin in range(0, WIDE, 5_000):
        send(jaeger, TraceTree(spans[begin : begin + 5_000]))

    read = arrived(lambda: fetch_trace(jaeger.query, spans[0].trace_id, timeout_s=30), WIDE)

    assert same(by_id(read), {span.span_id: span for span in spans})


def test_trace_that_jaeger_has_not(jaeger: JaegerServer, store: TraceStore):
    with pytest.raises(TraceNotFoundError, match="has no trace ffff"):
        fetch_trace(jaeger.query, "f" * 32)
    with pytest.raises(TraceNotFoundError, match="has no trace ffff"):
        open_trace("f" * 32, store=store, jaeger=jaeger.query)
