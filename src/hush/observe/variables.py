"""Numbers in the standard's variables, which people write by hand."""

from __future__ import annotations

import os

from hush.log import get_logger

__all__ = ("number_from",)


def number_from(variable: str, default: int) -> int:
    """Return the number that a variable gives, at least 1; else say so and take the default.

    Args:
        variable: its name.
        default: where it is not set, or is no such number.
    """
    said = os.environ.get(variable)
    if said is None:
        return default
    try:
        number = int(said)
    except ValueError:
        number = 0
    if number < 1:
        get_logger("hush.telemetry").warning(
            f"{variable} is no number of at least 1; the default is used",
            value=said,
            default=default,
        )
        return default
    return number
