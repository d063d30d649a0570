"""Read by pyright, never run: what nodes for language models are to a type checker."""

# pyright: strict
# What is marked as wrong must be found wrong.
# pyright: reportUnnecessaryTypeIgnoreComment=true
# "START >> a >> END" is a statement for its effect; pyright takes it for a slip.
# pyright: reportUnusedExpression=false

from typing import Any, assert_type

from hush.core import (
    END,
    PARENT,
    START,
    ChunkReceived,
    GraphNode,
    Hush,
    LLMError,
    LLMStatusError,
    LLMTimeoutError,
    NodeError,
    NodeTimeoutError,
    Retry,
    RunResult,
    Usage,
)
from hush.providers import LLMChainNode, LLMNode, PromptNode, ResourceHub, image_part


def listen(chunk: ChunkReceived) -> None:
    assert_type(chunk.text, str)
    assert_type(chunk.choice, int)


async def listen_too(chunk: ChunkReceived) -> None:
    listen(chunk)


hub = ResourceHub.from_mapping({"llm:m": {"api_key": "k", "model": "m"}})
assert_type(hub, ResourceHub)
assert_type(image_part(b"..."), dict[str, Any])

with GraphNode(name="models") as graph:
    prompt = PromptNode("prompt", inputs={"prompt": "Hello {name}", "name": PARENT["name"]})
    one = LLMNode("one", "m", inputs={"messages": prompt["messages"]}, outputs={"content": PARENT})
    several = LLMNode(
        name="several",
        resource_key=["m", "n"],
        ratios=[2, 1],
        balance_seed=1,
        fallback="o",
        stream=True,
        on_chunk=listen,
        hedge_after_s=1.5,
        retry=Retry(2),
        timeout_s=5,
        deadline_s=20,
        on_error="capture",
    )
    chain = LLMChainNode("chain", "m", stream=True, on_chunk=listen_too, inputs={"prompt": "Hi"})
    START >> prompt >> [one, several, chain] >> END

LLMNode("bad", "m", resource="n")  # type: ignore[call-arg]
LLMNode("bad", 3)  # type: ignore[arg-type]
LLMNode("bad", "m", hedge_after_s="1")  # type: ignore[arg-type]

engine = Hush(graph, resources=hub)
Hush(graph, resources={"llm:m": {"api_key": "k", "model": "m"}})


def look(result: RunResult) -> None:
    assert_type(result.usage, Usage)
    assert_type(result.usage_by_model, dict[str, Usage])
    assert_type(result.usage + result.usage, Usage)
    assert_type(result.usage.cost_usd, float | None)
    assert_type(result.usage.total_tokens, int)


def handle(error: LLMTimeoutError, status: LLMStatusError) -> None:
    base: LLMError = error
    timeout: NodeTimeoutError = error
    node: NodeError = status
    assert_type(base.retry_after_s, float | None)
    assert_type(status.status, int | None)
    assert_type(status.history, tuple[str, ...])
    print(timeout, node)
