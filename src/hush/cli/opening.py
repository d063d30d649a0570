"""Which trace a command is about, by whatever name its user has for it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hush.cli import exits
from hush.cli.output import FAINT, console, say, tidy
from hush.cli.refusal import Refusal
from hush.errors import text_of
from hush.insight.source_errors import TraceStoreError
from hush.insight.sources import open_trace
from hush.insight.store import LAST, TraceStore
from hush.insight.store_owner import refuse_foreign
from hush.insight.wording import clean, counted

if TYPE_CHECKING:
    from hush.insight.tree import TraceTree

__all__ = ("checked_store", "no_run", "open_named", "write_file")

_AS_ID: Final = "if it holds a trace in JSON, give it as the ID, without --store: hush show {}"

_BEFORE: Final = re.compile(r"last~(\d{1,6})", re.IGNORECASE)


def checked_store(path: str | None) -> str | None:
    """Refuse a file that is no trace store before anything is done.

    Args:
        path: as given with ``--store``; None where it was not.

    Raises:
        Refusal: the file is something else.
    """
    if path is None:
        return None
    try:
        refuse_foreign(Path(path))
    except TraceStoreError as error:
        raise Refusal(f"--store {text_of(error)}\n{_AS_ID.format(path)}") from error
    except OSError as error:
        raise Refusal(f"--store {path}: {error.strerror or text_of(error)}") from error
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
    if before is not None or name.strip().lower() == LAST:
        _warn_of_receiver(store)
    with TraceStore(checked_store(store)) as opened:
        if before is not None:
            name = _earlier(opened, int(before[1]))
        tree = open_trace(name, store=opened, jaeger=jaeger)
    if not len(tree):
        raise Refusal(f"the trace {name} holds no spans", exits.NOT_FOUND)
    return tree


def no_run(tree: TraceTree) -> str:
    """Say that a trace is none of ours, and what can be done with it all the same."""
    root = tree.roots[0].record.name
    return (
        f"no run of Hush in this trace: its root is {clean(root)!r}, and no span says what the "
        "scheduler knew, so there is nothing to explain\nhush show draws it"
    )


def _warn_of_receiver(store: str | None) -> None:
    """Say what the last run is the last of, where new ones do not come into the store."""
    if store is not None or not any(name.startswith("OTEL_") for name in os.environ):
        return
    from hush.observe.exporters import receiver_named  # noqa: PLC0415  # loads OpenTelemetry

    if (receiver := receiver_named()) is not None:
        said = (
            f"note: new runs are sent to {receiver} (OTEL_*); this is the last one in the store. "
            "For one of those: hush why ID --jaeger URL"
        )
        say(console(sys.stderr), tidy(said, sys.stderr.encoding), FAINT)


def write_file(path: str, text: str, option: str) -> None:
    """Write a file that a command was asked for.

    Args:
        path: of the file; one that is there is written over.
        text: its content.
        option: that named it, for the message.

    Raises:
        Refusal: it cannot be written; the message names what would help.
    """
    file = Path(path)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        remedy = "name another file"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            remedy = f"there is no folder {file.parent}: make it first, or name another file"
        said = f"{option} {path}: {error.strerror or text_of(error)}; {remedy}"
        raise Refusal(said, exits.FAILED) from error


def _earlier(store: TraceStore, steps: int) -> str:
    if not steps:
        return LAST
    runs = [one for one in store.traces(limit=None) if one.graph is not None]
    if len(runs) <= steps:
        raise Refusal(
            f"no trace 'last~{steps}': {store.path} holds {counted(len(runs), 'run')}",
            exits.NOT_FOUND,
        )
    return runs[steps].trace_id
