"""Rows that are no ratio of times: importing, building, memory, lost spans.

Each measurement has a process of its own, for what is measured happens once in a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.crew import Crew, Series, Worker
from benchmarks.environment import environment, new_home
from benchmarks.outcomes import Cost, Outcome
from benchmarks.rows import PEERS
from benchmarks.sampling import Spread, spread
from benchmarks.servers import count_of, server

__all__ = ("measure_build", "measure_import", "measure_losses", "measure_memory")

MB = 2**20
IMPORTING = """
import json, sys, time
began = time.process_time()
import {what}
took = time.process_time() - began
heavy = [name for name in {heavy} if name in sys.modules]
print(json.dumps([took, heavy, len(sys.modules)]))
"""
HEAVY = ("opentelemetry.sdk", "openai", "pydantic")
LARGER = (*HEAVY, "structlog", "yaml", "rich", "httpx", "trio", "google.protobuf", "sqlite3")
CEILING_S = 60.0
"""How long the last spans may take to arrive."""


def measure_import(rounds: int) -> tuple[list[Outcome], list[str]]:
    """Measure ``import hush.core``, beside importing anyio and the OpenTelemetry API.

    Returns:
        The rows, and what the modules are that take longest.
    """
    times: dict[str, list[float]] = {"hush.core": [], "anyio, opentelemetry.trace": []}
    found: list[str] = []
    for _ in range(rounds + 1):
        for what, seconds in times.items():
            took, heavy, _ = json.loads(_python("-c", IMPORTING.format(what=what, heavy=LARGER)))
            seconds.append(took)
            if what == "hush.core":
                found = heavy
    ours, floor = (spread([s * 1e3 for s in of_it[1:]]) for of_it in times.values())
    early = [name for name in found if name in HEAVY]
    said = ", ".join(early) or "none"
    outcomes = [
        Outcome(
            "import", "import hush.core", "", "ms", ours, "below 150 ms", 150.0,
            reference_name="anyio and the OpenTelemetry API", floor=floor,
        ),
        Outcome(
            "import", f"of SDK, openai and pydantic it loads: {said}", "", "modules",
            spread([len(early)]), "none before it is needed", 0.0,
        ),
    ]  # fmt: skip
    return outcomes, [_longest_imports()]


def _longest_imports() -> str:
    """Say which packages ``import hush.core`` spends its time in, by -X importtime."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import hush.core"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    own: dict[str, int] = {}
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            package = parts[2].strip().split(".")[0]
            own[package] = own.get(package, 0) + int(parts[0])
    longest = sorted(own.items(), key=lambda of: -of[1])[:6]
    return "Most of `import hush.core`, by package: " + ", ".join(
        f"{name} {micros / 1e3:.0f} ms" for name, micros in longest
    )


def measure_build(crew: Crew, size: int, rounds: int) -> tuple[list[Outcome], list[Cost]]:
    """Measure making and compiling a chain of nodes, here and in other runtimes."""
    ours = Series("hush", "build", size)
    times = crew.rounds([ours, *(Series(name, "build", size, rounds=3) for name in PEERS)], rounds)
    title = f"Building a graph of {size:,} nodes"
    costs = [
        Cost("build", title, series.program, "", "ms", _ms(of_it.cpu_s), series.program in PEERS)
        for series, of_it in times.items()
    ]
    took = _ms(times[ours].cpu_s)
    return [Outcome("build", title, "", "ms", took, "below 30 ms", 30.0)], costs


def measure_memory(
    makers: Mapping[str, Callable[[], Worker]], size: int, rounds: int, loops: Sequence[str]
) -> list[Outcome]:
    """Measure the most memory that a process occupies during a map, in a fresh process each.

    Args:
        makers: what starts the worker of a program.
        size: items of the map.
        rounds: how many processes for each.
        loops: some of asyncio and trio.

    Returns:
        The rows; none where the system does not say what a process occupies.
    """

    def measured(program: str, case: str, loop: str) -> tuple[Spread, Spread]:
        peaks, growths = [], []
        for _ in range(rounds):
            worker = makers[program]()
            try:
                worker.measure(Series(program, case, max(1, size // 1000), loop))
                said = worker.measure(Series(program, case, size, loop))
            finally:
                worker.close()
            peaks.append(said["peak_bytes"] / MB)
            growths.append((said["peak_bytes"] - said["before_bytes"]) / MB)
        return spread(peaks), spread(growths)

    outcomes = []
    for suffix, how in (("", "untraced"), (", traced", "traced")):
        for loop in loops:
            peak, growth = measured(f"hush{suffix}", "map", loop)
            if not peak.median:
                return []
            floor, floor_growth = measured(f"floor{suffix}", "map", loop)
            _, streamed = measured(f"hush{suffix}", "streamed", loop)
            title = f"peak memory, {size:,} items, results kept, {how}"
            outcomes += [
                Outcome(
                    "memory", title, loop, "MB", peak, "at most 100 MB", 100.0, floor=floor
                ),
                Outcome(
                    "memory", f"of that, growth in the run, {how}", loop, "MB", growth, "", None,
                    floor=floor_growth,
                ),
                Outcome(
                    "memory", f"growth where no result is read, {how}", loop, "MB", streamed, "",
                    None,
                ),
            ]  # fmt: skip
    return outcomes


def measure_losses(
    work: Mapping[str, tuple[str, int, int, int]], loops: Sequence[str]
) -> list[Outcome]:
    """Count the spans that arrive at a receiver which ``configure(endpoint=...)`` sends to.

    Args:
        work: by title: the case, its size, how often it is run, and how many spans one run has.
        loops: some of asyncio and trio.
    """
    outcomes = []
    for loop in loops:
        for title, (case, size, repeat, each) in work.items():
            with server("otlp") as url, new_home() as home:
                worker = Worker("runtime", "default", endpoint=url, variables=home)
                try:
                    worker.measure(Series("hush", case, size, loop, repeat))
                finally:
                    worker.close()
                expected = each * repeat
                arrived, ends = count_of(url), time.monotonic() + CEILING_S
                while arrived < expected and time.monotonic() < ends:
                    time.sleep(0.25)
                    last, arrived = arrived, count_of(url)
                    if last == arrived and time.monotonic() > ends - CEILING_S + 5:
                        break
            outcomes.append(
                Outcome(
                    "losses", f"spans lost of {expected:,}, {title}", loop, "spans",
                    spread([expected - arrived]), "none, with the default set-up", 0.0,
                )
            )  # fmt: skip
    return outcomes


def _ms(seconds: list[float]) -> Spread:
    return spread(seconds).times(1e3)


def _python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, env=environment()
    )
    return done.stdout
