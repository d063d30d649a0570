"""What numbers an executor takes."""

from __future__ import annotations

__all__ = ("positive",)


def positive(name: str, value: int | None) -> int | None:
    """Return a limit as it was given.

    Args:
        name: of the argument.
        value: a positive integer, or None.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer or None, not {value!r}")
    return value
