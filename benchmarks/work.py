"""The work that every program does: one trivial coroutine, and what must come out of it.

Knows no program and no framework. A program is a module with ``CASES``, a mapping from the
name of a case to a function that takes a size and returns a callable; calling that, and
awaiting what it returns where it can be awaited, does the work once. What it returns is
checked outside of the measured time, so that no program wins by leaving something out.
"""

from __future__ import annotations

import anyio

__all__ = ("LIMIT", "SLEEP_S", "check", "sleep_and_work", "work")

LIMIT = 100
"""Items of a map that are worked on at once."""
SLEEP_S = 0.01
"""How long an item of the sleeping map sleeps, in seconds."""


async def work(x: int) -> dict[str, int]:
    """Do next to nothing: what is measured is what surrounds it."""
    return {"y": x + 1}


async def sleep_and_work(x: int) -> dict[str, int]:
    """Wait for what somebody else does, as most nodes do."""
    await anyio.sleep(SLEEP_S)
    return {"y": x + 1}


def check(case: str, size: int, result: object) -> None:
    """Check what a case returned.

    Args:
        case: name of the case.
        size: its size.
        result: what it returned: the last value of a chain, else the values in order; for
            whom order is not part of the work, a set.

    Raises:
        ValueError: the program did not do the work.
    """
    if case == "chain":
        expected: object = size
    elif case == "streamed":
        expected = "ok"
    elif case == "models":
        expected = ["yes"] * size
    elif case == "build":
        return
    elif isinstance(result, set):
        expected = set(range(1, size + 1))
    else:
        expected = list(range(1, size + 1))
    if result != expected:
        raise ValueError(f"{case} of {size} gave {str(result)[:200]}")
