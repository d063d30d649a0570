"""The forms that a prompt and a conversation may have, checked before anything is filled.

A prompt is a text (one user message), a mapping with ``system`` and ``user``, or a list of
messages in the API's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ("IMAGES", "FormError", "check_history", "check_prompt", "kind_of", "url_of")

MESSAGE = "{'role': 'user', 'content': '...'}"
FORMS = f"Give a text, a mapping with 'system' and 'user', or a list of messages such as {MESSAGE}"
PARTS = (
    "Give a text or a list of parts such as {'type': 'text', 'text': '...'} "
    "or {'type': 'image_url', 'image_url': {'url': '...'}}"
)
IMAGES = (bytes, bytearray, memoryview, Path)
"""Types of images that are no URL yet."""


class FormError(ValueError):
    """A prompt has no form that is known; in two parts, as a graph's problems are."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both parts.

        Args:
            message: what is wrong.
            remedy: what to do about it.
        """
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}. {remedy}")


def check_prompt(prompt: object) -> list[Mapping[str, Any]]:
    """Check a prompt's form.

    Args:
        prompt: anything.

    Returns:
        Its messages, not filled.

    Raises:
        FormError: it has no form that is known.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, Mapping):
        return _from_mapping(prompt)
    if not isinstance(prompt, (list, tuple)):
        raise FormError(f"the prompt is {kind_of(prompt)}", FORMS)
    if not prompt:
        raise FormError("the prompt is an empty list", FORMS)
    for i, message in enumerate(prompt):
        where = f"message {i} of the prompt"
        _check_role(message, where)
        # What an assistant did may be told by other keys, such as tool_calls.
        if "content" not in message and message["role"] != "assistant":
            raise FormError(f"{where} has no 'content'", PARTS)
        if message.get("content") is not None:
            _check_content(message["content"], f"the content of {where}")
    return list(prompt)


def check_history(history: object) -> list[dict[str, Any]]:
    """Check the messages of a conversation so far.

    Args:
        history: anything.

    Returns:
        Copies of the messages.

    Raises:
        FormError: it is no list of messages.
    """
    if history is None:
        return []
    if not isinstance(history, (list, tuple)):
        remedy = f"Give a list of messages such as {MESSAGE}, or None"
        raise FormError(f"conversation_history is {kind_of(history)}", remedy)
    copies = []
    for i, message in enumerate(history):
        _check_role(message, f"message {i} of conversation_history")
        copy = dict(message)
        if isinstance(copy.get("content"), (list, tuple)):
            parts = copy["content"]
            copy["content"] = [dict(one) if isinstance(one, Mapping) else one for one in parts]
        copies.append(copy)
    return copies


def _from_mapping(prompt: Mapping[Any, Any]) -> list[Mapping[str, Any]]:
    for key in prompt:
        if key in {"role", "content"}:
            raise FormError(
                f"the prompt is one message, with {key!r}", f"Put it into a list: [{MESSAGE}]"
            )
        if key not in {"system", "user"}:
            raise FormError(f"the prompt has the key {key!r:.60}", FORMS)
    if not prompt:
        raise FormError("the prompt is an empty mapping", FORMS)
    messages: list[Mapping[str, Any]] = []
    for role in ("system", "user"):
        if role in prompt:
            _check_content(prompt[role], f"{role!r} of the prompt")
            messages.append({"role": role, "content": prompt[role]})
    return messages


def _check_role(message: object, where: str) -> None:
    remedy = f"Give messages such as {MESSAGE}"
    if not isinstance(message, Mapping):
        raise FormError(f"{where} is {kind_of(message)}", remedy)
    if "role" not in message:
        raise FormError(f"{where} has no 'role'", remedy)
    if not isinstance(message["role"], str) or not message["role"]:
        raise FormError(f"the role of {where} is {kind_of(message['role'])}", remedy)


def _check_content(content: object, where: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, (list, tuple)) or not content:
        raise FormError(f"{where} is {kind_of(content)}", PARTS)
    for i, part in enumerate(content):
        fault = _part_fault(part)
        if fault is not None:
            raise FormError(f"part {i} of {where} {fault}", PARTS)


def _part_fault(part: object) -> str | None:
    if not isinstance(part, Mapping):
        return f"is {kind_of(part)}"
    kind = part.get("type")
    if not isinstance(kind, str):
        return "has no 'type'" if "type" not in part else f"has a 'type' that is {kind_of(kind)}"
    if kind == "text" and not isinstance(part.get("text"), str):
        return f"has a 'text' that is {kind_of(part.get('text'))}"
    if kind == "image_url" and not isinstance(url_of(part), (str, *IMAGES)):
        return f"has a 'url' that is {kind_of(url_of(part))}"
    return None


def url_of(part: Mapping[str, Any]) -> object:
    """Return the URL of an image part."""
    # Some write the bare URL, which servers refuse; filling puts it where it belongs.
    image = part.get("image_url")
    return image.get("url") if isinstance(image, Mapping) else image


def kind_of(value: object) -> str:
    """Return what a value is, in words for an error."""
    if isinstance(value, (str, list, tuple)) and not value:
        return f"an empty {type(value).__name__}"
    return "None" if value is None else type(value).__name__
