"""The tables of the trace store: how records become rows, and rows records.

One row for each span, clustered by trace; what spans have in common stands in columns,
the rest in one packed column. One row for each trace, brought up to date with each batch,
so that a list of traces reads no spans. Every change of these tables, or of how a span is
packed, needs a new ``VERSION``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hush.insight.formats.packed import pack, unpack
from hush.insight.record import SpanRecord, Status
from hush.insight.source_errors import TraceStoreError
from hush.insight.store_gist import GIST, Gist, plain_text, storable_ns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

__all__ = (
    "SCHEMA",
    "VERSION",
    "Batch",
    "batches",
    "matching_ids",
    "newest_id",
    "remove",
    "shrink",
    "spans_of",
    "used_bytes",
)

VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE traces (
    number INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL UNIQUE,
    graph TEXT,
    name TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    outcome TEXT,
    partial_failure INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    ours INTEGER NOT NULL,
    root_start_ns INTEGER,
    run_start_ns INTEGER,
    run_end_ns INTEGER,
    bytes INTEGER NOT NULL,
    written_ns INTEGER NOT NULL
);
CREATE INDEX traces_by_start ON traces (start_ns);
CREATE TABLE spans (
    trace INTEGER NOT NULL,
    span_id BLOB NOT NULL,
    parent_id BLOB,
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,
    scope TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    duration_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    description TEXT,
    more,
    PRIMARY KEY (trace, span_id)
) WITHOUT ROWID
"""

_KINDS: Final = ("internal", "server", "client", "producer", "consumer")
_STATUSES: Final[tuple[Status, ...]] = ("unset", "ok", "error")
_ROW_BYTES: Final = 64
"""About what a row takes besides its texts and its packed column."""

_INSERT: Final = "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_GIST: Final = ", ".join(GIST)
_FIND: Final = f"SELECT number, {_GIST} FROM traces WHERE trace_id = ?"  # noqa: S608  # a constant
_CREATE: Final = (
    "INSERT INTO traces (trace_id, name, start_ns, end_ns, partial_failure, spans, complete, "
    "ours, bytes, written_ns) VALUES (?, '', 0, 0, 0, 0, 0, 0, 0, 0)"
)
_UPDATE: Final = (
    f"UPDATE traces SET ({_GIST}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?), "  # noqa: S608  # a constant
    "spans = spans + ?, bytes = bytes + ?, written_ns = ? WHERE number = ?"
)


class Batch:
    """Spans of one trace, ready to be written."""

    __slots__ = ("_records", "_rows", "_trace_id")

    def __init__(self, trace_id: str, records: list[SpanRecord]) -> None:
        """Pack the spans.

        Args:
            trace_id: theirs.
            records: at least one.

        Raises:
            ValueError: an id is not in hex.
        """
        self._trace_id = _id(trace_id, 32).hex()
        self._records = records
        self._rows = [_row(record) for record in records]

    def write(self, connection: sqlite3.Connection, now_ns: int) -> int:
        """Write them, inside a transaction that may be made again.

        Args:
            connection: with a transaction.
            now_ns: the time, in nanoseconds since the epoch.

        Returns:
            How many were not there before.
        """
        found = connection.execute(_FIND, (self._trace_id,)).fetchone()
        if found is None:
            number = connection.execute(_CREATE, (self._trace_id,)).lastrowid
            gist = Gist()
        else:
            number, gist = found[0], Gist.of(found[1:])
        for record in self._records:
            gist.note(record)
        before = connection.total_changes
        connection.executemany(_INSERT, ((number, *row) for row in self._rows))
        inserted = connection.total_changes - before
        size = sum(_ROW_BYTES + len(row[2]) + len(row[-1] or "") for row in self._rows)
        values = (inserted, size if inserted else 0, now_ns, number)
        connection.execute(_UPDATE, (*gist.row(), *values))
        return inserted


def batches(records: Iterable[SpanRecord]) -> list[Batch]:
    """Part records by trace and pack them.

    Args:
        records: of any traces, in any order.

    Returns:
        One batch for each trace.

    Raises:
        ValueError: an id is not in hex.
    """
    groups: dict[str, list[SpanRecord]] = {}
    for record in records:
        groups.setdefault(record.trace_id, []).append(record)
    return [Batch(trace_id, group) for trace_id, group in groups.items()]


def _row(record: SpanRecord) -> tuple[Any, ...]:
    start_ns = storable_ns(record.start_ns)
    return (
        _id(record.span_id, 16),
        None if record.parent_id is None else _id(record.parent_id, 16),
        plain_text(record.name),
        _KINDS.index(record.kind) if record.kind in _KINDS else 0,
        plain_text(record.scope),
        start_ns,
        storable_ns(record.end_ns) - start_ns,
        _STATUSES.index(record.status),
        None if record.status_description is None else plain_text(record.status_description),
        pack(record),
    )


def _id(digits: str, length: int) -> bytes:
    if len(digits) == length:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            pass
    raise ValueError(f"{digits!r} is no id of {length} hex digits")


# --- what is asked of the tables -----------------------------------------------------------------


def spans_of(connection: sqlite3.Connection, trace_id: str) -> list[SpanRecord]:
    """Return the spans of a trace; none where it has been removed meanwhile.

    Raises:
        TraceStoreError: a span is damaged.
    """
    rows = connection.execute(
        "SELECT span_id, parent_id, spans.name, kind, scope, spans.start_ns, duration_ns, status, "
        "description, more FROM spans JOIN traces ON trace = number WHERE trace_id = ?",
        (trace_id,),
    )
    return list(_records(trace_id, rows))


def _records(trace_id: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[SpanRecord]:
    for span_id, parent_id, name, kind, scope, start_ns, duration_ns, status, said, more in rows:
        try:
            attributes, events, links = unpack(more)
            yield SpanRecord(
                trace_id=trace_id,
                span_id=span_id.hex(),
                parent_id=None if parent_id is None else parent_id.hex(),
                name=name,
                start_ns=start_ns,
                end_ns=start_ns + duration_ns,
                status=_STATUSES[status],
                status_description=said,
                attributes=attributes,
                events=events,
                links=links,
                kind=_KINDS[kind],
                scope=scope,
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise TraceStoreError(
                f"span {name!r} of trace {trace_id} is damaged in the store: {error}"
            ) from error


def newest_id(connection: sqlite3.Connection) -> str | None:
    """Return the id of the newest run, else of the newest trace; None where there is none."""
    row = connection.execute(
        "SELECT trace_id FROM traces ORDER BY ours DESC, start_ns DESC, number DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def matching_ids(connection: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """Return the ids that begin so, the newest first.

    Args:
        connection: to read with.
        prefix: hex digits in lower case.
        limit: how many at most.
    """
    rows = connection.execute(
        "SELECT trace_id FROM traces WHERE trace_id >= ? AND trace_id < ? "
        "ORDER BY start_ns DESC LIMIT ?",
        (prefix, f"{prefix}g", limit),  # "g" comes after every hex digit
    )
    return [trace_id for (trace_id,) in rows]


def remove(connection: sqlite3.Connection, numbers: list[int]) -> int:
    """Remove whole traces; return how many."""
    each = [(number,) for number in numbers]
    connection.executemany("DELETE FROM spans WHERE trace = ?", each)
    connection.executemany("DELETE FROM traces WHERE number = ?", each)
    return len(each)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how much of the file is in use, in bytes; its journal is not counted."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def shrink(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system; outside of a transaction."""
    # Each step frees one page, and of execute() there is one step.
    connection.executescript("PRAGMA incremental_vacuum")
    # Tells instead of raising that a reader is in the way; the next time will do.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
