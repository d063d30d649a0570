"""What a scripted model server answers, and what it was asked: plain frozen data.

How a reply becomes bytes is the business of :mod:`hush.testing.scripted_wire`; which reply a
request gets, of :mod:`hush.testing.scripted_llm`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = (
    "Answer",
    "Disconnect",
    "ErrorReply",
    "Hang",
    "Malformed",
    "RecordedRequest",
    "Reply",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer, sent whole or as a stream, as the request wishes.

    In a stream, *pieces* are the events that carry something of the answer: a part of the
    reasoning, of the content, or of a tool call. The event that only names the role, the
    one with the finish reason and the one with the usage are none.
    """

    content: str = ""
    """The text; null in the response when it is empty and there are tool calls."""

    tool_calls: Sequence[Mapping[str, Any]] = ()
    """In the API's shape, ``{"id": .., "type": "function", "function": {"name": ..,
    "arguments": "{..}"}}``, or in short ``{"name": .., "arguments": {..}}``; ids are made
    up where missing, arguments that are no string are written as JSON."""

    reasoning: str | None = None
    """The text of the reasoning, sent in ``reasoning_field`` before the content."""

    finish_reason: str | None = None
    """None is ``tool_calls`` where there are some, else ``stop``."""

    contents: Sequence[str] = ()
    """One text for each choice, instead of ``content``. Without it a request for ``n``
    choices gets the same content n times."""

    prompt_tokens: int | None = None
    """None estimates: a token for each four characters begun."""

    completion_tokens: int | None = None
    """None estimates content and tool calls as above and adds ``reasoning_tokens``."""

    cached_tokens: int = 0
    """How many of the prompt's tokens came from the server's cache."""

    reasoning_tokens: int = 0
    """How many of the completion's tokens were reasoning."""

    chunks: Sequence[str] | None = None
    """The content cut as the stream shall send it; None cuts between words. ``content`` may
    then be left out."""

    delay_s: float = 0.0
    """Seconds before the first byte, that is also to the first token."""

    chunk_delay_s: float = 0.0
    """Seconds before each piece of a stream but the first."""

    cut_after: int | None = None
    """Close the socket after so many pieces, without finish reason, usage and ``[DONE]``.
    An answer that is no stream is cut in the middle of its body. None does not cut."""

    usage: bool = True
    """False is a server that never reports usage."""

    logprobs: Mapping[str, Any] | None = None
    """In the API's shape, ``{"content": [{"token": .., "logprob": ..}, ..]}``; a stream
    sends one entry with each piece of the content, what is left with the last."""

    model: str | None = None
    """The model that the response names; None is the one that was asked for."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the response."""

    reasoning_field: str = "reasoning_content"
    """OpenAI sends no reasoning text; servers differ in what they call it."""

    def __post_init__(self) -> None:
        """Refuse here, where the test's author sees it, what could not be sent."""
        if self.chunks is not None:
            if self.contents:
                raise ValueError("Answer: chunks cut one content; leave out contents")
            joined = "".join(self.chunks)
            if self.content not in {"", joined}:
                raise ValueError(f"Answer: chunks make {joined!r}, content is {self.content!r}")
            object.__setattr__(self, "content", joined)
        for call in self.tool_calls:
            if "name" not in call.get("function", call):
                raise ValueError(f"Answer: this tool call names no function: {dict(call)!r}")


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error in OpenAI's shape, ``{"error": {"message", "type", "param", "code"}}``."""

    status: int
    """The HTTP status, 400 or more."""

    message: str | None = None
    """None is a text that fits the status."""

    code: str | None = None
    """Such as ``content_filter``; None is what OpenAI sends with the status, if anything."""

    type: str | None = None
    """None is what OpenAI sends with the status."""

    param: str | None = None
    """The parameter at fault."""

    retry_after_s: float | None = None
    """Sent as ``Retry-After``, in seconds; None sends none."""

    retry_after_ms: float | None = None
    """Sent as ``retry-after-ms``, which OpenAI's clients prefer; None sends none."""

    delay_s: float = 0.0
    """Seconds before the first byte."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the response."""

    def __post_init__(self) -> None:
        """Refuse what no client would take for an error."""
        if not 400 <= self.status <= 599:  # noqa: PLR2004 - HTTP's range of errors.
            raise ValueError(f"ErrorReply: {self.status} is not the status of an error")


@dataclass(frozen=True, slots=True)
class Malformed:
    """Status 200 and a body that is not what it says it is; in a stream, such an event."""

    body: bytes = b"{not json"
    """Sent as ``application/json``."""

    delay_s: float = 0.0
    """Seconds before the first byte."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing, for long; then the connection is closed.

    It ends at once when the client goes away or the server stops.
    """

    seconds: float = 3600.0
    """How long the client is kept waiting."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The connection is closed without an answer."""


Reply: TypeAlias = Answer | ErrorReply | Malformed | Hang | Disconnect
"""Whatever a request can be answered with."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it arrived, whatever it was answered with."""

    model: str
    """The model, or Azure's deployment; empty where the request names none."""

    body: dict[str, Any]
    """The JSON body; empty where it was not a JSON object."""

    headers: dict[str, str]
    """Names in lower case."""

    path: str
    """With the query."""

    at: float
    """When it had been read, by :func:`time.monotonic`."""

    port: int
    """The client's port: requests with the same one came over the same connection."""
