"""Redaction: every text that leaves on a span passes here: guarded, redacted, cut.

The default redactor takes out what looks like a credential (see
:mod:`hush.observe.credentials`); an application may give its own through
``configure(redactor=...)``. One that raises lets nothing through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hush import semconv
from hush.errors import text_of
from hush.observe.credentials import MASK, redact_secrets

__all__ = (
    "FAILED",
    "MASK",
    "READ_LIMIT",
    "Redactor",
    "clean",
    "cut",
    "redact_secrets",
    "redacted",
    "safe_text",
)

Redactor = Callable[[str], str]
"""Takes a text, returns the text that may leave. The same text gives the same answer: that
for a name which comes again and again may be remembered."""

FAILED: Final = "[redaction failed]"

READ_LIMIT: Final = 16 * semconv.TEXT_LIMIT
"""Text beyond this is never looked at: it would be cut off anyway."""


def cut(text: str, limit: int = semconv.TEXT_LIMIT, *, beyond: int = 0) -> str:
    """Shorten a text.

    Args:
        text: any text.
        limit: most characters, without the note.
        beyond: how many characters have been left out already.

    Returns:
        The text, or its beginning with ``…[+N]``, N being the characters left out.
    """
    left_out = max(len(text) - limit, 0) + beyond
    return text if not left_out else f"{text[:limit]}…[+{left_out}]"


def safe_text(value: object) -> str:
    """Return a value as text that can be encoded, whatever its ``__str__`` does.

    Args:
        value: anything.

    Returns:
        The text, of the class ``str`` itself; half characters, which no exporter can
        encode, are replaced.
    """
    return _encodable(_read(value))


def _read(value: object) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, BaseException):
        text = text_of(value)
    else:
        try:
            text = str(value)
        except Exception:  # noqa: BLE001  # a broken __str__ must not take the span with it
            text = f"<unprintable {type(value).__name__}>"
    # Past what a subclass of str makes of it: its methods are anybody's code.
    return str.__str__(text)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def redacted(value: object, redactor: Redactor) -> tuple[str, int]:
    """Return a value as text that may leave the process, were it not for its length.

    Args:
        value: anything; its ``str`` counts.
        redactor: what the application wants taken out.

    Returns:
        The redacted text, and how many characters behind it were never looked at. A
        redactor that raises, or returns no text, gives ``[redaction failed]``.
    """
    text = _read(value)
    beyond = max(len(text) - READ_LIMIT, 0)
    try:
        answer = redactor(_encodable(text[:READ_LIMIT]))
    except Exception:  # noqa: BLE001  # what could not be redacted must not leave
        return FAILED, 0
    return (str.__str__(answer), beyond) if isinstance(answer, str) else (FAILED, 0)


def clean(value: object, redactor: Redactor, *, limit: int = semconv.TEXT_LIMIT) -> str:
    """Return a value as text that may leave the process.

    Args:
        value: anything; its ``str`` counts.
        redactor: what the application wants taken out.
        limit: most characters, without the note.

    Returns:
        The redacted text, cut, with a note of how many characters were.
    """
    text, beyond = redacted(value, redactor)
    return cut(text, limit, beyond=beyond)
