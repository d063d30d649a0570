"""Which trace a command is about, by whatever name its user has for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hush.cli import exits
from hush.cli.refusal import Refusal
from hush.errors import text_of
from hush.insight.sources import open_trace
from hush.insight.store import LAST, TraceStore

if TYPE_CHECKING:
    from hush.insight.tree import TraceTree

__all__ = ("checked_store", "open_named")

_MAGIC: Final = b"SQLite format 3\x00"

_BEFORE: Final = re.compile(r"last~(\d{1,6})", re.IGNORECASE)


def checked_store(path: str | None) -> str | None:
    """Refuse a file that is no trace store, which the store would set aside as damaged.

    Args:
        path: as given with ``--store``; None where it was not.

    Raises:
        Refusal: the file is something else.
    """
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            begin = file.read(len(_MAGIC))
    except FileNotFoundError:
        return path  # one that is still to be made
    except OSError as error:
        raise Refusal(f"--store {path}: {error.strerror or text_of(error)}") from error
    if begin and begin != _MAGIC:
        raise Refusal(f"--store {path}: no trace store; a trace in a file is named as ID")
    return path


def open_named(name: str, *, store: str | None, jaeger: str | None = None) -> TraceTree:
    """Open a trace.

    Args:
        name: as :func:`~hush.insight.sources.open_trace` takes it; ``last~1`` is the run
            before the last one in the store, and so on.
        store: path of the trace store; None as the environment says.
        jaeger: base URL of a Jaeger to ask for what the store does not have.

    Returns:
        A trace with at least one span.

    Raises:
        Refusal: there are not so many runs, or it is empty.
        TraceNotFoundError: nothing fits, or several traces do.
        TraceFormatError: a file holds no trace.
        TraceBackendError: Jaeger cannot be asked.
        TraceStoreError: the store cannot be read.
    """
    before = _BEFORE.fullmatch(name.strip())
    with TraceStore(checked_store(store)) as opened:
        if before is not None:
            name = _earlier(opened, int(before[1]))
        tree = open_trace(name, store=opened, jaeger=jaeger)
    if not len(tree):
        raise Refusal(f"the trace {name} holds no spans", exits.NOT_FOUND)
    return tree


def _earlier(store: TraceStore, steps: int) -> str:
    if not steps:
        return LAST
    runs = [one for one in store.traces(limit=None) if one.graph is not None]
    if len(runs) <= steps:
        raise Refusal(
            f"no trace 'last~{steps}': {store.path} holds {len(runs)} runs", exits.NOT_FOUND
        )
    return runs[steps].trace_id
