"""``outputs={"*": PARENT}``: which names it writes, and what is found out about them in advance."""

from __future__ import annotations

import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    ForLoopNode,
    GraphError,
    GraphNode,
    Hush,
    MapNode,
    WhileLoopNode,
)


def writer(name, key="v", **options):
    return CodeNode(
        name=name, code_fn=lambda: {key: name}, return_keys=[key], outputs={"*": PARENT}, **options
    )


def reader(name, key, **options):
    return CodeNode(name=name, code_fn=lambda x: {"got": x}, inputs={"x": PARENT[key]}, **options)


def mapped(name, key="v", kind=MapNode, **options):
    """A map over two items whose body writes ``key`` and which writes everything on."""
    with kind(name=name, inputs={"i": Each([1, 2])}, outputs={"*": PARENT}, **options) as node:
        body = CodeNode(
            name="body",
            code_fn=lambda i: {key: (name, i)},
            inputs={"i": PARENT},
            outputs={key: PARENT},
        )
        START >> body >> END
    return node


def problems_of(graph):
    with pytest.raises(GraphError) as caught:
        Hush(graph)
    return caught.value.problems


def conflicts(graph):
    """The names over which there are conflicts, where there is nothing else."""
    problems = problems_of(graph)
    assert {problem.rule for problem in problems} == {"conflict"}
    return sorted(problem.message.split("PARENT['")[1].split("']")[0] for problem in problems)


@pytest.mark.parametrize("kind", [MapNode, ForLoopNode])
def test_two_maps_that_write_one_column(kind):
    with GraphNode(name="g") as graph:
        START >> [mapped("a", kind=kind), mapped("b", kind=kind)] >> END
    assert conflicts(graph) == ["iteration_metrics", "v"]


def test_a_map_beside_a_node_that_writes_its_column():
    with GraphNode(name="g") as graph:
        START >> [mapped("a"), writer("b")] >> END
    assert conflicts(graph) == ["v"]


def test_a_map_beside_a_reader_of_its_column():
    with GraphNode(name="g") as graph:
        START >> [mapped("a"), reader("b", "v")] >> END
    assert conflicts(graph) == ["v"]


def test_maps_one_after_the_other_get_along():
    with GraphNode(name="g") as graph:
        START >> mapped("a") >> mapped("b") >> reader("c", "v", outputs={"got": PARENT}) >> END
    assert Hush(graph).run_sync()["got"] == [("b", 1), ("b", 2)]


@pytest.mark.parametrize("make", [writer, mapped])
def test_two_captured_errors_of_one_name(make):
    with GraphNode(name="g") as graph:
        START >> [make("a", "x", on_error="capture"), make("b", "y", on_error="capture")] >> END
    assert "error" in conflicts(graph)


def test_a_typo_behind_a_map():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> mapped("a", "rows") >> reader("b", "rosw") >> END
        START >> inner >> END
    (problem,) = problems_of(graph)
    assert (problem.rule, problem.path) == ("missing-input", "g.inner")
    assert "'rosw'" in problem.message


def test_a_typo_behind_a_graph_that_holds_a_map():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner") as inner:
            START >> mapped("a", "rows") >> END
        last = CodeNode(name="last", code_fn=lambda x: {}, inputs={"x": inner["rosw"]})
        START >> inner >> last >> END
    (problem,) = problems_of(graph)
    assert (problem.rule, problem.path) == ("unknown-output", "g.inner")
    assert "Did you mean 'rows'?" in problem.remedy


def test_any_name_may_still_be_asked_of_a_map():
    with GraphNode(name="g") as graph:
        node = mapped("a")
        node["whole"] >> PARENT["results"]
        START >> node >> END
    result = Hush(graph).run_sync()
    assert result["results"] == result["v"] == [("a", 1), ("a", 2)]


async def test_what_is_asked_of_a_map_by_name_is_not_written_by_the_star():
    with GraphNode(name="g") as graph:
        node = mapped("a", on_error="collect")
        last = CodeNode(
            name="last",
            code_fn=lambda whole, errors: {"seen": (whole, errors)},
            inputs={"whole": node["whole"], "errors": node["errors"]},
            outputs={"seen": PARENT},
        )
        START >> node >> last >> END
    result = await Hush(graph).run()
    assert result.keys() - {"$state"} == {"v", "iteration_metrics", "seen"}
    assert result["seen"] == ([("a", 1), ("a", 2)], [])


async def test_an_output_that_was_not_declared_is_not_written_by_the_star():
    with GraphNode(name="g") as graph:
        node = CodeNode(
            name="a",
            code_fn=lambda: {"v": 1, "more": 2},
            return_keys=["v"],
            outputs={"*": PARENT},
        )
        START >> node >> END
    result = await Hush(graph).run()
    assert result.keys() - {"$state"} == {"v"}


async def test_what_is_not_declared_is_known_at_run_time_only():
    with GraphNode(name="g") as graph:
        node = CodeNode(name="a", code_fn=lambda: {"v": 1, "more": 2}, outputs={"*": PARENT})
        START >> node >> reader("b", "more", outputs={"got": PARENT}) >> END
    result = await Hush(graph).run()
    assert (result["v"], result["more"], result["got"]) == (1, 2, 2)


# --- loops give names of their own -------------------------------------------------------------


@pytest.mark.parametrize("key", ["iterations", "exhausted"])
@pytest.mark.parametrize("star", [False, True])
def test_a_loops_body_does_not_write_what_the_loop_gives(key, star):
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", inputs={"n": 0}, condition="n < 3") as loop:
            body = CodeNode(
                name="body",
                code_fn=lambda n: {"n": n + 1, key: "mine"},
                return_keys=["n", key],
                inputs={"n": PARENT},
                outputs={"*": PARENT} if star else {"n": PARENT, key: PARENT},
            )
            START >> body >> END
        START >> loop >> END
    (problem,) = problems_of(graph)
    assert (problem.rule, problem.path) == ("bad-output", "g.loop")
    assert f"its body writes {key!r}" in problem.message


def test_a_loop_may_be_given_what_it_gives():
    with GraphNode(name="g") as graph:
        with WhileLoopNode(
            name="loop",
            inputs={"n": 0, "iterations": 3},
            condition="n < iterations",
            outputs={"n": PARENT},
        ) as loop:
            body = CodeNode(
                name="body",
                code_fn=lambda n: {"n": n + 1},
                inputs={"n": PARENT},
                outputs={"n": PARENT},
            )
            START >> body >> END
        START >> loop >> END
    assert Hush(graph).run_sync()["n"] == 3
