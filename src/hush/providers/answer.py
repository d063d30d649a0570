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

_TEXTS: Final = ("role", "content", "refusal")
"""Fields of a message that are text or None."""
_SAID_BY: Final = {"function": "arguments", "custom": "input"}
"""Kinds of tool calls, with the field of each that holds what the model says to the tool."""


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
    logprobs: dict[str, list[Any]] = field(default_factory=dict)
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
            AttributeError, TypeError, ValueError: it has not the API's shape.
        """
        self._envelope(event)
        pieces: list[Piece] = []
        for one in event.get("choices") or ():
            index = _index(one)
            choice = self._choices.setdefault(index, _Choice())
            reason = _text(one, "finish_reason")
            if reason is not None:
                choice.finish_reason = reason
            logprobs = one.get("logprobs") or {}
            for name in ("content", "refusal"):
                if entries := _list(logprobs, name):
                    choice.logprobs.setdefault(name, []).extend(entries)
            pieces.extend(
                Piece(text, part, index) for text, part in _delta(choice, one.get("delta") or {})
            )
        self.characters += sum(len(piece.text) for piece in pieces)
        return pieces

    def _envelope(self, event: Mapping[str, Any]) -> None:
        self._id = _name(event, "id") or self._id
        self._model = _name(event, "model") or self._model
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
            calls = [_whole_call(call) for _, call in sorted(choice.calls.items())]
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
                    # Of a refusal alone the API says that there is no content, too.
                    "logprobs": {"content": None, **choice.logprobs} if choice.logprobs else None,
                }
            )
        return ChatAnswer(self._id, self._model, choices, self._counts)


def _delta(choice: _Choice, delta: Mapping[str, Any]) -> list[tuple[str, str]]:
    added: list[tuple[str, str]] = []
    choice.role = _text(delta, "role") or choice.role
    for name in REASONING_FIELDS:
        # Beyond the API each server may send what it likes; what is no text is no piece.
        if text := _name(delta, name):
            choice.reasoning.append(text)
            added.append((text, "reasoning"))
            break
    if text := _text(delta, "content"):
        choice.content.append(text)
        added.append((text, "content"))
    if text := _text(delta, "refusal"):
        choice.refusal.append(text)
        added.append((text, "refusal"))
    for call in _calls(delta):
        whole = choice.calls.setdefault(_place(choice, call), {"id": None, "type": None})
        whole["id"] = call.get("id") or whole["id"]
        whole["type"] = _text(call, "type") or whole["type"]
        for kind, said in _SAID_BY.items():
            part = call.get(kind) or {}
            if not part:
                continue
            inner = whole.setdefault(kind, {"name": "", said: ""})
            inner["name"] += _text(part, "name") or ""
            if text := _text(part, said):
                inner[said] += text
                added.append((text, "tool_call"))
    return added


def _whole_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call with what the API always gives; servers leave out what goes without saying."""
    kind = call["type"] or ("custom" if "custom" in call else "function")
    empty = {kind: {"name": "", _SAID_BY[kind]: ""}} if kind in _SAID_BY else {}
    return {**empty, **call, "type": kind}


def _place(choice: _Choice, call: Mapping[str, Any]) -> int:
    """Return which of the calls a piece belongs to; servers that do not number them send ids."""
    if call.get("index") is not None:
        return _index(call)
    called = call.get("id")
    if called is None:
        return max(choice.calls, default=0)
    known = (at for at, one in choice.calls.items() if one["id"] == called)
    return next(known, max(choice.calls, default=-1) + 1)


def pieces_of(answer: ChatAnswer) -> list[Piece]:
    """Return a whole answer as pieces, for whoever listens to a server that did not stream.

    Args:
        answer: as it came.

    Raises:
        AttributeError, TypeError, ValueError: its tool calls have not the API's shape.
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
        AttributeError, TypeError, ValueError: it has not the API's shape.
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
        # Here and not by whoever reads a field later: by then the call has gone well.
        for name in _TEXTS:
            _text(message, name)
        _calls(message)
        choices.append(
            {
                "index": _index(one),
                "finish_reason": _text(one, "finish_reason"),
                "message": dict(message),
                "logprobs": one.get("logprobs"),
            }
        )
    choices.sort(key=lambda choice: choice["index"])
    counts = TokenCounts.read(body.get("usage"))
    return ChatAnswer(_name(body, "id"), _name(body, "model"), choices, counts)


# --- shapes: what is wrong is named by its field, and never shown: it may be an answer ----------


def _text(holder: Mapping[str, Any], name: str) -> str | None:
    value = holder.get(name)
    if value is None or isinstance(value, str):
        return value
    msg = f"{name} is of type {type(value).__name__}, expected a text or null"
    raise TypeError(msg)


def _name(holder: Mapping[str, Any], name: str) -> str | None:
    """Return a text that an answer is as good without; None where it is none."""
    value = holder.get(name)
    return value if isinstance(value, str) else None


def _list(holder: Mapping[str, Any], name: str) -> list[Any]:
    value = holder.get(name)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    msg = f"{name} is of type {type(value).__name__}, expected a list or null"
    raise TypeError(msg)


def _calls(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = _list(message, "tool_calls")
    for at, call in enumerate(calls):
        if not isinstance(call, Mapping):
            msg = f"tool_calls[{at}] is of type {type(call).__name__}, expected a mapping"
            raise TypeError(msg)
    return calls


def _index(holder: Mapping[str, Any]) -> int:
    try:
        return int(holder.get("index") or 0)
    except (TypeError, ValueError, OverflowError):
        # The original shows what it could not read.
        msg = "index is no number"
        raise ValueError(msg) from None
