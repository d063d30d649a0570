"""A trace as a waterfall in the terminal: who ran when, who waited, who failed.

The only module of this package that needs the library ``rich`` (``pip install
'hush-runtime[cli]'``). It draws what :mod:`hush.insight.rows` has chosen.
"""

from __future__ import annotations

import codecs
import os
from typing import IO, TYPE_CHECKING, Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.text import Text

from hush import semconv
from hush.insight.asides import Aside, asides_of
from hush.insight.calls import failure_kind, is_call, usage_line
from hush.insight.glyphs import choose_glyphs
from hush.insight.outcome import outcome_of, remark_on
from hush.insight.rows import Fold, Line, Row, choose_lines
from hush.insight.summary import summarise
from hush.insight.timeline import NOTHING, RUN, Timeline
from hush.insight.waits import waits_in
from hush.insight.wording import clean, fold_text, format_duration, span_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.insight.tree import TraceTree

__all__ = ("print_waterfall", "render_waterfall")

_MAX_LINES = 190  # with heading and axis not more than 200
_DURATION_CELLS = 8
_GAPS = 2  # between names, durations and bars
_MIN_BAR_SHARE = 0.3  # of the width: 24 cells of 80
_INDENT_SHARE = 0.5  # of the names' column, at most
_STEP_CELLS = 2  # of indentation
_ASIDE_SHARE = 0.4  # of the width: keys and the like make the names' column no wider
_CALLS_SHARE = 0.5  # likewise, where tokens and cost stand behind the names
_CAUSE_CELLS = 24  # of the path of what caused a cancellation, at most
_LEAST_ASIDE = 6  # cells; less of a key tells nothing

_FAINT = "dim"  # not bright black, which some colour schemes make invisible
_STYLES = {
    semconv.OUTCOME_OK: "green",
    semconv.OUTCOME_HANDLED: "yellow",
    semconv.OUTCOME_ERROR: "bold red",
    semconv.OUTCOME_TIMEOUT: "bold red",
    semconv.OUTCOME_CANCELLED: _FAINT,
}
_FOREIGN_STYLE = "cyan"
_PASSED_ON_STYLE = "dim red"  # of a span that failed because one inside it did


def render_waterfall(
    tree: TraceTree,
    *,
    width: int | None = None,
    max_items: int = 12,
    console: Console | None = None,
) -> Group:
    """Draw a trace as names, durations and bars on a common axis of time.

    Args:
        tree: of any size, also empty; of a large one the most telling part is drawn.
        width: of the picture, in cells; None takes the console's.
        max_items: at most so many items are shown of each map, and iterations of each
            loop: those that failed, the last one, the slowest. One line sums up the rest.
        console: where it will be printed, for the width and the characters that can be
            written there; None takes standard output.

    Returns:
        One ``Text`` for each line, none wider than the width; at most about 200.
    """
    place = console or Console()
    drawing = _Drawing(tree, max(1, width or place.width), max_items, place.encoding)
    return Group(*drawing.draw())


def print_waterfall(
    tree: TraceTree,
    *,
    file: IO[str] | None = None,
    width: int | None = None,
    max_items: int = 12,
) -> None:
    """Print a trace as names, durations and bars on a common axis of time.

    Colours are for terminals only, and not where ``NO_COLOR`` is set (https://no-color.org).
    Where the output's encoding lacks the fine characters, ASCII is used.

    Args:
        tree: of any size, also empty; of a large one the most telling part is drawn.
        file: where to; None is standard output.
        width: in cells; None is the terminal's, or 80 where there is none.
        max_items: see :func:`render_waterfall`.
    """
    # rich by itself would keep bold and dim under NO_COLOR, which are escape sequences too.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(
        file=file, width=width, color_system=colours, highlight=False, markup=False, emoji=False
    )
    console.print(render_waterfall(tree, width=width, max_items=max_items, console=console))


class _Drawing:
    """One picture: its columns, and the trace on them."""

    def __init__(self, tree: TraceTree, width: int, max_items: int, encoding: str) -> None:
        self._tree = tree
        self._width = width
        self._glyphs = choose_glyphs(encoding)
        self._encoding = _known(encoding)
        self._lines = choose_lines(tree, max_items=max_items, max_lines=_MAX_LINES)
        most = width - _DURATION_CELLS - _GAPS - round(width * _MIN_BAR_SHARE)
        self._most_levels = max(1, int(most * _INDENT_SHARE) // _STEP_CELLS)
        self._names = [self._name(line) for line in self._lines]
        self._asides = [asides_of(line.content, self._glyphs) for line in self._lines]
        pairs = list(zip(self._names, self._asides, strict=True))
        needed = max((name.cell_len for name, _ in pairs), default=0)
        full = (
            name.cell_len + sum(1 + cell_len(aside.text) for aside in asides)
            for name, asides in pairs
        )
        share = _CALLS_SHARE if any(is_call(node.record) for node in tree) else _ASIDE_SHARE
        wanted = min(max(full, default=0), int(width * share))
        self._name_cells = max(1, min(most, max(needed, wanted)))
        bar_cells = max(1, width - self._name_cells - _DURATION_CELLS - _GAPS)
        self._time = Timeline(tree.start_ns, tree.end_ns, bar_cells)

    def draw(self) -> list[Text]:
        """Return all lines."""
        lines = self._heading()
        if self._lines:
            lines.append(Text(" " * self._bar_at + self._time.ticks(self._glyphs), _FAINT))
        for line, name, asides in zip(self._lines, self._names, self._asides, strict=True):
            if isinstance(line.content, Fold):
                lines.append(self._fold(line, line.content))
                continue
            row = line.content
            lines.append(self._row(row, name, asides))
            if row.error:
                lines.append(self._below(line, row, row.error, self._style(row)))
            lines += [self._below(line, row, note, _FAINT) for note in row.notes]
        for text in lines:
            text.no_wrap, text.overflow = True, "crop"
            text.truncate(self._width)  # where not even the columns' least has room
            text.rstrip()
        return lines

    @property
    def _bar_at(self) -> int:
        return self._name_cells + _DURATION_CELLS + _GAPS

    def _cut(self, text: str, cells: int) -> str:
        if cell_len(text) <= cells:
            return text
        if cells <= 0:
            return ""
        return set_cell_size(text, cells - 1).rstrip() + self._glyphs.ellipsis

    def _cut_middle(self, text: str, cells: int) -> str:
        """Cut where keys, paths and addresses differ least."""
        if cell_len(text) <= cells:
            return text
        tail = next(at for at in range(len(text)) if cell_len(text[at:]) <= cells // 2)
        return self._cut(text, cells - cell_len(text[tail:])) + text[tail:]

    def _clean(self, text: object) -> str:
        return clean(text, self._encoding)

    def _heading(self) -> list[Text]:
        if not self._lines:
            return [Text(self._cut("no spans", self._width))]
        summary = summarise(self._tree)
        trace = self._cut(f"trace {self._clean(self._tree.trace_id)}", self._width)
        lines = [Text().append(trace, "bold")]
        outcome = outcome_of(self._tree)
        ended = f"{self._clean(outcome)} in " if outcome else ""
        said = f"{ended}{format_duration(summary.duration_s, self._glyphs)}, {summary}"
        if cell_len(trace) + 2 + len(said) <= self._width:
            lines[0].append(f"  {said}")
        else:
            lines.append(Text(self._cut(said, self._width)))
        if remark := remark_on(self._tree):
            lines.append(Text(self._cut(remark, self._width), _FAINT))
        if used := usage_line(self._tree):
            lines.append(Text(self._cut(used, self._width)))
        return lines

    def _stems(self, stems: Sequence[bool], *, joint: bool) -> str:
        """Return the lines of the tree in front of a name, or of what stands below it."""
        glyphs = self._glyphs
        parts = [f"{glyphs.trunk} " if follows else "  " for follows in stems]
        if joint and stems:
            parts[-1] = (glyphs.branch if stems[-1] else glyphs.last) + glyphs.stroke
        if len(parts) > self._most_levels:
            parts = [f"{glyphs.ellipsis} ", *parts[len(parts) - self._most_levels + 1 :]]
        return "".join(parts)

    def _style(self, row: Row) -> str:
        record = row.node.record
        if record.outcome is None:
            return _FOREIGN_STYLE
        if record.is_red and not row.origin:
            return _PASSED_ON_STYLE
        return _STYLES.get(record.outcome, "")

    def _name(self, line: Line) -> Text:
        text = Text().append(self._stems(line.stems, joint=True), _FAINT)
        row = line.content
        if isinstance(row, Fold):
            return text
        record, glyphs, style = row.node.record, self._glyphs, self._style(row)
        mark = glyphs.foreign
        if record.outcome is not None:
            mark = glyphs.marks.get(record.outcome, glyphs.foreign)
        quiet = record.outcome in {None, semconv.OUTCOME_OK}
        text.append(f"{mark} ", style)
        label = self._clean(span_label(record, glyphs, short=row.node.parent is not None))
        kind = self._clean(failure_kind(record)) if is_call(record) else ""
        text.append(f"{label} {kind}".rstrip(), "" if quiet else style)
        for node in row.merged:
            count = node.record.attributes.get(semconv.ATTEMPTS)
            if isinstance(count, int) and count > 1:
                text.append(f" {glyphs.times}{count}", "" if quiet else style)
        cause = record.attributes.get(semconv.CANCEL_CAUSE)
        # A call that lost its race did so against another call of the same node.
        if record.outcome == semconv.OUTCOME_CANCELLED and cause and not is_call(record):
            path = self._cut_middle(self._clean(cause), _CAUSE_CELLS)
            text.append(f" {glyphs.cause} {path}", _FAINT)
        return text

    def _row(self, row: Row, name: Text, asides: Sequence[Aside]) -> Text:
        text = name.copy()
        if text.cell_len > self._name_cells:
            plain = self._cut(text.plain, self._name_cells)
            text.right_crop(len(text.plain) - len(plain) + 1)
            text.append(plain[len(text.plain) :], _FAINT)
        for aside in asides:
            said = self._clean(aside.text)
            room = self._name_cells - text.cell_len - 1
            if room >= (cell_len(said) if aside.whole else min(_LEAST_ASIDE, cell_len(said))):
                text.append(f" {self._cut_middle(said, room)}", _FAINT)
        text.append(" " * (self._name_cells - text.cell_len + 1))
        duration = format_duration(row.node.duration_s, self._glyphs)
        style = self._style(row)
        quiet = row.node.record.outcome in {None, semconv.OUTCOME_OK}
        text.append(f"{duration:>{_DURATION_CELLS}} ", "" if quiet else style)
        text.append_text(self._bar(row, style))
        return text

    def _bar(self, row: Row, style: str) -> Text:
        record, glyphs = row.node.record, self._glyphs
        halves = self._time.bar(record.start_ns, record.end_ns, waits_in(*row.chain))
        bar = Text()
        for left, right in zip(halves[::2], halves[1::2], strict=True):
            if RUN in {left, right}:
                half = glyphs.run_left if left == RUN else glyphs.run_right
                bar.append(glyphs.run if left == right else half, style)
            elif left == right == NOTHING:
                bar.append(" ")
            else:
                bar.append(glyphs.wait, _FAINT)
        return bar

    def _below(self, line: Line, row: Row, foreign: str, style: str) -> Text:
        text = self._stems(line.stems, joint=False)
        if row.children or row.folds:
            text += f"{self._glyphs.trunk} "
        said = self._clean(foreign)
        room = self._width - cell_len(text) - 2
        return (
            Text()
            .append(text, _FAINT)
            .append(f"{self._glyphs.because} {self._cut(said, room)}", style)
        )

    def _fold(self, line: Line, fold: Fold) -> Text:
        stems = self._stems(line.stems, joint=True)
        room = self._bar_at - 1 - cell_len(stems)
        said = self._cut(fold_text(fold.nodes, self._glyphs, room), room)
        text = Text(f"{stems}{said}".ljust(self._bar_at), _FAINT)
        crowd = self._time.crowd([node.record for node in fold.everyone], self._glyphs.levels)
        return text.append(crowd, _FAINT)


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return "ascii"
