"""The chat completions API as JSON: what a scripted reply looks like on the wire.

Pure functions of a reply and a request's body; nothing here knows sockets or HTTP.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.testing.scripted_replies import Answer, ErrorReply

__all__ = ("Stream", "completion", "echo_text", "encode", "error_body", "stream")

_Json = dict[str, Any]

_CHARACTERS_PER_TOKEN = 4
_ARGUMENTS_PER_PIECE = 12

_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The server is overloaded."),
}
"""Type, code and message that OpenAI sends with a status."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of a streamed answer, in the order in which they are sent."""

    head: list[_Json]
    """The role of each choice."""

    pieces: list[_Json]
    """What carries something of the answer; choices take turns."""

    tail: list[_Json]
    """Finish reasons and usage."""


def encode(value: Any) -> bytes:
    """Write JSON as OpenAI does: compact, in UTF-8; what cannot be encoded becomes ``?``."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def error_body(reply: ErrorReply) -> _Json:
    """Return the body of an error."""
    kind = "server_error" if reply.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's own.
    default = _ERRORS.get(reply.status, (kind, None, f"The request failed: {reply.status}."))
    error = {
        "message": default[2] if reply.message is None else reply.message,
        "type": default[0] if reply.type is None else reply.type,
        "param": reply.param,
        "code": default[1] if reply.code is None else reply.code,
    }
    return {"error": error}


def echo_text(body: Mapping[str, Any]) -> str:
    """Return the last user message's text; empty where there is none."""
    for message in reversed(_messages(body)):
        if message.get("role") == "user":
            return _text(message)
    return ""


def completion(answer: Answer, body: Mapping[str, Any], model: str, number: int) -> _Json:
    """Return the body of an answer that is not streamed.

    Args:
        answer: what is answered.
        body: the request's body.
        model: the model that was asked for.
        number: the request's number, from which ids are made.
    """
    calls = _tool_calls(answer, number)
    choices = []
    for index, content in enumerate(_contents(answer, body)):
        message: _Json = {"role": "assistant", "content": content or (None if calls else "")}
        message["refusal"] = None
        if answer.reasoning is not None:
            message[answer.reasoning_field] = answer.reasoning
        if calls:
            message["tool_calls"] = calls
        choice = {"index": index, "message": message, "logprobs": answer.logprobs}
        choices.append({**choice, "finish_reason": _finish_reason(answer)})
    whole = _envelope("chat.completion", answer, model, number) | {"choices": choices}
    if answer.usage:
        whole["usage"] = _usage(answer, body, number)
    return whole


def stream(answer: Answer, body: Mapping[str, Any], model: str, number: int) -> Stream:
    """Return the events of an answer that is streamed; arguments as for :func:`completion`."""
    options = body.get("stream_options")
    with_usage = answer.usage and isinstance(options, dict) and options.get("include_usage") is True
    frame = _envelope("chat.completion.chunk", answer, model, number)
    if with_usage:
        # OpenAI then sends it with each event, null in all but the last.
        frame["usage"] = None

    def event(
        index: int, delta: _Json, finish_reason: str | None = None, logprobs: Any = None
    ) -> _Json:
        choice = {"index": index, "delta": delta, "logprobs": logprobs}
        return {**frame, "choices": [{**choice, "finish_reason": finish_reason}]}

    contents = _contents(answer, body)
    role = {"role": "assistant", "content": "", "refusal": None}
    turns = zip_longest(
        *(
            [
                event(index, delta, logprobs=logprobs)
                for delta, logprobs in _deltas(answer, content, number)
            ]
            for index, content in enumerate(contents)
        )
    )
    tail = [event(index, {}, _finish_reason(answer)) for index in range(len(contents))]
    if with_usage:
        tail.append({**frame, "choices": [], "usage": _usage(answer, body, number)})
    return Stream(
        head=[event(index, role) for index in range(len(contents))],
        pieces=[piece for piece in chain.from_iterable(turns) if piece is not None],
        tail=tail,
    )


# --- parts -------------------------------------------------------------------------------


def _envelope(kind: str, answer: Answer, model: str, number: int) -> _Json:
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": int(time.time()),
        "model": model if answer.model is None else answer.model,
        "system_fingerprint": "fp_scripted",
    }


def _contents(answer: Answer, body: Mapping[str, Any]) -> list[str]:
    if answer.contents:
        return list(answer.contents)
    wanted = body.get("n")
    return [answer.content] * (wanted if isinstance(wanted, int) and wanted > 0 else 1)


def _finish_reason(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def _tool_calls(answer: Answer, number: int) -> list[_Json]:
    calls = []
    for index, call in enumerate(answer.tool_calls):
        function = call.get("function", call)
        arguments = function.get("arguments", {})
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        calls.append(
            {
                "id": call.get("id", f"call_{number}_{index}"),
                "type": "function",
                "function": {"name": function["name"], "arguments": arguments},
            }
        )
    return calls


def _deltas(answer: Answer, content: str, number: int) -> Iterator[tuple[_Json, Any]]:
    """Yield what each piece of one choice adds, with its log probabilities."""
    for text in _words(answer.reasoning or ""):
        yield {answer.reasoning_field: text}, None
    texts = _words(content) if answer.chunks is None else list(answer.chunks)
    entries = list((answer.logprobs or {}).get("content") or ())
    for at, text in enumerate(texts):
        share = entries[at:] if at == len(texts) - 1 else entries[at : at + 1]
        yield {"content": text}, ({"content": share} if share else None)
    for index, call in enumerate(_tool_calls(answer, number)):
        arguments = call["function"]["arguments"]
        opened = {"name": call["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, **call, "function": opened}]}, None
        for start in range(0, len(arguments), _ARGUMENTS_PER_PIECE):
            part = {"arguments": arguments[start : start + _ARGUMENTS_PER_PIECE]}
            yield {"tool_calls": [{"index": index, "function": part}]}, None


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+\Z", text)


def _usage(answer: Answer, body: Mapping[str, Any], number: int) -> _Json:
    prompt = answer.prompt_tokens
    if prompt is None:
        prompt = sum(_tokens(_text(message)) for message in _messages(body))
    completed = answer.completion_tokens
    if completed is None:
        functions = [call["function"] for call in _tool_calls(answer, number)]
        written = [*_contents(answer, body), *(f["name"] + f["arguments"] for f in functions)]
        completed = sum(map(_tokens, written)) + answer.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _messages(body: Mapping[str, Any]) -> list[_Json]:
    messages = body.get("messages")
    return [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        # Of a message in parts, such as text and images, what is text.
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""
