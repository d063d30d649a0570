"""What the examples print: progress, reports, tokens. No part of a workflow."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from hush.core import Event, ItemEnded, ItemStarted, NodeEnded, RunResult, Usage
from hush.insight.wording import format_cost, format_duration

MOST_FAILURES = 8
NAME_CELLS = 38

if isinstance(sys.stdout, TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")  # names and texts of files may hold anything


class Output(Console):
    """Standard output, whose reader may stop reading, as ``| head`` does."""

    def on_broken_pipe(self) -> None:
        """Go on and write into nothing."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = Output(
    width=None if sys.stdout.isatty() else min(80, Console().width),
    color_system=None if os.environ.get("NO_COLOR") else "auto",
    highlight=False,
    markup=False,
    emoji=False,
)


def printable(text: object) -> str:
    """Replace control characters, in one line."""
    line = " ".join(str(text).split("\n"))
    return "".join(char if char.isprintable() else "?" for char in line)


def say(text: object = "", style: str = "", *, one_line: bool = False) -> None:
    """Print text, wrapped at the width or cut to one line, without control characters."""
    line = Text(printable(text), style)
    if one_line:
        line.truncate(console.width, overflow="ellipsis")
    console.print(line)


def title(text: str) -> None:
    """Print the title of a section."""
    say()
    say(text, "bold")


def name_of(path: str) -> str:
    """Return a file's name in at most NAME_CELLS cells."""
    return path if len(path) <= NAME_CELLS else f"...{path[3 - NAME_CELLS :]}"


class Progress:
    """Counts items from a run's events: a bar in a terminal, else a line for every tenth."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._done = self._running = self._handled = self._tenth = 0
        self._live = sys.stdout.isatty() and console.is_interactive
        self._bar = Bar(
            BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn(), console=console
        )
        self._task = self._bar.add_task("", total=None, counts="")

    def __enter__(self) -> Self:
        """Show the bar."""
        say()
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        if self._live:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Take an event of the run."""
        if isinstance(event, ItemStarted):
            self._running += 1
        elif isinstance(event, ItemEnded):
            self._running -= 1
            self._done += 1
            self._handled += event.outcome == "handled"
        else:
            return
        total = event.total or 1
        counts = (
            f"{self._done:>5,} of {total:,}: {self._done - self._handled:,} ok, "
            f"{self._handled:,} handled, {self._running:,} running"
        )
        self._bar.update(self._task, completed=self._done, total=total, counts=counts)
        tenth = self._done * 10 // total
        # A module that ends makes room for the next: wait for that one to be counted too.
        settled = isinstance(event, ItemStarted) or self._done == total
        if not self._live and settled and tenth > self._tenth:
            self._tenth = tenth
            say(counts)


class Seconds(dict[str, float]):
    """How long nodes ran, by their paths, from a run's events."""

    def __call__(self, event: Event) -> None:
        """Take an event of the run."""
        if isinstance(event, NodeEnded):
            self[event.path] = event.run_s


@dataclass(frozen=True)
class Row:
    """One answer of a model."""

    case: str
    content: str | None
    model_used: str
    resource_used: str
    tokens_used: Mapping[str, int | None]
    cost_usd: float | None
    seconds: float


def row_of(result: RunResult, path: str, seconds: Seconds, **other: Any) -> Row:
    """Return what an LLMNode gave.

    Args:
        result: of the run.
        path: of the node.
        seconds: heard all events of the run.
        other: fields that shall be others.
    """
    keys = ("content", "model_used", "resource_used", "tokens_used", "cost_usd")
    facts = {key: result.state[path, key] for key in keys}
    return Row(**{"case": facts["resource_used"], "seconds": seconds[path], **facts, **other})


def answer(row: Row) -> None:
    """Print an answer, which model gave it, and what it took."""
    into, out = counts(row.tokens_used)
    took = f"{into} tokens in, {out} out{cost(row.cost_usd)}, {format_duration(row.seconds)}"
    say(f"    {row.case}: {took}")
    indented(row.content, 6)


def indented(text: object, cells: int) -> None:
    """Print text, wrapped, behind so many spaces."""
    for line in Text(printable(text)).wrap(console, console.width - cells):
        say(" " * cells + line.plain.rstrip(), one_line=True)


def cost(usd: float | None) -> str:
    """Return a cost with a comma before it; nothing where none is known."""
    return "" if usd is None else f", {format_cost(usd)}"


def counts(tokens: Mapping[str, int | None]) -> tuple[str, str]:
    """Return the tokens that went in and that came out."""
    into, out = (tokens[key] for key in ("prompt_tokens", "completion_tokens"))
    return "?" if into is None else f"{into:,}", "?" if out is None else f"{out:,}"


def table(rows: Sequence[Row]) -> None:
    """Print a table of answers."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=False, pad_edge=False)
    shown.add_column("case", no_wrap=True)
    shown.add_column("answer", ratio=1)
    shown.add_column("model", overflow="fold", max_width=16)
    for name in ("in", "out", "cost", "time"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        via = "" if row.resource_used == row.model_used else f"\nof {row.resource_used}"
        shown.add_row(
            row.case,
            printable(row.content),
            row.model_used + via,
            *counts(row.tokens_used),
            "?" if row.cost_usd is None else format_cost(row.cost_usd),
            format_duration(row.seconds),
        )
    console.print(shown)


def answers(texts: Mapping[str, str]) -> None:
    """Print answers, a line each."""
    cells = max(len(name_of(name)) for name in texts)
    for name, text in texts.items():
        say(f"    {name_of(name):<{cells}}  {text}", one_line=True)


def usage(result: RunResult, answers: int) -> None:
    """Print what a run's calls to models used."""
    again = result.usage.calls - answers
    repeated = f" ({again} repeated)" if again > 0 else ""
    say(f"  {answers} answers from {used(result.usage)}{repeated}")


def used(usage: Usage) -> str:
    """Say what calls used."""
    wasted = f", {usage.wasted_tokens:,} wasted" if usage.wasted_tokens else ""
    return (
        f"{usage.calls} calls, tokens {usage.input_tokens:,} in, {usage.output_tokens:,} out"
        f"{wasted}{cost(usage.cost_usd)}"
    )


def report(result: Mapping[str, Any]) -> None:
    """Print totals, the most complex modules and the most common keywords."""
    totals = result["totals"]
    title("Report")
    say(
        f"  {result['succeeded']:,} modules, {totals['lines']:,} lines ({totals['code']:,} of "
        f"code), {totals['functions']:,} functions"
    )
    keys = ("lines", "functions", "decisions")
    say(f"  {'most complex modules':<{NAME_CELLS}}" + "".join(f"{key:>12}" for key in keys), "dim")
    for module in result["most_complex"]:
        numbers = "".join(f"{module[key]:>12,}" for key in keys)
        say(f"  {name_of(module['name']):<{NAME_CELLS}}{numbers}", one_line=True)
    words = (f"{word} {count:,}" for word, count in result["keywords"])
    say(f"  most common keywords: {', '.join(words) or 'none'}", one_line=True)


def failures(failed: Sequence[tuple[str, str]]) -> None:
    """Print what failed, and why."""
    if not failed:
        title("Partial failures: none")
        return
    title(f"Partial failures: {len(failed):,}, each handled; no other module was stopped")
    shown = [(name_of(name), error) for name, error in failed[:MOST_FAILURES]]
    cells = max(len(name) for name, _ in shown)
    for name, error in shown:
        say(f"  {name:<{cells}}  {error}", one_line=True)
    if len(failed) > MOST_FAILURES:
        say(f"  and {len(failed) - MOST_FAILURES:,} more")
