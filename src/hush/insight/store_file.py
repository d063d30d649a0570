"""The SQLite file of the trace store: opened late, shared by threads, new in each process.

Knows permissions, locks, schema versions and what SQLite's errors mean; knows nothing of
what the tables are for. Writers of several processes queue up for SQLite's own lock, and
with its write-ahead log readers wait for nobody. A process that is killed leaves the
file whole: what had not been committed is not there.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import urllib.parse
import weakref
from typing import TYPE_CHECKING, Final, TypeVar

from hush.errors import text_of
from hush.insight.source_errors import TraceStoreError
from hush.insight.store_faults import BUSY_S, DAMAGED, REMEDY, SHUT, code_of, told
from hush.insight.store_owner import APPLICATION_ID, is_ours, refuse_foreign
from hush.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ("StoreFile",)

T = TypeVar("T")

_FORK_S: Final = 1.0
_PAGE_BYTES: Final = 8_192
_JOURNAL_BYTES: Final = 4 * 1024 * 1024


class StoreFile:
    """One file with one schema.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        """Stand for a file; nothing is opened or made yet.

        Args:
            path: of the file; its folder is made when something is first written.
            schema: SQL statements that make the tables.
            version: of the schema; a file with a higher one is refused.
        """
        self.path = path
        self._schema = schema
        self._version = version
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._can_write = False
        _files.add(self)

    def write(self, work: Callable[[sqlite3.Connection], T], *, transaction: bool = True) -> T:
        """Do something that writes; the file is made where there is none.

        Args:
            work: gets the connection. It runs again, on a new file, where the old one
                turned out to be damaged.
            transaction: whether to do it in one transaction; without, ``work`` makes its own.

        Returns:
            What ``work`` returned.

        Raises:
            TraceStoreError: it cannot be written.
        """
        begin = "BEGIN IMMEDIATE" if transaction else None
        with self._lock:
            for last in (False, True):
                try:
                    return _perform(self._open_to_write(), work, begin)
                except (sqlite3.Error, OSError) as error:
                    if isinstance(error, TraceStoreError):
                        raise
                    if last or code_of(error) not in DAMAGED:
                        raise told(self.path, error) from error
                    self._set_aside(error)
        raise AssertionError("the second try returns or raises")

    def read(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Do something that only reads, all of it from one state of the file.

        Args:
            work: gets the connection.
            default: the result where there is no file yet; reading makes none.

        Returns:
            What ``work`` returned, or ``default``.

        Raises:
            TraceStoreError: it cannot be read.
        """
        with self._lock:
            try:
                connection = self._open_to_read()
                return default if connection is None else _perform(connection, work, "BEGIN")
            except (sqlite3.Error, OSError) as error:
                if isinstance(error, TraceStoreError):
                    raise
                if code_of(error) in DAMAGED:
                    self._set_aside(error)
                    return default
                raise told(self.path, error) from error

    def close(self) -> None:
        """Let go of the file; what comes next opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                # Of a file that is damaged even closing may fail, and it is to be left anyway.
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    # --- opening -----------------------------------------------------------------------------

    def _open_to_write(self) -> sqlite3.Connection:
        connection = self._current()
        if connection is not None and self._can_write:
            return connection
        self.close()
        refuse_foreign(self.path)
        # What is in it may be private, as are its journals, which SQLite makes likewise.
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        with contextlib.suppress(OSError):  # another user's file that we may write
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)
        return self._connect(str(self.path), can_write=True)

    def _open_to_read(self) -> sqlite3.Connection | None:
        connection = self._current()
        if connection is not None:
            return connection
        self.close()
        if not self.path.exists():
            return None
        refuse_foreign(self.path)
        try:
            return self._connect(str(self.path), can_write=os.access(self.path, os.W_OK))
        except sqlite3.Error as error:
            if code_of(error) not in SHUT:
                raise
        uri = f"file:{urllib.parse.quote(str(self.path))}"
        # A journal needs a second file, which a read-only folder takes from nobody.
        journal = self.path.with_name(f"{self.path.name}-wal")
        mode = "mode=ro" if journal.exists() else "immutable=1"
        return self._connect(f"{uri}?{mode}", can_write=False)

    def _current(self) -> sqlite3.Connection | None:
        """Return the open connection, unless the file has been moved or removed under it."""
        if self._connection is None or self._identity != self._identify():
            return None
        return self._connection

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _connect(self, name: str, *, can_write: bool) -> sqlite3.Connection:
        identity = self._identify()
        connection = sqlite3.connect(
            name,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            uri=name.startswith("file:"),
        )
        try:
            self._set_up(connection, can_write=can_write)
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity, self._can_write = connection, identity, can_write
        return connection

    def _set_up(self, connection: sqlite3.Connection, *, can_write: bool) -> None:
        # First look: a file of another program stays as it is.
        if not self._is_made(connection):
            if not can_write:
                return
            # On pages of SQLite's default size a span with a traceback takes one for itself.
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            # Before all else, and not in the journal: a file says whose it is from its first page on.
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
            _perform(connection, self._make, "BEGIN IMMEDIATE")
        if can_write:
            # A killed process loses nothing; a power cut may cost the last seconds, never the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")

    def _is_made(self, connection: sqlite3.Connection) -> bool:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application in {0, APPLICATION_ID} and not version and not tables:
            return False
        if version > self._version:
            raise TraceStoreError(
                f"{self.path}: written by a newer Hush (schema {version}; this one knows "
                f"{self._version}): upgrade Hush, {REMEDY}"
            )
        return True

    def _make(self, connection: sqlite3.Connection) -> None:
        if self._is_made(connection):  # by another process, while this one waited
            return
        for statement in self._schema.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {self._version}")

    # --- when something is wrong ---------------------------------------------------------------

    def _set_aside(self, error: Exception) -> None:
        """Rename a damaged file, so that a new one can be started."""
        opened = self._connection is not None
        damaged = self._identity if opened else self._identify()
        self.close()
        if damaged is None or damaged != self._identify():
            return  # another process did it first
        if not opened and not is_ours(self.path):
            raise told(self.path, error) from error
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        try:
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).rename(f"{aside}{suffix}")
        except OSError:
            raise told(self.path, error) from error
        get_logger("hush.traces").warning(
            "the trace store was damaged; it was set aside and a new one is started",
            path=str(self.path),
            set_aside=str(aside),
            error=text_of(error),
        )

    # --- forking -------------------------------------------------------------------------------

    def hold(self) -> bool:
        """Wait until no thread is inside SQLite, whose locks a forked child would inherit."""
        return self._lock.acquire(timeout=_FORK_S)

    def release(self) -> None:
        """Let other threads go on."""
        self._lock.release()

    def forget(self) -> None:
        """Begin anew in a forked child, in which SQLite forbids to use the parent's connection."""
        if self._connection is not None:
            _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.RLock()


def _perform(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], begin: str | None
) -> T:
    if begin is None:
        return work(connection)
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself, as where the disk is full.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return result


def _patiently(work: Callable[[], object]) -> None:
    """Do again what SQLite's own patience does not cover: to change the kind of journal."""
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


_files: weakref.WeakSet[StoreFile] = weakref.WeakSet()
_held: list[StoreFile] = []
_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process: closing one here could disturb the parent's journal."""


def _before_fork() -> None:
    _held.extend(file for file in list(_files) if file.hold())


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    _held.clear()
    for file in list(_files):
        file.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
