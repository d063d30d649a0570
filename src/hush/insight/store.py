"""The local trace store: finished spans in one SQLite file, found again by trace.

The default where no backend is set up. Several processes and threads may write into one
store and read it meanwhile. What leaves it again equals what went in, types included.
A store is bounded in size and age; what goes goes as whole traces, the oldest first.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from hush import semconv
from hush.insight.outcome import OUTCOMES, PARTIAL, UNFINISHED, word_for
from hush.insight.source_errors import TraceNotFoundError, TraceStoreError
from hush.insight.store_file import StoreFile
from hush.insight.store_tables import (
    SCHEMA,
    VERSION,
    batches,
    matching_ids,
    newest_id,
    remove,
    shrink,
    spans_of,
    used_bytes,
)
from hush.insight.tree import TraceTree

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime

    from hush.insight.record import SpanRecord

__all__ = ("LAST", "TraceStore", "TraceStoreError", "TraceSummary", "default_path")

LAST: Final = "last"
"""Stands for the newest run wherever a trace id is asked for."""
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_AGE_S: Final = 30 * 86_400.0
_LEAST_BYTES: Final = 256 * 1024
_PRUNE_TO: Final = 0.9
"""Share of the cap to which a full store is emptied, lest each further span prune again."""
_PRUNE_EVERY_S: Final = 3_600.0
_CANDIDATES: Final = 10
_ID_DIGITS: Final = 32


def default_path() -> Path:
    """Return where the store is unless it is said otherwise.

    Returns:
        ``$HUSH_TRACE_STORE``, else ``hush/traces.sqlite3`` in ``$XDG_STATE_HOME``, else in
        ``~/.local/state``.
    """
    named = os.environ.get("HUSH_TRACE_STORE")
    if named:
        return Path(named).expanduser()
    state = os.environ.get("XDG_STATE_HOME")
    # The XDG specification: a relative path is to be ignored.
    folder = Path(state) if state and Path(state).is_absolute() else Path.home() / ".local/state"
    return folder / "hush" / "traces.sqlite3"


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One stored trace in a line."""

    trace_id: str
    """32 hex digits."""
    graph: str | None
    """Name of the graph that was run; None for a trace without a run of ours."""
    name: str
    """Name of the root span; empty until it has ended."""
    start_ns: int
    """Earliest start, in nanoseconds since the epoch."""
    end_ns: int
    """Latest end so far, in nanoseconds since the epoch."""
    outcome: str | None
    """The outermost run's, one of ``semconv.OUTCOMES``; None until it has ended."""
    partial_failure: bool
    """Whether a run in it went on although something failed."""
    spans: int
    """How many are stored."""
    complete: bool
    """Whether the root has ended: without it the run goes on, or its process was killed."""

    @property
    def word(self) -> str | None:
        """How the run ended, one of :data:`hush.insight.outcome.OUTCOMES`; None where it has
        none, as a trace of another program.
        """
        if self.outcome is None and not self.complete:
            return UNFINISHED
        return word_for(self.outcome, partial_failure=self.partial_failure)

    @property
    def duration_s(self) -> float:
        """From the earliest start to the latest end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


class TraceStore:
    """Traces in a file; opened when it is first needed.

    Attributes:
        path: where the file is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        """Stand for a store, which need not exist yet.

        Args:
            path: the file; None for :func:`default_path`.
            max_bytes: the file's size above which whole traces are removed, at least
                256 KiB; a journal of a few MiB comes on top.
            max_age_s: for how long a trace is kept after it was last written, in seconds.

        Raises:
            ValueError: a cap is too small to keep anything.
        """
        if max_bytes < _LEAST_BYTES:
            raise ValueError(f"max_bytes={max_bytes}: a store needs at least {_LEAST_BYTES} bytes")
        if not max_age_s > 0:
            raise ValueError(f"max_age_s={max_age_s}: must be above 0")
        self.path = default_path() if path is None else Path(path)
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._file = StoreFile(self.path, SCHEMA, VERSION)
        self._next_prune = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TraceStore {str(self.path)!r}>"

    def close(self) -> None:
        """Let go of the file; whatever comes next opens it again."""
        self._file.close()

    # --- writing -----------------------------------------------------------------------------

    def add(self, records: Iterable[SpanRecord]) -> int:
        """Store finished spans, all or none of them.

        Args:
            records: of any traces, in any order. A span that is stored already stays as it is.

        Returns:
            How many were not stored before.

        Raises:
            TraceStoreError: the file cannot be written, or the newest trace alone has
                reached ``max_bytes``.
            ValueError: an id of a record is not in hex.
        """
        prepared = batches(records)  # before the lock that others wait for
        if not prepared:
            return 0
        self._prune_when_due()
        now_ns = time.time_ns()
        return self._file.write(
            lambda connection: sum(batch.write(connection, now_ns) for batch in prepared)
        )

    def _prune_when_due(self) -> None:
        if time.monotonic() >= self._next_prune or self._used() > self._max_bytes:
            self.prune()
            if self._used() > self._max_bytes:
                raise TraceStoreError(
                    f"{self.path}: the newest trace alone has reached max_bytes={self._max_bytes}; "
                    "its further spans are not stored: raise max_bytes or lower the span budget"
                )

    def _used(self) -> int:
        return self._file.read(used_bytes, 0)

    def prune(self) -> int:
        """Remove traces that are too old, then, above ``max_bytes``, the oldest ones.

        The newest trace is kept whatever its size. Freed space goes back to the file system.

        Returns:
            How many traces were removed.

        Raises:
            TraceStoreError: the file cannot be written.
        """
        self._next_prune = time.monotonic() + _PRUNE_EVERY_S
        removed = self._file.write(self._remove_old)
        while True:
            more = self._file.write(self._remove_much)
            if not more:
                break
            removed += more
        if removed:
            self._file.write(shrink, transaction=False)
        return removed

    def _remove_old(self, connection: sqlite3.Connection) -> int:
        oldest_ns = time.time_ns() - int(min(self._max_age_s, MAX_AGE_S * 1_000) * 1e9)
        found = connection.execute("SELECT number FROM traces WHERE written_ns < ?", (oldest_ns,))
        return remove(connection, [number for (number,) in found])

    def _remove_much(self, connection: sqlite3.Connection) -> int:
        used = used_bytes(connection)
        if used <= self._max_bytes:
            return 0
        excess = used - int(self._max_bytes * _PRUNE_TO)
        rows = connection.execute(
            "SELECT number, bytes FROM traces ORDER BY written_ns DESC, start_ns DESC"
        ).fetchall()
        doomed: list[int] = []
        for number, size in reversed(rows[1:]):
            if excess <= 0:
                break
            doomed.append(number)
            excess -= size
        return remove(connection, doomed)

    # --- reading -----------------------------------------------------------------------------

    def trace(self, id_or_prefix: str) -> TraceTree:
        """Return a trace.

        Args:
            id_or_prefix: 32 hex digits or as many of the first ones as make it unique, or
                ``last`` for the newest run.

        Returns:
            All its spans that have been stored so far.

        Raises:
            TraceNotFoundError: there is none, or several fit; the message lists them.
            TraceStoreError: the file cannot be read.
        """
        wanted = id_or_prefix.strip().lower()
        if wanted == LAST:
            found = self._file.read(newest_id, None)
        elif not wanted or wanted.strip("0123456789abcdef") or len(wanted) > _ID_DIGITS:
            raise TraceNotFoundError(
                f"{id_or_prefix!r} is no trace id: expected up to 32 hex digits, or 'last'"
            )
        else:
            fitting = self._fitting(wanted, _CANDIDATES + 1)
            if len(fitting) > 1:
                raise _ambiguous(wanted, fitting)
            found = fitting[0] if fitting else None
        if found is None:
            raise TraceNotFoundError(f"no trace {wanted!r} in {self.path}{self._contents()}")
        return TraceTree(self._file.read(lambda connection: spans_of(connection, found), []))

    def short_id(self, trace_id: str, least: int = 8) -> str:
        """Abbreviate an id so that it still means this trace.

        Args:
            trace_id: 32 hex digits.
            least: digits at least.

        Returns:
            Its first digits, as many as no other stored trace begins with.

        Raises:
            TraceStoreError: the file cannot be read.
        """
        for digits in range(least, len(trace_id)):
            if set(self._fitting(trace_id[:digits], 2)) <= {trace_id}:
                return trace_id[:digits]
        return trace_id

    def _fitting(self, prefix: str, limit: int) -> list[str]:
        nothing: list[str] = []
        return self._file.read(lambda one: matching_ids(one, prefix, limit), nothing)

    def _contents(self) -> str:
        newest = self.traces(limit=1)
        if not newest:
            return ", which is empty: nothing has been stored yet"
        return f"; the newest trace is {newest[0].trace_id} ({newest[0].name or 'unfinished'})"

    def traces(
        self,
        *,
        graph: str | None = None,
        outcome: str | None = None,
        min_duration_s: float | None = None,
        since: datetime | None = None,
        limit: int | None = 100,
    ) -> list[TraceSummary]:
        """List traces, the newest first.

        Args:
            graph: only runs of the graph of this name.
            outcome: only those that ended so, one of
                :data:`hush.insight.outcome.OUTCOMES`: ``ok`` without any failure, ``partial``
                with outputs although something failed.
            min_duration_s: only those that took so long, in seconds.
            since: only those that started then or later; local time unless it says otherwise.
            limit: how many at most; None for all.

        Returns:
            One summary each; empty where there is no store yet.

        Raises:
            ValueError: there is no such outcome.
            TraceStoreError: the file cannot be read.
        """
        if outcome is not None and outcome not in OUTCOMES:
            raise ValueError(f"outcome={outcome!r}: use one of {', '.join(OUTCOMES)}")
        conditions: list[tuple[str, Any]] = []
        if graph is not None:
            conditions.append(("graph = ?", graph))
        if outcome is not None:
            partial = outcome == PARTIAL
            if outcome == UNFINISHED:
                conditions.append(("outcome IS NULL AND complete = ?", False))
            else:
                conditions.append(("outcome = ?", semconv.OUTCOME_OK if partial else outcome))
            if outcome in {semconv.OUTCOME_OK, PARTIAL}:
                conditions.append(("partial_failure = ?", partial))
        if min_duration_s is not None:
            conditions.append(("end_ns - start_ns >= ?", min_duration_s * 1e9))
        if since is not None:
            conditions.append(("start_ns >= ?", int(since.timestamp() * 1e9)))
        where = " AND ".join(condition for condition, _ in conditions) or "1"
        values = [*(value for _, value in conditions), -1 if limit is None else limit]
        query = f"SELECT {_COLUMNS} FROM traces WHERE {where} ORDER BY start_ns DESC LIMIT ?"  # noqa: S608  # no value stands in it
        nothing: list[tuple[Any, ...]] = []
        rows = self._file.read(
            lambda connection: connection.execute(query, values).fetchall(), nothing
        )
        return [_summary(row) for row in rows]


_COLUMNS: Final = (
    "trace_id, graph, name, start_ns, end_ns, outcome, partial_failure, spans, complete"
)


def _summary(row: tuple[Any, ...]) -> TraceSummary:
    trace_id, graph, name, start_ns, end_ns, outcome, partial_failure, spans, complete = row
    return TraceSummary(
        trace_id=trace_id,
        graph=graph,
        name=name,
        start_ns=start_ns,
        end_ns=end_ns,
        outcome=outcome,
        partial_failure=bool(partial_failure),
        spans=spans,
        complete=bool(complete),
    )


def _ambiguous(wanted: str, fitting: list[str]) -> TraceNotFoundError:
    shown = ", ".join(fitting[:_CANDIDATES])
    more = ", …" if len(fitting) > _CANDIDATES else ""
    return TraceNotFoundError(
        f"{wanted!r} fits several traces; add digits: {shown}{more}", fitting[:_CANDIDATES]
    )
