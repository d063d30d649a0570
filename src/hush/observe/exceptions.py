"""Exceptions: what a span may say of one: its class, its text, where it was raised and why.

All of it passes the redactor piece by piece, so that a quote that one line leaves open does
not swallow the next one, and each piece has its share of the limit: a long message leaves
the frames alone, and many frames leave room for the causes.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.errors import type_name
from hush.observe.redaction import clean, cut, redacted, safe_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.observe.redaction import Redactor

__all__ = ("ExceptionFacts", "class_of", "exception_facts")

FRAMES: Final = 64
"""Frames of a traceback that are read, the innermost ones."""
NAME_LIMIT: Final = 256
"""Longest name of a class, in characters."""
MESSAGE_LIMIT: Final = 500
"""Longest message within a stack trace; whole it stands beside it."""
FRAME_LIMIT: Final = 500
NOTES: Final = 3
RELATED: Final = 5
"""Causes and members of groups that are told of."""
RELATED_LIMIT: Final = 1_400
"""Most characters for them."""
HEAD: Final = "Traceback (most recent call last):\n"
EARLIER: Final = "  [earlier frames left out]\n"


@dataclass(frozen=True, slots=True)
class ExceptionFacts:
    """What a span may say of an exception; redacted and cut."""

    type: str
    """Qualified name of its class."""
    message: str
    status: str
    """All on one line: where it happened, the class and the message."""
    stacktrace: str
    """Empty where it was not asked for."""


def class_of(error: BaseException) -> str:
    """Return the qualified name of an exception's class, cut."""
    return cut(safe_text(type_name(error)), NAME_LIMIT)


def exception_facts(
    error: BaseException,
    redactor: Redactor,
    *,
    path: str | None = None,
    with_trace: bool = True,
) -> ExceptionFacts:
    """Describe an exception for a span.

    Args:
        error: any exception, also one whose ``str`` raises.
        redactor: what the application wants taken out.
        path: of the node that failed; None where the exception is the span's own.
        with_trace: whether the stack trace is wanted.

    Returns:
        Class, message and stack trace. The trace holds as many of the innermost frames as
        there is room for, the exception, and what it came from: the causes, what was being
        handled, the members of a group, each with the frame that raised it.
    """
    kind = class_of(error)
    text, beyond = redacted(error, redactor)
    status = f"{kind}: {text}"
    # Errors of the runtime name the node themselves.
    if path is not None and not text.startswith(f"{path}: "):
        status = f"{path}: {status}"
    return ExceptionFacts(
        kind,
        cut(text, beyond=beyond),
        cut(status, beyond=beyond),
        _trace(error, text, beyond, redactor) if with_trace else "",
    )


def _trace(error: BaseException, text: str, beyond: int, redactor: Redactor) -> str:
    last = _headline(error, text, beyond) + _notes(error, redactor)
    related = _all_related(error, redactor)
    room = semconv.TEXT_LIMIT - len(HEAD) - len(EARLIER) - len(last) - len(related)
    frames = _frames(error, redactor, room)
    return f"{HEAD}{frames}{last}{related}" if frames else f"{last}{related}"


def _headline(error: BaseException, text: str, beyond: int) -> str:
    kind = class_of(error)
    return f"{kind}: {cut(text, MESSAGE_LIMIT, beyond=beyond)}\n" if text else f"{kind}\n"


def _notes(error: BaseException, redactor: Redactor) -> str:
    try:
        notes = list(getattr(error, "__notes__", ()))[:NOTES]
    except Exception:  # noqa: BLE001  # anything may stand there, and may raise
        return ""
    return "".join(f"{clean(note, redactor, limit=MESSAGE_LIMIT // 2)}\n" for note in notes)


def _entries(error: BaseException, limit: int) -> list[str]:
    """Return the innermost frames as text; repetitions are one entry."""
    try:
        return traceback.extract_tb(error.__traceback__, limit=-limit).format()
    except Exception:  # noqa: BLE001  # sources are read through loaders, which may fail
        return []


def _frames(error: BaseException, redactor: Redactor, room: int) -> str:
    entries = _entries(error, FRAMES)
    kept: list[str] = []
    for entry in reversed(entries):
        text = clean(entry.rstrip(), redactor, limit=FRAME_LIMIT) + "\n"
        room -= len(text)
        if room < 0:
            break
        kept.append(text)
    whole = len(kept) == len(entries) and not _deeper(error, FRAMES)
    return ("" if whole or not kept else EARLIER) + "".join(reversed(kept))


def _deeper(error: BaseException, depth: int) -> bool:
    entry = error.__traceback__
    for _ in range(depth):
        if entry is None:
            return False
        entry = entry.tb_next
    return entry is not None


def _all_related(error: BaseException, redactor: Redactor) -> str:
    said = ""
    for count, (how, one) in enumerate(_related(error)):
        if count == RELATED:
            return f"{said}[more left out]\n"
        text = f"{how} {_headline(one, *redacted(one, redactor))}"
        for entry in _entries(one, 1):
            text += clean(entry.rstrip(), redactor, limit=FRAME_LIMIT) + "\n"
        if len(said) + len(text) > RELATED_LIMIT:
            return f"{said}[more left out]\n"
        said += text
    return said


def _related(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Yield what an exception came from, each once, the nearest first."""
    seen = {id(error)}
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        for how, other in _next_to(one):
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)
                yield how, other


def _next_to(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    if error.__cause__ is not None:
        yield "Caused by", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "While handling", error.__context__
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield "Containing", member
