"""Each program of the benchmarks does its work, in a process of its own; nothing is timed."""

from __future__ import annotations

import sys

import pytest

from benchmarks.crew import Crew, Series, Worker
from benchmarks.environment import new_home
from benchmarks.rows import PEERS, PROGRAMS, blocks
from benchmarks.servers import count_of, server

OURS = [
    name
    for name, (module, tracing) in PROGRAMS.items()
    if not module.startswith("model") and tracing != "default"
]


@pytest.mark.parametrize("program", OURS)
def test_a_program_does_its_work_and_every_span_comes_out(program):
    worker = Worker(*PROGRAMS[program])
    try:
        assert worker.missing is None
        for loop in ("asyncio", "trio"):
            for case in sorted(worker.cases):
                said = worker.measure(Series(program, case, 5, loop, repeat=2))
                assert said["cpu_s"] > 0
                assert said["wall_s"] > 0
                each = {
                    "map": 12,
                    "sleeping": 12,
                    "chain": 6,
                    "fan-out": 6,
                    "streamed": 12,
                    "build": 0,
                }[case]
                traced = PROGRAMS[program][1] in {"kept", "encoded"}
                assert said["spans"] == (2 * each if traced else 0)
    finally:
        worker.close()


def test_a_program_that_does_not_do_its_work_is_found_out():
    worker = Worker("anyio_bare")
    try:
        with pytest.raises(RuntimeError, match="KeyError: 'no such case'"):
            worker.measure(Series("bare anyio", "no such case", 5))
        # It goes on.
        assert worker.measure(Series("bare anyio", "map", 5))["spans"] == 0
    finally:
        worker.close()


@pytest.mark.parametrize("name", PEERS)
def test_another_runtime_does_the_same_work_or_is_not_installed(name):
    worker = Worker(PEERS[name])
    try:
        if worker.missing is not None:
            assert "No module named" in worker.missing
            assert not worker.cases
            return
        assert worker.versions
        for case in sorted(worker.cases):
            assert worker.measure(Series(name, case, 5))["wall_s"] > 0
    finally:
        worker.close()


def test_models_answer_both_clients():
    with server("models") as url:
        for module in ("model_client", "model_node"):
            worker = Worker(module, variables={"BENCH_MODELS_URL": url})
            try:
                assert worker.measure(Series(module, "models", 4, "trio"))["wall_s"] > 0
            finally:
                worker.close()


def test_the_default_set_up_loses_no_span():
    with server("otlp") as url, new_home() as home:
        worker = Worker(*PROGRAMS["hush, spooled"], endpoint=url, variables=home)
        try:
            worker.measure(Series("hush", "map", 30))
        finally:
            worker.close()
        assert count_of(url) == 62


def test_a_missing_program_is_left_out_of_the_rounds():
    makers = {"here": lambda: Worker("floor"), "absent": lambda: Worker("peers.no_such_peer")}
    here, absent = Series("here", "chain", 3), Series("absent", "chain", 3)
    with Crew(makers) as crew:
        times = crew.rounds([here, absent], 2)
    assert list(times) == [here]
    assert len(times[here].cpu_s) == len(times[here].wall_s) == 2


def test_every_block_names_programs_that_exist():
    for block in blocks():
        programs = {series.program for series in block.series}
        assert programs <= {*PROGRAMS, *PEERS}
        for claim in block.claims:
            assert {claim.subject, claim.reference} <= set(block.series)
            assert claim.floor is None or claim.floor in block.series
        assert {series for series, _ in block.kept} <= set(block.series)
    assert sys.modules.get("langgraph") is None
