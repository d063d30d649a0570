"""Opening a trace by whatever name somebody has for it: an id, a file, an address.

What was tried and what would help stands in the error, for each name may mean several
things and each source may be missing.
"""

from __future__ import annotations

import contextlib
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.insight.formats.detection import read_document
from hush.insight.formats.jaeger_api import TIMEOUT_S, fetch_trace, split_trace_url
from hush.insight.formats.json_reading import parse_json
from hush.insight.source_errors import (
    TraceBackendError,
    TraceFormatError,
    TraceNotFoundError,
    TraceStoreError,
)
from hush.insight.store import LAST, TraceStore
from hush.insight.tree import group_traces
from hush.log import get_logger

if TYPE_CHECKING:
    import os

    from hush.insight.record import SpanRecord
    from hush.insight.tree import TraceTree

__all__ = ("load_traces", "open_trace")

_LARGEST: Final = 1024 * 1024 * 1024
_DIGITS: Final = 32
_SQLITE: Final = b"SQLite format 3\x00"
_GZIP: Final = b"\x1f\x8b"
_SHOWN: Final = 10
_STDIN: Final = "-"


def open_trace(
    where: str | os.PathLike[str],
    *,
    store: TraceStore | str | os.PathLike[str] | None = None,
    jaeger: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> TraceTree:
    """Open one trace.

    Args:
        where: a trace id, abbreviated or whole, or ``last`` for the newest run in the store;
            a file in OTLP JSON or Jaeger JSON, whose name may be followed by ``#`` and a
            trace id where it holds several; ``-`` for such a file on standard input; or the
            address of a trace in Jaeger, as its UI shows it. What looks like an id is looked up as one first.
        store: the trace store or its path; None for the one at ``default_path()``.
        jaeger: base URL of a Jaeger that is asked for whole ids which the store does not
            have, such as ``http://localhost:16686``; None asks none.
        timeout_s: how long Jaeger may take, in seconds.

    Returns:
        The trace.

    Raises:
        TraceNotFoundError: nothing fits, or several traces do; the message says what was tried.
        TraceFormatError: a file is in no known format, or damaged.
        TraceBackendError: Jaeger was named by its address and cannot be asked.
        TraceStoreError: the store was asked for ``last`` and cannot be read.
    """
    if not isinstance(where, str):
        return _from_file(Path(where), "")
    name = where.strip()
    if name.startswith(("http://", "https://")):
        return _from_address(name, timeout_s)
    if name == _STDIN:
        return _from_stdin()
    tried: list[str] = []
    with _opened(store) as opened:
        if name.lower() == LAST:
            return opened.trace(LAST)
        if name and len(name) <= _DIGITS and not name.lower().strip("0123456789abcdef"):
            found = _by_id(name, opened, jaeger, timeout_s, tried)
            if found is not None:
                return found
    file, _, prefix = name.rpartition("#")
    for path, wanted in ((name, ""), (file, prefix)):
        if path and _exists(Path(path)):
            return _from_file(Path(path), wanted)
    tried.append("there is no file of that name")
    if len(tried) == 1:
        tried.append("it is neither a trace id (up to 32 hex digits), an address nor 'last'")
    raise TraceNotFoundError(f"no trace {where!r}: {'; '.join(tried)}")


def load_traces(path: str | os.PathLike[str]) -> list[TraceTree]:
    """Read all traces of a file.

    Args:
        path: a file in OTLP JSON or Jaeger JSON, one document or one for each line. What it
            is is told by its content.

    Returns:
        The traces in the order in which they first appear; empty where there are none.

    Raises:
        TraceFormatError: the file is in neither format, or damaged.
        TraceNotFoundError: it cannot be read.
    """
    return list(group_traces(_records(Path(path))).values())


def _opened(
    store: TraceStore | str | os.PathLike[str] | None,
) -> contextlib.AbstractContextManager[TraceStore]:
    # What the caller has opened is the caller's to close.
    return contextlib.nullcontext(store) if isinstance(store, TraceStore) else TraceStore(store)


def _by_id(
    name: str, store: TraceStore, jaeger: str | None, timeout_s: float, tried: list[str]
) -> TraceTree | None:
    try:
        return store.trace(name)
    except TraceNotFoundError as error:
        if error.candidates:
            raise
        tried.append(error.message)
    except TraceStoreError as error:
        tried.append(text_of(error))
    if jaeger is None:
        tried.append("no Jaeger was asked, since none was named")
    elif len(name) < _DIGITS:
        tried.append("Jaeger was not asked: it needs all 32 digits")
    else:
        try:
            return fetch_trace(jaeger, name, timeout_s=timeout_s)
        except (TraceNotFoundError, TraceBackendError, TraceFormatError) as error:
            tried.append(text_of(error))
    return None


def _from_address(url: str, timeout_s: float) -> TraceTree:
    parted = split_trace_url(url)
    if parted is None:
        raise TraceNotFoundError(
            f"{url!r} is no address of a trace; expected one such as "
            "http://localhost:16686/trace/ID"
        )
    base_url, trace_id = parted
    return fetch_trace(base_url, trace_id, timeout_s=timeout_s)


# --- files -----------------------------------------------------------------------------------


def _from_file(path: Path, prefix: str) -> TraceTree:
    return _only_one(load_traces(path), str(path), prefix)


def _from_stdin() -> TraceTree:
    try:
        content = sys.stdin.buffer.read()
    except (OSError, ValueError) as error:  # closed
        raise TraceNotFoundError(f"standard input cannot be read: {text_of(error)}") from error
    traces = list(group_traces(_parsed(content, "standard input")).values())
    return _only_one(traces, _STDIN, "")


def _only_one(traces: list[TraceTree], path: str, prefix: str) -> TraceTree:
    found = [tree for tree in traces if tree.trace_id.startswith(prefix.strip().lower())]
    if len(found) == 1:
        return found[0]
    ids = [tree.trace_id for tree in found or traces]
    listed = ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
    if not traces:
        raise TraceNotFoundError(f"{path}: the file holds no spans")
    if not found:
        raise TraceNotFoundError(f"{path}: no trace {prefix!r} in it; it holds {listed}")
    file = "FILE" if path == _STDIN else path
    raise TraceNotFoundError(
        f"{path}: {len(found)} traces fit; name one, as in {file}#{ids[0][:8]}: {listed}",
        ids[:_SHOWN],
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a character none may have
        return False


def _content(path: Path) -> bytes:
    try:
        # Only what has an end: a pipe or a device could be waited for in vain.
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise TraceNotFoundError(
                f"{path}: no regular file; standard input is named -, as in hush show -"
            )
        if found.st_size > _LARGEST:
            raise TraceNotFoundError(f"{path}: larger than 1 GiB")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise TraceNotFoundError(f"{path}: cannot be read: {text_of(error)}") from error
    return content


def _records(path: Path) -> list[SpanRecord]:
    return _parsed(_content(path), str(path))


def _parsed(content: bytes, path: str) -> list[SpanRecord]:
    if content.startswith(_SQLITE):
        raise TraceFormatError(
            f"{path}: an SQLite file: as a trace store it is opened with store= or HUSH_TRACE_STORE"
        )
    if content.startswith(_GZIP):
        raise TraceFormatError(f"{path}: compressed; unpack it with gunzip first")
    if not content.strip():
        raise TraceFormatError(f"{path}: the file is empty")
    try:
        top = parse_json(content, path)
    except TraceFormatError as error:
        return _records_by_line(path, content, error)
    return read_document(top)


def _records_by_line(path: str, content: bytes, error: TraceFormatError) -> list[SpanRecord]:
    """Read one document for each line, as a collector's file exporter writes them.

    Args:
        path: for messages.
        content: the file's.
        error: why it is not one document; raised where its first line is none either.
    """
    lines = [(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    records: list[SpanRecord] = []
    for position, (number, line) in enumerate(lines):
        try:
            top = parse_json(line, f"{path}, line {number}")
        except TraceFormatError as broken:
            if position == 0:
                raise error from None
            if position < len(lines) - 1:
                raise
            # Still being written, or its writer was killed: what is whole can be read.
            get_logger("hush.traces").warning(
                "the last line of a file of traces is cut off; the rest is read",
                error=text_of(broken),
            )
            break
        records.extend(read_document(top))
    return records
