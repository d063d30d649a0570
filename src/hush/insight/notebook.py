"""A trace as a small static picture for notebooks: no script, no style sheet, no colours of its own.

Jupyter calls ``_repr_html_`` of what a cell returns; whoever has a trace returns
:func:`html_of` there. Text takes the notebook's colour and bars are see-through in the
middle of light and dark, so that the picture suits both. Only elements that notebooks let
through are used, and all styles are inline, for style sheets are taken out.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.calls import usage_line
from hush.insight.glyphs import FINE
from hush.insight.outcome import outcome_of, remark_on
from hush.insight.rows import Fold, choose_lines
from hush.insight.summary import summarise
from hush.insight.waits import waits_in
from hush.insight.wording import clean, counted, fold_text, format_duration, item_key, span_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.insight.record import SpanRecord
    from hush.insight.rows import Line, Row
    from hush.insight.tree import TraceTree

__all__ = ("html_of",)

_MOST_ROWS: Final = 60
_MAX_ITEMS: Final = 12
_INDENT_EM: Final = 1.1
_LEVELS: Final = 10
_LEAST: Final = 0.5  # per cent of the width, so that even the shortest bar can be seen
_COLOURS: Final = {
    semconv.OUTCOME_OK: "#5787d8",
    semconv.OUTCOME_HANDLED: "#c98a1b",
    semconv.OUTCOME_ERROR: "#d9434f",
    semconv.OUTCOME_TIMEOUT: "#b455be",
    semconv.OUTCOME_CANCELLED: "#8791a0",
}
_FOREIGN: Final = "#35a0a0"
_WAIT: Final = "#8791a066"  # of no outcome's colour: who waits for a slot has not failed
_BLANK: Final = "transparent"

_FRAME: Final = (
    "font:12px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums;"
    "max-width:1100px;margin:4px 0;color:inherit"
)
_ROW: Final = "display:flex;align-items:center;height:20px;white-space:nowrap"
_CUT: Final = "overflow:hidden;text-overflow:ellipsis"
_NAME: Final = f"flex:0 0 38%;min-width:0;{_CUT}"
_TIME: Final = "flex:0 0 72px;text-align:right;padding-right:10px;opacity:.75"
_BAR: Final = (
    "flex:1 1 0;min-width:0;height:10px;border-radius:2px;"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact;"
)


def html_of(tree: TraceTree) -> str:
    """Draw a trace as a piece of HTML for a notebook.

    Args:
        tree: of any size, also empty; of a large one the most telling part is drawn.

    Returns:
        One ``div`` with at most some 60 rows. It holds no script and loads nothing; text of
        the trace is escaped.
    """
    if not len(tree):
        return f'<div style="{_FRAME}">no spans</div>'
    lines = choose_lines(tree, max_items=_MAX_ITEMS, max_lines=_MOST_ROWS)
    drawn = lines if len(lines) <= _MOST_ROWS else lines[: _MOST_ROWS - 1]
    parts = [_heading(tree)]
    parts += [_line(line, tree) for line in drawn]
    if len(drawn) < len(lines):
        more = counted(len(lines) - len(drawn), "more line")
        parts.append(_quiet(f"{FINE.ellipsis} {more}", 0))
    return f'<div role="table" aria-label="trace" style="{_FRAME}">{"".join(parts)}</div>'


def _text(foreign: object) -> str:
    return html.escape(clean(foreign))


def _heading(tree: TraceTree) -> str:
    summary = summarise(tree)
    outcome = outcome_of(tree)
    ended = f"{outcome} in " if outcome else ""
    said = [f"{ended}{format_duration(summary.duration_s)}, {summary}", usage_line(tree)]
    said.append(remark_on(tree))
    told = "; ".join(filter(None, said))
    return (
        f'<div style="{_CUT};white-space:nowrap"><b>{_text(tree.roots[0].record.name)}</b> '
        f'<span style="opacity:.75">{_text(told)}, trace {_text(tree.trace_id)}</span></div>'
    )


def _line(line: Line, tree: TraceTree) -> str:
    if isinstance(line.content, Fold):
        return _quiet(fold_text(line.content.nodes, FINE), len(line.stems))
    return _row(line.content, len(line.stems), tree)


def _quiet(said: str, depth: int) -> str:
    pad = f"padding-left:{_indent(depth)}"
    return f'<div role="row" style="{_ROW};opacity:.75;{pad}"><span role="cell">{_text(said)}</span></div>'


def _indent(depth: int) -> str:
    return f"{min(depth, _LEVELS) * _INDENT_EM:.1f}em"


def _row(row: Row, depth: int, tree: TraceTree) -> str:
    record = row.node.record
    outcome = record.outcome
    colour = _FOREIGN if outcome is None else _COLOURS.get(outcome, _FOREIGN)
    mark = FINE.foreign if outcome is None else FINE.marks.get(outcome, FINE.foreign)
    label = _text(span_label(record, FINE, short=row.node.parent is not None))
    if record.is_red:
        label = f"<b>{label}</b>"
    said = [item_key(record), f"{FINE.hidden}{row.hidden}" if row.hidden else ""]
    said += ["last" if row.last else "", row.error, *row.notes]
    beside = "  ".join(filter(None, said))
    aside = f' <span style="opacity:.75">{_text(beside)}</span>' if beside else ""
    told = f"{row.node.name}, {format_duration(row.node.duration_s)}, {outcome or ''} {beside}"
    return (
        f'<div role="row" title="{_text(told)}" style="{_ROW}">'
        f'<span role="cell" style="{_NAME};text-indent:{_indent(depth)}">'
        f'<span style="color:{colour};font-weight:bold">{mark}</span> {label}{aside}</span>'
        f'<span role="cell" style="{_TIME}">{format_duration(row.node.duration_s)}</span>'
        f'<span role="cell" style="{_BAR}background:{_bar(row, colour, tree)}"></span></div>'
    )


def _bar(row: Row, colour: str, tree: TraceTree) -> str:
    """Return a background that runs from nothing to waiting to running, with hard edges."""
    whole_ns = max(1, tree.end_ns - tree.start_ns)
    drawn: list[tuple[float, float, str]] = []
    for from_ns, to_ns, waiting in _stretches(row, row.node.record):
        low = max(drawn[-1][1] if drawn else 0.0, (from_ns - tree.start_ns) * 100 / whole_ns)
        high = (to_ns - tree.start_ns) * 100 / whole_ns
        if not waiting and high - low < _LEAST:
            low = min(low, 100.0 - _LEAST)
            high = low + _LEAST
            # At the right edge the room comes from the wait before it.
            while drawn and drawn[-1][1] > low:
                begin, _, paint = drawn.pop()
                if begin < low:
                    drawn.append((begin, low, paint))
        if high > low:
            drawn.append((low, high, _WAIT if waiting else colour))
    stops, edge = [], 0.0
    for low, high, paint in drawn:
        if low > edge:
            stops.append(f"{_BLANK} {edge:.2f}% {low:.2f}%")
        stops.append(f"{paint} {low:.2f}% {high:.2f}%")
        edge = high
    stops.append(f"{_BLANK} {edge:.2f}% 100%")
    return f"linear-gradient(to right,{','.join(stops)})"


def _stretches(row: Row, record: SpanRecord) -> Iterator[tuple[int, int, bool]]:
    """Yield from when to when a span waited or ran, in order and without overlap."""
    at = record.start_ns
    for from_ns, to_ns in sorted(waits_in(*row.chain)):
        until = min(to_ns, record.end_ns)
        if from_ns < record.start_ns:
            yield from_ns, min(until, record.start_ns), True
            from_ns = record.start_ns  # noqa: PLW2901  # what is left of it lies inside
        if until <= max(at, from_ns):
            continue
        if from_ns > at:
            yield at, from_ns, False
        yield max(at, from_ns), until, True
        at = until
    if at < record.end_ns or at == record.start_ns:
        yield at, record.end_ns, False
