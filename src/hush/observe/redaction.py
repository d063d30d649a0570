"""Redaction: every text that leaves on a span passes here: guarded, redacted, cut.

The default redactor takes out what looks like a credential; an application may give its
own through ``configure(redactor=...)``. One that raises lets nothing through.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hush import semconv
from hush.errors import text_of, type_name

__all__ = ("ExceptionFacts", "Redactor", "clean", "cut", "exception_facts", "redact_secrets")

Redactor = Callable[[str], str]
"""Takes a text, returns the text that may leave."""

MASK: Final = "[redacted]"
FAILED: Final = "[redaction failed]"

READ_LIMIT: Final = 16 * semconv.TEXT_LIMIT
"""Text beyond this is never looked at: it would be cut off anyway."""
FRAMES: Final = 64
"""Frames of a traceback that are kept, the innermost ones."""

_TELLING_NAME = (
    r"(?:api[_-]?key|access[_-]?key|private[_-]?key|secret|password|passwd|pwd|credentials?|"
    r"(?:auth|access|refresh|id|session|bearer|api)[_-]?token|authorization|cookie)"
)
# Every quantifier is followed by something that it cannot match itself, or is bounded: a text
# made to match slowly must not hold up a run.
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # A key in PEM armour, whole or cut off.
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        MASK,
    ),
    # Authorization headers: the scheme may stay, what follows may not.
    (
        re.compile(r"\b(bearer|basic|digest|token)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
        rf"\1 {MASK}",
    ),
    # user:password@ in an address.
    (re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+@"), rf"\1:{MASK}@"),
    # name=value and "name": "value", where the name says what it is. A quote that is never
    # closed takes the rest with it.
    (
        re.compile(
            rf"""(?P<name>{_TELLING_NAME}[\w.-]{{0,40}}["']?\s{{0,8}}[=:]\s{{0,8}})"""
            r"""(?:(?P<quote>["'])(?:\\.|(?!(?P=quote)).)*(?:(?P=quote)|\Z)"""
            r"""|(?!\[redacted\]|(?:bearer|basic|digest|token)\s)[^\s,;&"'}\])]+)""",
            re.IGNORECASE | re.DOTALL,
        ),
        rf"\g<name>{MASK}",
    ),
    # Keys that are known by their looks.
    (re.compile(r"\bsk-[A-Za-z0-9_*-]{8,}"), MASK),
    (
        re.compile(r"\b(?:gh[opsur]_|github_pat_|glpat-|xox[abprs]-|hf_|AIza)[A-Za-z0-9_-]{10,}"),
        MASK,
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), MASK),
)


def redact_secrets(text: str) -> str:
    """Take credentials out of a text.

    Args:
        text: any text.

    Returns:
        The text with ``[redacted]`` in the place of keys, passwords and tokens: values
        behind a name that says so, authorization headers, passwords in addresses, PEM
        keys, and the formats of well-known services' keys. Counts such as
        ``total_tokens: 512`` stay.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def cut(text: str, limit: int = semconv.TEXT_LIMIT) -> str:
    """Shorten a text.

    Args:
        text: any text.
        limit: most characters, without the note.

    Returns:
        The text, or its beginning with ``…[+N]``, N being the characters left out.
    """
    return text if len(text) <= limit else f"{text[:limit]}…[+{len(text) - limit}]"


def safe_text(value: object) -> str:
    """Return a value as text that can be encoded, whatever its ``__str__`` does.

    Args:
        value: anything.

    Returns:
        The text; half characters, which no exporter can encode, are replaced.
    """
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, BaseException):
        text = text_of(value)
    else:
        try:
            text = str(value)
        except Exception:  # noqa: BLE001  # a broken __str__ must not take the span with it
            text = f"<unprintable {type(value).__name__}>"
    return text.encode("utf-8", "replace").decode("utf-8")


def clean(value: object, redactor: Redactor) -> str:
    """Return a value as text that may leave the process.

    Args:
        value: anything; its ``str`` counts.
        redactor: what the application wants taken out.

    Returns:
        At most ``semconv.TEXT_LIMIT`` characters and a note of how many were cut; a
        redactor that raises, or returns no text, gives ``[redaction failed]``.
    """
    text = safe_text(value)
    beyond = len(text) - READ_LIMIT
    if beyond > 0:
        text = text[:READ_LIMIT]
    try:
        redacted = redactor(text)
    except Exception:  # noqa: BLE001  # what could not be redacted must not leave
        return FAILED
    if not isinstance(redacted, str):
        return FAILED
    short = cut(redacted)
    if beyond > 0:
        kept = min(len(redacted), semconv.TEXT_LIMIT)
        short = f"{redacted[:kept]}…[+{len(redacted) - kept + beyond}]"
    return short


@dataclass(frozen=True, slots=True)
class ExceptionFacts:
    """What a span may say of an exception; redacted and cut."""

    type: str
    """Qualified name of its class."""
    message: str
    stacktrace: str


def exception_facts(error: BaseException, redactor: Redactor) -> ExceptionFacts:
    """Describe an exception for a span.

    Args:
        error: any exception, also one whose ``str`` raises.
        redactor: what the application wants taken out.

    Returns:
        Type, message and stack trace; of a long trace the end, where the fault is.
    """
    try:
        lines = traceback.format_exception(
            type(error), error, error.__traceback__, limit=-FRAMES, chain=False
        )
        trace = "".join(lines)
    except Exception:  # noqa: BLE001  # formatting runs the exception's own code
        trace = f"{type_name(error)}: {text_of(error)}"
    if len(trace) > READ_LIMIT:
        trace = trace[-READ_LIMIT:]
    stacktrace = _redacted(trace, redactor)
    if len(stacktrace) > semconv.TEXT_LIMIT:
        dropped = len(stacktrace) - semconv.TEXT_LIMIT
        stacktrace = f"[{dropped}+]…{stacktrace[dropped:]}"
    return ExceptionFacts(type_name(error), clean(error, redactor), stacktrace)


def _redacted(text: str, redactor: Redactor) -> str:
    try:
        redacted = redactor(safe_text(text))
    except Exception:  # noqa: BLE001  # what could not be redacted must not leave
        return FAILED
    return redacted if isinstance(redacted, str) else FAILED
