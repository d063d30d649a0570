"""Workflows run by the public API, exported as in production, read back from a real Jaeger.

What is asserted is what somebody sees who looks at the trace: its tree, its colours, its
staircase under a limit, its links, and the critical path that Jaeger's UI draws.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import anyio
import pytest
from opentelemetry import context, propagate, trace

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    First,
    ForLoopNode,
    GraphNode,
    Hush,
    MapNode,
    Node,
    Retry,
    WhileLoopNode,
    code_node,
)
from hush.observe.tracing import override_provider
from tests.e2e.jaeger_server import JaegerServer, JaegerSpan, JaegerTrace, peak_overlap
from tests.e2e.runs import (
    ARRIVAL_S,
    INSTANT,
    KNOWN,
    Backend,
    Exported,
    Known,
    ancestors,
    assert_sound,
    at,
    build_branch,
    chain,
    events,
    exporting,
    flaky,
    instant,
    item,
    label,
    level,
    linked,
    map_of,
    nap,
    nap_item,
    on_path,
    outline,
    path_labels,
    raised_at,
    stalled,
    thread_item,
)

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def exported(jaeger: JaegerServer) -> Iterator[Exported]:
    with exporting(jaeger) as made:
        yield made


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


async def fail_odd(item: int) -> dict[str, int]:
    await anyio.sleep(0.001)
    if item % 2:
        raise ValueError(f"{item} is odd")
    return {"y": item}


# --- the tree -------------------------------------------------------------------------------


def one_of_each() -> GraphNode:
    tries = itertools.count()

    async def second_time(item: int) -> None:
        if item == 1 and next(tries) == 0:
            raise ConnectionError("not yet")

    with GraphNode(name="g") as graph:
        first = nap("first")
        with GraphNode(name="sub") as sub:
            chain(nap("x"), nap("y"))
        mapped = map_of(second_time, node={"retry": Retry(2, initial_s=0.001)})
        with ForLoopNode(name="each", inputs={"item": Each(PARENT["items"])}) as each:
            START >> nap("step") >> END
        with WhileLoopNode(name="again", inputs={"n": 0}, condition="n < 2") as again:
            add = CodeNode(
                name="add",
                code_fn=lambda n: {"n": n + 1},
                inputs={"n": PARENT},
                outputs={"n": PARENT},
            )
            START >> add >> END
        chain(first, sub, mapped, each, again)
    return graph


def test_a_run_is_one_trace_with_the_spans_of_its_parts(exported: Exported, backend: Backend):
    result, found = exported.run(
        one_of_each(), {"items": [0, 1]}, backend=backend, user_id="u", session_id="s"
    )
    assert outline(found) == (
        "run g\n"
        "  node first\n"
        "  graph sub\n"
        "    node x\n"
        "    node y\n"
        "  map m\n"
        "    item m[0]\n"
        "      node w\n"
        "        attempt w[1]\n"
        "    item m[1]\n"
        "      node w\n"
        "        attempt w[1] error\n"
        "        attempt w[2]\n"
        "  loop each\n"
        "    iteration each[0]\n"
        "      node step\n"
        "    iteration each[1]\n"
        "      node step\n"
        "  loop again\n"
        "    iteration again[0]\n"
        "      node add\n"
        "    iteration again[1]\n"
        "      node add"
    )
    (root,) = found.roots
    assert root.references == ()
    assert root.tags["span.kind"] == "server"
    assert {span.tags["span.kind"] for span in found.spans if span is not root} == {"internal"}
    assert root.tags["hush.run.id"] == result.run_id
    assert root.tags["hush.graph.name"] == "g"
    assert (root.tags["user.id"], root.tags["session.id"]) == ("u", "s")
    assert root.service == exported.service
    paths = [span.tags["hush.node.path"] for span in found.spans if "hush.node.path" in span.tags]
    assert sorted(paths) == sorted([
        "g.first", "g.sub", "g.sub.x", "g.sub.y", "g.m", "g.m[0].w", "g.m[1].w", "g.each",
        "g.each[0].step", "g.each[1].step", "g.again", "g.again[0].add", "g.again[1].add",
    ])  # fmt: skip


def test_each_run_is_a_trace_of_its_own(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        chain(nap("a"))
    first, _ = exported.run(graph, backend=backend)
    second, _ = exported.run(graph, backend=backend)
    assert first.trace_id != second.trace_id


def test_a_run_inside_the_callers_span_is_its_child(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        chain(nap("a"))
    engine = Hush(graph)
    with override_provider(exported.provider), exported.tracer.start_as_current_span("request"):
        result = engine.run_sync(backend=backend)
        engine.run_sync(backend=backend)
    found = exported.read(result.trace_id)
    assert outline(found) == "request\n  run g\n    node a\n  run g\n    node a"
    assert {span.tags["span.kind"] for span in found.named("run g")} == {"internal"}


def test_a_run_for_a_remote_caller_is_a_server_in_the_callers_trace(
    jaeger: JaegerServer, exported: Exported, backend: Backend
):
    with GraphNode(name="g") as graph:
        chain(nap("a"))
    engine = Hush(graph)
    headers: dict[str, str] = {}
    with exporting(jaeger) as caller:
        with caller.tracer.start_as_current_span("call", kind=trace.SpanKind.CLIENT):
            propagate.inject(headers)
        token = context.attach(propagate.extract(headers))
        try:
            with override_provider(exported.provider):
                result = engine.run_sync(backend=backend)
        finally:
            context.detach(token)
    exported.provider.force_flush()
    found = jaeger.client.trace(result.trace_id, spans=3, timeout_s=ARRIVAL_S)
    root = found.one("run g")
    assert found.parent(root) is found.one("call")
    assert (found.one("call").service, root.service) == (caller.service, exported.service)
    assert root.tags["span.kind"] == "server"
    assert found.children(root) == found.named("node a")


def test_a_run_inside_a_node_nests_below_it(exported: Exported, backend: Backend):
    with GraphNode(name="inner") as inner:
        chain(nap("a"))
    engine = Hush(inner)

    async def run_inner() -> None:
        await engine.run()

    with GraphNode(name="outer") as outer:
        chain(CodeNode(name="call", code_fn=run_inner))
    _, found = exported.run(outer, backend=backend)
    assert outline(found) == "run outer\n  node call\n    run inner\n      node a"
    assert found.one("run inner").tags["span.kind"] == "internal"


# --- the staircase ----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 5])
@pytest.mark.parametrize("work", [nap_item, thread_item], ids=["async", "thread"])
def test_never_more_items_at_once_than_the_limit(
    exported: Exported, backend: Backend, work: Callable[..., Any], limit: int
):
    with GraphNode(name="g") as graph:
        START >> map_of(work, limit=limit) >> END
    durations = [10, 14, 6, 12, 8, 10, 14, 6, 12, 8, 10]
    _, found = exported.run(graph, {"items": durations}, backend=backend)
    items = found.named("item m")
    assert len(items) == len(durations)
    assert peak_overlap(items) == limit
    mapped = found.one("map m")
    assert mapped.tags["hush.map.items"] == len(durations)
    assert mapped.tags["hush.map.max_concurrency"] == limit
    assert mapped.tags["hush.map.peak_concurrency"] == limit
    # Items begin in their order, and each but the first ones waited for a slot.
    assert [span.tags["hush.item.index"] for span in items] == list(range(len(durations)))
    assert all(span.tags["hush.wait.slot_s"] > 0.005 for span in items[limit:])


def test_instant_items_keep_to_the_limit_too(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        START >> map_of(lambda item: None, limit=3) >> END
    _, found = exported.run(graph, {"items": range(100)}, backend=backend)
    assert peak_overlap(found.named("item m")) <= 3


# --- where it is red --------------------------------------------------------------------------


def assert_one_culprit(found: JaegerTrace, culprit: JaegerSpan, path: str) -> None:
    """One span recorded the exception; what contains it is red and names it."""
    assert raised_at(found) == (culprit,)
    assert found.red_leaves == (culprit,)
    above = ancestors(found, culprit)
    assert {s.span_id for s in found.spans if s.is_red} == {s.span_id for s in (culprit, *above)}
    for span in above:
        assert path in span.status_text
        assert "ValueError: it broke" in span.status_text
        assert span.tags["error.type"] == "ValueError"


def assert_victim(found: JaegerTrace, victim: JaegerSpan, path: str, *culprits: JaegerSpan) -> None:
    """It is not red and says whose victim it is."""
    assert not victim.is_red
    assert victim.tags["hush.outcome"] == "cancelled"
    assert victim.tags["hush.cancel.reason"] == "fail_fast"
    assert victim.tags["hush.cancel.cause"] == path
    assert victim.tags["hush.wasted_s"] > 0
    assert len(events(victim, "hush.cancelled")) == 1
    assert not events(victim, "exception")
    assert victim.links[-1].span_id in {culprit.span_id for culprit in culprits}


async def break_second(item: int) -> None:
    if item == 1:
        await anyio.sleep(0.02)
        raise ValueError("it broke")
    await anyio.sleep(30)


def test_a_map_that_fails_fast_has_one_red_leaf(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        chain(nap("before"), map_of(break_second, limit=3), instant("after"))
    error, found = exported.fail(graph, {"items": range(9)}, backend=backend)
    assert error.path == "g.m[1].w"
    assert outline(found) == (
        "run g error\n"
        "  node before\n"
        "  map m error\n"
        "    item m[0] cancelled\n"
        "      node w cancelled\n"
        "    item m[1] error\n"
        "      node w error\n"
        "    item m[2] cancelled\n"
        "      node w cancelled"
    )
    culprit = at(found, "g.m[1].w")
    assert_one_culprit(found, culprit, "g.m[1].w")
    assert culprit.status_text == "ValueError: it broke"
    (logged,) = events(culprit, "exception")
    assert logged.fields["exception.type"] == "ValueError"
    assert logged.fields["exception.message"] == "it broke"
    assert "break_second" in logged.fields["exception.stacktrace"]
    for number in (0, 2):
        for victim in (item(found, "item m", number), at(found, f"g.m[{number}].w")):
            assert_victim(found, victim, "g.m[1].w", culprit, item(found, "item m", 1))
    mapped = found.one("map m")
    counts = {name: mapped.tags[f"hush.map.{name}"] for name in ("ok", "failed", "cancelled")}
    assert counts == {"ok": 0, "failed": 1, "cancelled": 2}
    (first,) = events(mapped, "hush.first_failure")
    assert first.fields["hush.item.index"] == 1
    assert found.one("run g").tags["hush.failed.node"] == "g.m[1].w"


def test_a_failure_that_failed_the_run_is_not_a_partial_one(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        START >> map_of(break_second, limit=2) >> END
    _, found = exported.fail(graph, {"items": range(2)}, backend=backend)
    assert not [label(span) for span in found.spans if "hush.partial_failure" in span.tags]


def test_a_node_that_fails_names_itself_on_siblings_and_ancestors(
    exported: Exported, backend: Backend
):
    async def breaks() -> None:
        await anyio.sleep(0.01)
        raise ValueError("it broke")

    def breaks_in_thread() -> None:
        time.sleep(0.01)
        raise ValueError("it broke")

    for function in (breaks, breaks_in_thread):
        with GraphNode(name="g") as graph:
            with GraphNode(name="sub") as sub:
                START >> [CodeNode(name="bad", code_fn=function), nap("sibling", 30_000)] >> END
            START >> [sub, nap("aunt", 30_000)] >> END
        error, found = exported.fail(graph, backend=backend)
        assert error.path == "g.sub.bad"
        assert outline(found) == (
            "run g error\n"
            "  graph sub error\n"
            "    node bad error\n"
            "    node sibling cancelled\n"
            "  node aunt cancelled"
        )
        culprit = at(found, "g.sub.bad")
        assert_one_culprit(found, culprit, "g.sub.bad")
        assert_victim(found, at(found, "g.sub.sibling"), "g.sub.bad", culprit)
        assert_victim(found, at(found, "g.aunt"), "g.sub.bad", culprit, at(found, "g.sub"))


def test_a_map_that_collects_is_red_only_where_items_failed(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        mapped = map_of(
            fail_odd,
            on_error="collect",
            node={"outputs": {"y": PARENT}},
            outputs={"y": PARENT, "errors": PARENT},
        )
        START >> mapped >> END
    result, found = exported.run(graph, {"items": range(6)}, backend=backend)
    assert result["y"] == [0, None, 2, None, 4, None]
    assert [error["index"] for error in result["errors"]] == [1, 3, 5]
    red = [span for span in found.spans if span.is_red]
    failed = [(item(found, "item m", n), at(found, f"g.m[{n}].w")) for n in (1, 3, 5)]
    assert {span.span_id for span in red} == {s.span_id for pair in failed for s in pair}
    assert raised_at(found) == found.red_leaves
    assert {label(span) for span in found.red_leaves} == {"g.m[1].w", "g.m[3].w", "g.m[5].w"}
    for number, (outer, inner) in zip((1, 3, 5), failed, strict=True):
        assert inner.status_text == f"ValueError: {number} is odd"
        assert outer.status_text == f"g.m[{number}].w: ValueError: {number} is odd"
    mapped_span, root = found.one("map m"), found.one("run g")
    assert mapped_span.tags["hush.outcome"] == root.tags["hush.outcome"] == "ok"
    assert mapped_span.tags["hush.partial_failure"] is True
    assert root.tags["hush.partial_failure"] is True
    counts = [mapped_span.tags[f"hush.map.{n}"] for n in ("ok", "failed", "handled", "cancelled")]
    assert counts == [3, 3, 0, 0]
    assert len(events(mapped_span, "hush.first_failure")) == 1


def test_too_many_failures_stop_the_map_and_blame_it(exported: Exported, backend: Backend):
    async def work(item: int) -> None:
        if item >= 2:
            await anyio.sleep(30)
        await anyio.sleep(0.01 * (item + 1))
        raise ValueError("it broke")

    with GraphNode(name="g") as graph:
        START >> map_of(work, limit=4, on_error="collect", max_failures=1) >> END
    error, found = exported.fail(graph, {"items": range(9)}, backend=backend)
    assert error.path == "g.m"
    mapped = found.one("map m")
    assert mapped.tags["hush.outcome"] == "error"
    assert "max_failures" in mapped.status_text
    for number in (2, 3):
        victim = at(found, f"g.m[{number}].w")
        assert not victim.is_red
        assert victim.tags["hush.cancel.reason"] == "tolerance_exceeded"
        assert victim.tags["hush.cancel.cause"] == "g.m"
        assert victim.links[-1].span_id == mapped.span_id


def test_a_captured_failure_is_red_where_it_happened_only(exported: Exported, backend: Backend):
    def breaks() -> None:
        raise ValueError("it broke")

    with GraphNode(name="g") as graph:
        bad = CodeNode(name="bad", code_fn=breaks, on_error="capture", outputs={"error": PARENT})
        chain(bad, instant("after"))
    result, found = exported.run(graph, backend=backend)
    assert result["error"]["message"] == "it broke"
    assert outline(found) == "run g\n  node bad error\n  node after"
    assert raised_at(found) == found.red_leaves == (at(found, "g.bad"),)
    assert found.one("run g").tags["hush.partial_failure"] is True


def process_item(item: dict[str, Any]) -> str:
    if item["bad"]:
        raise ConnectionError(f"item {item['id']} refused, password=hunter2")
    return f"done {item['id']}"


@code_node
def safe_process(item: dict[str, Any]):
    try:
        result = process_item(item)
        return {"result": result, "error": None}
    except Exception as e:
        return {"result": None, "error": str(e)}


def partial_failure() -> GraphNode:
    """The reference document's own example: failures are caught and returned."""
    with GraphNode(name="partial-failure") as graph:
        with MapNode(
            name="safe_map",
            inputs={"item": Each(PARENT["items"])},
            max_concurrency=3,
            outputs={"results": PARENT},
        ) as map_node:
            proc = safe_process(
                name="process",
                inputs={"item": PARENT["item"]},
                outputs={"result": PARENT, "error": PARENT},
            )
            START >> proc >> END

        summarize = CodeNode(
            name="summarize",
            code_fn=lambda results: {
                "succeeded": [r for r in results if r.get("error") is None],
                "failed": [r for r in results if r.get("error") is not None],
            },
            inputs={"results": PARENT["results"]},
            outputs={"succeeded": PARENT, "failed": PARENT},
        )

        START >> map_node >> summarize >> END
    return graph


def some_bad(*bad: int) -> dict[str, Any]:
    return {"items": [{"id": n, "bad": n in bad} for n in range(5)]}


def test_a_handled_failure_makes_its_item_red(exported: Exported, backend: Backend):
    result, found = exported.run(partial_failure(), some_bad(1, 4), backend=backend)
    assert [len(result["succeeded"]), len(result["failed"])] == [3, 2]
    assert result["failed"][0]["error"] == "item 1 refused, password=hunter2"
    assert outline(found) == (
        "run partial-failure\n"
        "  map safe_map\n"
        "    item safe_map[0]\n"
        "      node process\n"
        "    item safe_map[1] handled\n"
        "      node process\n"
        "    item safe_map[2]\n"
        "      node process\n"
        "    item safe_map[3]\n"
        "      node process\n"
        "    item safe_map[4] handled\n"
        "      node process\n"
        "  node summarize"
    )
    handled = [item(found, "item safe_map", n) for n in (1, 4)]
    assert {s.span_id for s in found.spans if s.is_red} == {s.span_id for s in handled}
    for number, span in zip((1, 4), handled, strict=True):
        assert span.status_text == f"item {number} refused, password=[redacted]"
        assert span.tags["error.type"] == "handled"
    # Nothing raised, and what the text kept to itself is nowhere in the trace.
    assert raised_at(found) == ()
    assert "hunter2" not in repr(found.spans)
    mapped, root = found.one("map safe_map"), found.one("run partial-failure")
    assert mapped.tags["hush.partial_failure"] is True
    assert root.tags["hush.partial_failure"] is True
    assert (mapped.tags["hush.map.ok"], mapped.tags["hush.map.handled"]) == (3, 2)
    assert mapped.tags["hush.map.failed"] == 0


def test_search_by_tag_finds_runs_with_a_partial_failure(exported: Exported, backend: Backend):
    exported.run(partial_failure(), some_bad(), backend=backend)
    failing, _ = exported.run(partial_failure(), some_bad(2), backend=backend)
    found = exported.jaeger.client.search(exported.service, hush__partial_failure="true")
    assert [one.trace_id for one in found] == [failing.trace_id]


def test_the_losers_of_a_race_are_grey_and_name_the_winner(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        quick, slow = nap("quick", 10), nap("slow", 30_000)
        START >> [quick, slow] >> instant("pick", join=First()) >> END
    _, found = exported.run(graph, backend=backend)
    assert outline(found) == "run g\n  node quick\n  node slow cancelled\n  node pick"
    loser = at(found, "g.slow")
    assert not any(span.is_red for span in found.spans)
    assert loser.tags["hush.cancel.reason"] == "race_lost"
    assert loser.tags["hush.cancel.cause"] == "g.quick"
    assert linked(found, loser) == ["g.quick"]
    assert linked(found, at(found, "g.pick")) == ["g.quick"]
    assert "hush.partial_failure" not in found.one("run g").tags


def test_a_time_limit_is_red_and_what_it_cancelled_is_grey(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        with GraphNode(name="sub", timeout_s=0.03) as sub:
            START >> nap("slow", 30_000) >> END
        START >> sub >> END
    _, found = exported.fail(graph, backend=backend)
    assert outline(found) == "run g timeout\n  graph sub timeout\n    node slow cancelled"
    limited, victim = at(found, "g.sub"), at(found, "g.sub.slow")
    assert len(events(limited, "hush.timeout")) == 1
    assert victim.tags["hush.cancel.reason"] == "timeout"
    assert victim.tags["hush.cancel.cause"] == "g.sub"
    assert victim.links[-1].span_id == limited.span_id
    assert found.red_leaves == (limited,)


def test_a_thread_that_was_left_behind_does_not_hold_up_its_span(
    exported: Exported, backend: Backend
):
    def too_long() -> None:
        time.sleep(0.3)

    with GraphNode(name="g") as graph:
        chain(CodeNode(name="slow", code_fn=too_long, timeout_s=0.03))
    _, found = exported.fail(graph, backend=backend)
    span = at(found, "g.slow")
    assert outline(found) == "run g timeout\n  node slow timeout"
    assert span.tags["hush.abandoned"] is True
    assert 0.03 <= span.duration_us / 1e6 < 0.2


def test_a_run_that_its_caller_cancelled_is_grey_all_over(exported: Exported, backend: Backend):
    cancel: list[Callable[[], None]] = []

    async def work(item: int) -> None:
        if item == 1:
            await anyio.sleep(0.01)
            cancel[0]()
        await anyio.sleep(30)

    with GraphNode(name="g") as graph:
        chain(nap("before"), map_of(work, limit=2))
    engine = Hush(graph)

    async def give_up() -> None:
        with anyio.CancelScope() as scope:
            cancel.append(scope.cancel)
            await engine.run({"items": range(3)})

    with override_provider(exported.provider):
        with exported.tracer.start_as_current_span("request") as request_span:
            anyio.run(give_up, backend=backend)
    found = exported.read(format(request_span.get_span_context().trace_id, "032x"))
    assert outline(found) == (
        "request\n"
        "  run g cancelled\n"
        "    node before\n"
        "    map m cancelled\n"
        "      item m[0] cancelled\n"
        "        node w cancelled\n"
        "      item m[1] cancelled\n"
        "        node w cancelled"
    )
    assert not [label(span) for span in found.spans if span.is_red]
    reasons = {span.tags.get("hush.cancel.reason") for span in found.spans}
    assert reasons == {"external", None}
    assert found.one("run g").links == ()


def test_a_skipped_node_has_no_span_and_is_listed(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        build_branch()
    _, found = exported.run(graph, {"score": 3}, backend=backend)
    assert outline(found) == "run g\n  node a\n  node router\n  node low\n  node join"
    assert json.loads(found.one("run g").tags["hush.skipped"]) == ["high"]
    assert linked(found, at(found, "g.join")) == ["g.low"]


# --- links --------------------------------------------------------------------------------------


def test_every_fan_in_links_to_each_of_its_predecessors(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        first, merge, last = nap("first"), instant("merge"), nap("last")
        middle = [nap(f"p{number}", 2 * (5 - number)) for number in range(5)]
        with GraphNode(name="sub") as sub:
            left, right, both = nap("left"), nap("right"), nap("both")
            START >> [left, right] >> both >> END
        START >> first >> middle >> merge >> last >> END
        [first, merge] >> sub >> END
    _, found = exported.run(graph, backend=backend)
    predecessors = {label(s): sorted(linked(found, s)) for s in found.spans if s.links}
    assert predecessors == {
        **{f"g.p{number}": ["g.first"] for number in range(5)},
        "g.merge": [f"g.p{number}" for number in range(5)],
        "g.last": ["g.merge"],
        "g.sub": ["g.first", "g.merge"],
        "g.sub.both": ["g.sub.left", "g.sub.right"],
    }
    # In the order of their arrival.
    by_end = sorted(middle, key=lambda node: at(found, f"g.{node.name}").end_us)
    assert linked(found, at(found, "g.merge")) == [f"g.{node.name}" for node in by_end]
    for span in found.spans:
        assert {link.trace_id for link in span.links} <= {found.trace_id}


def test_a_soft_join_links_to_what_had_arrived(exported: Exported, backend: Backend):
    with GraphNode(name="g") as graph:
        fast, slow, join = nap("fast", 5), nap("slow", 60), instant("join")
        START >> [fast, slow] >> ~join >> END
    _, found = exported.run(graph, backend=backend)
    assert linked(found, at(found, "g.join")) == ["g.fast"]
    assert at(found, "g.join").end_us < at(found, "g.slow").end_us


def test_of_very_many_predecessors_the_dropped_links_are_counted(
    exported: Exported, backend: Backend
):
    with GraphNode(name="g") as graph:
        START >> [instant(f"p{number}") for number in range(40)] >> instant("join") >> END
    _, found = exported.run(graph, backend=backend)
    join = at(found, "g.join")
    assert len(set(linked(found, join))) == 32
    assert join.tags["hush.links.dropped"] == 8


# --- retries --------------------------------------------------------------------------------------


def test_each_attempt_of_a_node_is_a_span(exported: Exported, backend: Backend):
    policy = Retry(5, initial_s=0.01, factor=2, jitter=0)
    with GraphNode(name="g") as graph:
        chain(CodeNode(name="flaky", code_fn=flaky(2), retry=policy))
    _, found = exported.run(graph, backend=backend)
    assert outline(found) == (
        "run g\n"
        "  node flaky\n"
        "    attempt flaky[1] error\n"
        "    attempt flaky[2] error\n"
        "    attempt flaky[3]"
    )
    node, attempts = at(found, "g.flaky"), found.named("attempt flaky")
    assert [span.tags["hush.attempt"] for span in attempts] == [1, 2, 3]
    assert [span.tags.get("hush.backoff_s") for span in attempts] == [0.01, 0.02, None]
    assert raised_at(found) == found.red_leaves == attempts[:2]
    assert [span.status_text for span in attempts[:2]] == [
        "ConnectionError: try 1",
        "ConnectionError: try 2",
    ]
    assert node.tags["hush.attempts"] == 3
    assert node.tags["hush.backoff_s"] == pytest.approx(0.03)
    retries = [log.fields for log in events(node, "hush.retry")]
    assert [(f["hush.attempt"], f["error.type"], f["hush.backoff_s"]) for f in retries] == [
        (1, "ConnectionError", 0.01),
        (2, "ConnectionError", 0.02),
    ]
    for before, after in itertools.pairwise(attempts):
        pause_s = (after.start_us - before.end_us) / 1e6
        assert pause_s >= before.tags["hush.backoff_s"] - 0.001
    assert not node.is_red
    assert not found.one("run g").is_red


def test_each_attempt_of_an_item_is_a_span(exported: Exported, backend: Backend):
    calls = [flaky(0), flaky(1), flaky(9)]

    async def call(item: int) -> None:
        await calls[item]()

    with GraphNode(name="g") as graph:
        START >> map_of(call, on_error="collect", retry=Retry(2, initial_s=0.001)) >> END
    _, found = exported.run(graph, {"items": range(3)}, backend=backend)
    assert outline(found) == (
        "run g\n"
        "  map m\n"
        "    item m[0]\n"
        "      attempt m[1]\n"
        "        node w\n"
        "    item m[1]\n"
        "      attempt m[1] error\n"
        "        node w error\n"
        "      attempt m[2]\n"
        "        node w\n"
        "    item m[2] error\n"
        "      attempt m[1] error\n"
        "        node w error\n"
        "      attempt m[2] error\n"
        "        node w error"
    )
    items = found.named("item m")
    assert [span.tags["hush.attempts"] for span in items] == [1, 2, 2]
    assert [len(events(span, "hush.retry")) for span in items] == [0, 1, 1]
    assert {span.name for span in raised_at(found)} == {"node w"}
    assert len(raised_at(found)) == 3
    assert found.one("map m").tags["hush.map.retried"] == 2


# --- spans of users -----------------------------------------------------------------------------


def test_spans_that_users_open_nest_below_their_node(exported: Exported, backend: Backend):
    opened = exported.tracer.start_as_current_span

    async def in_task(name: str) -> None:
        with opened(f"user task {name}"):
            await anyio.sleep(0.002)

    async def asynchronous() -> None:
        with opened("user async"):
            await anyio.sleep(0.002)
            async with anyio.create_task_group() as group:
                group.start_soon(in_task, "one")
                group.start_soon(in_task, "two")
        with opened("user async again"):
            pass

    def threaded() -> None:
        with opened("user thread"):
            time.sleep(0.002)
            with opened("user thread inner"):
                time.sleep(0.001)

    def retried() -> None:
        with opened("user retried"):
            pass

    async def per_item(item: int) -> None:
        with opened("user item") as span:
            span.set_attribute("item", item)
            await anyio.sleep(0.001)

    def lambda_span() -> dict[str, Any]:
        with opened("user lambda"):
            return {}

    with GraphNode(name="g") as graph:
        one = CodeNode(name="one", code_fn=asynchronous)
        two = CodeNode(name="two", code_fn=threaded)
        three = CodeNode(name="three", code_fn=retried, retry=Retry(2))
        four = CodeNode(name="four", code_fn=lambda: lambda_span())  # lambdas run on the loop
        chain(one, two, three, four, map_of(per_item, limit=2))
        START >> nap("beside", 5) >> END
    _, found = exported.run(graph, {"items": range(5)}, backend=backend)

    def parent_of(name: str) -> str:
        parent = found.parent(found.one(name))
        assert parent is not None
        return label(parent)

    assert parent_of("user async") == "g.one"
    assert parent_of("user async again") == "g.one"
    assert parent_of("user task one") == parent_of("user task two") == "user async"
    assert parent_of("user thread") == "g.two"
    assert parent_of("user thread inner") == "user thread"
    assert parent_of("user retried") == "attempt three[1]"
    assert parent_of("user lambda") == "g.four"
    of_items = found.named("user item")
    assert {(span.tags["item"], label(found.parent(span))) for span in of_items} == {
        (number, f"g.m[{number}].w") for number in range(5)
    }
    # That each lies inside its node was checked when the trace was read; here, that nothing of
    # ours opened below one of theirs.
    theirs = {span.span_id for span in found.spans if level(span) is None}
    assert len(theirs) == 13
    assert not [label(s) for s in found.spans if level(s) is not None and s.parent_id in theirs]


def test_a_users_failing_span_is_inside_the_node_that_failed(exported: Exported, backend: Backend):
    async def breaks() -> None:
        with exported.tracer.start_as_current_span("user call"):
            raise ValueError("it broke")

    with GraphNode(name="g") as graph:
        chain(CodeNode(name="bad", code_fn=breaks))
    _, found = exported.fail(graph, backend=backend)
    assert outline(found) == "run g error\n  node bad error\n    user call"
    assert found.red_leaves == (found.one("user call"),)


# --- the critical path --------------------------------------------------------------------------


def full_labels(names: list[str]) -> list[str]:
    """Return labels of spans in the graph ``g``; attempts have no path."""
    return [name if name.startswith("attempt ") else f"g.{name}" for name in names]


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN.keys())
def test_the_critical_path_goes_through_what_was_waited_for(
    exported: Exported, backend: Backend, known: Known
):
    for _ in range(5):
        with GraphNode(name="g") as graph:
            known.build()
        _, found = exported.run(graph, known.inputs, backend=backend)
        if not stalled(found):
            break
    assert path_labels(found) == full_labels(known.path)


def test_of_predecessors_that_end_together_the_last_is_on_the_path(
    exported: Exported, backend: Backend
):
    order: list[str] = []
    with GraphNode(name="g") as graph:
        peers = [
            CodeNode(
                name=f"p{n}", code_fn=functools.partial(order.append, f"g.p{n}"), run_in="loop"
            )
            for n in range(20)
        ]
        START >> instant("first") >> peers >> instant("join") >> END
    for _ in range(10):
        order.clear()
        _, found = exported.run(graph, backend=backend)
        # All on one loop and without a pause, so they end in the order in which they are called.
        assert linked(found, at(found, "g.join")) == order
        assert path_labels(found) == ["g.first", order[-1], "g.join"]


def test_of_threads_that_end_together_the_one_that_released_is_on_the_path(
    exported: Exported, backend: Backend
):
    def work() -> None:
        pass

    with GraphNode(name="g") as graph:
        peers = [CodeNode(name=f"p{n}", code_fn=work) for n in range(8)]
        START >> instant("first") >> peers >> instant("join") >> END
    for _ in range(5):
        _, found = exported.run(graph, backend=backend)
        released_by = linked(found, at(found, "g.join"))[-1]
        assert path_labels(found) == ["g.first", released_by, "g.join"]


@pytest.mark.parametrize(("build", "inputs"), INSTANT.values(), ids=INSTANT.keys())
def test_whatever_runs_one_after_the_other_is_on_the_path(
    exported: Exported,
    backend: Backend,
    build: Callable[[], list[str]],
    inputs: dict[str, Any],
):
    with GraphNode(name="g") as graph:
        path = full_labels(build())
    for _ in range(5):
        _, found = exported.run(graph, inputs, backend=backend)
        assert path_labels(found) == path


def random_graph(random: Random) -> GraphNode:
    """Up to 24 nodes, some instant, some in threads, some asleep, with edges by chance."""

    def in_thread() -> None:
        pass

    with GraphNode(name="g") as graph:
        nodes: list[Node] = []
        for number in range(random.randint(2, 24)):
            kind, name = random.randrange(4), f"n{number}"
            if kind == 0:
                node = nap(name, random.choice([0, 1, 3]))
            elif kind == 1:
                node = CodeNode(name=name, code_fn=in_thread)
            else:
                node = instant(name)
            before = [other for other in nodes if random.random() < 2 / (number + 1)]
            (before or START) >> node
            node >> END
            nodes.append(node)
    return graph


def test_on_the_path_each_node_follows_the_one_that_released_it(
    exported: Exported, backend: Backend
):
    for seed in range(20):
        _, found = exported.run(random_graph(Random(seed)), backend=backend)
        names = path_labels(found)
        released_by = [linked(found, at(found, name))[-1:] for name in names]
        assert released_by == [[], *([name] for name in names[:-1])], f"{seed=}"


def test_a_users_span_stands_for_its_node_on_the_path(exported: Exported, backend: Backend):
    async def calls() -> None:
        with exported.tracer.start_as_current_span("user call"):
            await anyio.sleep(0.02)

    with GraphNode(name="g") as graph:
        START >> [nap("fast", 5), CodeNode(name="slow", code_fn=calls)] >> nap("join", 5) >> END
    _, found = exported.run(graph, backend=backend)
    assert [span.name for span in on_path(found)] == ["user call", "node join"]


def test_a_slow_listener_does_not_make_a_node_start_before_its_predecessors_end(
    exported: Exported, backend: Backend
):
    async def slow_on_fast_one(event: Any) -> None:
        if type(event).__name__ == "NodeEnded" and event.name == "fast":
            await anyio.sleep(0.06)

    with GraphNode(name="g") as graph:
        START >> [nap("fast", 5), nap("slow", 20)] >> instant("join") >> END
    # That a node starts after everything it links to is checked when the trace is read.
    _, found = exported.run(graph, backend=backend, on_event=slow_on_fast_one)
    assert sorted(linked(found, at(found, "g.join"))) == ["g.fast", "g.slow"]


# --- as an application sets it up ---------------------------------------------------------------

APPLICATION = """
import sys

import anyio

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.observe import configure

telemetry = configure()


async def work(item):
    await anyio.sleep(0.001)


with GraphNode(name="g") as graph:
    each = Each(PARENT["items"])
    with MapNode(name="m", inputs={"item": each}, max_concurrency=50, span_budget=None) as m:
        START >> CodeNode(name="w", code_fn=work, inputs={"item": PARENT["item"]}) >> END
    START >> m >> END

print(Hush(graph).run_sync({"items": range(1500)}, backend=sys.argv[1]).trace_id, flush=True)
"""


@pytest.mark.parametrize(
    ("protocol", "end"),
    [
        pytest.param("http/protobuf", "", id="http"),
        pytest.param("grpc", "", id="grpc"),
        pytest.param(None, "telemetry.shutdown()\n", id="default"),
    ],
)
def test_an_application_that_calls_configure_loses_nothing(
    jaeger: JaegerServer, backend: Backend, protocol: str | None, end: str
):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment["OTEL_SERVICE_NAME"] = "hush-application"
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = jaeger.otlp_http
    if protocol is not None:
        environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
    if protocol == "grpc":
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = jaeger.otlp_grpc
    # All but those of the exporter's HTTP client, which leaves its sockets to the collector.
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]
    done = subprocess.run(
        [sys.executable, *warnings, "-c", APPLICATION + end, backend],
        env=environment,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # More spans than the SDK's own queue holds.
    found = jaeger.client.trace(done.stdout.strip(), spans=3002, timeout_s=ARRIVAL_S)
    assert_sound(found)
    (root,) = found.roots
    assert (root.name, root.service) == ("run g", "hush-application")
    assert root.tags["span.kind"] == "server"
    assert len(found.named("item m")) == len(found.named("node w")) == 1500
    assert peak_overlap(found.named("item m")) == 50


def test_nothing_global_was_set():
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
