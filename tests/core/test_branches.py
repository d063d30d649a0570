"""Branches, skipping, soft edges and joins."""

from __future__ import annotations

import time

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    Branch,
    BranchNode,
    CodeNode,
    ConditionError,
    First,
    GraphNode,
    Hush,
    JoinError,
    Quorum,
    RunError,
)
from hush.testing import capture_spans


def step(name, value=None, **options):
    return CodeNode(
        name=name,
        code_fn=lambda: {"v": value or name},
        outputs={"v": PARENT[options.pop("to", name)]},
        **options,
    )


def graded(make_branch):
    with GraphNode(name="g") as graph:
        router = make_branch()
        best = step("best", to="grade")
        good = step("good", to="grade")
        rest = step("rest", to="grade")
        last = CodeNode(
            name="last",
            code_fn=lambda g: {"out": g},
            inputs={"g": PARENT["grade"].or_default("none")},
            outputs={"out": PARENT},
        )
        START >> router >> [best, good, rest]
        [best, good, rest] >> ~last >> END
    return Hush(graph)


def by_text():
    return BranchNode(
        name="router",
        cases={"score >= 90": "best", "score >= 50": "good"},
        default="rest",
        inputs={"score": PARENT["score"], "anchor": PARENT["anchor"].or_default(None)},
    )


def fluent():
    return (
        Branch("router", inputs={"anchor": PARENT["anchor"].or_default(None)})
        .if_(PARENT["score"] >= 90, "best")
        .if_(lambda anchor: False, "best")
        .if_(PARENT["score"] >= 50, "good")
        .otherwise("rest")
    )


@pytest.mark.parametrize("make", [by_text, fluent])
@pytest.mark.parametrize(
    ("score", "taken"), [(95, "best"), (90, "best"), (50, "good"), (3, "rest")]
)
async def test_the_first_match_wins_and_the_others_are_skipped(make, score, taken):
    with capture_spans() as captured:
        result = await graded(make).run({"score": score})
    assert result["out"] == taken
    assert set(result.skipped) == {f"g.{n}" for n in ("best", "good", "rest") if n != taken}
    tree = captured.tree
    tree.assert_sound()
    assert set(tree.root.record.attributes["hush.skipped"]) == {"best", "good", "rest"} - {taken}
    assert len(tree.all("node *")) == 3


async def test_an_anchor_overrides():
    result = await graded(by_text).run({"score": 95, "anchor": "rest"})
    assert result["out"] == "rest"
    assert (await graded(by_text).run({"score": 95, "anchor": "unknown"}))["out"] == "best"


async def test_a_condition_that_raises_fails_the_node():
    with pytest.raises(RunError, match=r"g\.router: .*condition 'score >= 90' raised") as caught:
        await graded(by_text).run({"score": "high"})
    assert isinstance(caught.value.__cause__, ConditionError)


async def test_a_condition_that_raises_what_has_no_text():
    class Unprintable(Exception):
        def __str__(self):
            raise ZeroDivisionError

    def condition(score):
        raise Unprintable

    with GraphNode(name="g") as graph:
        a = step("a")
        START >> Branch("router").if_(condition, a) >> a >> END
    with pytest.raises(RunError, match="raised Unprintable: <unprintable Unprintable>") as caught:
        await Hush(graph).run({"score": 1})
    assert isinstance(caught.value.__cause__, ConditionError)


async def test_without_match_and_default_all_targets_are_skipped():
    with GraphNode(name="g") as graph:
        router = BranchNode(name="router", cases={"x": "a"}, inputs={"x": PARENT})
        a = step("a")
        after = step("after")
        always = step("always")
        START >> router >> [a, always]
        a >> after >> END
    result = await Hush(graph).run({"x": 0})
    assert set(result.skipped) == {"g.a", "g.after"}
    assert result["always"] == "always"
    assert "a" not in result


async def test_targets_may_be_nodes():
    with GraphNode(name="g") as graph:
        a, b = step("a"), step("b")
        router = Branch("router").if_(PARENT["x"], a).otherwise(b)
        START >> router >> [a, b] >> END
    assert (await Hush(graph).run({"x": 1})).skipped == ("g.b",)


async def test_skipping_spreads_through_hard_edges_only():
    with GraphNode(name="g") as graph:
        router = BranchNode(name="router", cases={"x": "a"}, default="b", inputs={"x": PARENT})
        a, b, after_a, either = step("a"), step("b"), step("after_a"), step("either")
        START >> router >> [a, b]
        a >> after_a
        [after_a, b] >> ~either >> END
    result = await Hush(graph).run({"x": 0})
    assert set(result.skipped) == {"g.a", "g.after_a"}
    assert result["either"] == "either"


async def test_a_node_with_soft_edges_starts_with_the_first():
    async def slow():
        await anyio.sleep(0.03)
        return {"v": "slow"}

    order = []
    with GraphNode(name="g") as graph:
        a = step("fast")
        b = CodeNode(name="slow", code_fn=slow, outputs={"v": PARENT["slow"]})
        c = CodeNode(name="c", code_fn=lambda: order.append("c") or {})
        d = CodeNode(name="d", code_fn=lambda: order.append("d") or {})
        START >> [a, b] >> ~c >> END
        b >> d >> END
    with capture_spans() as captured:
        result = await Hush(graph).run()
    assert order == ["c", "d"]
    assert result["slow"] == "slow"
    tree = captured.tree
    assert tree.one("node c").record.end_ns < tree.one("node slow").record.end_ns
    (link,) = tree.one("node c").record.links
    assert link.span_id == tree.one("node fast").record.span_id
    tree.assert_sound()


async def test_hard_and_soft_edges_on_one_node():
    done = []

    async def wait(name, seconds):
        await anyio.sleep(seconds)
        done.append(name)
        return {}

    with GraphNode(name="g") as graph:
        h, s1, s2 = (
            CodeNode(name=name, code_fn=wait, inputs={"name": name, "seconds": seconds})
            for name, seconds in (("h", 0.02), ("s1", 0.0), ("s2", 0.06))
        )
        c = CodeNode(name="c", code_fn=lambda: done.append("c") or {})
        START >> [h, s1, s2]
        h >> c
        [s1, s2] >> ~c >> END
    await Hush(graph).run()
    assert done == ["s1", "h", "c", "s2"]


async def test_soft_end():
    with GraphNode(name="g") as graph:
        START >> step("a") >> ~END
    assert (await Hush(graph).run())["a"] == "a"


# --- joins ----------------------------------------------------------------------------------


def racing(join, delays, failing=(), **options):
    async def run(i, seconds):
        await anyio.sleep(seconds)
        if i in failing:
            raise ValueError(f"racer {i}")
        return {"v": i}

    with GraphNode(name="g") as graph:
        racers = [
            CodeNode(
                name=f"r{i}",
                code_fn=run,
                inputs={"i": i, "seconds": seconds},
                outputs={"v": PARENT["winner" if isinstance(join, First) else f"v{i}"]},
            )
            for i, seconds in enumerate(delays)
        ]
        done = CodeNode(
            name="done", code_fn=lambda: {"ok": True}, outputs={"ok": PARENT}, join=join, **options
        )
        START >> racers >> done >> END
    return Hush(graph)


async def test_a_race_keeps_the_winner_and_cancels_the_losers():
    with capture_spans() as captured:
        began = time.perf_counter()
        result = await racing(First(), [30, 0.01, 30]).run()
        assert time.perf_counter() - began < 10
    assert result["winner"] == 1
    tree = captured.tree
    tree.assert_sound()
    for name in ("node r0", "node r2"):
        loser = tree.one(name).record
        assert loser.attributes["hush.cancel.reason"] == "race_lost"
        assert loser.attributes["hush.cancel.cause"] == "g.r1"
        assert loser.links[-1].span_id == tree.one("node r1").record.span_id
    assert not result.partial_failure


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_winner_that_never_waits_beats_those_whose_turn_it_was(at):
    with GraphNode(name="g") as graph:
        racers = [
            CodeNode(name="quick", code_fn=lambda: {})
            if i == at
            else CodeNode(name=f"r{i}", code_fn=anyio.sleep_forever)
            for i in range(3)
        ]
        START >> racers >> CodeNode(name="won", code_fn=lambda: {}, join=First()) >> END
    with capture_spans() as captured, anyio.fail_after(20):
        await Hush(graph).run()
    captured.tree.assert_sound()
    for i in {0, 1, 2} - {at}:
        loser = captured.tree.one(f"node r{i}").record
        assert loser.attributes["hush.cancel.reason"] == "race_lost"
        assert loser.attributes["hush.cancel.cause"] == "g.quick"


async def test_a_race_without_cancelling_keeps_the_winners_value():
    result = await racing(First(cancel_rest=False), [0.03, 0.0]).run()
    assert result["winner"] == 1


async def test_a_race_survives_failures():
    with capture_spans() as captured:
        result = await racing(First(), [0.0, 0.02, 30], failing={0}).run()
    assert result["winner"] == 1
    assert [(f.path, f.kind) for f in result.failures] == [("g.r0", "tolerated")]
    captured.tree.assert_sound()
    assert captured.tree.one("node r0").record.is_red
    assert captured.tree.root.record.attributes["hush.partial_failure"] is True


async def test_a_race_that_nobody_wins():
    with pytest.raises(RunError, match=r"g\.done: .*needs 1 of 2 .*failed: r0, r1") as caught:
        await racing(First(), [0.0, 0.0], failing={0, 1}).run()
    cause = caught.value.__cause__
    assert isinstance(cause, JoinError)
    assert sorted(f.path for f in cause.failures) == ["g.r0", "g.r1"]


async def test_a_quorum():
    with capture_spans() as captured:
        result = await racing(Quorum(2), [0.0, 0.01, 0.05]).run()
    assert result["ok"]
    assert {result[f"v{i}"] for i in range(3)} == {0, 1, 2}
    assert len(captured.tree.one("node done").record.links) == 2
    captured.tree.assert_sound()


async def test_a_quorum_that_cancels_the_rest():
    result = await racing(Quorum(2, cancel_rest=True), [0.0, 0.01, 30]).run()
    assert "v2" not in result
    assert result.skipped == ()


async def test_a_quorum_that_cannot_be_met():
    with pytest.raises(RunError, match="needs 2 of 3 predecessors, but only 1 can"):
        await racing(Quorum(2), [0.0, 0.0, 0.01], failing={0, 1}).run()


async def test_an_unmet_join_can_be_captured():
    engine = racing(First(), [0.0], failing={0}, on_error="capture")
    result = await engine.run()
    assert result["ok"] is None
