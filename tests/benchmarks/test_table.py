"""What the benchmarks make of their measurements: ratios, verdicts, table, page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import cycle

import pytest

from benchmarks.environment import ROOT, environment
from benchmarks.everything import KEYS
from benchmarks.outcomes import Cost, Outcome, Table
from benchmarks.page import BEGIN, END, render, write_page
from benchmarks.regress import judge
from benchmarks.sampling import ratio, spread


def test_a_ratio_is_taken_in_each_round_before_the_median():
    # The machine became twice as slow after the first round, for both.
    of_it = ratio([1.0, 2.0, 2.0], [2.0, 4.0, 4.0])
    assert (of_it.median, of_it.low, of_it.high) == (0.5, 0.5, 0.5)
    assert ratio([1.0, 2.0, 9.0], [2.0, 4.0]).rounds == 2


def test_a_spread_has_quartiles_and_the_ends():
    of_it = spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (of_it.least, of_it.low, of_it.median, of_it.high, of_it.most) == (1, 2, 3, 4, 5)
    assert of_it.times(10).median == 30
    assert spread([7.0]).high == 7


def outcome(values, limit, **more):
    return Outcome("map", "a map", "trio", "µs per item", spread(values), "few", limit, **more)


@pytest.mark.parametrize(
    ("values", "limit", "verdict"),
    [
        ([1.0, 1.1, 1.2], 1.3, "met"),
        ([1.0, 1.1, 1.2], 1.1, "close"),
        ([1.0, 1.1, 1.2], 0.9, "missed"),
        ([0.0], 0.0, "met"),
        ([1.0], 0.0, "missed"),
        ([1.0], None, ""),
    ],
)
def test_a_verdict_says_whether_noise_could_turn_it(values, limit, verdict):
    assert outcome(values, limit).verdict == verdict


def test_a_ratio_is_judged_where_there_is_one():
    row = outcome([100.0], 0.5, reference=spread([300.0]), ratio=spread([1 / 3]))
    assert row.verdict == "met"


def table():
    rows = (
        outcome([1.0, 2.0], 0.5, ratio=spread([0.4, 0.6]), floor=spread([0.5])),
        outcome([3.0], None),
    )
    cost = Cost("map", "A map of 3 items", "hush", "asyncio", "µs per item", spread([2.0]))
    peer = Cost("map", "A map of 3 items", "dask", "asyncio", "µs per item", spread([8.0]), True)
    machine = {"processor": "made of sand, 2 cores", "Python": "3.11"}
    peers = {"dask": "1.0", "burr": "not installed"}
    return Table(machine, "2024-01-01", 3.0, rows, (cost, peer), peers, (0.1, 0.2), ("It rained",))


def test_a_table_comes_back_from_json():
    written = json.dumps(table().to_json())
    assert Table.from_json(json.loads(written)) == table()
    assert [row["verdict"] for row in json.loads(written)["outcomes"]] == ["close", ""]


def test_a_page_names_machine_rows_and_who_is_absent():
    text = render(table(), ["map.svg"])
    assert "made of sand, 2 cores" in text
    assert (
        "| a map | trio | few | 0.50 µs | 1.50 µs [1.25-1.75] | 0.50 [0.45-0.55] | close |" in text
    )
    assert "burr not installed" in text
    assert "It rained." in text


def test_a_page_keeps_what_people_wrote_and_is_the_same_twice(tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    written = write_page(table(), tmp_path)
    first = {path: path.read_text() for path in written}
    assert first[page].startswith(f"before\n{BEGIN}\n")
    assert first[page].endswith(f"{END}\nafter\n")
    assert "old" not in first[page]
    assert write_page(table(), tmp_path) == written
    assert {path: path.read_text() for path in written} == first
    for path in written:
        if path.suffix == ".svg":
            ET.fromstring(path.read_text())
            assert "prefers-color-scheme: dark" in path.read_text()
            assert not re.search(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]", path.read_text())


def test_the_page_of_this_repository_has_its_markers():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert "Measured " in text.partition(BEGIN)[2].partition(END)[0]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


# Many short processes, and a busy machine starts each of them slowly.
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("key", "loop"), [*zip(KEYS, cycle(["asyncio", "trio"]), strict=False)])
def test_everything_can_be_measured(key, loop, tmp_path):
    figures = tmp_path / "figures.json"
    done = run("benchmarks", key, "--tiny", "--no-peers", "--loop", loop, "--json", str(figures))
    assert done.returncode == 0, done.stdout + done.stderr
    found = Table.from_json(json.loads(figures.read_text()))
    assert {row.block for row in found.outcomes} == {key}
    for row in found.outcomes:
        assert row.title[:42] in done.stdout
        assert row.loop in {loop, ""}
        assert row.measured.least <= row.measured.median <= row.measured.most
    lost = [row for row in found.outcomes if row.block == "losses"]
    assert all(row.measured.median == 0 for row in lost)
    assert found.machine["Python"].endswith(".".join(map(str, sys.version_info[:3])))


def test_an_unknown_row_is_refused_with_those_there_are():
    done = run("benchmarks", "mapp")
    assert done.returncode == 2
    assert "unknown row mapp; there are: map, chain" in done.stderr


def times(change, base=1.0, noise=0.0, launches=5):
    def side(value, tilt):
        return [[value * (1 + tilt * noise * (-1) ** i)] * 3 for i in range(launches)]

    return {"base": side(base, 0), "again": side(base, 1), "change": side(change, 0)}


@pytest.mark.parametrize(
    ("change", "noise", "verdict"),
    [
        (1.0, 0.0, "ok"),
        (1.05, 0.01, "ok"),
        (1.25, 0.02, "slower"),
        (0.5, 0.3, "ok"),
        (1.08, 0.2, "undecided"),
    ],
)
def test_a_change_is_judged_by_the_noise_of_its_base(change, noise, verdict):
    assert judge("a row", times(change, noise=noise), 0.10).verdict == verdict


@pytest.mark.timeout(180)
def test_a_change_is_compared_with_its_base(tmp_path):
    figures = tmp_path / "figures.json"
    arguments = ("--tiny", "--launches", "1", "--rounds", "2", "--loop", "asyncio")
    done = run("benchmarks.regress", str(ROOT / "src"), *arguments, "--json", str(figures))
    # So small, it may well be that something seems slower.
    assert done.returncode in {0, 1, 2}, done.stderr
    found = json.loads(figures.read_text())
    assert [row["title"] for row in found] == [
        f"{row}, {how}, asyncio"
        for row in ("map", "chain", "fan-out")
        for how in ("untraced", "traced")
    ]
    assert all(row["ratio"]["median"] > 0 for row in found)
    for row in found:
        assert row["title"] in done.stdout


def test_a_base_that_is_nothing_is_refused():
    done = run("benchmarks.regress", "no-such-commit")
    assert done.returncode == 1
    assert "neither a folder with hush in it nor a commit" in done.stderr
