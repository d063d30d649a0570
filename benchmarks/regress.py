"""Compares a change with its base in one run, by ratio, and fails where it is slower.

    python -m benchmarks.regress BASE [CHANGE] [--margin 0.10] [ROW ...]

BASE and CHANGE are commits or folders (one with the package ``hush``, or with ``src/hush``);
without CHANGE it is this work tree. The programs are this work tree's for both. The base
runs twice, as two sets of processes that do not know of each other: what they differ by is
this machine's noise. In each launch all three are started anew, since two processes of the
same code differ for as long as they live, and rounds are interleaved.

A row is slower where the median ratio of change to base exceeds 1 by more than the margin and
by more than the noise. It is undecided where the noise exceeds the margin, so that what is
too slow could hide in it.

Ends with 0 when no row is slower, 1 when one is, 2 when it was too noisy to say.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.crew import Crew, Series, Worker
from benchmarks.environment import ROOT
from benchmarks.rows import LOOPS, PROGRAMS
from benchmarks.sampling import Spread, spread

__all__ = ("Comparison", "compare", "judge", "source_of")

SIDES = ("base", "again", "change")
CASES = {"map": ("map", 500, 1), "chain": ("chain", 100, 3), "fan-out": ("fan-out", 100, 3)}
TINY = {"map": ("map", 20, 1), "chain": ("chain", 3, 1), "fan-out": ("fan-out", 3, 1)}
TRACED = {"untraced": "hush", "traced": "hush, traced"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row."""

    title: str
    ratio: Spread
    """Change over base, round by round; the base is the mean of its two."""
    again: Spread
    """The base over itself."""
    noise: float
    """By how much the median of such ratios may be off: two standard errors."""
    margin: float

    @property
    def verdict(self) -> Literal["ok", "slower", "undecided"]:
        """What is to be made of it."""
        excess = self.ratio.median - 1
        if excess > max(self.margin, self.noise):
            return "slower"
        hides = self.noise > self.margin and excess + self.noise > self.margin
        return "undecided" if hides else "ok"


def judge(title: str, times: dict[str, Sequence[Sequence[float]]], margin: float) -> Comparison:
    """Compare what was measured.

    Args:
        title: of the row.
        times: seconds of ``base``, ``again`` and ``change``: for each launch, its rounds.
        margin: by how much slower is too slow, as a fraction.
    """
    launches = list(zip(*(times[side] for side in SIDES), strict=True))
    ratios = [
        [changed / ((first + second) / 2) for first, second, changed in zip(*launch, strict=True)]
        for launch in launches
    ]
    again = [
        [second / first for first, second in zip(launch[0], launch[1], strict=True)]
        for launch in launches
    ]
    # Rounds of one launch share its luck: launches are what is independent.
    medians = [statistics.median(of_launch) for of_launch in again]
    # A median's standard error is a quarter larger than a mean's.
    off = statistics.fmean((median - 1) ** 2 for median in medians) ** 0.5
    error = 1.25 * off / len(medians) ** 0.5
    return Comparison(
        title,
        spread([statistics.median(of_launch) for of_launch in ratios]),
        spread(medians),
        2 * error,
        margin,
    )


def compare(
    base: Path,
    change: Path,
    *,
    rows: Sequence[str] = tuple(CASES),
    loops: Sequence[str] = LOOPS,
    margin: float = 0.10,
    launches: int = 5,
    rounds: int = 15,
    tiny: bool = False,
) -> list[Comparison]:
    """Measure two versions and compare them.

    Args:
        base: folder that holds the package ``hush``.
        change: likewise.
        rows: some of ``map``, ``chain``, ``fan-out``.
        loops: some of asyncio and trio.
        margin: by how much slower is too slow, as a fraction.
        launches: how often all processes are started anew.
        rounds: of each launch.
        tiny: sizes that say nothing, for tests.
    """
    sources = {"base": base, "again": base, "change": change}
    times: dict[str, dict[str, list[list[float]]]] = {}
    cases = TINY if tiny else CASES
    for launch in range(launches):
        # Who starts first changes.
        turned = SIDES[launch % 3 :] + SIDES[: launch % 3]
        makers = {
            f"{side}, {how}": partial(Worker, *PROGRAMS[program], source=sources[side])
            for side in turned
            for how, program in TRACED.items()
        }
        with Crew(makers) as crew:
            for row in rows:
                case, size, repeat = cases[row]
                for loop in loops:
                    for how in TRACED:
                        series = [
                            Series(f"{side}, {how}", case, size, loop, repeat) for side in turned
                        ]
                        found = crew.rounds(series, rounds)
                        of_row = times.setdefault(f"{row}, {how}, {loop}", {s: [] for s in SIDES})
                        for side, one in zip(turned, series, strict=True):
                            of_row[side].append(found[one].cpu_s)
    return [judge(title, of_row, margin) for title, of_row in times.items()]


def source_of(said: str, stack: ExitStack) -> Path:
    """Return the folder with the package ``hush`` that a commit or folder stands for.

    Args:
        said: a folder, or what git knows.
        stack: what a commit is unpacked to lasts as long.

    Raises:
        SystemExit: it is neither.
    """
    for folder in (Path(said), Path(said) / "src"):
        if (folder / "hush" / "__init__.py").is_file():
            return folder.resolve()
    done = subprocess.run(
        ["git", "archive", said, "src"],  # noqa: S607  # the user's own git
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{said!r}: neither a folder with hush in it nor a commit of {ROOT}")
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base")
    parser.add_argument("change", nargs="?", default=str(ROOT))
    parser.add_argument("--margin", type=float, default=0.10)
    parser.add_argument("--rows", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--loop", choices=LOOPS)
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with ExitStack() as stack:
        found = compare(
            source_of(options.base, stack),
            source_of(options.change, stack),
            rows=options.rows,
            loops=(options.loop,) if options.loop else LOOPS,
            margin=options.margin,
            launches=options.launches,
            rounds=options.rounds,
            tiny=options.tiny,
        )
    print(f"{'':32}{'change / base':>14}{'launches':>14}{'base / base':>13}{'noise':>8}")
    for row in found:
        least, most = row.ratio.least, row.ratio.most
        print(
            f"{row.title:32}{row.ratio.median:14.3f}{f'{least:.2f}-{most:.2f}':>14}"
            f"{row.again.median:13.3f}{row.noise:8.3f}  {row.verdict}"
        )
    if options.json:
        said = [{**asdict(row), "verdict": row.verdict} for row in found]
        options.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    verdicts = {row.verdict for row in found}
    slower = "slower" in verdicts
    print(
        f"slower by more than {options.margin:.0%}"
        if slower
        else "too noisy to say; run it again, or with more launches"
        if "undecided" in verdicts
        else f"nothing is slower by more than {options.margin:.0%}"
    )
    return 1 if slower else 2 if "undecided" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
