"""Captured failures: what a node gives that failed under ``on_error="capture"``, and to whom."""

from __future__ import annotations

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    Branch,
    CodeNode,
    Each,
    First,
    GraphNode,
    Hush,
    JoinError,
    MapNode,
    Quorum,
    RunError,
)
from hush.testing import capture_spans


class Boom(Exception):
    pass


def replica(name, seconds=0.0, *, broken=False, **options):
    """A node that gives its name after a while, or captures that it failed."""

    async def answer():
        await anyio.sleep(seconds)
        if broken:
            raise Boom(name)
        return {"v": name}

    options.setdefault("outputs", {"v": PARENT})
    return CodeNode(name=name, code_fn=answer, on_error="capture", return_keys=["v"], **options)


def joined(join, *replicas, **options):
    """A graph in which ``last`` waits for the replicas, which ``replicas`` makes."""
    with GraphNode(name="g") as graph:
        made = [make() for make in replicas]
        last = CodeNode(
            name="last",
            code_fn=lambda: {"done": True},
            outputs={"done": PARENT},
            join=join,
            **options,
        )
        START >> made >> last >> END
    return Hush(graph)


# --- joins count successes ---------------------------------------------------------------------


@pytest.mark.parametrize("cancel_rest", [True, False])
async def test_a_captured_failure_does_not_win_a_race(cancel_rest):
    engine = joined(
        First(cancel_rest=cancel_rest),
        lambda: replica("early", broken=True),
        lambda: replica("good", 0.02),
        lambda: replica("late", 0.05, broken=True),
    )
    with capture_spans() as captured:
        result = await engine.run()
    assert (result["v"], result["done"]) == ("good", True)
    tree = captured.tree
    tree.assert_sound()
    assert tree.one("node early").record.is_red
    assert tree.one("node good").record.attributes["hush.outcome"] == "ok"
    (link,) = tree.one("node last").record.links
    assert link.span_id == tree.one("node good").record.span_id
    assert result.state["g.early", "error"]["message"] == "early"
    assert {f.kind for f in result.failures} == {"captured"}


async def test_who_captured_a_failure_in_a_race_writes_nothing():
    engine = joined(
        First(),
        lambda: replica("bad", broken=True, outputs={"v": PARENT, "error": PARENT["why"]}),
        lambda: replica("good", 0.02),
    )
    result = await engine.run()
    assert result["v"] == "good"
    assert "why" not in result


async def test_captured_failures_do_not_meet_a_quorum():
    engine = joined(
        Quorum(2),
        lambda: replica("a", broken=True, outputs={"error": PARENT["why_a"]}),
        lambda: replica("b", broken=True, outputs={"error": PARENT["why_b"]}),
        lambda: replica("c", 0.01),
    )
    with pytest.raises(RunError, match=r"needs 2 of 3 .* only 1 can .*; failed: a, b") as caught:
        await engine.run()
    cause = caught.value.__cause__
    assert isinstance(cause, JoinError)
    assert sorted(f.path for f in cause.failures) == ["g.a", "g.b"]


async def test_a_quorum_that_is_met_all_the_same_lets_captured_failures_write():
    engine = joined(
        Quorum(2),
        lambda: replica("a", broken=True, outputs={"error": PARENT["why"], "v": PARENT["a"]}),
        lambda: replica("b", outputs={"v": PARENT["b"]}),
        lambda: replica("c", 0.01, outputs={"v": PARENT["c"]}),
    )
    result = await engine.run()
    assert (result["a"], result["b"], result["c"]) == (None, "b", "c")
    assert result["why"] == {"type": f"{__name__}.Boom", "message": "a", "path": "g.a"}


async def test_a_join_reads_the_error_of_a_predecessor_that_captured_it():
    with GraphNode(name="g") as graph:
        bad, good = replica("bad", broken=True, outputs={}), replica("good", 0.02, outputs={})
        last = CodeNode(
            name="last",
            code_fn=lambda why, v: {"why": why and why["message"], "v": v},
            inputs={"why": bad["error"].or_default(None), "v": good["v"].or_default(None)},
            outputs={"*": PARENT},
            join=Quorum(1),
        )
        START >> [bad, good] >> last >> END
    result = await Hush(graph).run()
    assert (result["why"], result["v"]) == ("bad", "good")


async def test_what_goes_on_after_a_captured_failure_counts_by_itself():
    with GraphNode(name="g") as graph:
        bad = replica("bad", broken=True, outputs={})
        mend = CodeNode(
            name="mend", code_fn=lambda e: {"v": e["message"]}, inputs={"e": bad["error"]}
        )
        last = CodeNode(
            name="last",
            code_fn=lambda v: {"v": v},
            inputs={"v": mend["v"].or_default(None)},
            outputs={"v": PARENT},
            join=First(),
        )
        slow = replica("slow", 30, outputs={})
        START >> [bad, slow]
        bad >> mend
        [mend, slow] >> last >> END
    assert (await Hush(graph).run())["v"] == "bad"


async def test_a_node_that_joins_and_others_wait_for():
    """The join counts the captured failure as one; the other successor goes on after it."""
    with GraphNode(name="g") as graph:
        bad, good = replica("bad", broken=True, outputs={}), replica("good", 0.01, outputs={})
        told = CodeNode(
            name="told",
            code_fn=lambda e: {"why": e["message"]},
            inputs={"e": bad["error"]},
            outputs={"why": PARENT},
        )
        last = CodeNode(
            name="last", code_fn=lambda: {"done": True}, outputs={"done": PARENT}, join=Quorum(1)
        )
        START >> [bad, good] >> last >> END
        bad >> told >> END
    with capture_spans() as captured:
        result = await Hush(graph).run()
    assert (result["why"], result["done"]) == ("bad", True)
    (link,) = captured.tree.one("node last").record.links
    assert link.span_id == captured.tree.one("node good").record.span_id


async def test_a_branch_that_captured_its_failure_skips_its_targets():
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=lambda: {})
        router = Branch("router", on_error="capture").if_(PARENT["x"] > 1, a)
        START >> router >> a >> END
    result = await Hush(graph).run({"x": "high"})
    assert result.skipped == ("g.a",)
    assert [(f.path, f.kind) for f in result.failures] == [("g.router", "captured")]


# --- what is written under "*" -----------------------------------------------------------------


def behind(key, **options):
    """A reader of PARENT[key], to stand behind what may have written it."""
    return CodeNode(
        name="last",
        code_fn=lambda x: {"got": x},
        inputs={"x": PARENT[key].or_default(options["default"]) if options else PARENT[key]},
        outputs={"got": PARENT},
    )


def failing(**options):
    def fails():
        raise Boom("no")

    return CodeNode(name="bad", code_fn=fails, on_error="capture", outputs={"*": PARENT}, **options)


@pytest.mark.parametrize("options", [{}, {"return_keys": ["x"]}], ids=["open", "declared"])
async def test_what_is_read_behind_a_captured_failure_is_none(options):
    with GraphNode(name="g") as graph:
        bad = failing(**options)
        START >> bad >> behind("x") >> END
    result = await Hush(graph).run()
    assert (result["got"], result["x"]) == (None, None)
    assert result["error"]["message"] == "no"


async def test_a_captured_failure_leaves_alone_what_has_a_value():
    """Of an open writer nobody knows whether it is the one to write what is read."""
    with GraphNode(name="g") as graph:
        bad = failing()
        START >> bad >> behind("x") >> END
    assert (await Hush(graph).run({"x": "given"}))["got"] == "given"


async def test_a_default_stands_for_what_a_captured_failure_left_out():
    with GraphNode(name="g") as graph:
        bad = failing()
        START >> bad >> behind("x", default="mine") >> END
    assert (await Hush(graph).run())["got"] == "mine"


async def test_the_columns_of_a_map_that_captured_its_failure_are_none():
    def fails(i):
        raise Boom("no")

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"i": Each([1])}, on_error="capture", outputs={"*": PARENT}
        ) as node:
            body = CodeNode(name="body", code_fn=fails, inputs={"i": PARENT}, outputs={"v": PARENT})
            START >> body >> END
        START >> node >> behind("v") >> END
    result = await Hush(graph).run()
    assert (result["got"], result["v"], result["iteration_metrics"]) == (None, None, None)
    assert result["error"]["path"] == "g.m[0].body"


# --- inside items ------------------------------------------------------------------------------


def mapped_over_failures(**outputs):
    def halves(i):
        if i == 1:
            raise Boom("odd")
        return {"v": i // 2}

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m", inputs={"i": Each([0, 1])}, outputs={"v": PARENT, "iteration_metrics": PARENT}
        ) as node:
            body = CodeNode(
                name="halves",
                code_fn=halves,
                return_keys=["v"],
                on_error="capture",
                inputs={"i": PARENT},
                outputs={"v": PARENT, **outputs},
            )
            START >> body >> END
        START >> node >> END
    return Hush(graph)


async def test_an_item_whose_body_writes_a_captured_error_is_handled():
    with capture_spans() as captured:
        result = await mapped_over_failures(error=PARENT).run()
    assert result["v"] == [0, None]
    assert result["iteration_metrics"]["handled_count"] == 1
    _, second = captured.tree.all("item *")
    assert second.record.attributes["hush.outcome"] == "handled"
    assert second.record.status_description.endswith("Boom: odd")
    kinds = sorted((f.path, f.kind) for f in result.failures)
    assert kinds == [("g.m[1]", "handled"), ("g.m[1].halves", "captured")]
