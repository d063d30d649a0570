"""Shown: values as they stand in messages, whatever they are and however long."""

from __future__ import annotations

from typing import Any

from hush.errors import text_of

__all__ = ("as_text", "shown")

LIMIT = 200
"""Most characters of one value in a message."""


def shown(value: object) -> str:
    """Return a value's ``repr``, cut where it is long.

    Args:
        value: anything; what was given by mistake may well have a ``repr`` that raises.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a broken __repr__ must not hide what is wrong with the value
        return f"<unprintable {type(value).__name__}>"
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}..."


def as_text(value: Any) -> str:
    """Return a value's ``str``, or a placeholder where that raises.

    Args:
        value: anything.
    """
    return text_of(value)
