"""Tables in any width: what may not be cut is whole, whatever else is in the row."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hush.cli.tables import Column, Table

COLUMNS = (
    Column("id", "left"),
    Column("name", "name"),
    Column("took"),
    Column("spans", "extra"),
    Column("", "note"),
)


def printed(rows, width, columns=COLUMNS):
    file = io.StringIO()
    place = Console(file=file, width=width, color_system=None)
    shown = Table(columns)
    for row in rows:
        shown.add(*row)
    shown.print(place)
    return file.getvalue()


texts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60)
rows = st.lists(
    st.tuples(
        st.text("0123456789abcdef", min_size=8, max_size=8),
        texts,
        st.integers(0, 10**6).map(lambda n: f"{n:,} ms"),
        st.integers(0, 10**5).map(str),
        st.lists(texts, max_size=4).map(" ".join),
    ),
    min_size=1,
    max_size=4,
)


@given(rows, st.integers(20, 130))
def test_ids_and_numbers_are_whole_and_no_line_is_too_wide(rows, width):
    out = printed(rows, width)
    lines = out.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    for ident, _, took, _, _ in rows:
        assert ident in out
        assert took in out


ROW = ("0af76519", "pricing.skus.lookup.in.a.long.graph", "1.24 s", "2,048", "knee; a word on it")


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            100,
            [
                "id        name                                   took  spans",
                "0af76519  pricing.skus.lookup.in.a.long.graph  1.24 s  2,048  knee; a word on it",
            ],
        ),
        (
            44,
            [
                "id        name                          took",
                "0af76519  pricing.skus.lookup.in.a.…  1.24 s",
                "    knee; a word on it",
            ],
        ),
        (24, ["pricing.skus.lookup.in.…", "  id 0af76519", "  took 1.24 s", "  spans 2,048"]),
    ],
)
def test_names_notes_and_extras_give_way(width, lines):
    assert printed([ROW], width).splitlines()[: len(lines)] == lines
