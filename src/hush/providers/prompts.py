"""Prompts: their forms, and how placeholders in them are filled.

A prompt is a text (one user message), a mapping with ``system`` and ``user``, or a list of
messages in the API's shape. Filling is one pass: what was filled in is never read again,
so that braces in a value stay what they are and no value can ask for another. Nothing that
is given is changed. This module knows nothing of nodes, clients or event loops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hush.errors import PromptError, text_of
from hush.plan.telling import hint, listing
from hush.providers.images import source_url
from hush.providers.prompt_forms import (
    IMAGES,
    FormError,
    check_history,
    check_prompt,
    kind_of,
    url_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = (
    "IMAGES",
    "FormError",
    "Verbatim",
    "check_history",
    "check_prompt",
    "fill_prompt",
    "placeholders",
)

# From the first of several braces and without going back: linear also in a text of braces.
PLACEHOLDER = re.compile(r"(?<!\{)(\{++)([A-Za-z_][A-Za-z0-9_]*+)(\}++)")
ONE_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Verbatim(str):
    """Text whose braces are no placeholders: it came as a value, not with the prompt."""

    __slots__ = ()


def fill_prompt(
    prompt: object, variables: Mapping[str, Any], history: object, *, path: str
) -> list[dict[str, Any]]:
    """Fill a prompt and put the conversation so far before its last user message.

    ``{name}`` is replaced in contents, in the ``text`` of text parts and in the ``url`` of
    image parts; a name is ASCII letters, digits and underscores. ``{{name}}`` gives
    ``{name}``, and ``{{{name}}}`` the value in braces, as in ``str.format``. Other braces,
    such as those of JSON, stay as they are; there are no formats and no attributes.

    A text is inserted as it is; mappings, lists and tuples as JSON, with ``str`` for what
    JSON cannot say; everything else as ``str`` writes it, so that None gives ``None``.
    Where a placeholder is the whole ``url`` of an image, bytes and a
    :class:`pathlib.Path` become a data URL; the file is read here, which blocks.

    Args:
        prompt: a text, a mapping with ``system`` and/or ``user``, or a list of messages.
        variables: values by name; those that the prompt does not name are left alone.
        history: messages of the conversation so far, taken over unfilled; None or empty
            for none. Without a user message in the prompt they go to its end.
        path: the node's path, for errors.

    Returns:
        Messages in the API's shape; the list, the messages and their parts are new.

    Raises:
        PromptError: a variable is missing or cannot be written, an image cannot be read,
            or prompt or history has no form that is known.
    """
    try:
        messages = check_prompt(prompt)
        past = check_history(history)
    except FormError as error:
        raise PromptError(path, str(error)) from None
    named = dict.fromkeys(name for message in messages for name in _names(message))
    missing = [name for name in named if name not in variables]
    if missing:
        raise PromptError(path, _missing(missing, variables))
    filling = _Filling(variables, path)
    filled = [filling.message(message) for message in messages]
    users = [i for i, message in enumerate(filled) if message["role"] == "user"]
    place = users[-1] if users else len(filled)
    return [*filled[:place], *past, *filled[place:]]


def placeholders(prompt: object) -> frozenset[str]:
    """Return the names that a prompt wants filled.

    Args:
        prompt: as for :func:`fill_prompt`.

    Returns:
        The names; none where the prompt has no form that is known.
    """
    try:
        messages = check_prompt(prompt)
    except FormError:
        return frozenset()
    return frozenset(name for message in messages for name in _names(message))


def _missing(names: list[str], variables: Mapping[str, Any]) -> str:
    several = len(names) > 1
    listed = ", ".join(map(repr, names))
    entries = ", ".join(f"{name!r}: ..." for name in names)
    return (
        f"the {'variables' if several else 'variable'} {listed} of the prompt "
        f"{'have' if several else 'has'} no value; given: {listing(variables)}. "
        f"Add inputs={{{entries}}}, or write {{{{{names[0]}}}}} where {{{names[0]}}} is meant "
        f"as it stands.{hint(names[0], variables)}"
    )


# --- filling ---------------------------------------------------------------------------------


def _names(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the placeholders of a message that was checked."""
    content = message.get("content")
    texts: Iterable[object] = [content]
    if isinstance(content, (list, tuple)):
        texts = (
            url_of(part) if part["type"] == "image_url" else part.get("text")
            for part in content
            if part["type"] in {"text", "image_url"}
        )
    for text in texts:
        if isinstance(text, str) and not isinstance(text, Verbatim):
            for found in PLACEHOLDER.finditer(text):
                if min(len(found[1]), len(found[3])) % 2:
                    yield found[2]


def _substituted(template: str, value_of: Callable[[str], str]) -> str:
    """Replace what is in one pair of braces, or in three; two pairs stand for one."""

    def replaced(found: re.Match[str]) -> str:
        depth = min(len(found[1]), len(found[3]))
        shown = value_of(found[2]) if depth % 2 else found[2]
        # Braces beyond the matching ones belong to the text around.
        return found[1][depth - depth // 2 :] + shown + found[3][depth - depth // 2 :]

    if isinstance(template, Verbatim):
        return str.__str__(template)
    return PLACEHOLDER.sub(replaced, template)


class _Filling:
    """One prompt's variables on their way into its messages."""

    __slots__ = ("_path", "_texts", "_variables")

    def __init__(self, variables: Mapping[str, Any], path: str) -> None:
        self._variables = variables
        self._path = path
        self._texts: dict[str, str] = {}

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        copy = dict(message)
        content = copy.get("content")
        if isinstance(content, str):
            copy["content"] = self._filled(content)
        elif content is not None:
            copy["content"] = [self._part(part) for part in content]
        return copy

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any]:
        copy = dict(part)
        if copy["type"] == "text":
            copy["text"] = self._filled(copy["text"])
        elif copy["type"] == "image_url":
            image = copy["image_url"]
            more = image if isinstance(image, Mapping) else {}
            copy["image_url"] = {**more, "url": self._url(url_of(part))}
        return copy

    def _url(self, url: Any) -> str:
        source = url
        if isinstance(url, str):
            whole = ONE_PLACEHOLDER.fullmatch(url)
            source = self._variables[whole[1]] if whole and not isinstance(url, Verbatim) else None
            if not isinstance(source, IMAGES):
                return self._filled(url)
        try:
            return source_url(source)
        except PromptError as error:
            raise PromptError(self._path, f"an image of the prompt: {error.message}") from error

    def _filled(self, template: str) -> str:
        return _substituted(template, self._text)

    def _text(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = self._written(name, self._variables[name])
        return self._texts[name]

    def _written(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            # What the text is, also where it is a member of an enumeration.
            return str.__str__(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise PromptError(
                self._path,
                f"the variable {name!r} is {kind_of(value)}, which no text takes. Decode it, or "
                f"let {{{name}}} be the whole url of an image",
            )
        try:
            if isinstance(value, (Mapping, list, tuple)):
                return json.dumps(value, ensure_ascii=False, default=_plain)
            return str(value)
        except Exception as error:  # whatever a value's own __str__ may raise
            raise PromptError(
                self._path,
                f"the variable {name!r}, {kind_of(value)}, cannot be written: "
                f"{type(error).__name__}: {text_of(error):.200}. Give it as a text",
            ) from error


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
