"""Whose a file is, told by its first bytes and before SQLite touches it.

SQLite alone would not do: to open a database of another program may already change it (its
journal is played back), and a path that was mistyped may name anybody's file. Only what
says of itself that it is a trace store is ever opened, changed, closed to others or set aside.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from hush.insight.source_errors import TraceStoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("APPLICATION_ID", "is_ours", "refuse_foreign")

APPLICATION_ID: Final = 0x48757368  # "Hush"
_MAGIC: Final = b"SQLite format 3\x00"
# https://www.sqlite.org/fileformat.html, "The Database Header": where a number begins
_JOURNAL_KIND: Final = 18
_SCHEMA_CHANGES: Final = 40
_USER_VERSION: Final = 60
_APPLICATION: Final = 68
_HEADER_BYTES: Final = 100
_REMEDY: Final = "it is left alone: move it away, or name another file in HUSH_TRACE_STORE"


def is_ours(path: Path) -> bool:
    """Say whether a file is a trace store, or is empty and may become one.

    Args:
        path: of a regular file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begin = file.read(_HEADER_BYTES)
    if not begin:
        return True
    if not begin.startswith(_MAGIC):
        return False
    return _number(begin, _APPLICATION) == APPLICATION_ID or _is_blank(begin)


def _is_blank(begin: bytes) -> bool:
    """Say whether nothing was ever put into a database: what SQLite writes before all else."""
    told = (_SCHEMA_CHANGES, _USER_VERSION, _APPLICATION)
    # 1 stands for no write-ahead log, in which there might be something after all.
    return begin[_JOURNAL_KIND] == 1 and not any(_number(begin, at) for at in told)


def _number(begin: bytes, at: int) -> int:
    return int.from_bytes(begin[at : at + 4], "big")


def refuse_foreign(path: Path) -> None:
    """Refuse a file of anybody else.

    Args:
        path: where a trace store is, or is to be; a file that is not there is nobody's.

    Raises:
        TraceStoreError: it is something else; the message names it and the remedy.
        OSError: it cannot be read.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(kind):
        raise TraceStoreError(f"{path}: a folder, and no trace store; {_REMEDY}")
    if not stat.S_ISREG(kind):
        raise TraceStoreError(f"{path}: no regular file, and no trace store; {_REMEDY}")
    if is_ours(path):
        return
    with path.open("rb") as file:
        database = file.read(len(_MAGIC)) == _MAGIC
    what = "a database of another program" if database else "some other file"
    raise TraceStoreError(f"{path}: {what}, and no trace store; {_REMEDY}")
