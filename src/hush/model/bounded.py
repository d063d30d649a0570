"""Operations of expressions whose results cannot grow beyond bounds.

Whatever would exceed them raises before anything large is computed.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ("BITS_LIMIT", "minus", "modulo", "on_text", "plus", "power", "times")

BITS_LIMIT: Final = 4_096
"""Largest integer, in bits; computing beyond it would take ever longer."""


def on_text(name: str, text: Any, args: tuple[Any, ...]) -> Any:
    """Call a method of ``str`` on what is exactly ``str``."""
    # A subclass could do anything under these names.
    for one in (text, *args):
        if type(one) is not str:
            raise TypeError(f".{name}() works on str only, not on {type(one).__name__}")
    return getattr(text, name)(*args)


def _numbers(symbol: str, left: Any, right: Any) -> None:
    for one in (left, right):
        if type(one) not in {int, float, bool}:
            raise TypeError(f"{symbol} works on numbers only, not on {type(one).__name__}")
        if type(one) is int:
            _bounded(one)


def _bounded(value: int) -> int:
    if value.bit_length() > BITS_LIMIT:
        raise OverflowError(f"an integer of {value.bit_length()} bits; at most {BITS_LIMIT}")
    return value


def _result(value: Any) -> Any:
    return _bounded(value) if type(value) is int else value


def times(left: Any, right: Any) -> Any:
    """Multiply numbers."""
    _numbers("*", left, right)
    return _result(left * right)


def power(left: Any, right: Any) -> Any:
    """Raise a number to a power."""
    _numbers("**", left, right)
    if isinstance(left, int) and isinstance(right, int) and right > 0:
        # Known before computing: bits of the base times the exponent is never too low by
        # more than the exponent itself.
        if (abs(left).bit_length() - 1) * right > BITS_LIMIT:
            raise OverflowError(f"the result of ** would have more than {BITS_LIMIT} bits")
        if abs(left) > 1 and right > BITS_LIMIT:
            raise OverflowError(f"the result of ** would have more than {BITS_LIMIT} bits")
    return _result(left**right)


def modulo(left: Any, right: Any) -> Any:
    """Return the remainder of numbers; on strings ``%`` would be formatting, of any width."""
    _numbers("%", left, right)
    return left % right


def plus(left: Any, right: Any) -> Any:
    """Add."""
    return _result(left + right)


def minus(left: Any, right: Any) -> Any:
    """Subtract."""
    return _result(left - right)
