"""What a notebook shows of a result and of a trace."""

from __future__ import annotations

import pytest

from hush.core import END, PARENT, START, CodeNode, GraphNode, Hush
from hush.export.trace_store import TraceStoreProcessor
from hush.insight.store import TraceStore
from hush.insight.tree import TraceTree
from hush.observe.settings import settings
from hush.testing import capture_spans


class Odd:
    def __repr__(self):
        raise RuntimeError("no repr")


VALUES = {
    "answer": 42,
    "text": "<script>alert(1)</script>",
    "many": list(range(9_999)),
    "odd": Odd(),
}


def graph():
    with GraphNode(name="notebook") as made:
        START >> CodeNode(name="n", code_fn=lambda: VALUES, outputs={"*": PARENT}) >> END
    return made


def test_a_result_without_a_trace_is_a_table_of_outputs():
    shown = Hush(graph()).run_sync()._repr_html_()
    assert "answer</th>" in shown
    assert "<code>42</code>" in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "$state" not in shown
    assert len(shown) < 5_000
    assert "no waterfall: the run was not traced; call hush.observe.configure()" in shown


def test_a_result_whose_spans_went_elsewhere_says_what_would_keep_them():
    with capture_spans():
        result = Hush(graph()).run_sync()
    assert "hush.observe.configure(store=True) before the run" in result._repr_html_()


@pytest.fixture
def stored(tmp_path, monkeypatch):
    writer = TraceStoreProcessor(TraceStore(tmp_path / "traces.sqlite3"))
    monkeypatch.setattr(settings, "store", writer)
    yield writer
    writer.shutdown()


def test_a_result_whose_trace_is_stored_has_its_waterfall(stored):
    with capture_spans() as captured:
        captured.provider.add_span_processor(stored)
        result = Hush(graph()).run_sync()
    shown = result._repr_html_()
    assert "<code>42</code>" in shown
    assert f"trace {result.trace_id}" in shown
    assert "node n" in shown


def test_a_trace_that_is_not_there_does_no_harm(stored):
    with capture_spans():
        result = Hush(graph()).run_sync()
    assert result.trace_id
    assert "<code>42</code>" in result._repr_html_()


def test_a_trace_shows_itself():
    with capture_spans() as captured:
        Hush(graph()).run_sync()
    assert "node n" in captured.tree._repr_html_()
    assert "no spans" in TraceTree([])._repr_html_()
