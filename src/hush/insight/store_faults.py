"""What errors of SQLite and of the file system mean for the trace store, and what helps."""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.insight.source_errors import TraceStoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("BUSY_S", "DAMAGED", "REMEDY", "SHUT", "code_of", "told")

BUSY_S: Final = 5.0
"""How long to wait for another process's lock, in seconds."""
DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
SHUT: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
)
REMEDY: Final = "or name another file in HUSH_TRACE_STORE"


def told(path: Path, error: Exception) -> TraceStoreError:
    """Say what an error means and what helps."""
    code = code_of(error)
    if code == sqlite3.SQLITE_FULL:
        what = f"the disk is full: free some space, {REMEDY}"
    elif code in SHUT:
        what = f"it cannot be opened or written: allow this user to, {REMEDY}"
    elif code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        what = f"another process has kept it locked for {BUSY_S:g} s: end that, {REMEDY}"
    elif code in DAMAGED:
        what = f"it is damaged and cannot be set aside: move it away, {REMEDY}"
    else:
        what = f"it cannot be used: make room or mend the path, {REMEDY}"
    return TraceStoreError(f"{path}: {what} ({text_of(error)})")


def code_of(error: BaseException) -> int:
    """Return SQLite's primary result code; that which fits best for an operating system's."""
    if isinstance(error, sqlite3.Error):
        # Errors that Python itself raises have none.
        return (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
    if isinstance(error, OSError):
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return sqlite3.SQLITE_FULL
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return sqlite3.SQLITE_PERM
    return sqlite3.SQLITE_ERROR
