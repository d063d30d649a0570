"""Where the benchmarks' processes run: the same for all, whatever the shell says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ("ROOT", "environment", "new_home")

ROOT = Path(__file__).resolve().parents[1]

# What somebody has set for telemetry, or for Python (a variable that forbids compiled files makes
# importing three times as slow), may not change what is measured.
OTHERS = ("OTEL_", "HUSH_", "PYTHON")


def environment(source: Path | None = None) -> dict[str, str]:
    """Return the variables of a process.

    Args:
        source: folder that holds the package ``hush``; None takes this repository's.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    path = os.pathsep.join([str(source or ROOT / "src"), str(ROOT)])
    # Hashes that are the same everywhere take one difference between processes away.
    return {**kept, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}


@contextmanager
def new_home() -> Iterator[dict[str, str]]:
    """Give processes a home of their own: what they keep on the disk is nobody else's.

    Yields:
        Variables for them.
    """
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        yield dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), folder)
