"""Failure: what goes up, what is cancelled, what is retried, what is timed out."""

from __future__ import annotations

import time

import anyio
import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    MapNode,
    NodeTimeoutError,
    Retry,
    RunError,
    UnexpectedCancellationError,
)
from hush.testing import capture_spans


class Boom(Exception):
    pass


def fails(text="no"):
    raise Boom(text)


async def sleeps():
    await anyio.sleep(30)
    return {}


def graph_of(*nodes):
    with GraphNode(name="g") as graph:
        made = [
            CodeNode(name=f"n{i}", code_fn=fn, **options) for i, (fn, options) in enumerate(nodes)
        ]
        START >> made >> END
    return graph


async def test_a_failure_cancels_siblings_and_names_the_node():
    graph = graph_of((fails, {}), (sleeps, {}))
    with capture_spans() as captured:
        began = time.perf_counter()
        with pytest.raises(RunError, match=r"^g\.n0: .*Boom: no$") as caught:
            await Hush(graph).run()
        assert time.perf_counter() - began < 10
    error = caught.value
    assert error.path == "g.n0"
    assert isinstance(error.__cause__, Boom)
    assert [f.path for f in error.failures] == ["g.n0"]
    assert error.outcome == "error"
    assert error.trace_id == captured.tree.trace_id
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == "run g error\n  node n0 error\n  node n1 cancelled"
    victim = tree.one("node n1").record
    assert victim.attributes["hush.cancel.reason"] == "fail_fast"
    assert victim.attributes["hush.cancel.cause"] == "g.n0"
    assert victim.links[-1].span_id == tree.one("node n0").record.span_id
    assert not victim.is_red
    root = tree.root.record
    assert root.attributes["hush.failed.node"] == "g.n0"
    assert "g.n0" in root.status_description


async def test_failures_at_the_same_time_are_all_told():
    ready = anyio.Event()
    waiting = 0

    async def together(text):
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            ready.set()
        await ready.wait()
        raise Boom(text)

    graph = graph_of((together, {"inputs": {"text": "a"}}), (together, {"inputs": {"text": "b"}}))
    with pytest.raises(RunError) as caught:
        await Hush(graph).run()
    assert 1 <= len(caught.value.failures) <= 2
    assert caught.value.failures[0].path == caught.value.path


async def test_no_successor_runs_on_a_missing_value():
    ran = []
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=fails)
        b = CodeNode(name="b", code_fn=lambda: ran.append(1) or {})
        START >> a >> b >> END
    with pytest.raises(RunError):
        await Hush(graph).run()
    assert ran == []


async def test_capture_turns_a_failure_into_an_output():
    with GraphNode(name="g") as graph:
        a = CodeNode(
            name="a",
            code_fn=fails,
            return_keys=["y"],
            on_error="capture",
            outputs={"error": PARENT["why"], "y": PARENT},
        )
        b = CodeNode(
            name="b", code_fn=lambda e: {"e": e}, inputs={"e": a["error"]}, outputs={"e": PARENT}
        )
        START >> a >> b >> END
    with capture_spans() as captured:
        result = await Hush(graph).run()
    assert result["e"] == {"type": f"{__name__}.Boom", "message": "no", "path": "g.a"}
    assert result["why"] == result["e"]
    assert result["y"] is None
    assert result.outcome == "ok"
    assert result.partial_failure
    assert [(f.path, f.kind) for f in result.failures] == [("g.a", "captured")]
    assert captured.tree.one("node a").record.is_red
    assert not captured.tree.root.record.is_red
    assert captured.tree.root.record.attributes["hush.partial_failure"] is True
    captured.tree.assert_sound()


async def test_capture_without_a_failure_gives_none():
    with GraphNode(name="g") as graph:
        a = CodeNode(
            name="a",
            code_fn=lambda: {"y": 1},
            on_error="capture",
            outputs={"y": PARENT, "error": PARENT},
        )
        START >> a >> END
    result = await Hush(graph).run()
    assert (result["y"], result["error"]) == (1, None)


# --- retry --------------------------------------------------------------------------------


def flaky(times):
    calls = []

    def call():
        calls.append(1)
        if len(calls) <= times:
            raise Boom(f"try {len(calls)}")
        return {"y": len(calls)}

    return call


async def test_retries_are_spans_of_their_own():
    graph = graph_of((flaky(2), {"retry": Retry(3, initial_s=0.001), "outputs": {"y": PARENT}}))
    with capture_spans() as captured:
        assert (await Hush(graph).run())["y"] == 3
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == (
        "run g\n  node n0\n    attempt n0 error\n    attempt n0 error\n    attempt n0"
    )
    attempts = tree.all("attempt n0")
    assert [a.record.attributes["hush.attempt"] for a in attempts] == [1, 2, 3]
    node = tree.one("node n0").record
    assert node.attributes["hush.attempts"] == 3
    assert node.attributes["hush.backoff_s"] > 0
    assert [e.name for e in node.events] == ["hush.retry", "hush.retry"]
    assert node.events[0].attributes["hush.attempt"] == 1
    assert node.events[0].attributes["error.type"].endswith("Boom")


async def test_attempts_run_out():
    graph = graph_of((flaky(9), {"retry": Retry(3, initial_s=0.001)}))
    with capture_spans() as captured, pytest.raises(RunError, match="try 3") as caught:
        await Hush(graph).run()
    assert caught.value.failures[0].attempts == 3
    tree = captured.tree
    tree.assert_sound()
    exceptions = [n.name for n in tree if any(e.name == "exception" for e in n.record.events)]
    assert exceptions == ["attempt n0"] * 3


async def test_what_is_not_to_be_retried_fails_at_once():
    graph = graph_of((fails, {"retry": Retry(3, on=KeyError)}))
    with pytest.raises(RunError) as caught:
        await Hush(graph).run()
    assert caught.value.failures[0].attempts == 1


async def test_a_predicate_decides():
    graph = graph_of((flaky(1), {"retry": Retry(2, on=lambda e: "try" in str(e), initial_s=0)}))
    await Hush(graph).run()


async def test_one_attempt_makes_no_attempt_spans():
    graph = graph_of((lambda: {}, {"retry": Retry(1)}))
    with capture_spans() as captured:
        await Hush(graph).run()
    assert str(captured.tree) == "run g\n  node n0"


# --- time limits --------------------------------------------------------------------------


async def test_timeout_is_a_timeout_error_that_names_the_node():
    graph = graph_of((sleeps, {"timeout_s": 0.02}))
    with (
        capture_spans() as captured,
        pytest.raises(RunError, match=r"g\.n0.*timeout_s=0\.02") as caught,
    ):
        await Hush(graph).run()
    cause = caught.value.__cause__
    assert isinstance(cause, NodeTimeoutError)
    assert isinstance(cause, TimeoutError)
    assert cause.path == "g.n0"
    assert caught.value.outcome == "timeout"
    tree = captured.tree
    tree.assert_sound()
    assert str(tree) == "run g timeout\n  node n0 timeout"
    assert "hush.timeout" in [e.name for e in tree.one("node n0").record.events]


async def test_timeout_is_per_attempt_and_deadline_over_all():
    calls = []

    async def slow():
        calls.append(1)
        await anyio.sleep(30)

    graph = graph_of((slow, {"timeout_s": 0.01, "retry": Retry(3, initial_s=0)}))
    with pytest.raises(RunError, match="timeout_s"):
        await Hush(graph).run()
    assert len(calls) == 3
    calls.clear()
    graph = graph_of(
        (slow, {"deadline_s": 0.05, "retry": Retry(1_000, initial_s=0), "timeout_s": 0.01})
    )
    with pytest.raises(RunError, match="deadline_s"):
        await Hush(graph).run()
    assert 1 <= len(calls) <= 6


async def test_a_timeout_of_a_graph_blames_it_on_what_it_cancels():
    with GraphNode(name="g") as graph:
        with GraphNode(name="inner", timeout_s=0.02) as inner:
            START >> CodeNode(name="slow", code_fn=sleeps) >> END
        START >> inner >> END
    with capture_spans() as captured, pytest.raises(RunError, match=r"g\.inner: .*timeout_s"):
        await Hush(graph).run()
    slow = captured.tree.one("node slow").record
    assert slow.outcome == "cancelled"
    assert slow.attributes["hush.cancel.reason"] == "timeout"
    assert slow.attributes["hush.cancel.cause"] == "g.inner"
    captured.tree.assert_sound()


async def test_the_deadline_of_a_run():
    with capture_spans() as captured, pytest.raises(RunError, match=r"deadline_s=0\.02") as caught:
        await Hush(graph_of((sleeps, {}))).run(deadline_s=0.02)
    assert caught.value.outcome == "timeout"
    assert captured.tree.root.record.outcome == "timeout"
    captured.tree.assert_sound()


async def test_a_timeout_error_of_the_user_is_an_error():
    def raises():
        raise TimeoutError("mine")

    with capture_spans() as captured, pytest.raises(RunError, match="mine") as caught:
        await Hush(graph_of((raises, {}))).run()
    assert caught.value.outcome == "error"
    assert captured.tree.one("node n0").record.outcome == "error"


async def test_a_captured_timeout():
    graph = graph_of(
        (sleeps, {"timeout_s": 0.01, "on_error": "capture", "outputs": {"error": PARENT}})
    )
    result = await Hush(graph).run()
    assert result["error"]["path"] == "g.n0"
    assert result["error"]["type"].endswith("NodeTimeoutError")


async def test_items_of_a_map_have_limits_of_their_own():
    async def work(item):
        await anyio.sleep(item)
        return {"y": item}

    with GraphNode(name="g") as graph:
        with MapNode(
            name="m",
            inputs={"item": Each([0.0, 30.0, 0.0])},
            timeout_s=0.05,
            on_error="collect",
            outputs={"y": PARENT, "errors": PARENT},
        ) as m:
            node = CodeNode(
                name="w", code_fn=work, inputs={"item": PARENT["item"]}, outputs={"y": PARENT}
            )
            START >> node >> END
        START >> m >> END
    with capture_spans() as captured:
        result = await Hush(graph).run()
    assert result["y"] == [0.0, None, 0.0]
    assert result["errors"][0]["index"] == 1
    assert result["errors"][0]["type"].endswith("NodeTimeoutError")
    assert captured.tree.item("m", 1).record.outcome == "timeout"
    captured.tree.assert_sound()


# --- cancellations that nobody asked for --------------------------------------------------


async def test_a_cancellation_of_its_own_is_a_failure(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("trio has no cancellation without a scope")
    import asyncio

    async def own():
        raise asyncio.CancelledError

    async def future():
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    for function in (own, future):
        with pytest.raises(RunError) as caught:
            await Hush(graph_of((function, {}), (sleeps, {}))).run()
        assert isinstance(caught.value.__cause__, UnexpectedCancellationError)
        assert caught.value.path == "g.n0"


async def test_a_broken_str_does_not_hide_the_failure():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("mute")

    def raises():
        raise Mute

    with capture_spans() as captured, pytest.raises(RunError, match="unprintable Mute"):
        await Hush(graph_of((raises, {}))).run()
    captured.tree.assert_sound()


async def test_run_error_survives_pickling():
    import pickle

    with pytest.raises(RunError) as caught:
        await Hush(graph_of((fails, {}))).run()
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.failures == caught.value.failures


async def test_a_group_of_errors_is_one_failure_with_all_of_its_text():
    def raises():
        raise ExceptionGroup("many", [ValueError("a"), KeyError("b")])

    with pytest.raises(RunError, match=r"g\.n0: ExceptionGroup: many \(2 sub-exceptions\)"):
        await Hush(graph_of((raises, {}))).run()
