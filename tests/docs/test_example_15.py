"""examples/15_scale_out.py: the same workflow here and in other processes, the same trace."""

from __future__ import annotations

import re

import pytest

from tests.docs.example_runs import complaints, run_example

NAME = "15_scale_out.py"


@pytest.fixture
def folder(tmp_path):
    for number in range(9):
        (tmp_path / f"good{number}.py").write_text('"""Telegrams."""\ndef f(x):\n    return x\n')
    (tmp_path / "bad.py").write_text("def broken(:\n")
    (tmp_path / "odd.py").write_text("import re\nx = '\\d'\n")  # the compiler warns of it
    return tmp_path


def run(folder, *arguments):
    done = run_example(NAME, folder, *arguments)
    assert complaints(done) == ""
    return done.stdout


def spans(out):
    """Return how many spans there are of each name."""
    told = out.partition("Spans, by name\n")[2].partition("\n\n")[0]
    return {
        name: int(count) for name, count in re.findall(r"^  (\S.*?) +(\d+)$", told, re.MULTILINE)
    }


def report(out):
    return out.partition("Report\n")[2].partition("trace ")[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_processes_give_the_same_report_and_trace(folder, backend):
    here = run(folder, "--on", "here", "--backend", backend)
    there = run(folder, "--on", "processes", "--workers", 2, "--backend", backend)
    assert report(there) == report(here)
    assert "Partial failures: 1, each handled" in there
    counted = spans(there)
    assert counted.pop("attempt modules") == 11
    assert counted == spans(here)
    makers = there.partition("Spans, by who made them\n")[2].partition("\n\n")[0]
    # Run, map, items and report are the driver's; attempts and nodes the workers'.
    assert re.search(r"^  this process +14$", makers, re.MULTILINE)
    of_workers = [int(count) for count in re.findall(r":\d+ +(\d+)$", makers, re.MULTILINE)]
    assert sum(of_workers) == 11 * 6
    assert re.search(r"^  this process +69$", here, re.MULTILINE)


def test_dask_gives_the_same_trace(folder):
    pytest.importorskip("distributed")
    out = run(folder, "--on", "dask", "--workers", 1)
    assert "11 of 11: 10 ok, 1 handled, 0 running" in out
    assert spans(out)["attempt modules"] == 11


def test_only_clusters_have_an_address(folder):
    done = run_example(NAME, folder, "--on", "processes", "--address", "tcp://x", code=2)
    assert "--on processes takes no --address" in done.stderr
