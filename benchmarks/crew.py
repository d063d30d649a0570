"""A crew of worker processes, one for each program, and rounds that go through all of them.

Each program has a process of its own, started once and then told what to run, so that no
import, no provider and no garbage of one is in another's way, and so that programs may need
different environments, or different versions of the same package. In a round each series is
measured once, in an order that is turned by one each round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.environment import ROOT, environment

__all__ = ("Crew", "Series", "Times", "Worker")

HUGE = 50_000
"""Items from which on a case warms itself up."""


@dataclass(frozen=True, slots=True)
class Series:
    """One thing that is measured round after round."""

    program: str
    """Key of a worker of the crew."""
    case: str
    size: int
    loop: str = "asyncio"
    repeat: int = 1
    """How often the case is run for one measurement."""
    rounds: int | None = None
    """In how many rounds it takes part; None means all."""

    @property
    def units(self) -> int:
        """How many items or nodes one measurement has."""
        return self.size * self.repeat


@dataclass(slots=True)
class Times:
    """Seconds of each round, and the spans that came out of the last."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    flushed_cpu_s: list[float] = field(default_factory=list)
    """Of the processor until the last span was out."""
    spans: int = 0


class Worker:
    """One program's process."""

    def __init__(
        self,
        program: str,
        tracing: str = "none",
        *,
        endpoint: str | None = None,
        python: str = sys.executable,
        source: Path | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            program: name of a module of ``benchmarks.programs``.
            tracing: as for :func:`benchmarks.tracing.trace_into`.
            endpoint: likewise.
            python: the interpreter, whose environment has what the program needs.
            source: folder with the package ``hush`` to use; None takes this one's.
            variables: of the environment, besides those of this process.
        """
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8")  # noqa: SIM115  # closed below
        command = [python, "-m", "benchmarks.worker", program, tracing]
        self._process = subprocess.Popen(
            command if endpoint is None else [*command, endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**environment(source), **(variables or {})},
        )
        self.program = program
        said = self._answer()
        self.missing: str | None = said.get("missing")
        self.cases: frozenset[str] = frozenset(said.get("cases", ()))
        self.versions: dict[str, str] = said.get("versions", {})

    def measure(self, series: Series) -> dict[str, Any]:
        """Run a series' case once and return what the worker says of it.

        Raises:
            RuntimeError: the case failed, or did not do the work.
        """
        ask = {
            "case": series.case,
            "size": series.size,
            "loop": series.loop,
            "repeat": series.repeat,
        }
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        said = self._answer()
        if "error" in said:
            raise RuntimeError(f"{self.program}, {series.case} of {series.size}:\n{said['error']}")
        return said

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{self.program} ended early:\n{self._errors.read()[-4000:]}")
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """Let it end, and wait for that."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


class Crew:
    """Workers by name, started when they are first needed."""

    def __init__(self, makers: dict[str, Callable[[], Worker]]) -> None:
        """Start nobody.

        Args:
            makers: what starts the worker of a name.
        """
        self._makers = makers
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.dismiss(list(self._workers))

    def __getitem__(self, name: str) -> Worker:
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = self._makers[name]()
        return worker

    def dismiss(self, names: Iterable[str]) -> None:
        """Let workers end; who is asked for again is started anew."""
        for name in names:
            if worker := self._workers.pop(name, None):
                worker.close()

    def able(self, series: Series) -> bool:
        """Say whether a series can be measured here."""
        worker = self[series.program]
        return worker.missing is None and series.case in worker.cases

    def rounds(self, all_series: Sequence[Series], count: int) -> dict[Series, Times]:
        """Measure series, interleaved; each is run once before, unmeasured, but for huge ones.

        Args:
            all_series: those that cannot be measured here are left out.
            count: how many rounds.
        """
        able = [series for series in all_series if self.able(series)]
        for series in able:
            if series.size < HUGE:
                self[series.program].measure(series)
        times = {series: Times() for series in able}
        for number in range(count):
            turn = number % max(1, len(able))
            for series in (*able[turn:], *able[:turn]):
                if series.rounds is not None and number >= series.rounds:
                    continue
                said = self[series.program].measure(series)
                of_it = times[series]
                of_it.wall_s.append(said["wall_s"])
                of_it.cpu_s.append(said["cpu_s"])
                of_it.flushed_cpu_s.append(said["cpu_s"] + said["flush_cpu_s"])
                of_it.spans = said["spans"]
        return times
