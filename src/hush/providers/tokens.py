"""Tokens: how many a request will take, guessed before the server says so.

A guess is needed where no count exists: a limit on tokens is charged before the call, and
a call that broke off or was cancelled has cost something although nobody says how much. Four
characters a token is the rule of thumb of OpenAI's own documentation for English; what a
resource really counted corrects it from call to call.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ("Calibration", "text_tokens")

CHARACTERS = 4
PER_MESSAGE = 4
"""Role and separators of a message."""
PER_IMAGE = 765
"""An image of about a megapixel in high detail."""
FIRST_OUTPUT = 256
"""What an answer is taken for until the first one came."""
WEIGHT = 0.2
"""How much the newest call counts in the running means."""
RATIO_BOUNDS = (0.1, 10.0)
"""A server whose counts are further off counts something else than text."""


def text_tokens(text: str) -> int:
    """Guess the tokens of a text: one for each four characters begun."""
    return -(-len(text) // CHARACTERS)


def request_tokens(messages: Iterable[Mapping[str, Any]], tools: object = None) -> int:
    """Guess the tokens of a prompt.

    Args:
        messages: in the API's shape.
        tools: in the API's shape, if any.
    """
    total = sum(PER_MESSAGE + _content_tokens(message) for message in messages)
    if tools:
        total += text_tokens(json.dumps(tools, default=str))
    return total


def _content_tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    calls = message.get("tool_calls")
    total = text_tokens(json.dumps(calls, default=str)) if calls else 0
    if isinstance(content, str):
        return total + text_tokens(content)
    for part in content if isinstance(content, (list, tuple)) else ():
        text = part.get("text") if hasattr(part, "get") else None
        total += text_tokens(text) if isinstance(text, str) else PER_IMAGE
    return total


class Calibration:
    """Learns from what one resource counts how far the guesses are off.

    Updates from several threads may overwrite each other; the means forgive that.
    """

    __slots__ = ("_output", "_ratio")

    def __init__(self) -> None:
        """Start with the rule of thumb."""
        self._ratio: float | None = None
        self._output: float | None = None

    def input_tokens(self, guessed: int) -> int:
        """Return a guess as the resource would count it."""
        return round(guessed * (1.0 if self._ratio is None else self._ratio))

    def output_tokens(self, limit: int | None) -> int:
        """Return what an answer will take.

        Args:
            limit: the request's own limit; None has none.
        """
        expected = round(FIRST_OUTPUT if self._output is None else self._output)
        return expected if limit is None else min(expected, limit)

    def learn(self, guessed: int, input_tokens: int, output_tokens: int) -> None:
        """Take in what a call really took.

        Args:
            guessed: the guess at its prompt.
            input_tokens: what the server counted for it.
            output_tokens: what the server counted for its answer.
        """
        if guessed > 0 and input_tokens > 0:
            low, high = RATIO_BOUNDS
            ratio = min(max(input_tokens / guessed, low), high)
            self._ratio = _mean(self._ratio, ratio)
        self._output = _mean(self._output, float(output_tokens))


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else before + WEIGHT * (newest - before)
