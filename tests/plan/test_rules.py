"""What is wrong with a graph: every rule, its path and its remedy, all at once."""

from __future__ import annotations

import inspect
import pickle
import threading
from itertools import pairwise
from typing import NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.core import (
    END,
    PARENT,
    START,
    Branch,
    BranchNode,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphError,
    GraphNode,
    Hush,
    MapNode,
    Quorum,
    Retry,
    WhileLoopNode,
    code_node,
)


def step(name, **options):
    """A node without inputs and with the output ``v``."""
    return CodeNode(name=name, code_fn=lambda: {"v": name}, return_keys=["v"], **options)


def taker(name, value, **options):
    """A node whose input ``x`` is ``value``."""
    return CodeNode(
        name=name, code_fn=lambda x: {"v": x}, return_keys=["v"], inputs={"x": value}, **options
    )


def writer(name, key, **options):
    """A node that writes PARENT[key]."""
    return step(name, outputs={"v": PARENT[key]}, **options)


def problems_of(graph):
    with pytest.raises(GraphError) as caught:
        Hush(graph)
    error = caught.value
    assert error.graph == graph.name
    for problem in error.problems:
        assert problem.rule
        assert problem.path.split(".")[0] == graph.name
        assert problem.message
        assert problem.remedy, f"no remedy: {problem}"
        assert str(problem) in str(error)
    return error.problems


def only(graph, rule, path, *said):
    """Check that the graph has exactly this problem, and what message and remedy name."""
    (problem,) = problems_of(graph)
    assert (problem.rule, problem.path) == (rule, path)
    text = f"{problem.message} | {problem.remedy}"
    for word in said:
        assert word in text
    return problem


def found(graph):
    """The problems as (rule, path), for graphs with several."""
    return [(problem.rule, problem.path) for problem in problems_of(graph)]


def fine(graph):
    assert Hush(graph).plan.size >= len(graph.nodes)


# --- the graph itself ------------------------------------------------------------------


def test_empty_graph():
    with GraphNode(name="g") as graph:
        pass
    only(graph, "empty-graph", "g", "no nodes", "START >> node >> END")


def test_start_to_end_alone_is_an_empty_graph():
    with GraphNode(name="g") as graph:
        START >> END
    only(graph, "empty-graph", "g")


@pytest.mark.parametrize(
    "make",
    [
        lambda: GraphNode(name="inner"),
        lambda: MapNode(name="inner", inputs={"x": Each([1])}),
        lambda: ForLoopNode(name="inner", inputs={"x": Each([1])}),
        lambda: WhileLoopNode(name="inner", condition="x < 1", inputs={"x": 0}),
    ],
    ids=["graph", "map", "for", "while"],
)
def test_empty_nested_graph(make):
    with GraphNode(name="g") as graph:
        inner = make()
        START >> inner >> END
    only(graph, "empty-graph", "g.inner")


def test_nested_graph_cannot_be_run_alone():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> step("a") >> END
        START >> inner >> END
    only(inner, "nested-top", "inner", "'g'", "outermost")
    fine(graph)


@pytest.mark.parametrize("wrong", [None, 3, "graph", step("alone"), PARENT])
def test_only_graphs_are_run(wrong):
    with pytest.raises(TypeError, match="expected a GraphNode"):
        Hush(wrong)


def test_nesting_has_a_limit():
    def nest(depth):
        with GraphNode(name="n") as graph:
            inner = nest(depth - 1) if depth else step("leaf")
            START >> inner >> END
        return graph

    fine(nest(100))
    assert {rule for rule, _ in found(nest(200))} == {"depth"}


# --- names -----------------------------------------------------------------------------


def test_duplicate_name():
    with GraphNode(name="g") as graph:
        START >> [step("load"), step("load"), step("load")] >> step("end") >> END
    only(graph, "duplicate-name", "g.load", "3 nodes", "'load'", "name=")


def test_the_same_name_in_another_graph_is_fine():
    with GraphNode(name="g") as graph:
        with GraphNode(name="load") as inner:
            START >> step("load") >> END
        START >> step("g") >> inner >> END
    fine(graph)


@pytest.mark.parametrize("name", ["", "a.b", "a[0]", "]", 5])
def test_names_that_cannot_stand_in_a_path(name):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name=name, code_fn=dict) >> END
    only(graph, "bad-name", f"g.{name}", repr(name), "non-empty string")


def test_a_lambda_has_no_name_to_take():
    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=lambda: {}) >> END
    only(graph, "bad-name", "g.", "name=")


def test_the_graph_needs_a_name():
    with GraphNode() as graph:
        START >> step("a") >> END
    only(graph, "bad-name", "", "name=")


# --- edges -----------------------------------------------------------------------------


def test_cycle_with_its_path():
    with GraphNode(name="g") as graph:
        a, b, c = step("a"), step("b"), step("c")
        START >> a >> b >> c >> a
        c >> step("d") >> END
    (problem,) = problems_of(graph)
    assert problem.rule == "cycle"
    way = problem.message.removeprefix("cycle: ").split(" >> ")
    assert way[0] == way[-1]
    assert problem.path == f"g.{way[0]}"
    assert " >> ".join(way) in "a >> b >> c >> a >> b >> c"
    assert len(way) == 4
    assert "WhileLoopNode" in problem.remedy


def test_a_node_after_itself_is_a_cycle():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> a >> END
    only(graph, "cycle", "g.a", "cycle: a >> a")


def test_a_soft_edge_can_close_a_cycle():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> ~a >> b
        b >> ~a
    (problem,) = problems_of(graph)
    assert problem.rule == "cycle"


def test_each_of_several_cycles_is_reported():
    with GraphNode(name="g") as graph:
        a, b, c, d = (step(name) for name in "abcd")
        START >> a >> b >> a
        START >> c >> d >> c
    problems = problems_of(graph)
    assert [problem.rule for problem in problems] == ["cycle", "cycle"]
    ways = [set(problem.message.removeprefix("cycle: ").split(" >> ")) for problem in problems]
    assert sorted(ways, key=min) == [{"a", "b"}, {"c", "d"}]


def test_what_comes_after_a_cycle_is_not_blamed():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> a >> b >> a
        c = taker("c", a["v"], outputs={"v": PARENT["k"]})
        d = writer("d", "k")
        b >> c >> d >> taker("e", PARENT["k"]) >> END
    (problem,) = problems_of(graph)
    assert problem.rule == "cycle"


def test_edge_to_a_node_of_another_graph():
    with GraphNode(name="other") as other:
        stranger = step("stranger")
        START >> stranger >> END
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> END
        a >> stranger
    only(graph, "stray-edge", "g.a", "'stranger'", "'other'", "'g'")
    fine(other)


def test_edge_from_a_nested_graphs_node():
    with GraphNode(name="g") as graph:
        a = step("a")
        with GraphNode(name="inner") as inner:
            b = step("b")
            START >> b >> END
        START >> inner >> a >> END
        a >> b
    only(graph, "stray-edge", "g.a", "'b'", "'inner'")


def test_edge_to_a_node_without_graph():
    alone = step("alone")
    with GraphNode(name="g") as graph:
        START >> step("a") >> alone
    only(graph, "stray-edge", "g.a", "'alone'", "no graph")


@pytest.mark.parametrize(
    "thing",
    ["b", 42, None, PARENT, PARENT["x"], {"b"}, lambda: {}],
    ids=["str", "int", "None", "PARENT", "ref", "set", "function"],
)
def test_edge_to_something_that_is_no_node(thing):
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> END
        a >> thing
    (problem,) = problems_of(graph)
    assert problem.rule == "stray-edge"
    assert "no node" in problem.message
    assert repr(thing) in problem.message
    assert problem.path in {"g", "g.a"}


@pytest.mark.parametrize("thing", ["b", 42, None, PARENT], ids=repr)
def test_edge_from_something_that_is_no_node(thing):
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> END
        thing >> a
    (problem,) = problems_of(graph)
    assert problem.rule == "stray-edge"
    assert "no node" in problem.message
    assert problem.path in {"g", "g.a"}


def test_edges_run_from_start_to_end():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> END
        a >> START
        END >> a
    problems = problems_of(graph)
    assert [problem.rule for problem in problems] == ["stray-edge", "stray-edge"]
    assert all("backwards" in problem.message for problem in problems)


def test_unreachable_nodes():
    with GraphNode(name="g") as graph:
        START >> step("a") >> END
        step("alone")
        step("x") >> step("y") >> END
    assert found(graph) == [
        ("unreachable", "g.alone"),
        ("unreachable", "g.x"),
        ("unreachable", "g.y"),
    ]
    assert "START >> alone" in problems_of(graph)[0].remedy


def test_a_branch_target_is_reached_through_its_branch():
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={"x > 1": "a"}, default="b")
        step("a")
        step("b")
    fine(graph)


def test_waiting_for_both_sides_of_a_branch_never_ends():
    with GraphNode(name="g") as graph:
        a, b, last = step("a"), step("b"), step("last")
        START >> BranchNode(name="r", cases={"x > 1": "a"}, default="b") >> [a, b] >> last
        last >> step("after") >> END
    only(graph, "never-runs", "g.last", "'last'", "branch", "~last")


# --- outputs ---------------------------------------------------------------------------


class Ranked(TypedDict):
    score: int
    title: str


class Partly(TypedDict):
    score: int
    note: NotRequired[str]


class Optional(TypedDict, total=False):
    note: str


def test_unknown_output_says_what_is_declared():
    with GraphNode(name="g") as graph:

        def rank() -> Ranked:
            return {"score": 1, "title": "x"}

        first = CodeNode(code_fn=rank)
        START >> first >> taker("last", first["scoer"]) >> END
    only(
        graph,
        "unknown-output",
        "g.rank",
        "unknown output 'scoer' of node 'rank'; it declares: score, title",
        "Did you mean 'score'?",
    )


def reads_typo_in_list(a):
    return taker("b", [1, {"k": a["w"]}])


def reads_typo_in_argument(a):
    return taker("b", a["v"] + a["w"])


def reads_typo_after_operations(a):
    return taker("b", a["w"]["rows"][0].name)


def reads_typo_with_default(a):
    return taker("b", a["w"].or_default(None))


def reads_typo_as_items(a):
    with MapNode(name="b", inputs={"x": Each(a["w"])}) as node:
        START >> taker("c", PARENT["x"]) >> END
    return node


def maps_typo(a):
    a["w"] >> PARENT["out"]
    return step("b")


def feeds_typo(a):
    b = CodeNode(name="b", code_fn=lambda x: {"v": x})
    a["w"] >> b["x"]
    return b


def means_by_name(a):
    return CodeNode(name="b", code_fn=lambda w: {"v": w}, inputs={"w": a})


def decides_by_typo(a):
    return Branch("b").if_(a["w"] > 1, "c")


@pytest.mark.parametrize(
    "read",
    [
        reads_typo_in_list,
        reads_typo_in_argument,
        reads_typo_after_operations,
        reads_typo_with_default,
        reads_typo_as_items,
        maps_typo,
        feeds_typo,
        means_by_name,
        decides_by_typo,
    ],
)
def test_unknown_output_wherever_it_is_read(read):
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> read(a) >> step("c") >> END
    only(graph, "unknown-output", "g.a", "'w'", "declares: v")


def test_unknown_output_in_outputs():
    with GraphNode(name="g") as graph:
        START >> step("a", outputs={"w": PARENT}) >> END
    only(graph, "unknown-output", "g.a", "'w'")


def test_unknown_output_of_a_nested_graph():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner", outputs={"total": PARENT}) as inner:
            START >> writer("a", "totals") >> END
        START >> inner >> END
    only(graph, "unknown-output", "g.inner", "declares: totals", "Did you mean 'totals'?")


def test_unknown_output_of_the_top_graph():
    with GraphNode(name="g", outputs={"total": PARENT}) as graph:
        START >> writer("a", "totals") >> END
    only(graph, "unknown-output", "g", "'total'", "totals")


def test_unknown_output_of_a_while_loop():
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", condition="n < 3", inputs={"n": 0}) as loop:
            START >> writer("count", "n") >> END
        START >> loop >> taker("last", [loop["n"], loop["iterations"], loop["exhausted"]])
        loop["m"] >> PARENT["out"]
    only(graph, "unknown-output", "g.loop", "'m'", "exhausted, iterations, n")


def test_unknown_output_of_a_branch():
    with GraphNode(name="g") as graph:
        router = BranchNode(name="r", cases={"x > 1": "a"})
        START >> router >> taker("a", router["chosen"]) >> END
    only(graph, "unknown-output", "g.r", "'chosen'", "selected")


def test_a_capturing_node_has_the_output_error():
    with GraphNode(name="g") as graph:
        a = step("a", on_error="capture")
        START >> a >> taker("b", a["error"]) >> END
    fine(graph)


def test_a_node_that_does_not_capture_has_no_output_error():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> a >> taker("b", a["error"]) >> END
    only(graph, "unknown-output", "g.a", "'error'")


def test_a_key_that_may_be_left_out_is_declared_all_the_same():
    def partly() -> Partly:
        return {"score": 1}

    def optional() -> Optional:
        return {}

    with GraphNode(name="g") as graph:
        first, second = CodeNode(code_fn=partly), CodeNode(code_fn=optional)
        notes = [first["note"].or_default("-"), second["note"].or_default("-")]
        START >> first >> second >> taker("last", notes, outputs={"v": PARENT["notes"]}) >> END
    fine(graph)
    assert Hush(graph).run_sync()["notes"] == ["-", "-"]


def test_an_optional_key_does_not_make_up_for_a_wrong_one():
    def partly() -> Partly:
        return {"score": 1}

    with GraphNode(name="g") as graph:
        first = CodeNode(code_fn=partly)
        START >> first >> taker("last", first["notes"]) >> END
    only(graph, "unknown-output", "g.partly", "note, score", "Did you mean 'note'?")


def test_outputs_of_undeclared_functions_are_known_at_run_time_only():
    with GraphNode(name="g") as graph:
        first = CodeNode(name="first", code_fn=lambda: {"v": 1})
        START >> first >> taker("last", first["anything"]) >> END
    fine(graph)


@pytest.mark.parametrize("target", [5, None, "out", PARENT["x"] + 1, START])
def test_outputs_go_to_references(target):
    with GraphNode(name="g") as graph:
        START >> step("a", outputs={"v": target}) >> END
    only(graph, "bad-output", "g.a", "'v'", "PARENT['name']")


def test_outputs_is_a_mapping():
    with GraphNode(name="g") as graph:
        START >> step("a", outputs=["v"]) >> END
    only(graph, "bad-output", "g.a", "list", "mapping")


@pytest.mark.parametrize("keys", [[], [""], [5], 5], ids=repr)
def test_return_keys_are_names(keys):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="a", code_fn=dict, return_keys=keys) >> END
    only(graph, "bad-output", "g.a", repr(keys), "names")


# --- inputs ----------------------------------------------------------------------------


def one(x, y=2, *, z=3):
    return {"v": (x, y, z)}


def test_an_input_that_the_callable_does_not_take():
    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=one, inputs={"x": 1, "yy": 2}) >> END
    only(graph, "unknown-input", "g.one", "does not take the input 'yy'", "x, y, z", "mean 'y'")


def test_an_input_fed_by_an_edge_that_the_callable_does_not_take():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> a >> b >> END
        a["v"] >> b["w"]
    only(graph, "unknown-input", "g.b", "'w'", "nothing")


def test_keyword_arguments_take_any_input():
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="a", code_fn=lambda **rest: rest, inputs={"q": 1, "r": 2}) >> END
    fine(graph)


def test_required_input_missing():
    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=one, inputs={"y": 1}) >> END
    only(graph, "missing-input", "g.one", "needs the input 'x'", "inputs={'x': ...}")


def test_every_missing_input_is_reported():
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="a", code_fn=lambda x, y, /, z: {}) >> END
    problems = problems_of(graph)
    assert [(problem.rule, problem.path) for problem in problems] == [("missing-input", "g.a")] * 3
    for name, problem in zip("xyz", problems, strict=True):
        assert f"needs the input {name!r}" in problem.message


def test_a_nested_graph_sees_only_its_inputs():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner", inputs={"text": PARENT}) as inner:
            START >> taker("a", PARENT["texts"]) >> END
        START >> inner >> END
    only(graph, "missing-input", "g.inner", "'texts'", "a reads from PARENT", "mean 'text'")


def test_a_map_passes_on_what_its_inputs_name():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}) as node:
            START >> taker("a", PARENT["x"]) >> taker("b", PARENT["limit"]) >> END
        START >> node >> END
    only(graph, "missing-input", "g.m", "'limit'", "b reads from PARENT")


@pytest.mark.parametrize("kind", ["for", "while"])
def test_the_first_round_of_a_loop_needs_a_value(kind):
    with GraphNode(name="g") as graph:
        loop = (
            ForLoopNode(name="loop", inputs={"x": Each([1])})
            if kind == "for"
            else WhileLoopNode(name="loop", condition=lambda: True)
        )
        with loop:
            START >> taker("add", PARENT["total"], outputs={"v": PARENT["total"]}) >> END
        START >> loop >> END
    only(graph, "missing-input", "g.loop", "'total'", "first round")


def test_a_condition_needs_a_value_before_the_first_round():
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", condition="n < 3") as loop:
            START >> writer("count", "n") >> END
        START >> loop >> END
    only(graph, "missing-input", "g.loop", "'n'", "its condition")


def test_a_stop_condition_is_asked_after_the_first_round():
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", stop_condition="n > 3") as loop:
            START >> writer("count", "n") >> END
        START >> loop >> END
    fine(graph)


def test_one_input_fed_twice():
    with GraphNode(name="g") as graph:
        a = step("a")
        b = taker("b", 1)
        a["v"] >> b["x"]
        START >> a >> b >> END
    only(graph, "input-fed-twice", "g.b", "'x'", "twice")


@pytest.mark.parametrize(("key", "value"), [(5, 1), ("", 1), ("*", 5), ("*", "PARENT")])
def test_inputs_have_names_and_stars_have_sources(key, value):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="a", code_fn=lambda **rest: rest, inputs={key: value}) >> END
    only(graph, "bad-input", "g.a", repr(key))


def test_inputs_is_a_mapping():
    with GraphNode(name="g") as graph:
        START >> step("a", inputs=["x"]) >> END
    only(graph, "bad-input", "g.a", "list", "mapping")


# --- what is read runs before ------------------------------------------------------------


def test_an_input_read_from_a_node_that_does_not_run_before():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> [a, taker("b", a["v"])] >> step("last") >> END
    only(graph, "read-order", "g.b", "'x' reads a['v']", "'a' does not run before 'b'", "a >> b")


def test_an_input_read_from_a_node_that_runs_after():
    with GraphNode(name="g") as graph:
        first, last = CodeNode(name="first", code_fn=lambda x: {"v": x}), step("last")
        last["v"] >> first["x"]
        START >> first >> last >> END
    only(graph, "read-order", "g.first", "'last' does not run before 'first'")


def test_a_default_does_not_help_where_nothing_orders_the_two():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> [a, taker("b", a["v"].or_default(0))] >> step("last") >> END
    only(graph, "read-order", "g.b")


def test_a_node_does_not_run_before_itself():
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=lambda x: {"v": x})
        a["v"] >> a["x"]
        START >> a >> END
    only(graph, "read-order", "g.a", "'x' reads a['v']")


def test_an_output_computed_from_a_node_that_does_not_run_before():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        a["v"] + b["v"] >> PARENT["both"]
        START >> [a, b] >> step("last") >> END
    only(graph, "read-order", "g.a", "b['v']")


def test_a_condition_reads_what_ran_before():
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> [a, Branch("r").if_(a["v"] > 1, "c")]
        step("c") >> END
    only(graph, "read-order", "g.r", "'condition' reads a['v']")


def test_a_nested_node_does_not_read_from_the_graph_outside():
    with GraphNode(name="g") as graph:
        a = step("a")
        with GraphNode(name="inner") as inner:
            START >> taker("b", a["v"]) >> END
        START >> a >> inner >> END
    only(graph, "read-order", "g.inner.b", "another graph", "inputs=")


def test_everything_of_a_node_that_does_not_run_before():
    with GraphNode(name="g") as graph:
        a = step("a")
        b = CodeNode(name="b", code_fn=lambda v: {"w": v}, inputs={"*": a})
        START >> [a, b] >> step("last") >> END
    only(graph, "read-order", "g.b", "a['v']")


# --- what is read has certainly run --------------------------------------------------------


def test_an_input_read_from_a_soft_predecessor_may_be_unfinished():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        last = taker("last", a["v"])
        START >> [a, b] >> ~last >> END
    only(
        graph,
        "read-certain",
        "g.last",
        "'x' reads a['v']",
        "skipped or unfinished",
        "a['v'].or_default(...)",
        "hard edge",
    )


def routed(read, *, default=True):
    """A branch to a or b, and last after either; ``read`` makes last."""
    with GraphNode(name="g") as graph:
        a = step("a", outputs={"v": PARENT["ka"]})
        b = step("b", outputs={"v": PARENT["kb"]})
        last = read(a, b)
        router = BranchNode(name="r", cases={"n > 1": "a"}, default="b" if default else None)
        START >> router >> [a, b] >> ~last >> END
    return graph


def test_an_input_read_from_a_node_that_may_be_skipped():
    only(routed(lambda a, b: taker("last", a["v"])), "read-certain", "g.last", "a['v']")


def test_a_value_of_parent_whose_writer_may_be_skipped():
    problem = only(
        routed(lambda a, b: taker("last", PARENT["ka"])), "read-certain", "g.last", "PARENT['ka']"
    )
    assert "'a'" in problem.message


def test_a_mixed_container_needs_each_of_its_references():
    graph = routed(lambda a, b: taker("last", [a["v"].or_default(1), b["v"]]))
    only(graph, "read-certain", "g.last", "b['v']")


@pytest.mark.parametrize("join", [First(cancel_rest=False), Quorum(1), Quorum(2)])
def test_a_join_does_not_wait_for_all(join):
    with GraphNode(name="g") as graph:
        a, b, c = step("a"), step("b"), step("c")
        START >> [a, b, c] >> taker("last", a["v"], join=join) >> END
    only(graph, "read-certain", "g.last", "a['v']")


def test_a_quorum_of_all_waits_for_all():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> [a, b] >> taker("last", a["v"], join=Quorum(2)) >> END
    fine(graph)


def with_or_default(a, b):
    return taker("last", a["v"].or_default(0))


def with_none_as_default(a, b):
    return taker("last", a["v"].or_default(None))


def with_a_default_around_the_operations(a, b):
    return taker("last", (a["v"] + b["v"]).or_default(0))


def with_the_parameters_default(a, b):
    return CodeNode(name="last", code_fn=lambda x=0: {"v": x}, inputs={"x": a["v"]})


def with_a_default_on_parents_value(a, b):
    return taker("last", PARENT["ka"].or_default(0))


def with_a_hard_edge(a, b):
    last = taker("last", a["v"])
    a >> last
    return last


@pytest.mark.parametrize(
    "read",
    [
        with_or_default,
        with_none_as_default,
        with_a_default_around_the_operations,
        with_the_parameters_default,
        with_a_default_on_parents_value,
    ],
)
def test_what_makes_the_read_certain(read):
    fine(routed(read))


def test_a_hard_edge_makes_the_read_certain():
    with GraphNode(name="g") as graph:
        a, b, c = step("a"), step("b"), step("c")
        last = taker("last", a["v"])
        START >> [a, b, c]
        [b, c] >> ~last
        a >> last >> END
    fine(graph)


def test_behind_a_hard_edge_the_read_stays_certain():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> BranchNode(name="r", cases={"n > 1": "a"}, default="b") >> [a, b]
        a >> step("a2") >> taker("a3", a["v"]) >> END
    fine(graph)


def test_a_value_that_every_alternative_writes_is_certain():
    with GraphNode(name="g") as graph:
        a, b = writer("a", "k"), writer("b", "k")
        last = taker("last", PARENT["k"])
        START >> BranchNode(name="r", cases={"n > 1": "a"}, default="b") >> [a, b] >> ~last
    fine(graph)


def test_a_value_that_is_given_is_certain():
    with GraphNode(name="g", inputs={"k": PARENT}) as graph:
        a, b = writer("a", "k"), step("b")
        last = taker("last", PARENT["k"])
        START >> BranchNode(name="r", cases={"n > 1": "a"}, default="b") >> [a, b] >> ~last
    fine(graph)


# --- writers and readers of one value --------------------------------------------------------


def both_write(graph, path, key):
    """Check that two writers named a and b are the only problem; either may be its path."""
    (problem,) = problems_of(graph)
    assert problem.rule == "conflict"
    assert problem.path in {f"{path}.a", f"{path}.b"}
    for word in ("'a'", "'b'", f"both write PARENT[{key!r}]"):
        assert word in problem.message
    assert "a >> b" in problem.remedy or "b >> a" in problem.remedy


def test_two_writers_of_one_value():
    with GraphNode(name="g") as graph:
        START >> [writer("a", "k"), writer("b", "k")] >> step("last") >> END
    both_write(graph, "g", "k")


def test_two_writers_of_one_value_far_from_each_other():
    with GraphNode(name="g") as graph:
        START >> step("x") >> writer("a", "k") >> END
        START >> step("y") >> step("z") >> writer("b", "k") >> END
    both_write(graph, "g", "k")


def test_everything_written_is_written_by_name():
    with GraphNode(name="g") as graph:
        START >> [step("a", outputs={"*": PARENT}), writer("b", "v")] >> step("last") >> END
    both_write(graph, "g", "v")


def test_a_writer_and_a_reader_of_one_value():
    with GraphNode(name="g") as graph:
        START >> [writer("a", "k"), taker("b", PARENT["k"])] >> step("last") >> END
    only(graph, "conflict", "g.b", "'b' reads PARENT['k'], which 'a' writes", "a >> b")


def test_a_default_does_not_order_a_writer_and_a_reader():
    with GraphNode(name="g") as graph:
        reader = taker("b", PARENT["k"].or_default(0))
        START >> [writer("a", "k"), reader] >> step("last") >> END
    only(graph, "conflict", "g.b", "PARENT['k']")


def test_a_condition_is_a_reader():
    with GraphNode(name="g") as graph:
        START >> [writer("a", "k"), Branch("r").if_(PARENT["k"] > 1, "c")]
        step("c") >> END
    only(graph, "conflict", "g.r", "'r' reads PARENT['k']")


def test_a_conflict_inside_a_map():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each([1])}, outputs={"k": PARENT}) as node:
            START >> [writer("a", "k"), writer("b", "k")] >> END
        START >> node >> END
    both_write(graph, "g.m", "k")


def test_quorum_does_not_settle_who_writes():
    with GraphNode(name="g") as graph:
        START >> [writer("a", "k"), writer("b", "k")] >> step("last", join=Quorum(1)) >> END
    both_write(graph, "g", "k")


def test_soft_predecessors_writing_one_value_conflict():
    with GraphNode(name="g") as graph:
        START >> [writer("a", "k"), writer("b", "k")] >> ~step("last") >> END
    both_write(graph, "g", "k")


@pytest.mark.parametrize("join", [None, Quorum(1), First(cancel_rest=False)], ids=str)
def test_a_predecessor_that_may_come_later_conflicts_with_what_it_released(join):
    with GraphNode(name="g") as graph:
        b = writer("b", "k", join=join)
        START >> [writer("a", "k"), step("other")] >> (b if join else ~b) >> END
    both_write(graph, "g", "k")


def test_reading_what_a_late_predecessor_may_write_takes_a_default():
    with GraphNode(name="g") as graph:
        last = taker("last", PARENT["k"].or_default(None))
        START >> [writer("a", "k"), step("b")] >> ~last >> END
    fine(graph)


def test_a_successor_of_the_branch_that_is_no_target_always_runs():
    with GraphNode(name="g") as graph:
        router = BranchNode(name="r", cases={"n > 1": "a"})
        START >> router >> [writer("a", "k"), writer("b", "k")] >> END
    both_write(graph, "g", "k")


def exclusive_targets():
    router = BranchNode(name="r", cases={"n > 1": "a", "n > 0": "b"}, default="c")
    START >> router >> [writer("a", "k"), writer("b", "k"), writer("c", "k")] >> END


def far_behind_exclusive_targets():
    START >> BranchNode(name="r", cases={"n > 1": "a"}, default="b")
    step("a") >> step("a2") >> writer("a3", "k") >> END
    step("b") >> taker("b2", PARENT["k"]) >> END


def inside_nested_branches():
    START >> BranchNode(name="r", cases={"n > 1": "s"}, default="c")
    BranchNode(name="s", cases={"n > 2": "a"}, default="b")
    for name in "abc":
        writer(name, "k") >> END


def ordered():
    START >> writer("a", "k") >> step("x") >> writer("b", "k") >> END


def a_reader_after():
    START >> writer("a", "k") >> step("x") >> taker("b", PARENT["k"]) >> END


def a_reader_before():
    START >> taker("b", PARENT["k"]) >> step("x") >> writer("a", "k") >> END


def the_same_node():
    START >> taker("a", PARENT["k"], outputs={"v": PARENT["k"]}) >> END


def rivals():
    START >> [writer("a", "k"), writer("b", "k")] >> taker("c", PARENT["k"], join=First()) >> END


def different_names():
    START >> [writer("a", "ka"), writer("b", "kb")] >> END


def one_in_a_nested_graph():
    with GraphNode(name="inner") as inner:
        START >> writer("a", "k") >> END
    START >> [inner, writer("b", "k")] >> END


@pytest.mark.parametrize(
    "build",
    [
        exclusive_targets,
        far_behind_exclusive_targets,
        inside_nested_branches,
        ordered,
        a_reader_after,
        a_reader_before,
        the_same_node,
        rivals,
        different_names,
        one_in_a_nested_graph,
    ],
)
def test_writers_and_readers_that_get_along(build):
    with GraphNode(name="g") as graph:
        build()
    fine(graph)


# --- branches ------------------------------------------------------------------------------


def test_a_branch_to_an_unknown_target():
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={"x > 1": "bset"}, default="rest")
        [step("best"), step("rest")] >> END
        START >> graph.nodes[1]
    only(graph, "unknown-target", "g.r", "'bset'", "'g'", "Did you mean 'best'?")


def test_a_branch_whose_default_is_unknown():
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={"x > 1": "a"}, default="nowhere")
        step("a") >> END
    only(graph, "unknown-target", "g.r", "'nowhere'")


def test_a_branch_to_a_node_of_another_graph():
    stranger = step("stranger")
    with GraphNode(name="g") as graph:
        a = step("a")
        START >> Branch("r").if_(PARENT["x"] > 1, a).otherwise(stranger)
    only(graph, "unknown-target", "g.r", "'stranger'")


def test_a_branch_does_not_reach_into_a_nested_graph():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> step("deep") >> END
        START >> BranchNode(name="r", cases={"x > 1": "deep"}, default=inner)
    only(graph, "unknown-target", "g.r", "'deep'")


@pytest.mark.parametrize("target", ["r", 42, None, START, ["a"]], ids=repr)
def test_a_branch_to_itself_or_to_no_node(target):
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={"x > 1": target}, default="a")
        step("a") >> END
    only(graph, "unknown-target", "g.r")


def test_a_branch_back_is_a_cycle():
    with GraphNode(name="g") as graph:
        START >> step("a") >> BranchNode(name="r", cases={"x > 1": "a"}, default="b")
        step("b") >> END
    (problem,) = problems_of(graph)
    assert problem.rule == "cycle"


BAD_CONDITIONS = [
    "",
    "x >",
    "x = 1",
    "9**9**9",
    "x > 9**9**9",
    "2 ** 5000 > x",
    "'a' * 10 == x",
    "__import__('os').system('true')",
    "x.__class__",
    "().__class__.__bases__[0].__subclasses__()",
    "(lambda: 1)()",
    "[y for y in x]",
    "x if x else y",
    "open('/tmp/x')",
    "x.format(y)",
    "x[1:2]",
    "1 / 0 > x",
    "x" * 5_000,
    "(" * 3_000 + "x" + ")" * 3_000,
    "not " * 300 + "x",
    "x\0",
    "\ud800",
]


@pytest.mark.parametrize("condition", BAD_CONDITIONS, ids=lambda text: ascii(text[:20]))
def test_a_condition_that_is_no_expression(condition):
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={condition: "a"}, inputs={"x": 1, "y": 1})
        step("a") >> END
    problem = only(graph, "bad-condition", "g.r", "condition")
    assert len(problem.message) < 1_000


@pytest.mark.parametrize("which", ["condition", "stop_condition"])
def test_a_loops_condition_that_is_no_expression(which):
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", **{which: "n < 9**9**9"}, inputs={"n": 0}) as loop:
            START >> writer("a", "n") >> END
        START >> loop >> END
    only(graph, "bad-condition", "g.loop", "9**9**9")


@pytest.mark.parametrize("condition", [3, None, ("x",), b"x > 1"], ids=repr)
def test_a_condition_of_another_type(condition):
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={condition: "a"})
        step("a") >> END
    only(graph, "bad-condition", "g.r", type(condition).__name__, "callable")


def test_an_async_condition():
    async def slow(x):
        return x

    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={slow: "a"})
        step("a") >> END
    only(graph, "bad-condition", "g.r", "async")


def test_a_condition_on_a_name_that_is_no_input():
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases={"scoer > 1": "a"}, inputs={"score": PARENT})
        step("a") >> END
    only(graph, "bad-condition", "g.r", "'scoer'", "score")


def test_a_branch_without_cases():
    with GraphNode(name="g") as graph:
        START >> Branch("r") >> step("a") >> END
    only(graph, "bad-condition", "g.r", "no cases", ".if_(...)")


def test_cases_is_a_mapping():
    with GraphNode(name="g") as graph:
        START >> BranchNode(name="r", cases=["x > 1"], default="a")
        step("a") >> END
    only(graph, "bad-condition", "g.r", "list", "mapping")


@pytest.mark.parametrize(
    ("conditions", "word"),
    [({}, "neither"), ({"condition": "n < 1", "stop_condition": "n > 1"}, "both")],
)
def test_a_while_loop_has_exactly_one_condition(conditions, word):
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", inputs={"n": 0}, **conditions) as loop:
            START >> writer("a", "n") >> END
        START >> loop >> END
    only(graph, "bad-condition", "g.loop", word, "exactly one")


def test_a_loops_condition_reads_the_loops_own_values():
    with GraphNode(name="g") as graph:
        a = step("a")
        with WhileLoopNode(name="loop", condition=a["v"] < 3) as loop:
            START >> step("b") >> END
        START >> a >> loop >> END
    problems = problems_of(graph)
    assert ("bad-condition", "g.loop") in [(problem.rule, problem.path) for problem in problems]
    assert any("a['v']" in problem.message for problem in problems)


# --- joins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 100])
def test_a_quorum_of_more_than_there_are(k):
    with GraphNode(name="g") as graph:
        START >> [step("a"), step("b")] >> step("last", join=Quorum(k)) >> END
    only(graph, "join", "g.last", "never be met", "2 predecessors")


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "1", None])
@pytest.mark.parametrize("reads", [False, True], ids=["", "reads"])
def test_a_quorum_is_a_positive_integer(k, reads):
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> [a, b] >> taker("last", a["v"] if reads else 1, join=Quorum(k)) >> END
    problems = [p for p in problems_of(graph) if p.rule != "read-certain"]
    assert [(p.rule, p.path) for p in problems] == [("join", "g.last")]
    assert "positive integer" in problems[0].remedy


@pytest.mark.parametrize("join", [First(), Quorum(1)])
def test_a_join_without_predecessors(join):
    with GraphNode(name="g") as graph:
        last = step("last", join=join)
        START >> last >> END
    assert set(found(graph)) == {("join", "g.last")}


def test_a_quorum_that_branches_never_allow():
    with GraphNode(name="g") as graph:
        router = BranchNode(name="r", cases={"x > 1": "a", "x > 0": "b"}, default="c")
        START >> router >> [step("a"), step("b"), step("c")] >> step("last", join=Quorum(2)) >> END
    only(graph, "join", "g.last", "at most 1")


def two_branches(k):
    with GraphNode(name="g") as graph:
        first = BranchNode(name="r", cases={"x > 1": "a"}, default="b")
        second = BranchNode(name="s", cases={"y > 1": "c"}, default="d")
        START >> [first, second]
        first >> [step("a"), step("b")] >> (last := step("last", join=Quorum(k)))
        second >> [step("c"), step("d")] >> last
    return graph


def test_a_quorum_that_two_branches_together_never_allow():
    fine(two_branches(2))
    only(two_branches(3), "join", "g.last", "at most 2")


def test_a_quorum_that_branches_allow():
    with GraphNode(name="g") as graph:
        router = BranchNode(name="r", cases={"x > 1": "a"}, default="b")
        last = step("last", join=Quorum(2))
        START >> [router, step("c")]
        router >> [step("a"), step("b")] >> last
        graph.nodes[2] >> last
    fine(graph)


@pytest.mark.parametrize("join", ["first", 2, First, Quorum, True])
def test_a_join_of_another_type(join):
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> [a, b] >> step("last", join=join) >> END
    only(graph, "bad-join", "g.last", repr(join), "First()")


@pytest.mark.parametrize("join", [First(), Quorum(1)])
def test_a_join_on_soft_edges(join):
    with GraphNode(name="g") as graph:
        START >> [step("a"), step("b")] >> ~step("last", join=join) >> END
    only(graph, "join", "g.last", "soft", "plain edges")


@pytest.mark.parametrize("join", [First(), Quorum(1)])
def test_a_join_beside_start(join):
    with GraphNode(name="g") as graph:
        last = step("last", join=join)
        START >> step("a") >> last >> END
        START >> last
    only(graph, "join", "g.last", "START")


@pytest.mark.parametrize("join", [First(), Quorum(1, cancel_rest=True)])
def test_a_loser_that_something_else_needs(join):
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> [a, b] >> step("last", join=join) >> END
        b >> step("other") >> END
    only(graph, "join", "g.b", "'last'", "other needs it", "cancel_rest=False")


@pytest.mark.parametrize("join", [First(cancel_rest=False), Quorum(1)])
def test_a_loser_that_goes_on_may_be_needed(join):
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        START >> [a, b] >> step("last", join=join) >> END
        b >> step("other") >> END
    fine(graph)


def test_a_loser_in_two_races():
    with GraphNode(name="g") as graph:
        a, b, c = step("a"), step("b"), step("c")
        START >> [a, b, c]
        [a, b] >> step("one", join=First()) >> END
        [b, c] >> step("two", join=First()) >> END
    assert found(graph) == [("join", "g.b"), ("join", "g.b")]


def test_a_race_of_chains_is_fine():
    with GraphNode(name="g") as graph:
        fast, slow = step("fast"), step("slow")
        START >> [fast, slow]
        fast >> writer("a", "k") >> (race := taker("last", PARENT["k"], join=First()))
        slow >> writer("b", "k") >> race >> END
    fine(graph)


# --- policies --------------------------------------------------------------------------------


def with_map(**options):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each([1])}, **options) as node:
            START >> taker("a", PARENT["x"]) >> END
        START >> node >> END
    return graph


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3", None])
def test_max_concurrency_is_a_positive_integer(limit):
    only(
        with_map(max_concurrency=limit),
        "bad-policy",
        "g.m",
        f"max_concurrency={limit!r}",
        "positive integer",
    )


def test_max_concurrency_of_a_nested_map():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"xs": Each([[1]])}) as outer:
            with MapNode(name="n", inputs={"x": Each(PARENT["xs"])}, max_concurrency=0) as inner:
                START >> taker("a", PARENT["x"]) >> END
            START >> inner >> END
        START >> outer >> END
    only(graph, "bad-policy", "g.m.n", "max_concurrency=0")


@pytest.mark.parametrize(
    "options",
    [
        {"max_failures": -1},
        {"max_failures": 1.5},
        {"max_failures": True},
        {"max_failures": "1"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"deadline_s": -1},
        {"deadline_s": "1"},
        {"retry": 3},
        {"on_error": "ignore"},
        {"failed_when": 3},
        {"key": "x"},
        {"span_budget": 0},
        {"span_budget": 1.5},
    ],
    ids=repr,
)
def test_a_maps_policies(options):
    ((name, value),) = options.items()
    only(with_map(**options), "bad-policy", "g.m", f"{name}={value!r}")


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0},
        {"timeout_s": float("inf")},
        {"timeout_s": True},
        {"deadline_s": "1"},
        {"retry": 3},
        {"retry": Retry},
        {"on_error": "collect"},
        {"on_error": None},
        {"run_in": "cloud"},
    ],
    ids=repr,
)
def test_a_nodes_policies(options):
    ((name, value),) = options.items()
    with GraphNode(name="g") as graph:
        START >> step("a", **options) >> END
    only(graph, "bad-policy", "g.a", f"{name}={value!r}")


@pytest.mark.parametrize("limit", [0, 1.5, True, "3"])
def test_max_iterations_is_a_positive_integer(limit):
    with GraphNode(name="g") as graph:
        loop = WhileLoopNode(name="w", condition="n < 1", inputs={"n": 0}, max_iterations=limit)
        with loop:
            START >> writer("a", "n") >> END
        START >> loop >> END
    only(graph, "bad-policy", "g.w", f"max_iterations={limit!r}")


@pytest.mark.parametrize("budget", [0, 1.5, True, "3"])
def test_a_while_loops_span_budget_is_a_positive_integer(budget):
    with GraphNode(name="g") as graph:
        loop = WhileLoopNode(name="w", condition="n < 1", inputs={"n": 0}, span_budget=budget)
        with loop:
            START >> writer("a", "n") >> END
        START >> loop >> END
    only(graph, "bad-policy", "g.w", f"span_budget={budget!r}")


@pytest.mark.parametrize("function", [None, "a", 5, {"v": 1}], ids=repr)
def test_a_code_node_needs_a_callable(function):
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="a", code_fn=function) >> END
    only(graph, "bad-function", "g.a", type(function).__name__, "callable")


def test_a_generator_function_is_no_step():
    def rows():
        yield {"v": 1}

    async def streamed():
        yield {"v": 1}

    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=rows) >> CodeNode(code_fn=streamed) >> END
    assert found(graph) == [("bad-function", "g.rows"), ("bad-function", "g.streamed")]


def test_only_importable_functions_run_in_processes():
    def local():
        return {}

    async def waits():
        return {}

    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=local, run_in="process") >> END
        START >> CodeNode(name="anonymous", code_fn=lambda: {}, run_in="process") >> END
        START >> CodeNode(code_fn=waits, run_in="process") >> END
        START >> CodeNode(code_fn=one, inputs={"x": 1}, run_in="process") >> END
    assert found(graph) == [
        ("bad-policy", "g.local"),
        ("bad-policy", "g.anonymous"),
        ("bad-policy", "g.waits"),
    ]


# --- sources -----------------------------------------------------------------------------------


def rows():
    raise AssertionError("a source is not touched while the graph is built")
    yield


async def streamed():
    raise AssertionError("a source is not touched while the graph is built")
    yield


class Stream:
    def __aiter__(self):
        return self

    async def __anext__(self):
        raise StopAsyncIteration


class Rows:
    """Can be iterated many times."""

    def __iter__(self):
        return rows()


class AsyncRows:
    """Likewise."""

    def __aiter__(self):
        return streamed()


@pytest.mark.parametrize(
    "make",
    [
        rows,
        lambda: iter([1, 2]),
        lambda: (x for x in [1]),
        lambda: map(str, [1]),
        lambda: zip([1], [2], strict=True),
        lambda: enumerate([1]),
        streamed,
        Stream,
    ],
    ids=["generator", "iter", "expression", "map", "zip", "enumerate", "async generator", "stream"],
)
@pytest.mark.parametrize("kind", [MapNode, ForLoopNode])
def test_a_source_that_can_be_iterated_only_once(make, kind):
    source = make()
    with GraphNode(name="g") as graph:
        with kind(name="m", inputs={"x": Each(source)}) as node:
            START >> taker("a", PARENT["x"]) >> END
        START >> node >> END
    only(graph, "bad-source", "g.m", "'x'", type(source).__name__, "once", "list")


@pytest.mark.parametrize(
    "source",
    [[1], (), {"a": 1}, "text", range(3), Rows(), AsyncRows(), PARENT["rows"]],
    ids=lambda source: type(source).__name__,
)
def test_a_source_that_can_be_iterated_again(source):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(source)}) as node:
            START >> taker("a", PARENT["x"]) >> END
        START >> node >> END
    fine(graph)


@pytest.mark.parametrize("kind", [MapNode, ForLoopNode])
def test_a_map_needs_something_to_iterate(kind):
    with GraphNode(name="g") as graph:
        with kind(name="m", inputs={"x": [1, 2]}) as node:
            START >> taker("a", PARENT["x"]) >> END
        START >> node >> END
    only(graph, "bad-source", "g.m", "no Each", "Each(PARENT['items'])")


def test_each_names_where_it_runs():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each([1], run_in="process")}) as node:
            START >> taker("a", PARENT["x"]) >> END
        START >> node >> END
    only(graph, "bad-source", "g.m", "run_in='process'", "'thread'")


def test_each_belongs_to_a_map():
    with GraphNode(name="g") as graph:
        START >> taker("a", Each([1, 2])) >> END
    only(graph, "bad-source", "g.a", "'x'", "MapNode")


# --- everything at once ------------------------------------------------------------------------


def five_mistakes():
    with GraphNode(name="g") as graph:
        a = step("a", timeout_s=-1)
        with GraphNode(name="inner", inputs={"k": 1}) as inner:
            START >> [writer("p", "k"), taker("q", PARENT["k"])] >> END
        b = taker("b", a["w"])
        START >> a >> inner >> b >> END
        step("alone")
        START >> BranchNode(name="r", cases={"x > 1": "nowhere"})
    return graph


def test_five_problems_at_once():
    graph = five_mistakes()
    assert sorted(found(graph)) == [
        ("bad-policy", "g.a"),
        ("conflict", "g.inner.q"),
        ("unknown-output", "g.a"),
        ("unknown-target", "g.r"),
        ("unreachable", "g.alone"),
    ]


def test_the_message_holds_every_problem_on_its_own_line():
    with pytest.raises(GraphError, match=r"^graph 'g' has 5 problems:") as caught:
        Hush(five_mistakes())
    lines = str(caught.value).splitlines()
    assert lines[1:] == [f"  - {problem}" for problem in caught.value.problems]
    assert isinstance(caught.value, ValueError)


def test_one_problem_is_said_in_the_singular():
    with pytest.raises(GraphError, match=r"^graph 'g' has 1 problem:\n"), GraphNode(name="g") as g:
        Hush(g)


def test_a_graph_error_survives_pickling():
    with pytest.raises(GraphError) as caught:
        Hush(five_mistakes())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.graph, copy.problems) == (caught.value.graph, caught.value.problems)
    assert str(copy) == str(caught.value)


def test_explaining_a_wrong_graph_reports_the_same():
    graph = five_mistakes()
    problems = problems_of(graph)
    for look in (graph.explain, graph.to_mermaid):
        with pytest.raises(GraphError) as caught:
            look()
        assert caught.value.problems == problems


def test_a_problem_deep_inside_has_the_whole_path():
    with GraphNode(name="top") as graph:
        with MapNode(name="m", inputs={"x": Each([1])}) as node:
            with WhileLoopNode(name="w", condition="x < 1", inputs={"x": PARENT}) as loop:
                with GraphNode(name="deep", inputs={"x": PARENT}) as deep:
                    START >> CodeNode(code_fn=one, inputs={"x": PARENT, "bad": 1}) >> END
                START >> deep >> END
            START >> loop >> END
        START >> node >> END
    only(graph, "unknown-input", "top.m.w.deep.one", "'bad'")


# --- what is fine, and that nothing else happens -----------------------------------------------


def chain():
    START >> step("a") >> step("b") >> step("c") >> END


def diamond():
    a = step("a")
    left, right = taker("left", a["v"]), taker("right", a["v"])
    last = CodeNode(
        name="last",
        code_fn=lambda x, y: {"v": x + y},
        inputs={"x": left["v"], "y": right["v"]},
        outputs={"v": PARENT["out"]},
    )
    START >> a >> [left, right] >> last >> END


def without_end():
    START >> step("a") >> step("b")


def race():
    START >> [step("a"), step("b")] >> step("c", join=First()) >> END


def soft_end():
    START >> [step("a"), step("b")] >> ~END


def both_kinds_of_edges():
    a, b, c, last = step("a"), step("b"), step("c"), step("last")
    START >> [a, b, c]
    [b, c] >> ~last
    a >> last >> END


def everything_passed_on():
    with GraphNode(name="inner", inputs={"*": PARENT}, outputs={"*": PARENT}) as inner:
        START >> taker("a", PARENT["x"], outputs={"v": PARENT["y"]}) >> END
    START >> writer("w", "x") >> inner >> taker("last", PARENT["y"]) >> END


def everything_of_a_node():
    a = CodeNode(name="a", code_fn=lambda: {"x": 1})
    START >> a >> CodeNode(name="b", code_fn=lambda x: {"v": x}, inputs={"*": a}) >> END


def nested_maps():
    with MapNode(name="m", inputs={"xs": Each(PARENT["rows"]), "k": 2}) as outer:
        with MapNode(name="n", inputs={"x": Each(PARENT["xs"]), "k": PARENT}) as inner:
            START >> taker("a", PARENT["x"] * PARENT["k"], outputs={"v": PARENT}) >> END
        inner["v"] >> PARENT["vs"]
        START >> inner >> END
    outer["vs"] >> PARENT["all"]
    outer["whole"] >> PARENT["whole"]
    START >> outer >> taker("last", [outer["errors"], outer["iteration_metrics"]]) >> END


def running_total():
    with ForLoopNode(name="sum", inputs={"x": Each(PARENT["xs"]), "total": 0}) as loop:
        add = taker("add", PARENT["x"] + PARENT["total"], outputs={"v": PARENT["total"]})
        START >> add >> END
    loop["total"] >> PARENT["totals"]
    START >> loop >> END


def repeated():
    with WhileLoopNode(name="w", stop_condition=PARENT["n"] > 3, inputs={"n": 0}) as loop:
        START >> taker("a", PARENT["n"] + 1, outputs={"v": PARENT["n"]}) >> END
    START >> loop >> taker("last", loop["n"]) >> END


def routed_with_an_anchor():
    names = {"score": PARENT, "anchor": PARENT["anchor"].or_default(None)}
    router = BranchNode(name="r", cases={"score > 1": "a"}, default="b", inputs=names)
    START >> router >> [step("a"), step("b")] >> ~END


def routed_by_callables():
    a, b = step("a"), step("b")
    router = Branch("r").if_(lambda x: x > 1, a).if_("y in ['p', 'q']", b).otherwise("c")
    START >> router >> [a, b, step("c")] >> END


def decorated():
    @code_node
    def load(path="."):
        return {"text": path}

    @code_node(return_keys=["n"], timeout_s=5)
    async def count(text):
        return len(text)

    text = load()
    START >> text >> count(inputs={"text": text}, retry=Retry(2)) >> END


def the_same_function_twice():
    @code_node
    def load():
        return {"v": 1}

    START >> load() >> load(name="again") >> END


VALID = [
    chain,
    diamond,
    without_end,
    race,
    soft_end,
    both_kinds_of_edges,
    everything_passed_on,
    everything_of_a_node,
    nested_maps,
    running_total,
    repeated,
    routed_with_an_anchor,
    routed_by_callables,
    decorated,
    the_same_function_twice,
]


def built(build):
    with GraphNode(name="g") as graph:
        build()
    return graph


@pytest.mark.parametrize("build", VALID)
def test_graphs_without_problems(build):
    fine(built(build))


@pytest.mark.parametrize("build", VALID)
def test_compiling_changes_nothing(build):
    graph = built(build)

    def shown(node):
        inside = [shown(one) for one in getattr(node, "nodes", ())]
        edges = [(id(e.source), id(e.target), e.soft) for e in getattr(node, "edges", ())]
        maps = [(output.key, repr(output.source)) for output in node.output_maps]
        return (node.name, repr(node.inputs), maps, edges, inside)

    before = shown(graph)
    first = graph.explain(), graph.to_mermaid()
    assert (graph.explain(), graph.to_mermaid()) == first
    assert Hush(graph).plan.size == Hush(graph).plan.size
    assert shown(graph) == before
    assert (built(build).explain(), built(build).to_mermaid()) == first


def test_the_same_problems_each_time():
    graph = five_mistakes()
    assert problems_of(graph) == problems_of(graph) == problems_of(five_mistakes())


@given(st.data())
def test_any_graph_whose_edges_go_forward_is_fine(data):
    size = data.draw(st.integers(1, 12), label="size")
    with GraphNode(name="g") as graph:
        nodes = []
        for i in range(size):
            before = data.draw(st.sets(st.sampled_from(nodes)) if nodes else st.just(set()))
            values = [node["v"] for node in nodes if node in before]
            node = taker(f"n{i}", values, outputs={"v": PARENT[f"k{i}"]})
            for one_before in nodes:
                if one_before in before:
                    one_before >> node
            if not before:
                START >> node
            nodes.append(node)
    order = [line.split()[1] for line in graph.explain().splitlines()[3:]]
    assert sorted(order) == sorted(node.name for node in nodes)
    fine(graph)


@given(st.data())
def test_an_edge_back_is_always_a_cycle(data):
    size = data.draw(st.integers(2, 10), label="size")
    late = data.draw(st.integers(1, size - 1), label="late")
    early = data.draw(st.integers(0, late), label="early")
    with GraphNode(name="g") as graph:
        nodes = [step(f"n{i}") for i in range(size)]
        START >> nodes[0]
        for a, b in pairwise(nodes):
            a >> b
        nodes[late] >> nodes[early]
    (problem,) = problems_of(graph)
    assert problem.rule == "cycle"
    assert problem.message.count(">>") == late - early + 1


def test_building_calls_nothing():
    def never(*args, **kwargs):
        raise AssertionError("called while the graph was built")

    threads = threading.active_count()
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=never, return_keys=["v"], retry=Retry(2, on=never))
        router = Branch("r").if_(never, "m").if_(a["v"].apply(never), "m")
        with MapNode(
            name="m", inputs={"x": Each(Rows()), "y": a["v"]}, key=never, failed_when=never
        ) as node:
            START >> CodeNode(name="b", code_fn=never, inputs={"x": PARENT, "y": PARENT}) >> END
        with WhileLoopNode(name="w", condition=never) as loop:
            START >> CodeNode(name="c", code_fn=never) >> END
        START >> a >> router >> node >> loop >> END
    engine = Hush(graph)
    assert engine.plan.size == 6
    assert threading.active_count() == threads


def test_constructors_only_record():
    never_iterated = rows()
    with GraphNode(name="g") as graph:
        CodeNode()
        CodeNode(code_fn=5, inputs=5, outputs=5, run_in=5, retry=5, join=5, on_error=5)
        CodeNode(name=5, code_fn=dict, timeout_s="x", deadline_s="y", return_keys=[])
        CodeNode(name="a.b", code_fn=rows, inputs={5: 5, "*": 5}, outputs={5: 5, "*": 5})
        BranchNode()
        BranchNode(name="r", cases=5, default=5)
        BranchNode(name="r", cases={"9**9**9": None, 5: 5, "(" * 9_999: "x", never_iterated: "y"})
        Branch("r").if_(None, None).otherwise(None)
        MapNode(inputs={"x": Each(never_iterated), "y": Each(5, run_in=5)}, max_concurrency="x")
        MapNode(key=5, failed_when=5, span_budget=5.5, max_failures="x", on_error=5)
        ForLoopNode(inputs={})
        WhileLoopNode()
        WhileLoopNode(condition=5, stop_condition="x >", max_iterations="x", on_max_iterations=5)
        GraphNode(name="r", inputs={"*": [5]}, outputs={"*": 5})
    assert len(graph.nodes) == 14
    assert len(problems_of(graph)) > 30
    assert inspect.getgeneratorstate(never_iterated) == inspect.GEN_CREATED
