"""Answer: what a model said, put together from one body or from the pieces of a stream.

Works on plain dictionaries in the API's shape, so that what a server sends beyond the
API (the text of its reasoning, say) is there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ("Assembly", "ChatAnswer", "TokenCounts")

REASONING_FIELDS: Final = ("reasoning_content", "reasoning")
"""What servers call the text of a model's reasoning; OpenAI itself sends none."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What the server counted for one call."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    @classmethod
    def read(cls, usage: object) -> TokenCounts | None:
        """Read the API's ``usage``; None where it is absent or makes no sense.

        Args:
            usage: the mapping, if any.
        """
        if not isinstance(usage, Mapping):
            return None
        sent, said = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        if sent is None or said is None:
            return None
        cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
        reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens")
        return cls(sent, said, min(cached, sent), min(reasoning, said))


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None  # type: ignore[return-value]  # an int, as just seen


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    return (_count(details.get(name)) or 0) if isinstance(details, Mapping) else 0


@dataclass(slots=True)
class ChatAnswer:
    """A whole answer."""

    id: str | None
    model: str | None
    """The model that answered, as the server calls it."""
    choices: list[dict[str, Any]]
    """In the API's shape: ``index``, ``finish_reason``, ``message``, ``logprobs``; sorted."""
    counts: TokenCounts | None
    """None where the server did not say."""
    parsed: Any = None
    """The instance of the response format's pydantic model."""
    first_chunk_s: float | None = None
    """Seconds from the call to the first piece; None where the answer was not streamed."""

    @property
    def message(self) -> dict[str, Any]:
        """The first choice's message."""
        message: dict[str, Any] = self.choices[0]["message"]
        return message

    @property
    def finish_reasons(self) -> list[str]:
        """Why each choice ended."""
        return [str(choice.get("finish_reason")) for choice in self.choices]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one piece of a stream added for whoever listens."""

    text: str
    part: str
    choice: int


@dataclass(slots=True)
class _Choice:
    role: str = "assistant"
    content: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    finish_reason: str | None = None


class Assembly:
    """Puts an answer together."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._choices: dict[int, _Choice] = {}
        self._id: str | None = None
        self._model: str | None = None
        self._counts: TokenCounts | None = None
        self.characters = 0
        """How much text has come so far, for a guess at its tokens."""

    @property
    def counts(self) -> TokenCounts | None:
        """What the server counted, if it has said so already."""
        return self._counts

    def add(self, event: Mapping[str, Any]) -> list[Piece]:
        """Take in one event of a stream.

        Args:
            event: a ``chat.completion.chunk``.

        Returns:
            What it added, in order.

        Raises:
            TypeError, ValueError, KeyError: it has not the API's shape.
        """
        self._envelope(event)
        pieces: list[Piece] = []
        for one in event.get("choices") or ():
            index = int(one.get("index") or 0)
            choice = self._choices.setdefault(index, _Choice())
            if one.get("finish_reason") is not None:
                choice.finish_reason = str(one["finish_reason"])
            logprobs = one.get("logprobs") or {}
            choice.logprobs.extend(logprobs.get("content") or ())
            pieces.extend(
                Piece(text, part, index) for text, part in _delta(choice, one.get("delta") or {})
            )
        self.characters += sum(len(piece.text) for piece in pieces)
        return pieces

    def _envelope(self, event: Mapping[str, Any]) -> None:
        self._id = event.get("id") or self._id
        self._model = event.get("model") or self._model
        self._counts = TokenCounts.read(event.get("usage")) or self._counts

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        choices = self._choices.values()
        return bool(choices) and all(choice.finish_reason is not None for choice in choices)

    def answer(self) -> ChatAnswer:
        """Return the answer that the pieces make."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            calls = [call for _, call in sorted(choice.calls.items())]
            text = "".join(choice.content)
            message: dict[str, Any] = {
                "role": choice.role,
                # The API says None, not "", of a message that only calls tools.
                "content": text if text or not (calls or choice.refusal) else None,
            }
            if calls:
                message["tool_calls"] = calls
            if choice.refusal:
                message["refusal"] = "".join(choice.refusal)
            if choice.reasoning:
                message[REASONING_FIELDS[0]] = "".join(choice.reasoning)
            choices.append(
                {
                    "index": index,
                    "finish_reason": choice.finish_reason,
                    "message": message,
                    "logprobs": {"content": choice.logprobs} if choice.logprobs else None,
                }
            )
        return ChatAnswer(self._id, self._model, choices, self._counts)


def _delta(choice: _Choice, delta: Mapping[str, Any]) -> list[tuple[str, str]]:
    added: list[tuple[str, str]] = []
    choice.role = delta.get("role") or choice.role
    for name in REASONING_FIELDS:
        if text := delta.get(name):
            choice.reasoning.append(text)
            added.append((text, "reasoning"))
            break
    if text := delta.get("content"):
        choice.content.append(text)
        added.append((text, "content"))
    if text := delta.get("refusal"):
        choice.refusal.append(text)
        added.append((text, "refusal"))
    for call in delta.get("tool_calls") or ():
        whole = choice.calls.setdefault(
            _place(choice, call),
            {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
        )
        whole["id"] = call.get("id") or whole["id"]
        function = call.get("function") or {}
        whole["function"]["name"] += function.get("name") or ""
        if text := function.get("arguments"):
            whole["function"]["arguments"] += text
            added.append((text, "tool_call"))
    return added


def _place(choice: _Choice, call: Mapping[str, Any]) -> int:
    """Return which of the calls a piece belongs to; servers that do not number them send ids."""
    index = call.get("index")
    if index is not None:
        return int(index)
    called = call.get("id")
    if called is None:
        return max(choice.calls, default=0)
    known = (at for at, one in choice.calls.items() if one["id"] == called)
    return next(known, max(choice.calls, default=-1) + 1)


def pieces_of(answer: ChatAnswer) -> list[Piece]:
    """Return a whole answer as pieces, for whoever listens to a server that did not stream.

    Args:
        answer: as it came.
    """
    return [
        Piece(text, part, choice["index"])
        for choice in answer.choices
        for text, part in _delta(_Choice(), choice["message"])
    ]


def said_in(fault: object) -> object:
    """Return the text of an error that a server sent in the place of an answer.

    Args:
        fault: what stood under ``error``.
    """
    return fault.get("message") if isinstance(fault, Mapping) else fault


def read_body(body: object) -> ChatAnswer:
    """Read an answer that came as one body.

    Args:
        body: decoded JSON, a ``chat.completion``.

    Returns:
        The answer; its choices may be empty.

    Raises:
        TypeError, ValueError: it has not the API's shape.
    """
    if not isinstance(body, Mapping):
        msg = f"the body is a {type(body).__name__}"
        raise TypeError(msg)
    if fault := body.get("error"):
        # Some servers send their errors with status 200.
        msg = f"the server says: {said_in(fault)}"
        raise ValueError(msg)
    choices = []
    for at, one in enumerate(body.get("choices") or ()):
        message = one.get("message")
        if not isinstance(message, Mapping):
            msg = f"choices[{at}] has no message"
            raise TypeError(msg)
        choices.append(
            {
                "index": int(one.get("index") or 0),
                "finish_reason": one.get("finish_reason"),
                "message": dict(message),
                "logprobs": one.get("logprobs"),
            }
        )
    choices.sort(key=lambda choice: choice["index"])
    counts = TokenCounts.read(body.get("usage"))
    return ChatAnswer(body.get("id"), body.get("model"), choices, counts)
