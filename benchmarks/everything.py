"""Measures what is asked for and makes one table of it."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from benchmarks.apart import measure_build, measure_import, measure_losses, measure_memory
from benchmarks.crew import Crew, Worker
from benchmarks.elsewhere import measure_elsewhere
from benchmarks.environment import new_home
from benchmarks.machine import describe_machine, load
from benchmarks.measuring import measure_block
from benchmarks.outcomes import Cost, Outcome, Table
from benchmarks.printing import print_costs, print_outcomes
from benchmarks.rows import LOOPS, PEERS, PROGRAMS, blocks
from benchmarks.servers import server

__all__ = ("APART", "KEYS", "Wishes", "measure_everything")

APART = ("import", "build", "elsewhere", "memory", "losses")
KEYS = (*dict.fromkeys(block.key for block in blocks()), *APART)
"""What can be asked for."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to measure, and how thoroughly."""

    keys: tuple[str, ...] = KEYS
    loop: str | None = None
    """None means both."""
    quick: bool = False
    tiny: bool = False
    """Sizes that say nothing, for tests of the benchmarks themselves."""
    peers: str | None = sys.executable
    """The interpreter whose environment has other runtimes; None leaves them out."""


def measure_everything(wishes: Wishes) -> Table:
    """Measure, and print what is found as it is found.

    Raises:
        RuntimeError: a program of ours failed.
        ValueError: a program did not do its work, or not every span came out.
    """
    began, load_before = time.monotonic(), load()
    outcomes: list[Outcome] = []
    costs: list[Cost] = []
    notes: list[str] = []
    peers: dict[str, str] = {}
    loops = LOOPS if wishes.loop is None else (wishes.loop,)

    def found(rows: list[Outcome], each: list[Cost] | None = None) -> None:
        outcomes.extend(rows)
        costs.extend(each or ())
        print_costs(each or ())
        print(f"  ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        makers = {name: partial(Worker, *how) for name, how in PROGRAMS.items()}
        if "models" in wishes.keys:
            models = {"BENCH_MODELS_URL": stack.enter_context(server("models"))}
            for name in ("client by hand", "LLMNode", "LLMNode, traced"):
                makers[name] = partial(makers[name], variables=models)
        if "encoded" in wishes.keys:
            url, folder = stack.enter_context(server("otlp")), stack.enter_context(new_home())
            makers["hush, spooled"] = partial(
                makers["hush, spooled"], endpoint=url, variables=folder
            )
        for name, module in PEERS.items():
            makers[name] = partial(Worker, module, python=wishes.peers or sys.executable)
        crew = stack.enter_context(Crew(makers))
        if wishes.peers is not None:
            for name in PEERS:
                worker = crew[name]
                said = ", ".join(worker.versions.values())
                peers[name] = "not installed" if worker.missing else said
        for block in blocks(quick=wishes.quick, tiny=wishes.tiny, peers=wishes.peers is not None):
            if block.key not in wishes.keys:
                continue
            if block.claims[0].subject.loop not in loops:
                continue
            found(*measure_block(crew, block))
            # Some are busy while nobody asks them for anything.
            crew.dismiss(PEERS)
        if "build" in wishes.keys:
            size = 20 if wishes.tiny else 1_000
            rows, each = measure_build(crew, size, 1 if wishes.tiny else 3 if wishes.quick else 7)
            found(rows, [c for c in each if wishes.peers is not None or not c.peer])
        crew.dismiss(list(makers))
        if "import" in wishes.keys:
            rows, said_of_it = measure_import(1 if wishes.tiny else 3 if wishes.quick else 7)
            notes += said_of_it
            found(rows)
        if "elsewhere" in wishes.keys:
            size, rounds = (20, 1) if wishes.tiny else (400, 3 if wishes.quick else 7)
            found(measure_elsewhere(size, rounds, loops))
        if "memory" in wishes.keys:
            size = 200 if wishes.tiny else 20_000 if wishes.quick else 100_000
            found(measure_memory(makers, size, 1 if wishes.tiny or wishes.quick else 2, loops))
        if "losses" in wishes.keys:
            found(measure_losses(_work(quick=wishes.quick, tiny=wishes.tiny), loops))
    print()
    print_outcomes(outcomes)
    for name, said in peers.items():
        print(f"{name}: {said}")
    return Table(
        machine=describe_machine(),
        taken=datetime.now(UTC).isoformat(timespec="minutes"),
        seconds=round(time.monotonic() - began, 1),
        outcomes=tuple(outcomes),
        costs=tuple(costs),
        peers=peers,
        load=(load_before, load()),
        notes=tuple(notes),
        quick=wishes.quick,
    )


def _work(*, quick: bool, tiny: bool) -> dict[str, tuple[str, int, int, int]]:
    """The rows' work, for counting the spans that arrive: case, size, repeats, spans of each."""
    if tiny:
        return {"map of 20 items": ("map", 20, 1, 42)}
    work = {"map of 10,000 items": ("map", 10_000, 1, 20_002)}
    if quick:
        return work
    return work | {
        "20 chains of 100 nodes": ("chain", 100, 20, 101),
        "fan-out of 1,000 nodes": ("fan-out", 1_000, 1, 1_001),
        "1,000 sleeping items": ("sleeping", 1_000, 1, 2_002),
        "map of 100,000 items": ("map", 100_000, 1, 200_002),
    }
