"""Folders for what an engine writes while it runs here."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

__all__ = ("scratch_folder",)

LONG: Final = 24
"""Names of sockets have at most 107 bytes, and an engine needs some eighty of them."""


def scratch_folder(engine: str) -> str:
    """Make a folder; remove those whose process was killed before it could do so.

    Args:
        engine: its name, short.
    """
    place = Path(tempfile.gettempdir())
    if len(os.fspath(place)) > LONG and os.access("/tmp", os.W_OK):  # noqa: S108  # made by mkdtemp
        place = Path("/tmp")  # noqa: S108  # as above
    for left in place.glob(f"hush-{engine}-*-*"):
        process = left.name.split("-")[2]
        if process.isdigit() and not _lives(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"hush-{engine}-{os.getpid()}-", dir=place)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
