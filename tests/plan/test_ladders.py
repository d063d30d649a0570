"""Ladders of branches: every rung writes the same value, and compiling stays quick."""

from __future__ import annotations

import time

import pytest

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    CodeNode,
    First,
    GraphError,
    GraphNode,
    Hush,
    Quorum,
)

RUNGS = 100
LIMIT_S = 5
"""Far above what it takes (0.1 s), far below what comparing every pair anew took (10 s)."""


def writer(name):
    return CodeNode(name=name, code_fn=lambda: {"v": 1}, outputs={"v": PARENT})


def ladder(rungs, *, join=None):
    """``branch >> [left, right] >> ~next``, again and again."""
    with GraphNode(name="g") as graph:
        before = START
        for i in range(rungs):
            branch = BranchNode(
                name=f"b{i}", cases={"x > 1": f"l{i}"}, default=f"r{i}", inputs={"x": PARENT["x"]}
            )
            sides = [writer(f"l{i}"), writer(f"r{i}")]
            after = CodeNode(
                name=f"j{i}", code_fn=lambda v: {}, inputs={"v": PARENT["v"]}, join=join
            )
            before >> branch >> sides
            sides >> (~after if join is None else after)
            before = after
        before >> END
    return graph


@pytest.mark.parametrize("join", [None, Quorum(1), First()], ids=str)
def test_a_ladder_compiles_quickly(join):
    graph = ladder(RUNGS, join=join)
    began = time.perf_counter()
    engine = Hush(graph)
    assert time.perf_counter() - began < LIMIT_S
    assert engine.plan.size == 4 * RUNGS


def test_a_ladder_runs():
    assert Hush(ladder(5)).run_sync({"x": 2})["v"] == 1


def test_who_writes_beside_a_ladder_is_found():
    graph = ladder(RUNGS)
    with graph:
        START >> writer("aside") >> END
    with pytest.raises(GraphError) as caught:
        Hush(graph)
    # Beside the writers, each reader has something to say about it.
    assert {problem.rule for problem in caught.value.problems} == {"conflict"}
    assert "'aside'" in caught.value.problems[0].message


def test_a_rung_that_the_next_one_does_not_wait_for_is_found():
    """What follows softly on two branches starts with the first of them; the other comes later."""
    with GraphNode(name="g") as graph:
        sides = []
        for i in range(2):
            branch = BranchNode(name=f"b{i}", cases={"x > 1": f"l{i}"}, inputs={"x": i})
            sides.append(writer("l0") if i == 0 else CodeNode(name="l1", code_fn=dict))
            START >> branch >> sides[i]
        sides >> ~writer("last") >> END
    with pytest.raises(GraphError) as caught:
        Hush(graph)
    (problem,) = caught.value.problems
    assert problem.message.startswith("'l0' and 'last' both write PARENT['v']")


def test_a_long_chain_with_one_soft_edge_compiles_quickly():
    with GraphNode(name="g") as graph:
        before = START
        for i in range(2_000):
            node = CodeNode(
                name=f"n{i}",
                code_fn=lambda x=0: {"x": x + 1},
                inputs={"x": PARENT},
                outputs={"x": PARENT},
            )
            before >> (~node if i == 1 else node)
            before = node
        before >> END
    began = time.perf_counter()
    Hush(graph)
    assert time.perf_counter() - began < LIMIT_S
