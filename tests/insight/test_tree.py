"""Records become a tree, whatever was lost, doubled or out of order."""

from __future__ import annotations

import random

import pytest

from hush import semconv
from hush.insight.record import SpanRecord
from hush.insight.tree import TraceTree, group_traces


def span(
    span_id: str, parent_id: str | None = None, *, start: int = 0, end: int = 10, **more: object
) -> SpanRecord:
    fields = {"trace_id": "t", "name": f"node {span_id}", **more}
    return SpanRecord(span_id=span_id, parent_id=parent_id, start_ns=start, end_ns=end, **fields)  # type: ignore[arg-type]


def names(tree: TraceTree) -> list[str]:
    return [node.record.span_id for node in tree]


def test_children_stand_in_order_of_start_then_index():
    records = [
        span("root"),
        span("late", "root", start=5),
        *(
            span(f"i{index}", "root", name="item f", attributes={semconv.ITEM_INDEX: index})
            for index in (10, 2, 1)
        ),
    ]
    random.Random(1).shuffle(records)

    assert names(TraceTree(records)) == ["root", "i1", "i2", "i10", "late"]


def test_place_in_the_tree():
    tree = TraceTree(
        [
            span("c", "b", start=2_000_000_000, end=3_000_000_000),
            span("a", start=1_000_000_000),
            span("b", "a", start=1_500_000_000),
        ]
    )

    node = tree.get("c")
    assert node is not None
    assert node.depth == 2
    assert node.offset_s == 1.0
    assert node.parent is tree.get("b")
    assert tree.duration_s == 2.0
    assert tree.get("nobody") is None


def test_empty_tree():
    tree = TraceTree([])

    assert (len(tree), tree.roots, tree.trace_id) == (0, (), "")
    assert (tree.start_ns, tree.end_ns, tree.duration_s) == (0, 0, 0.0)


def test_span_without_its_parent_is_a_root():
    tree = TraceTree([span("a", "lost"), span("b", "a")])

    assert [root.record.span_id for root in tree.roots] == ["a"]


def test_first_of_two_with_one_id_is_kept():
    tree = TraceTree([span("a", name="node first"), span("a", name="node second")])

    assert [node.name for node in tree] == ["node first"]


def test_circle_is_cut_open():
    tree = TraceTree([span("a", "b"), span("b", "a"), span("c", "b"), span("self", "self")])

    assert sorted(names(tree)) == ["a", "b", "c", "self"]


def test_deep_chain_does_not_overflow_the_stack():
    depth = 5_000
    tree = TraceTree(
        span(str(number), str(number - 1) if number else None) for number in range(depth)
    )

    assert max(node.depth for node in tree) == depth - 1


def test_one_tree_holds_one_trace():
    records = [span("a"), span("b", trace_id="other"), span("c", "a")]

    with pytest.raises(ValueError, match=r"2 traces.*group_traces"):
        TraceTree(records)
    trees = group_traces(records)
    assert {trace: names(tree) for trace, tree in trees.items()} == {
        "t": ["a", "c"],
        "other": ["b"],
    }
