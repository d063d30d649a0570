"""Edges: what '>>' records between nodes, lists of nodes and the markers."""

from __future__ import annotations

import threading

import pytest

from hush.core import END, PARENT, START, CodeNode, GraphNode, MapNode
from hush.model.edge import Edge, NodeGroup, Soft, link
from hush.model.graph import current_graph


def step(name):
    return CodeNode(name=name, code_fn=lambda: {})


def edges_of(graph):
    """The edges as text: ``a >> b``, ``a >> ~b``."""

    def name(side):
        return getattr(side, "name", repr(side))

    return [f"{name(e.source)} >> {'~' * e.soft}{name(e.target)}" for e in graph.edges]


@pytest.fixture
def graph():
    with GraphNode(name="g") as graph:
        for name in "abcd":
            step(name)
        yield graph


def test_a_chain(graph):
    a, b, *_ = graph.nodes
    START >> a >> b >> END
    assert edges_of(graph) == ["START >> a", "a >> b", "b >> END"]


def test_edges_are_kept_as_they_are(graph):
    a, b, *_ = graph.nodes
    a >> b
    (edge,) = graph.edges
    assert isinstance(edge, Edge)
    assert (edge.source, edge.target, edge.soft) == (a, b, False)
    with pytest.raises(AttributeError):
        edge.soft = True


def test_a_chain_goes_on_from_its_last_part(graph):
    a, b, *_ = graph.nodes
    assert (START >> a) is a
    assert (a >> b) is b
    assert (b >> END) is END


@pytest.mark.parametrize("kind", [list, tuple])
def test_fan_out(graph, kind):
    a, b, c, _ = graph.nodes
    a >> kind([b, c])
    assert edges_of(graph) == ["a >> b", "a >> c"]


@pytest.mark.parametrize("kind", [list, tuple])
def test_fan_in(graph, kind):
    a, b, c, _ = graph.nodes
    assert (kind([a, b]) >> c) is c
    assert edges_of(graph) == ["a >> c", "b >> c"]


def test_fan_out_and_in_on_one_line(graph):
    a, b, c, d = graph.nodes
    START >> [a, b, c] >> d >> END
    assert edges_of(graph) == [
        "START >> a",
        "START >> b",
        "START >> c",
        "a >> d",
        "b >> d",
        "c >> d",
        "d >> END",
    ]


def test_a_chain_of_lists_connects_each_with_each(graph):
    a, b, c, d = graph.nodes
    START >> [a, b] >> [c, d] >> END
    assert edges_of(graph) == [
        "START >> a",
        "START >> b",
        "a >> c",
        "a >> d",
        "b >> c",
        "b >> d",
        "c >> END",
        "d >> END",
    ]


def test_two_bare_lists_are_pythons_own_error(graph):
    a, b, c, d = graph.nodes
    with pytest.raises(TypeError, match="unsupported operand"):
        [a, b] >> [c, d]
    assert graph.edges == []


def test_a_group_connects_lists(graph):
    a, b, c, d = graph.nodes
    group = NodeGroup([a, b])
    group >> [c, d]
    assert edges_of(graph) == ["a >> c", "a >> d", "b >> c", "b >> d"]


def test_a_list_of_one_and_an_empty_list(graph):
    a, b, *_ = graph.nodes
    [a] >> b
    START >> [] >> a
    assert edges_of(graph) == ["a >> b"]


def test_a_soft_edge(graph):
    a, b, *_ = graph.nodes
    assert isinstance(~b, Soft)
    assert repr(~b) == "~CodeNode('b')"
    a >> ~b
    assert edges_of(graph) == ["a >> ~b"]


def test_soft_edges_of_a_list(graph):
    a, b, c, d = graph.nodes
    [a, b] >> ~c >> d
    assert edges_of(graph) == ["a >> ~c", "b >> ~c", "c >> d"]


def test_soft_and_hard_targets_in_one_list(graph):
    a, b, c, d = graph.nodes
    a >> [~b, c] >> d
    assert edges_of(graph) == ["a >> ~b", "a >> c", "b >> d", "c >> d"]


def test_soft_end(graph):
    a, b, *_ = graph.nodes
    [a, b] >> ~END
    START >> ~a
    assert edges_of(graph) == ["a >> ~END", "b >> ~END", "START >> ~a"]


def test_start_to_end(graph):
    assert (START >> END) is END
    assert edges_of(graph) == ["START >> END"]


def test_start_to_end_outside_of_a_graph_is_an_error():
    with pytest.raises(TypeError, match=r"START >> END: neither side belongs.*with GraphNode"):
        START >> END


def test_nodes_outside_of_a_graph_cannot_be_connected():
    a, b = step("a"), step("b")
    with pytest.raises(TypeError, match="neither side belongs to a graph"):
        a >> b
    with pytest.raises(TypeError, match="neither side belongs to a graph"):
        [a, b] >> END


def test_nodes_can_be_connected_after_their_block():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
    a >> b >> END
    START >> a
    assert edges_of(graph) == ["a >> b", "b >> END", "START >> a"]


def test_edges_belong_to_the_graph_of_their_nodes():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        with GraphNode(name="inner") as inner:
            c = step("c")
            START >> c >> END
            a >> b
        b >> inner
    assert edges_of(inner) == ["START >> c", "c >> END"]
    assert edges_of(graph) == ["a >> b", "b >> inner"]


@pytest.mark.parametrize(
    "thing", ["b", 42, None, PARENT, {"b"}, [["nested"]], object], ids=lambda thing: repr(thing)
)
def test_wrong_operands_are_recorded_for_the_compiler(graph, thing):
    a, *_ = graph.nodes
    a >> thing
    thing >> a
    assert len(graph.edges) == 2
    assert graph.edges[0].source is a
    assert graph.edges[1].target is a
    inside = thing[0] if isinstance(thing, list) else thing
    assert graph.edges[0].target is graph.edges[1].source is inside


def test_backward_edges_are_recorded_for_the_compiler(graph):
    a, *_ = graph.nodes
    a >> START
    END >> a
    assert edges_of(graph) == ["a >> START", "END >> a"]


def test_a_reference_on_the_right_is_recorded_for_the_compiler(graph):
    a, *_ = graph.nodes
    a >> PARENT["x"]
    (edge,) = graph.edges
    assert repr(edge.target) == "PARENT['x']"


def test_a_reference_on_the_left_feeds(graph):
    a, *_ = graph.nodes
    PARENT["x"] >> a
    assert graph.edges == []
    assert repr(a.inputs) == "{'x': PARENT['x']}"


def test_link_is_what_the_operator_does(graph):
    a, b, c, _ = graph.nodes
    assert link(a, b) is b
    assert link([a, b], [c]) == (c,)
    assert edges_of(graph) == ["a >> b", "a >> c", "b >> c"]


def test_shifting_left_is_no_edge(graph):
    a, b, *_ = graph.nodes
    with pytest.raises(TypeError, match="unsupported operand"):
        a << b


def test_nodes_are_compared_by_identity(graph):
    a, b, *_ = graph.nodes
    assert a == a  # noqa: PLR0124
    assert a != b
    assert len({a, b, a}) == 2


# --- which graph is being built ------------------------------------------------------------


def test_blocks_nest_and_close():
    assert current_graph() is None
    with GraphNode(name="g") as graph:
        assert current_graph() is graph
        with MapNode(name="m") as inner:
            assert current_graph() is inner
            a = step("a")
        assert current_graph() is graph
    assert current_graph() is None
    assert a.parent is inner
    assert inner.parent is graph
    assert graph.parent is None
    assert graph.nodes == [inner]


def test_a_block_closes_when_it_raises():
    with pytest.raises(KeyError), GraphNode(name="g"):
        raise KeyError
    assert current_graph() is None


def test_a_block_can_be_opened_again():
    with GraphNode(name="g") as graph:
        a = step("a")
    with graph:
        b = step("b")
        with graph:
            c = step("c")
    assert graph.nodes == [a, b, c]
    assert current_graph() is None


def test_graphs_can_be_built_in_several_threads():
    barrier = threading.Barrier(4, timeout=10)
    graphs = []

    def build(number):
        with GraphNode(name=f"g{number}") as graph:
            for i in range(5):
                barrier.wait()
                START >> step(f"{number}-{i}")
        graphs.append(graph)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(graphs) == 4
    for graph in graphs:
        assert [node.name for node in graph.nodes] == [f"{graph.name[1:]}-{i}" for i in range(5)]
        assert len(graph.edges) == 5
