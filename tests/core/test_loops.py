"""Loops: what is carried, what ends them, what they give."""

from __future__ import annotations

import logging

import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    ConditionError,
    Each,
    ForLoopNode,
    GraphError,
    GraphNode,
    Hush,
    LoopLimitError,
    RunError,
    WhileLoopNode,
)
from hush.testing import capture_spans


def counting(**options):
    options.setdefault("inputs", {"n": 0})
    options.setdefault("outputs", {"n": PARENT, "iterations": PARENT, "exhausted": PARENT})
    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", **options) as loop:
            node = CodeNode(
                name="add",
                code_fn=lambda n: {"n": n + 1},
                inputs={"n": PARENT},
                outputs={"n": PARENT},
            )
            START >> node >> END
        START >> loop >> END
    return graph


@pytest.mark.parametrize(
    "condition", ["n < 3", PARENT["n"] < 3, lambda n: n < 3], ids=["text", "reference", "callable"]
)
async def test_while_a_condition_holds(condition):
    result = await Hush(counting(condition=condition)).run()
    assert (result["n"], result["iterations"], result["exhausted"]) == (3, 3, False)


@pytest.mark.parametrize("condition", ["n >= 3", PARENT["n"] >= 3, lambda n: n >= 3])
async def test_until_a_stop_condition_holds(condition):
    result = await Hush(counting(stop_condition=condition)).run()
    assert (result["n"], result["iterations"]) == (3, 3)


async def test_a_condition_that_never_holds_runs_no_round():
    result = await Hush(counting(condition="n > 3")).run()
    assert (result["n"], result["iterations"]) == (0, 0)


async def test_a_stop_condition_is_asked_after_the_round():
    result = await Hush(counting(stop_condition="n >= 0")).run()
    assert result["n"] == 1


async def test_max_iterations_ends_it_normally_with_a_warning(caplog):
    with capture_spans() as captured, caplog.at_level(logging.WARNING, "hush"):
        result = await Hush(counting(condition="n < 100", max_iterations=2)).run()
    assert (result["n"], result["exhausted"]) == (2, True)
    assert "g.loop" in caplog.text
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == (
        "run g\n  loop loop\n    iteration loop[0]\n      node add\n    iteration loop[1]\n      node add"
    )
    facts = tree.one("loop loop").record.attributes
    assert (facts["hush.loop.iterations"], facts["hush.loop.exhausted"]) == (2, True)


async def test_or_raises():
    graph = counting(condition="n < 100", max_iterations=2, on_max_iterations="raise")
    with pytest.raises(RunError, match=r"g\.loop: .*after 2 rounds") as caught:
        await Hush(graph).run()
    assert isinstance(caught.value.__cause__, LoopLimitError)


async def test_the_guard_always_raises():
    with pytest.raises(RunError, match="after 1000 rounds") as caught:
        await Hush(counting(condition="True")).run()
    assert isinstance(caught.value.__cause__, LoopLimitError)


async def test_a_condition_that_raises_fails_the_loop():
    with pytest.raises(RunError, match=r"g\.loop: .*condition 'n < 1' raised TypeError") as caught:
        await Hush(counting(condition="n < 1", inputs={"n": "x"})).run()
    assert isinstance(caught.value.__cause__, ConditionError)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "neither"),
        ({"condition": "n < 1", "stop_condition": "n > 1"}, "both"),
        ({"condition": "n ="}, "cannot be read"),
        ({"condition": "9**9**9 > n"}, "bits"),
        ({"condition": "n < 1", "max_iterations": 0}, "max_iterations"),
        ({"condition": "n < 1", "on_max_iterations": "explode"}, "on_max_iterations"),
        ({"condition": "m < 1"}, "'m'"),
    ],
)
def test_bad_loops_are_found_when_built(options, said):
    with pytest.raises(GraphError, match=said) as caught:
        Hush(counting(**options))
    assert any(problem.path == "g.loop" for problem in caught.value.problems)


async def test_a_failure_in_a_round_names_it():
    def add(n):
        if n == 2:
            raise ValueError("two")
        return {"n": n + 1}

    with GraphNode(name="g") as graph:
        with WhileLoopNode(name="loop", condition="n < 9", inputs={"n": 0}) as loop:
            (
                START
                >> CodeNode(name="add", code_fn=add, inputs={"n": PARENT}, outputs={"n": PARENT})
                >> END
            )
        START >> loop >> END
    with pytest.raises(RunError, match=r"^g\.loop\[2\]\.add: ValueError: two"):
        await Hush(graph).run()


def adding_up(**options):
    with GraphNode(name="g") as graph:
        with ForLoopNode(
            name="loop",
            inputs={"item": Each(PARENT["items"]), "total": 0},
            outputs={"total": PARENT["totals"]},
            **options,
        ) as loop:
            node = CodeNode(
                name="add",
                code_fn=lambda item, total: {"total": total + item},
                inputs={"item": PARENT, "total": PARENT},
                outputs={"total": PARENT},
            )
            START >> node >> END
        START >> loop >> END
    return graph


async def test_a_for_loop_carries_what_was_written():
    with capture_spans() as captured:
        result = await Hush(adding_up()).run({"items": [1, 2, 3]})
    assert result["totals"] == [1, 3, 6]
    captured.tree.assert_sound()
    assert captured.tree.max_overlap("iteration loop") == 1
    assert captured.tree.one("loop loop").record.attributes["hush.loop.iterations"] == 3


async def test_a_for_loop_collects_failures():
    graph = adding_up(on_error="collect")
    result = await Hush(graph).run({"items": [1, "x", 3]})
    assert result["totals"] == [1, None, 4]


async def test_a_for_loop_over_nothing():
    assert (await Hush(adding_up()).run({"items": []}))["totals"] == []


def test_a_carried_value_needs_a_start():
    with GraphNode(name="g") as graph:
        with ForLoopNode(name="loop", inputs={"item": Each(PARENT["items"])}) as loop:
            (
                START
                >> CodeNode(
                    name="add",
                    code_fn=lambda item, total: {"total": total + item},
                    inputs={"item": PARENT, "total": PARENT},
                    outputs={"total": PARENT},
                )
                >> END
            )
        START >> loop >> END
    with pytest.raises(GraphError, match="first round"):
        Hush(graph)


class Unprintable(Exception):
    def __str__(self):
        raise ZeroDivisionError


async def test_a_condition_that_raises_what_has_no_text():
    def condition(n):
        raise Unprintable

    with pytest.raises(RunError, match="raised Unprintable: <unprintable Unprintable>") as caught:
        await Hush(counting(condition=condition)).run()
    assert isinstance(caught.value.__cause__, ConditionError)


@pytest.mark.parametrize(
    "rule", ["error", lambda outputs: outputs["error"] is not None], ids=["name", "callable"]
)
async def test_a_handled_failure_without_a_text_is_one_all_the_same(rule):
    def judge(item):
        return {"total": item, "error": Unprintable() if item == 2 else None}

    with GraphNode(name="g") as graph:
        with ForLoopNode(
            name="loop",
            inputs={"item": Each([1, 2])},
            outputs={"total": PARENT, "iteration_metrics": PARENT},
            failed_when=rule,
        ) as loop:
            node = CodeNode(
                name="judge", code_fn=judge, inputs={"item": PARENT}, outputs={"*": PARENT}
            )
            START >> node >> END
        START >> loop >> END
    with capture_spans() as captured:
        result = await Hush(graph).run()
    assert result["total"] == [1, 2]
    assert result["iteration_metrics"]["handled_count"] == 1
    assert [one.record.is_red for one in captured.tree.all("iteration loop*")] == [False, True]
