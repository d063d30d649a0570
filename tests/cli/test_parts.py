"""Parts of the commands that take any input: durations, instants, values for JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import OrderedDict, deque
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.cli.plain import plain
from hush.cli.reading import read_duration, read_limits, read_since
from hush.cli.refusal import Refusal


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("3", 3),
        (".5", 0.5),
        ("1d 2h", 93_600),
    ],
)
def test_durations(text, seconds):
    assert read_duration(text, "--x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "2 3", "2x", "-1s", "1s!", "1e3", "2s3", "\uff11x"])
def test_what_is_no_duration(text):
    with pytest.raises(Refusal, match=r"--x .*expected a duration such as"):
        read_duration(text, "--x")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text):
    for read in (read_since, read_limits, lambda text: read_duration(text, "--x")):
        try:
            read(text)
        except Refusal as refusal:
            assert repr(text) in refusal.message


def test_instants():
    now = datetime.now(UTC)
    assert abs((now - read_since("1h")).total_seconds() - 3600) < 10
    assert read_since("2026-05-01T12:00:00Z").timestamp() == 1_777_636_800
    for text in ("0001-01-01", "9999-12-31", "9" * 12 + "d"):
        assert 1970 <= read_since(text).year <= 2200


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float
    y: object


class Bad(dict):
    def items(self):
        raise RuntimeError("no items")


class Text(str):
    __slots__ = ()


class Number(int):
    pass


def test_values_keep_their_structure():
    value = {
        1: (Point(1.0, {2}), Colour.RED),
        "when": datetime(2026, 5, 1, tzinfo=UTC),
        "how long": timedelta(seconds=1.5),
        "where": Path("a/b"),
        "bytes": b"\x00",
        "order": OrderedDict(a=Text("t"), b=Number(3)),
        "queue": deque([True, None]),
        "inf": [math.inf, -math.inf, math.nan],
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "1": [{"x": 1.0, "y": [2]}, "red"],
        "when": "2026-05-01T00:00:00+00:00",
        "how long": 1.5,
        "where": str(Path("a/b")),
        "bytes": "AA==",
        "order": {"a": "t", "b": 3},
        "queue": [True, None],
        "inf": ["inf", "-inf", "nan"],
    }


def test_values_that_have_no_end_or_cannot_be_read():
    endless = []
    endless.append(endless)
    deep = plain(endless)
    for _ in range(60):
        (deep,) = deep
    json.dumps(plain(endless))
    assert plain([Bad(a=1)]) == [repr(Bad(a=1))]
    assert plain(object()).startswith("<object object at ")
    assert plain(Point) == repr(Point)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
        ),
        max_leaves=10,
    )
)
def test_anything_becomes_json(value):
    json.dumps(plain(value), allow_nan=False)
