"""What waits on this machine's disk, what is stored there, and whether its clock runs evenly."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Final

from hush.cli.doctor.check import Check
from hush.errors import text_of
from hush.export.options import SpoolOptions
from hush.export.outbox import spool_root, spool_supported
from hush.export.place import RECEIVER, SpoolError, check_root, said_by_variable
from hush.export.spool import Spool
from hush.insight.source_errors import TraceStoreError
from hush.insight.store import TraceStore
from hush.insight.wording import counted, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hush.export.spool import Aside

__all__ = ("look_at_clock", "look_at_spool", "look_at_store")

_MIB: Final = 1024 * 1024
_OLD_S: Final = 600.0
"""A batch that has waited so long is waiting for somebody who does not come."""
_CLOCK_S: Final = 0.2
_DRIFT_S: Final = 0.005


def look_at_spool() -> Iterator[Check]:
    """See that the spool can be written, and what waits there or was set aside."""
    if said_by_variable() is False or not spool_supported():
        why = "HUSH_SPOOL turns it off" if spool_supported() else "this system has no locks for it"
        remedy = "unset HUSH_SPOOL, unless spans may be lost" if spool_supported() else None
        said = f"no spool: {why}; a receiver that is away loses spans"
        yield Check("spool", "warning", said, remedy)
        return
    try:
        root = spool_root(SpoolOptions())[0]
        if root.exists():
            check_root(root)
        folders = _folders(root)
    except (SpoolError, OSError) as error:
        remedy = "name a folder of your own in HUSH_SPOOL"
        yield Check("spool", "fault", f"it cannot be used: {text_of(error)}", remedy)
        return
    at = _nearest(root)
    if not os.access(at, os.W_OK | os.X_OK):
        remedy = "make it writable, or name another folder in HUSH_SPOOL"
        yield Check("spool", "fault", f"{root} cannot be written", remedy)
        return
    free = shutil.disk_usage(at).free
    limit = SpoolOptions().max_bytes
    facts = {"path": str(root), "free_bytes": free, "receivers": len(folders)}
    if free < limit:
        said = (
            f"{root} has {free // _MIB:,} MiB left, less than the {limit // _MIB} MiB it may need"
        )
        remedy = "make room, or name another folder in HUSH_SPOOL"
        yield Check("spool", "warning", said, remedy, facts)
    waiting = [check for folder in folders for check in _look_at_folder(folder)]
    yield from waiting
    if not waiting and free >= limit:
        yield Check("spool", "ok", f"{root}: nothing waits", facts=facts)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(one for one in root.iterdir() if (one / RECEIVER).is_file())
    except FileNotFoundError:
        return []


def _look_at_folder(folder: Path) -> Iterator[Check]:
    spool = Spool(folder, "", SpoolOptions())
    receiver = (folder / RECEIVER).read_text(encoding="utf-8", errors="replace").strip()
    batches = spool.content(fresh=True).batches
    if batches:
        age_s = max(spool.ages.seen_s(batch) for batch in batches)
        count = sum(batch.count for batch in batches)
        old = age_s > _OLD_S
        yield Check(
            "spool",
            "warning" if old else "note",
            f"{count:,} spans, points or records wait for {receiver}, the oldest for "
            f"{format_duration(age_s)}",
            f"hush spool send --endpoint {receiver} sends them now and says what is wrong"
            if old
            else None,
            {"receiver": receiver, "waiting": count, "oldest_age_s": round(age_s, 3)},
        )
    remedies: dict[Aside, str] = {
        "rejected": f"hush spool send --rejected --endpoint {receiver} tries once more",
        "corrupt": "see that the disk is sound; the files may be deleted",
    }
    for where, remedy in remedies.items():
        count = len(spool.aside(where))
        if count:
            said = f"{count:,} files for {receiver} in {where}/"
            yield Check("spool", "warning", said, remedy, {"receiver": receiver, where: count})


def look_at_store() -> Iterator[Check]:
    """See that the trace store can be read and written."""
    try:
        with TraceStore() as store:
            path = store.path
            traces = len(store.traces(limit=None)) if path.exists() else 0
    except (TraceStoreError, OSError, RuntimeError) as error:
        remedy = "name another file in HUSH_TRACE_STORE"
        yield Check("trace store", "fault", text_of(error), remedy)
        return
    size = path.stat().st_size if path.exists() else 0
    facts = {"path": str(path), "traces": traces, "bytes": size}
    target = path if path.exists() else _nearest(path.parent)
    if not os.access(target, os.W_OK):
        remedy = "make it writable, or name another file in HUSH_TRACE_STORE"
        yield Check("trace store", "fault", f"{path} cannot be written", remedy, facts)
    else:
        said = f"{path}: {counted(traces, 'trace')}, {size / _MIB:.1f} MiB"
        yield Check("trace store", "ok", said, facts=facts)


def look_at_clock() -> Iterator[Check]:
    """See that the wall clock runs as evenly as the one that cannot be set."""
    wall, even = time.time(), time.perf_counter()
    time.sleep(_CLOCK_S)
    drift_s = (time.time() - wall) - (time.perf_counter() - even)
    facts = {"drift_s": round(drift_s, 6)}
    if abs(drift_s) > _DRIFT_S:
        said = f"within {_CLOCK_S:g} s the wall clock went wrong by {format_duration(abs(drift_s))}"
        remedy = "see what sets it; Hush keeps its own spans in order all the same"
        yield Check("clock", "warning", said, remedy, facts)
    else:
        yield Check("clock", "ok", "the wall clock runs evenly", facts=facts)


def _nearest(path: Path) -> Path:
    """Return the innermost folder of a path that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
