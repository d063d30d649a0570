"""What the workflows ask: made up here, slow and now and then at fault, as real ones are.

In a service of yours these are databases, other services and a vendor's model.
"""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import anyio

from hush.providers import ResourceHub
from hush.testing import Answer, ErrorReply, ScriptedLLMServer

SCRIPTED = "scripted-mini"
NOBODY = "nobody"
"""A customer that does not exist, which nobody has thought of: the order fails, always."""


class Backends:
    """Answers that take a while."""

    def __init__(self, faults: float, slow_s: float = 0.0) -> None:
        """Choose how bad it is.

        Args:
            faults: multiple of the usual; 0 is none at all.
            slow_s: how much longer than usual the slowest of them takes, in seconds.
        """
        self.slow_s = slow_s
        self._faults = faults
        self._chance = random.Random()

    def at_random(self, share: float) -> bool:
        """Say yes to about this share of all questions."""
        return self._chance.random() < share * self._faults

    async def answer(self, least_s: float, most_s: float) -> None:
        """Take this long."""
        await anyio.sleep(self._chance.uniform(least_s, most_s))

    async def hang(self) -> None:
        """Never answer; whoever asks has a deadline."""
        await anyio.sleep_forever()


@contextmanager
def models(reply: Callable[[Mapping[str, Any]], str], faults: float) -> Iterator[ResourceHub]:
    """Provide the model ``writer``: yours, or a scripted one on loopback.

    ``HUSH_CONFIG`` names a file of resources that has ``llm:writer``; with ``OPENAI_API_KEY``
    it is a small model of that vendor's; else a server on loopback that speaks the same API,
    and that refuses now and then.

    Args:
        reply: what the scripted model says to a request.
        faults: multiple of the usual; 0 is none at all.

    Yields:
        The resources.
    """
    # A limit that all requests share, and that makes some of them wait.
    limits = {"max_concurrency": 4}
    if os.environ.get("HUSH_CONFIG"):
        yield ResourceHub.default()
        return
    if os.environ.get("OPENAI_API_KEY"):
        fields = {
            "api_key": "${OPENAI_API_KEY}",
            "base_url": "${OPENAI_BASE_URL:-https://api.openai.com/v1}",
            "model": "gpt-4.1-nano",
            "input_usd_per_million": 0.10,
            "output_usd_per_million": 0.40,
        }
        yield ResourceHub.from_mapping({"llm:writer": fields | limits})
        return
    numbers = count(1)

    def scripted(request: Mapping[str, Any]) -> Answer | ErrorReply:
        number = next(numbers) if faults else 1
        if number % 9 == 0:
            return ErrorReply(429, "Rate limit reached", retry_after_s=0.05)
        if number % 31 == 0:
            return ErrorReply(401, "Incorrect API key")
        return Answer(reply(request), delay_s=0.05, chunk_delay_s=0.003)

    with ScriptedLLMServer(api_key="example", remember=0) as server:
        server.default(SCRIPTED, scripted)
        fields = {
            "api_key": "example",
            "base_url": server.base_url,
            "model": SCRIPTED,
            "input_usd_per_million": 150.0,
            "output_usd_per_million": 600.0,
        }
        yield ResourceHub.from_mapping({"llm:writer": fields | limits})
