"""A result as a notebook shows it: its outputs, and below them the waterfall of its run.

The waterfall is there where the spans went to the local trace store, which
:func:`hush.observe.configure` sets up unless a receiver is named.
"""

from __future__ import annotations

import html
import reprlib
from typing import TYPE_CHECKING, Any, Final

from hush.errors import HushError
from hush.observe.settings import settings

if TYPE_CHECKING:
    from hush.core.result import RunResult
    from hush.insight.tree import TraceTree

__all__ = ("html_of_result",)

_STATE: Final = "$state"
_MOST_OUTPUTS: Final = 40
_MOST_CHARACTERS: Final = 400
_FLUSH_MS: Final = 2_000

# Inline, for notebooks take style sheets out; without colours, which suits light and dark.
_CELL: Final = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def html_of_result(result: RunResult) -> str:
    """Draw a result as a piece of HTML.

    Args:
        result: of any run.

    Returns:
        A table of the outputs, each cut where it is long, and the waterfall where the
        trace is stored, else what is missing for one. All text is escaped.
    """
    outputs = {name: value for name, value in result.items() if name != _STATE}
    rows = [_row(name, value) for name, value in list(outputs.items())[:_MOST_OUTPUTS]]
    if len(outputs) > _MOST_OUTPUTS:
        more = len(outputs) - _MOST_OUTPUTS
        rows.append(_row("…", f"{more} more output{'' if more == 1 else 's'}", plain=True))
    if result.failure_count:
        rows.append(_row("failures", f"{result.failure_count:,} did not stop the run", plain=True))
    if not rows:
        rows.append(_row("no outputs", "", plain=True))
    tree = _trace_of(result.trace_id)
    # The name that notebooks know.
    drawn = _missing(result.trace_id) if tree is None else tree._repr_html_()
    return f"<table><tbody>{''.join(rows)}</tbody></table>{drawn}"


def _missing(trace_id: str | None) -> str:
    """Say why there is no waterfall, and what would make one."""
    if settings.store is not None and trace_id is not None:
        why = f"the trace cannot be read from {settings.store.store.path}"
    elif trace_id is None:
        why = "the run was not traced; call hush.observe.configure() before it"
    else:
        why = (
            "its spans went elsewhere; hush.observe.configure(store=True) before the run keeps "
            "them here as well"
        )
    return f'<div style="opacity:.75">no waterfall: {html.escape(why)}</div>'


def _row(name: object, value: Any, *, plain: bool = False) -> str:
    text = str(value) if plain else _shown(value)
    return (
        f'<tr><th style="{_CELL}">{html.escape(str(name))}</th>'
        f'<td style="{_CELL}"><code>{html.escape(text)}</code></td></tr>'
    )


def _shown(value: Any) -> str:
    """Return a value's ``repr``, bounded before it is built where that can be."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = _MOST_CHARACTERS
    short.maxlist = short.maxtuple = short.maxset = short.maxdict = 20
    try:
        text = short.repr(value)
    except Exception:  # noqa: BLE001  # a value of the user's may do anything
        text = f"<unprintable {type(value).__name__}>"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _trace_of(trace_id: str | None) -> TraceTree | None:
    """Return a trace from the store that this process writes; None where it is not there."""
    writer = settings.store
    if writer is None or trace_id is None:
        return None
    from hush.insight.store import TraceStore  # noqa: PLC0415  # needs SQLite

    writer.force_flush(_FLUSH_MS)
    try:
        with TraceStore(writer.store.path) as store:
            return store.trace(trace_id)
    except HushError:  # it could not be written, or has gone already
        return None
