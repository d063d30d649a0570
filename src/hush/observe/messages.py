"""Messages: what was said to a model and by it, made fit to leave the process.

Turns the API's shape into that of OpenTelemetry's conventions for generative AI: messages
made of parts. Every text is redacted and cut before anything is encoded, so that the JSON
stays valid; files and images are named and never copied; the whole is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.observe.reading import Reader
from hush.observe.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ("Content",)

LIMIT_BYTES: Final = 65_536
"""Most JSON of one attribute, in bytes."""
PART_BYTES: Final = 64
"""What a part costs besides its texts, in bytes."""
NOTE_BYTES: Final = 256
"""Room within the limit for the note on what was left out."""
UNKNOWN: Final = "unknown"
"""In the place of a role, a type or a reason that nobody gave."""
OMITTED: Final = "omitted"
"""Role of the note that stands for messages left out."""

_FINISH_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call"}
"""The convention's words, where they are not the API's."""
_REASONING: Final = ("reasoning_content", "reasoning")
"""What servers call the text of a model's reasoning."""


class Content:
    """One private attribute: made fit to leave when somebody first asks for it."""

    __slots__ = ("_json", "_name", "_raw", "_structure")

    _json: str
    _structure: list[Any]

    def __init__(self, name: str, raw: object) -> None:
        """Keep what was annotated.

        Args:
            name: of ``semconv.CONTENT``.
            raw: the messages, choices or tools in the API's shape; where it is not what
                the API promises, it is taken as well as can be.
        """
        self._name = name
        self._raw: object = raw

    @property
    def structure(self) -> list[Any]:
        """What may leave, as plain lists, mappings, texts and numbers."""
        self._read()
        return self._structure

    @property
    def json(self) -> str:
        """The same as JSON of at most ``LIMIT_BYTES`` bytes."""
        self._read()
        return self._json

    def _read(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None:
            return
        # Should reading it fail, nothing of it leaves.
        self._structure, self._json = [], "[]"
        items = raw if isinstance(raw, (list, tuple)) else [raw]
        if self._name == semconv.GEN_AI_INPUT_MESSAGES:
            # The newest say most; of a long history they alone are read.
            kept, encoded = _within_limit(reversed(items), _message)
            kept.reverse()
            encoded.reverse()
            if len(kept) < len(items):
                note = _note(len(items) - len(kept), "older messages")
                kept.insert(0, note)
                encoded.insert(0, _encode(note))
        elif self._name == semconv.GEN_AI_OUTPUT_MESSAGES:
            kept, encoded = _within_limit(items, _choice)
            if len(kept) < len(items):
                note = _note(len(items) - len(kept), "further choices")
                note["finish_reason"] = UNKNOWN
                kept.append(note)
                encoded.append(_encode(note))
        else:
            kept, encoded = _within_limit(items, _tool)
            if len(kept) < len(items):
                note = {"type": OMITTED, "name": f"[{len(items) - len(kept)} tools left out]"}
                kept.append(note)
                encoded.append(_encode(note))
        self._structure, self._json = kept, f"[{', '.join(encoded)}]"


def _within_limit(
    items: Iterable[object], convert: Callable[[Reader, object], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Convert items, and encode them, for as long as they fit."""
    kept: list[dict[str, Any]] = []
    encoded: list[str] = []
    left = LIMIT_BYTES - NOTE_BYTES
    for item in items:
        # A reader takes no more than fits, so that the first one always does.
        converted = convert(Reader(settings.redactor, LIMIT_BYTES // 2), item)
        text = _encode(converted)
        left -= len(text.encode()) + 2
        if left < 0:
            break
        kept.append(converted)
        encoded.append(text)
    return kept, encoded


def _encode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _note(count: int, what: str) -> dict[str, Any]:
    return {
        "role": OMITTED,
        "parts": [{"type": "text", "content": f"[{count} {what} left out]"}],
    }


# --- messages -----------------------------------------------------------------------------


def _message(reader: Reader, raw: object) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {"role": UNKNOWN, "parts": [_text_part(reader, raw)]}
    message: dict[str, Any] = {"role": reader.text(raw.get("role") or UNKNOWN)}
    if raw.get("name"):
        message["name"] = reader.text(raw["name"])
    message["parts"] = _parts(reader, raw)
    return message


def _choice(reader: Reader, raw: object) -> dict[str, Any]:
    said = raw.get("message") if isinstance(raw, Mapping) else None
    message = _message(reader, said if isinstance(said, Mapping) else raw)
    reason = raw.get("finish_reason") if isinstance(raw, Mapping) else None
    word = reader.text(reason or UNKNOWN)
    message["finish_reason"] = _FINISH_REASONS.get(word, word)
    return message


def _parts(reader: Reader, message: Mapping[Any, Any]) -> list[dict[str, Any]]:
    if message.get("role") in ("tool", "function"):
        return [_tool_response(reader, message)]
    parts = [
        {"type": "reasoning", "content": reader.text(message[name])}
        for name in _REASONING
        if message.get(name)
    ][:1]
    parts += _content_parts(reader, message.get("content"))
    if message.get("refusal"):
        parts.append({"type": "refusal", "content": reader.text(message["refusal"])})
    parts += _each(reader, message.get("tool_calls"), _tool_call)
    if isinstance(message.get("function_call"), Mapping):
        parts.append(_tool_call(reader, {"function": message["function_call"]}))
    audio = message.get("audio")
    if isinstance(audio, Mapping):
        blob = _blob("audio", None, _data(audio.get("data")), base64=True)
        if audio.get("transcript"):
            blob["transcript"] = reader.text(audio["transcript"])
        parts.append(blob)
    return parts


def _content_parts(reader: Reader, content: object) -> list[dict[str, Any]]:
    # The API takes an empty text for none, and None of a message that only calls tools.
    if content is None or content == "":
        return []
    if isinstance(content, (list, tuple)):
        return _each(reader, content, _part)
    return [_part(reader, content)]


def _each(
    reader: Reader, raw: object, convert: Callable[[Reader, Any], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Convert a list of parts for as long as the reader takes any."""
    items: Sequence[object] = raw if isinstance(raw, (list, tuple)) else ()
    parts: list[dict[str, Any]] = []
    for item in items:
        if reader.full:
            parts.append({"type": "text", "content": f"[{len(items) - len(parts)} parts left out]"})
            break
        reader.charge(PART_BYTES)
        parts.append(convert(reader, item))
    return parts


def _text_part(reader: Reader, text: object) -> dict[str, Any]:
    return {"type": "text", "content": reader.text(text)}


def _part(reader: Reader, raw: object) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return _text_part(reader, raw)
    kind = raw.get("type")
    value = raw.get(kind) if isinstance(kind, str) else None
    if kind == "text":
        return _text_part(reader, raw.get("text", ""))
    if kind == "refusal":
        return {"type": "refusal", "content": reader.text(value)}
    if kind == "image_url":
        url = value.get("url") if isinstance(value, Mapping) else value
        return _image(reader, _data(url))
    if kind == "input_audio" and isinstance(value, Mapping):
        mime = f"audio/{reader.text(value.get('format') or UNKNOWN)}"
        return _blob("audio", mime, _data(value.get("data")), base64=True)
    if kind == "file" and isinstance(value, Mapping):
        if value.get("file_id"):
            return {
                "type": "file",
                "modality": "document",
                "file_id": reader.text(value["file_id"]),
            }
        head, _, data = _data(value.get("file_data")).rpartition(",")
        return _blob("document", _mime(reader, head), data, base64=True)
    other = reader.plain(raw)
    return {"type": UNKNOWN, **other}


# --- images and files: how much there was, never what -----------------------------------------


def _image(reader: Reader, url: str) -> dict[str, Any]:
    if url[:5].lower() != "data:":
        return {"type": "uri", "modality": "image", "uri": reader.text(url)}
    head, _, data = url.partition(",")
    return _blob("image", _mime(reader, head), data, base64=head.lower().endswith(";base64"))


def _data(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mime(reader: Reader, head: str) -> str | None:
    """Return the media type that the head of a data URL names."""
    named = head[5:].split(";", 1)[0] if head[:5].lower() == "data:" else ""
    return reader.text(named) if named else None


def _blob(modality: str, mime: str | None, data: str, *, base64: bool) -> dict[str, Any]:
    size = max(len(data) * 3 // 4 - data.count("=", -2), 0) if base64 else len(data)
    part = {"type": "blob", "modality": modality, "content": f"[{size} bytes]"}
    if mime is not None:
        part["mime_type"] = mime
    return part


# --- tools --------------------------------------------------------------------------------------


def _tool_call(reader: Reader, raw: object) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return _text_part(reader, raw)
    function, custom = raw.get("function"), raw.get("custom")
    part: dict[str, Any] = {"type": "tool_call"}
    if raw.get("id"):
        part["id"] = reader.text(raw["id"])
    if isinstance(function, Mapping):
        part["name"] = reader.text(function.get("name") or UNKNOWN)
        part["arguments"] = reader.decoded(function.get("arguments"))
    elif isinstance(custom, Mapping):
        part["name"] = reader.text(custom.get("name") or UNKNOWN)
        part["arguments"] = reader.plain(custom.get("input"))
    else:
        part["name"] = UNKNOWN
        part["arguments"] = reader.plain(raw)
    return part


def _tool_response(reader: Reader, message: Mapping[Any, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "tool_call_response"}
    if message.get("tool_call_id"):
        part["id"] = reader.text(message["tool_call_id"])
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        part["response"] = _content_parts(reader, content)
    else:
        part["response"] = reader.decoded(content)
    return part


def _tool(reader: Reader, raw: object) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {"type": UNKNOWN, "name": reader.text(raw)}
    kind = raw.get("type")
    inner = raw.get(kind) if isinstance(kind, str) else None
    tool = {"type": UNKNOWN, "name": UNKNOWN}
    if not isinstance(inner, Mapping):
        return tool | reader.schema(raw)
    return tool | {"type": reader.text(kind)} | reader.schema(inner)
