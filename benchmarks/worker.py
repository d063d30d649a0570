"""A process that runs one program's cases when it is told to, and says how long they took.

    python -m benchmarks.worker PROGRAM TRACING [ENDPOINT]

Reads a request in JSON from each line of stdin, answers with one line on stdout: ``case``,
``size``, ``loop`` and ``repeat`` in, ``wall_s``, ``cpu_s``, ``spans`` out. The case is
prepared outside of the measured time, and what it returns is checked after it. A program
whose packages are not installed answers ``missing`` once and ends.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

CASES: dict[tuple[str, int], Callable[[], Any]] = {}


async def measure(case: Callable[[], Any], repeat: int) -> tuple[float, float, Any]:
    """Run a case some times and return seconds on the wall, of the processor, and the last result."""
    result = None
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        result = case()
        if inspect.isawaitable(result):
            result = await result
    return time.perf_counter() - wall, time.process_time() - cpu, result


def run_in(loop: str, case: Callable[[], Any], repeat: int) -> tuple[float, float, Any]:
    if loop == "asyncio":
        return asyncio.run(measure(case, repeat))
    import trio

    return trio.run(measure, case, repeat)


def resident(name: str) -> int:
    """Return ``VmRSS``, what this process occupies now, or ``VmHWM``, the most it did, in bytes."""
    try:
        found = re.search(
            rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
        )
    except OSError:
        return 0  # Not Linux: the rows of memory are left out.
    return int(found[1]) * 1024 if found else 0


def reset_peak() -> int:
    """Let the peak begin at what is occupied now, and return that."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def main(program: str, tracing: str, endpoint: str | None = None) -> None:
    # What a framework prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**said: object) -> None:
        print(json.dumps(said), file=answers, flush=True)

    try:
        from benchmarks.tracing import trace_into
        from benchmarks.work import check

        sink = trace_into(tracing, endpoint)
        module = importlib.import_module(f"benchmarks.programs.{program}")
    except ImportError as error:
        answer(missing=str(error))
        return
    versions = getattr(module, "VERSIONS", {})
    answer(ready=True, cases=sorted(module.CASES), versions=versions)
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            key = (ask["case"], ask["size"])
            if key not in CASES:
                CASES[key] = module.CASES[ask["case"]](ask["size"])
            before = reset_peak()
            wall_s, cpu_s, result = run_in(ask["loop"], CASES[key], ask["repeat"])
            peak = resident("VmHWM")
            # The time until all spans are out, too: what is left to do was caused by the run.
            wall, cpu = time.perf_counter(), time.process_time()
            spans = sink.flush()
            flush_s = (time.perf_counter() - wall, time.process_time() - cpu)
            check(ask["case"], ask["size"], result)
        except Exception:  # noqa: BLE001  # whatever it is, the one who asked has to know
            answer(error=traceback.format_exc())
            continue
        del result
        answer(
            wall_s=wall_s,
            cpu_s=cpu_s,
            flush_wall_s=flush_s[0],
            flush_cpu_s=flush_s[1],
            spans=spans,
            before_bytes=before,
            peak_bytes=peak,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
