"""Read by pyright, never run: what a workflow, its run and its result are to a type checker."""

# pyright: strict
# What is marked as wrong must be found wrong.
# pyright: reportUnnecessaryTypeIgnoreComment=true
# "START >> a >> END" is a statement for its effect; pyright takes it for a slip.
# pyright: reportUnusedExpression=false

from collections.abc import Awaitable
from typing import Any, TypedDict, assert_type

from hush.core import (
    END,
    PARENT,
    START,
    Branch,
    BranchNode,
    ChunkReceived,
    CodeNode,
    Each,
    Event,
    Failure,
    First,
    ForLoopNode,
    GraphError,
    GraphNode,
    Hush,
    ItemEnded,
    ItemFailure,
    ItemStarted,
    MapNode,
    Node,
    NodeEnded,
    NodeStarted,
    Problem,
    Quorum,
    Ref,
    Retry,
    RunEnded,
    RunError,
    RunResult,
    RunStarted,
    RunState,
    RunStream,
    WhileLoopNode,
    code_node,
)


class Scored(TypedDict):
    score: int


@code_node
def bare(text: str, limit: int = 3) -> Scored:
    return {"score": len(text) + limit}


@code_node(return_keys=["score"], timeout_s=5)
async def configured(text: str, *, limit: int = 3) -> int:
    return len(text) + limit


@code_node()
def empty_parentheses() -> dict[str, int]:
    return {}


def decorated_functions() -> None:
    # The function stays what it was; the factory makes nodes.
    assert_type(bare.__wrapped__("text"), Scored)
    assert_type(bare.__wrapped__("text", limit=1), Scored)
    bare.__wrapped__(5)  # pyright: ignore[reportArgumentType]
    bare.__wrapped__("text", unknown=1)  # pyright: ignore[reportCallIssue]
    assert_type(empty_parentheses.__wrapped__(), dict[str, int])
    assert_type(bare(), CodeNode)
    assert_type(bare("name", inputs={"text": PARENT}), CodeNode)
    assert_type(configured(name="other", retry=Retry(2)), CodeNode)


async def decorated_coroutines() -> None:
    assert_type(await configured.__wrapped__("text", limit=1), int)


def references() -> None:
    node = CodeNode(name="a", code_fn=lambda: {"y": 1})
    assert_type(node["y"], Ref)
    assert_type(PARENT["x"], Ref)
    assert_type(PARENT["x"] + 1, Ref)
    assert_type(1 + PARENT["x"], Ref)
    assert_type(PARENT["x"] >= 90, Ref)
    assert_type(PARENT["x"] == 90, Ref)
    assert_type(PARENT["x"] != 90, Ref)
    assert_type((PARENT["x"] > 1) & ~(PARENT["y"] < 2), Ref)
    assert_type(PARENT["rows"][0].name.upper(), Ref)
    assert_type(PARENT["x"].apply(len).or_default(None), Ref)
    assert_type(node["y"] >> PARENT["z"], Ref)
    assert_type(node["y"] >> [PARENT["z"], node], Ref)
    node[0]  # pyright: ignore[reportArgumentType]
    PARENT[0]  # pyright: ignore[reportArgumentType]


def large(x: int) -> bool:
    return x > 100


def building() -> GraphNode:
    with GraphNode(name="g", inputs={"x": PARENT}) as graph:
        assert_type(graph, GraphNode)
        with MapNode(
            name="map",
            inputs={"item": Each(PARENT["items"]), "k": 2},
            max_concurrency=5,
            on_error="collect",
            max_failures=0.1,
            retry=Retry(3, on=(OSError,), initial_s=0.5),
            timeout_s=5,
            key=lambda item: item["id"],
            failed_when=lambda outputs: outputs.get("bad"),
            span_budget=None,
            outputs={"results": PARENT},
        ) as mapped:
            assert_type(mapped, MapNode)
            START >> bare(inputs={"text": PARENT["item"]}) >> END
        with ForLoopNode(name="for", inputs={"x": Each([1], run_in="thread")}) as loop:
            assert_type(loop, ForLoopNode)
        with WhileLoopNode(name="while", condition="n < 3", max_iterations=5) as rounds:
            assert_type(rounds, WhileLoopNode)
        router = BranchNode(name="r", cases={"x > 1": "map"}, default=loop)
        fluent = Branch("s").if_(PARENT["x"] > 1, "map").if_("x in [1, 2]", loop).if_(large, loop)
        assert_type(fluent.otherwise(rounds), Branch)
        joined = CodeNode("joined", bare.__wrapped__, join=Quorum(2, cancel_rest=True))
        raced = CodeNode(code_fn=bare.__wrapped__, join=First(), run_in="thread")
        START >> [mapped, loop] >> joined >> END
        [mapped, loop] >> ~raced >> router
        START >> END
    MapNode(max_concurrency="3")  # pyright: ignore[reportArgumentType]
    MapNode(max_failures="3")  # pyright: ignore[reportArgumentType]
    MapNode(retry=3)  # pyright: ignore[reportArgumentType]
    ForLoopNode(span_budget="all")  # pyright: ignore[reportArgumentType]
    CodeNode(join=2)  # pyright: ignore[reportArgumentType]
    CodeNode(timeout=5)  # pyright: ignore[reportCallIssue]
    Each(1, run_in="process")  # pyright: ignore[reportArgumentType]
    CodeNode(run_in="cloud")  # pyright: ignore[reportArgumentType]
    assert_type(graph.explain(), str)
    assert_type(graph.to_mermaid(), str)
    nodes: list[Node] = graph.nodes
    print(nodes)
    return graph


def is_a_node(kind: type[Node]) -> None:
    print(kind)


def kinds() -> None:
    for kind in (GraphNode, CodeNode, BranchNode, Branch, MapNode, ForLoopNode, WhileLoopNode):
        is_a_node(kind)


async def told(event: Event) -> None:
    print(event)


async def running(graph: GraphNode) -> None:
    engine = Hush(graph, max_threads=4)
    assert_type(engine, Hush)
    assert_type(await engine.run(), RunResult)
    result = await engine.run(
        {"x": 1},
        request_id="r",
        user_id="u",
        session_id="s",
        deadline_s=5,
        on_event=told,
    )
    assert_type(result, RunResult)
    assert_type(await engine({"x": 1}), RunResult)
    assert_type(engine.run_sync({"x": 1}), RunResult)
    assert_type(engine.run_sync(backend="trio"), RunResult)
    engine.run_sync(backend="curio")  # pyright: ignore[reportArgumentType]
    await engine.run(x=1)  # pyright: ignore[reportCallIssue]
    awaitable: Awaitable[RunResult] = engine.run()
    print(await awaitable)
    async with Hush(graph) as opened:
        assert_type(opened, Hush)


def results(result: RunResult) -> None:
    outputs: dict[str, Any] = result
    print(outputs)
    assert_type(result["out"], Any)
    assert_type(result.run_id, str)
    assert_type(result.trace_id, str | None)
    assert_type(result.outcome, str)
    assert_type(result.skipped, tuple[str, ...])
    assert_type(result.failures, tuple[Failure, ...])
    assert_type(result.failure_count, int)
    assert_type(result.partial_failure, bool)
    assert_type(result.state, RunState)
    assert_type(result.state.execution_order, list[str])
    assert_type(result.state["g.a", "y"], Any)
    assert_type(result.state["g.a", "y", None], Any)
    assert_type(result.state.get("g.a", "y"), Any)
    assert_type(result.state.request_id, str | None)
    result.state["g.a"]  # pyright: ignore[reportArgumentType]
    result.run_id = "x"  # pyright: ignore[reportAttributeAccessIssue]


async def streaming(engine: Hush) -> None:
    async with engine.stream({"x": 1}, request_id="r") as events:
        assert_type(events, RunStream)
        async for event in events:
            assert_type(event, Event)
            print(describe(event))
        assert_type(events.result, RunResult)


def describe(event: Event) -> str:
    # The union is closed: a type checker knows when every kind was handled.
    match event:
        case RunStarted():
            assert_type(event.trace_id, str | None)
            return event.run_id
        case RunEnded():
            assert_type(event.run_s, float)
            return event.outcome
        case NodeStarted():
            return event.kind
        case NodeEnded():
            assert_type(event.error, str | None)
            return event.name
        case ItemStarted():
            assert_type(event.total, int | None)
            return event.node
        case ItemEnded():
            assert_type(event.index, int)
            return event.outcome
        case ChunkReceived():
            assert_type(event.part, str)
            return event.text


def paths(event: Event) -> None:
    assert_type(event.path, str)
    event.path = "x"  # pyright: ignore[reportAttributeAccessIssue]


def failing(error: RunError, wrong: GraphError, item: ItemFailure) -> None:
    assert_type(error.path, str)
    assert_type(error.index, int | None)
    assert_type(error.outcome, str)
    assert_type(error.run_id, str | None)
    for failure in error.failures:
        assert_type(failure.exception, BaseException | None)
        assert_type(failure.index, int | None)
    for problem in wrong.problems:
        assert_type(problem, Problem)
        assert_type(problem.path + problem.message + problem.remedy, str)
    assert_type(item.index, int)
    assert_type(item["error"], Any)
