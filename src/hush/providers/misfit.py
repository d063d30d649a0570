"""A value that is not what was expected, told with its remedy and never shown if it is text.

A value of a configuration may be a key that went to the wrong line: numbers and truths are
shown, text is not.
"""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ("NUMBER", "Wanted", "kind_of", "misfit")

Wanted = Literal["number", "text", "other"]
"""What was expected, as far as the remedy depends on it."""

WIDEST: Final = 64
"""Bits of the largest integer that is shown, and that a parameter may have."""

NUMBER: Final = re.compile(
    r"[-+]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,5})?"
)
"""Text that is a number, and of a length that is soon converted."""

_DIGIT: Final = re.compile(r"[0-9]")


def misfit(expected: str, value: object, wanted: Wanted, *, secret: bool = False) -> str:
    """Say that a value is not what was expected.

    Args:
        expected: what was, such as ``a number above 0``.
        value: what stands there instead.
        wanted: the kind of what was expected.
        secret: whether numbers are not to be shown either.

    Returns:
        What was expected, what it is instead, and the remedy.
    """
    return f"expected {expected}, not {kind_of(value, secret=secret)}; {_remedy(value, wanted)}"


def kind_of(value: object, *, secret: bool = False) -> str:
    """Say what a value is, without showing text.

    Args:
        value: of any type.
        secret: whether numbers are not to be shown either.
    """
    if isinstance(value, (bool, int, float)):
        if isinstance(value, int) and value.bit_length() > WIDEST:
            return "so large a number"
        return "a number" if secret else str(value).lower()
    names = {str: "text", list: "a list", tuple: "a list", dict: "a mapping", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")


def _remedy(value: object, wanted: Wanted) -> str:
    if value is None:
        return "write one, or remove the line"
    if wanted == "number" and isinstance(value, str):
        if NUMBER.fullmatch(value.strip()):
            return "write it without quotes"
        # 60s and 500/min are text although nobody put them in quotes.
        return "write the number alone, without a unit" if _DIGIT.search(value) else "write one"
    if wanted == "text" and isinstance(value, (bool, int, float)):
        return "put it in quotes"
    return "correct it"
