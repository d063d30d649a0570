"""What an LLMNode costs beside the bare client, as a ratio, in one run.

    python benchmarks/models.py [--prompts 400] [--rounds 5]

The same prompts go to the same scripted server on loopback, 50 at a time: by hand with the
official client under a limiter, and by a map over an LLMNode, untraced and traced into an
exporter that discards. Rounds are interleaved and the median of each is taken; the server
shares the machine, so that only the ratios travel.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio
from openai import AsyncOpenAI
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode
from hush.observe.tracing import override_provider
from hush.providers import LLMNode
from hush.testing import Answer, ScriptedLLMServer

LIMIT = 50


class Discard(SpanProcessor):
    """Takes finished spans and forgets them: what an exporter does later is not measured."""

    def on_end(self, span: ReadableSpan) -> None:
        del span


PROVIDER = TracerProvider(shutdown_on_exit=False)
PROVIDER.add_span_processor(Discard())


def messages(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"question {i}"}]


async def by_hand(server: ScriptedLLMServer, count: int) -> None:
    limiter = anyio.CapacityLimiter(LIMIT)
    answers: list[str | None] = [None] * count
    async with AsyncOpenAI(api_key="test-key", base_url=server.base_url, max_retries=0) as client:

        async def one(i: int) -> None:
            async with limiter:
                reply = await client.chat.completions.create(model="m", messages=messages(i))
                answers[i] = reply.choices[0].message.content

        async with anyio.create_task_group() as group:
            for i in range(count):
                group.start_soon(one, i)


def engine(server: ScriptedLLMServer) -> Hush:
    with GraphNode(name="bench") as graph:
        with MapNode(
            name="prompts",
            inputs={"messages": Each(PARENT["prompts"])},
            max_concurrency=LIMIT,
            outputs={"content": PARENT},
        ) as prompts:
            ask = LLMNode(
                name="ask",
                resource_key="m",
                inputs={"messages": PARENT["messages"]},
                outputs={"content": PARENT},
            )
            START >> ask >> END
        START >> prompts >> END
    return Hush(graph, resources=server.resources("m"))


async def main(backend: str, options: argparse.Namespace) -> None:
    with ScriptedLLMServer() as server:
        server.default("m", Answer("yes"))
        hush = engine(server)
        inputs = {"prompts": [messages(i) for i in range(options.prompts)]}

        async def untraced() -> None:
            await hush.run(inputs)

        async def traced() -> None:
            with override_provider(PROVIDER):
                await hush.run(inputs)

        cases: dict[str, Callable[[], Awaitable[None]]] = {
            "by hand": lambda: by_hand(server, options.prompts),
            "hush": untraced,
            "hush, traced": traced,
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for case in cases.values():
            await case()
        for _ in range(options.rounds):
            for name, case in cases.items():
                began = time.perf_counter()
                await case()
                times[name].append(time.perf_counter() - began)
    floor = statistics.median(times["by hand"])
    print(f"\n{backend}: {options.prompts} prompts, {LIMIT} at a time")
    print(f"  {'':16}{'ms each':>9}{'spread':>14}{'to by hand':>12}")
    for name, values in times.items():
        middle = statistics.median(values)
        low, high = (edge(values) / options.prompts * 1e3 for edge in (min, max))
        each = middle / options.prompts * 1e3
        print(f"  {name:16}{each:9.2f}{f'{low:.2f}-{high:.2f}':>14}{middle / floor:12.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for loop in ("asyncio", "trio"):
        anyio.run(main, loop, arguments, backend=loop)
