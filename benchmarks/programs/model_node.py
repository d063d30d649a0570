"""The same prompts by a map over an LLMNode."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode
from hush.providers import LLMNode

LIMIT = 50
RESOURCES = {
    "llm:m": {
        "api_type": "openai",
        "api_key": "test-key",
        "base_url": os.environ["BENCH_MODELS_URL"],
        "model": "m",
    }
}


def prompts(size: int) -> Callable[[], Awaitable[object]]:
    with GraphNode(name="bench") as graph:
        with MapNode(
            name="prompts",
            inputs={"messages": Each(PARENT["prompts"])},
            max_concurrency=LIMIT,
            outputs={"content": PARENT},
        ) as mapped:
            ask = LLMNode(
                name="ask",
                resource_key="m",
                inputs={"messages": PARENT["messages"]},
                outputs={"content": PARENT},
            )
            START >> ask >> END
        START >> mapped >> END
    engine = Hush(graph, resources=RESOURCES)
    asked = [[{"role": "user", "content": f"question {i}"}] for i in range(size)]

    async def run() -> object:
        return (await engine.run({"prompts": asked}))["content"]

    return run


CASES = {"models": prompts}
