"""Prompts to a scripted model by hand: the official client, 50 at a time."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import anyio
from openai import AsyncOpenAI

LIMIT = 50
URL = os.environ["BENCH_MODELS_URL"]


def messages(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"question {i}"}]


def prompts(size: int) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        limiter = anyio.CapacityLimiter(LIMIT)
        answers: list[str | None] = [None] * size
        async with AsyncOpenAI(api_key="test-key", base_url=URL, max_retries=0) as client:

            async def one(i: int) -> None:
                async with limiter:
                    reply = await client.chat.completions.create(model="m", messages=messages(i))
                    answers[i] = reply.choices[0].message.content

            async with anyio.create_task_group() as group:
                for i in range(size):
                    group.start_soon(one, i)
        return answers

    return run


CASES = {"models": prompts}
