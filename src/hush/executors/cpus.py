"""How many processors this process may use."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ("usable_cpus",)


def usable_cpus() -> int:
    """Return how many processors this process may use; at least 1."""
    with suppress(AttributeError, OSError):  # not on all systems
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
