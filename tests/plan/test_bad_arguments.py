"""Whatever is given by mistake becomes a problem of the graph and never a crash of building it."""

from __future__ import annotations

import pytest

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
)
from hush.model.shown import LIMIT, as_text, shown
from hush.providers import PromptNode


class Unprintable:
    """Has neither a text nor a truth value, equals nothing and is in no set."""

    __hash__ = None

    def __repr__(self):
        raise ZeroDivisionError

    def __eq__(self, other):
        raise ZeroDivisionError

    def __bool__(self):
        raise ZeroDivisionError


WRONG = [[], {}, Unprintable(), 10**5_000, "x" * 5_000, [[]] * 5_000]
IDS = ["list", "dict", "unprintable", "large", "long", "many"]


def problems_of(graph):
    with pytest.raises(GraphError) as caught:
        Hush(graph)
    problems = caught.value.problems
    for problem in problems:
        assert problem.remedy
        assert len(problem.message) < 2 * LIMIT + 200
    return problems


def only(graph, rule, path, *said):
    (problem,) = problems_of(graph)
    assert (problem.rule, problem.path) == (rule, path)
    for word in said:
        assert word in str(problem)


def graph_with(make):
    with GraphNode(name="g") as graph:
        START >> make() >> END
    return graph


def body():
    START >> CodeNode(name="body", code_fn=dict) >> END


def mapped(**options):
    def make():
        options.setdefault("inputs", {"x": Each([1])})
        with MapNode(name="n", **options) as node:
            body()
        return node

    return graph_with(make)


def looping(**options):
    def make():
        with WhileLoopNode(name="n", **{"condition": "x < 1", "inputs": {"x": 0}, **options}) as it:
            body()
        return it

    return graph_with(make)


@pytest.mark.parametrize("wrong", WRONG[:4], ids=IDS[:4])
def test_names(wrong):
    with GraphNode(name="g") as graph:
        START >> [CodeNode(name=wrong, code_fn=dict), CodeNode(name="b", code_fn=dict)] >> END
    (problem,) = problems_of(graph)
    assert problem.rule == "bad-name"
    assert "is no name for a node" in problem.message


def test_a_name_that_is_none_is_shown_as_it_was_given():
    graph = graph_with(lambda: CodeNode(name=["a"], code_fn=dict))
    only(graph, "bad-name", "g.['a']", "['a'] is no name for a node")


@pytest.mark.parametrize("wrong", WRONG, ids=IDS)
@pytest.mark.parametrize("policy", ["timeout_s", "deadline_s", "retry", "on_error"])
def test_policies(policy, wrong):
    graph = graph_with(lambda: CodeNode(name="n", code_fn=dict, **{policy: wrong}))
    only(graph, "bad-policy", "g.n", f"{policy}=")


@pytest.mark.parametrize("wrong", WRONG, ids=IDS)
def test_joins_and_places(wrong):
    only(graph_with(lambda: CodeNode(name="n", code_fn=dict, join=wrong)), "bad-join", "g.n")
    only(graph_with(lambda: CodeNode(name="n", code_fn=dict, run_in=wrong)), "bad-policy", "g.n")


@pytest.mark.parametrize("wrong", [*WRONG[:3], *WRONG[4:]], ids=[*IDS[:3], *IDS[4:]])
def test_quorums(wrong):
    with GraphNode(name="g") as graph:
        first = CodeNode(name="first", code_fn=dict)
        START >> first >> CodeNode(name="n", code_fn=dict, join=Quorum(wrong)) >> END
    only(graph, "join", "g.n", "can never be met")


@pytest.mark.parametrize("wrong", [*WRONG[:3], *WRONG[4:]], ids=[*IDS[:3], *IDS[4:]])
@pytest.mark.parametrize("policy", ["max_concurrency", "max_failures", "span_budget"])
def test_policies_of_maps(policy, wrong):
    only(mapped(**{policy: wrong}), "bad-policy", "g.n", f"{policy}=")


@pytest.mark.parametrize("wrong", WRONG, ids=IDS)
def test_where_a_source_runs(wrong):
    only(mapped(inputs={"x": Each([1], run_in=wrong)}), "bad-source", "g.n", "Each(run_in=")


@pytest.mark.parametrize("wrong", WRONG, ids=IDS)
def test_what_a_loop_does_at_its_limit(wrong):
    only(looping(on_max_iterations=wrong), "bad-policy", "g.n", "on_max_iterations=")


@pytest.mark.parametrize("wrong", WRONG[:4], ids=IDS[:4])
def test_conditions(wrong):
    only(looping(condition=wrong), "bad-condition", "g.n")

    def make():
        START >> CodeNode(name="t", code_fn=dict) >> END
        return Branch("n").if_(wrong, "t")

    only(graph_with(make), "bad-condition", "g.n")


@pytest.mark.parametrize("wrong", WRONG, ids=IDS)
def test_targets(wrong):
    def make():
        START >> CodeNode(name="t", code_fn=dict) >> END
        return BranchNode(name="n", cases={"x > 1": wrong}, default="t")

    only(graph_with(make), "unknown-target", "g.n")


@pytest.mark.parametrize("wrong", [Unprintable(), 10**5_000, "x" * 5_000], ids=IDS[2:5])
def test_inputs_outputs_and_keys(wrong):
    def make(**options):
        return graph_with(lambda: CodeNode(name="n", code_fn=lambda **rest: {}, **options))

    only(make(inputs={"*": wrong}), "bad-input", "g.n")
    only(make(outputs={"*": wrong}), "bad-output", "g.n")
    only(make(outputs={"y": wrong}), "bad-output", "g.n")
    only(make(outputs={"y": [PARENT, wrong]}), "bad-output", "g.n")
    only(make(return_keys=[wrong, 5]), "bad-output", "g.n")


@pytest.mark.parametrize("wrong", WRONG, ids=IDS)
def test_edges(wrong):
    with GraphNode(name="g") as graph:
        node = CodeNode(name="n", code_fn=dict)
        START >> node >> END
        if not isinstance(wrong, list):  # a list stands for what is in it
            node >> wrong
            only(graph, "stray-edge", "g.n", "is no node")


@pytest.mark.parametrize("factor", [10**400, Unprintable()], ids=["large", "unprintable"])
def test_retries(factor):
    with pytest.raises((ValueError, TypeError), match=r"Retry\(factor="):
        Retry(factor=factor)


def test_shown():
    assert shown(["a"]) == "['a']"
    assert shown("x" * 1_000) == "'" + "x" * (LIMIT - 1) + "..."
    assert shown(Unprintable()) == "<unprintable Unprintable>"
    assert as_text(3) == "3"
    assert as_text(Unprintable()) == "<unprintable Unprintable>"


# --- policies of the top graph -----------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        {"timeout_s": 0.2},
        {"deadline_s": 5},
        {"retry": Retry(3)},
        {"on_error": "capture"},
        {"join": First()},
    ],
    ids=lambda policy: next(iter(policy)),
)
def test_policies_of_the_top_graph(policy):
    ((name, _),) = policy.items()
    with GraphNode(name="g", **policy) as graph:
        body()
    only(graph, "bad-policy", "g", f"{name}=", "top graph", "est it in another graph")
    if name.endswith("_s"):
        only(graph, "bad-policy", "g", "run(deadline_s=...)")


def test_policies_of_a_nested_graph_are_fine():
    def make():
        with GraphNode(name="n", timeout_s=2, retry=Retry(2), on_error="capture") as node:
            body()
        return node

    assert Hush(graph_with(make)).plan.size == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: MapNode(name="n", inputs={"x": Each([1])}),
        lambda: ForLoopNode(name="n", inputs={"x": Each([1])}),
        lambda: WhileLoopNode(name="n", condition="x < 1", inputs={"x": 0}),
    ],
    ids=["map", "for", "while"],
)
def test_what_runs_its_body_several_times_is_no_top_graph(make):
    with make() as node:
        body()
    only(node, "nested-top", "n", "not run by itself", "GraphNode")


# --- what was meant ----------------------------------------------------------------------------


def test_a_missing_input_that_is_given_under_a_similar_name():
    def make():
        return PromptNode("p", inputs={"prompt": "Answer {qurey}", "query": PARENT})

    only(graph_with(make), "missing-input", "g.p", "'qurey'", "Did you mean 'query'?")


def test_a_missing_input_that_is_given_under_no_similar_name():
    def make():
        return PromptNode("p", inputs={"prompt": "Answer {query}", "style": PARENT})

    (problem,) = problems_of(graph_with(make))
    assert problem.remedy == "Add inputs={'query': ...}"


def test_what_is_wanted_under_its_own_name_was_not_meant_for_another():
    def make():
        return PromptNode("p", inputs={"prompt": "{query1} or {query2}", "query1": PARENT})

    (problem,) = problems_of(graph_with(make))
    assert "Did you mean" not in problem.remedy
