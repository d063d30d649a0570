"""Tables without lines whose numbers, units and ids are never cut, however narrow the terminal.

What may give way is said by whoever makes a column: a name is cut, a note goes below its
row, what is only nice to have is left out. Where that is not enough, each row becomes a
few lines of headings and values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from hush.cli.output import FAINT, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

__all__ = ("Column", "Kind", "Table")

_GAP: Final = 2
_LEAST_NAME: Final = 12
"""Cells of a name; with less nobody would know it."""
_ENOUGH_NAME: Final = 24
"""Cells of a name before which nothing is shown that is only nice to have."""
_LEAST_NOTE: Final = 24

Kind = Literal["left", "right", "name", "note", "extra"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    heading: str
    kind: Kind = "right"
    """``left`` and ``right`` stand as they are; a ``name`` is cut where there is too little
    room, a ``note`` is wrapped or goes below, and an ``extra`` is left out."""


@dataclass(slots=True)
class Table:
    """Rows to print."""

    columns: Sequence[Column]
    headed: bool = True
    """Whether headings are printed."""
    _rows: list[list[Text]] = field(default_factory=list)

    def add(self, *values: str | Text, style: str = "") -> None:
        """Add a row.

        Args:
            *values: made safe already, one for each column.
            style: rich's, of the whole row.
        """
        from rich.text import Text as RichText  # noqa: PLC0415  # see console

        made = [RichText(one) if isinstance(one, str) else one for one in values]
        for one in made:
            if style:
                one.stylize_before(style)
        self._rows.append(made)

    def print(self, place: Console) -> None:
        """Print it, without white space at the ends of its lines."""
        kept = list(range(len(self.columns)))
        while True:
            cells = {at: self._cells(at) for at in kept}
            extra = next((at for at in reversed(kept) if self.columns[at].kind == "extra"), None)
            least = _LEAST_NAME if extra is None else _ENOUGH_NAME
            room = self._room(kept, cells, place.width, least)
            if room >= 0:
                break
            if extra is None:
                self._stack(place)
                return
            kept.remove(extra)
        for at in kept:
            if self.columns[at].kind == "name":
                cells[at] = min(cells[at], least + room)
        self._lines(place, [at for at in kept if self.columns[at].kind != "note"], cells)

    def _cells(self, at: int) -> int:
        heading = len(self.columns[at].heading) if self.headed else 0
        return max([heading, *(row[at].cell_len for row in self._rows)])

    def _room(self, kept: Sequence[int], cells: dict[int, int], width: int, least: int) -> int:
        """Return how many cells are left for names beyond their least; negative is too narrow."""
        told = [at for at in kept if self.columns[at].kind != "note"]
        needed = _GAP * (len(told) - 1)
        for at in told:
            name = self.columns[at].kind == "name"
            needed += min(cells[at], least) if name else cells[at]
        return width - needed

    def _lines(self, place: Console, kept: Sequence[int], cells: dict[int, int]) -> None:
        from rich.text import Text as RichText  # noqa: PLC0415  # see console

        if self.headed:
            headings = [RichText(one.heading, FAINT) for one in self.columns]
            _put(place, self._line(headings, kept, cells))
        notes = [at for at, one in enumerate(self.columns) if one.kind == "note"]
        for row in self._rows:
            line = self._line(row, kept, cells)
            said = [row[at] for at in notes if row[at].plain]
            begin = sum(cells[at] for at in kept) + _GAP * len(kept)
            if not said:
                _put(place, line)
            elif place.width - begin >= min(_LEAST_NOTE, said[0].cell_len):
                first, *others = said[0].wrap(place, place.width - begin)
                line.append(" " * (begin - line.cell_len)).append_text(first)
                _put(place, line)
                for other in others:
                    other.pad_left(begin)
                    _put(place, other)
            else:
                _put(place, line)
                say(place, said[0], indent=4)

    def _line(self, row: Sequence[Text], kept: Sequence[int], cells: dict[int, int]) -> Text:
        from rich.text import Text as RichText  # noqa: PLC0415  # see console

        line = RichText()
        for at in kept:
            value = row[at].copy()
            value.truncate(cells[at], overflow="ellipsis")
            blank = " " * (cells[at] - value.cell_len)
            if at != kept[0]:
                line.append(" " * _GAP)
            if self.columns[at].kind == "right":
                line.append(blank)
            line.append_text(value)
            if self.columns[at].kind != "right":
                line.append(blank)
        return line

    def _stack(self, place: Console) -> None:
        """Print each row as its name and, below, headings and values."""
        from rich.text import Text as RichText  # noqa: PLC0415  # see console

        for row in self._rows:
            names = [at for at, one in enumerate(self.columns) if one.kind == "name"]
            for at in names:
                name = row[at].copy()
                name.truncate(place.width, overflow="ellipsis")
                _put(place, name)
            line = RichText()
            for at, column in enumerate(self.columns):
                if at in names or not row[at].plain:
                    continue
                heading = f"{column.heading} " if self.headed and column.heading else ""
                more = RichText.assemble((heading, FAINT), row[at])
                if line.plain and _GAP + line.cell_len + _GAP + more.cell_len > place.width:
                    say(place, line, indent=_GAP)
                    line = RichText()
                line.append(" " * _GAP if line.plain else "").append_text(more)
            if line.plain:
                say(place, line, indent=_GAP)


def _put(place: Console, line: Text) -> None:
    line.rstrip()
    line.no_wrap = True
    place.print(line)
