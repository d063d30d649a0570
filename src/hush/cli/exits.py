"""What the exit code of a command says; scripts may rely on these numbers."""

from __future__ import annotations

from typing import Final

__all__ = (
    "BROKEN_PIPE",
    "FAILED",
    "INTERRUPTED",
    "NOT_FOUND",
    "OK",
    "PARTIAL",
    "TERMINATED",
    "TIMEOUT",
    "USAGE",
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
NOT_FOUND: Final = 4
# The numbers that timeout(1) and shells use for the same.
TIMEOUT: Final = 124
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143
