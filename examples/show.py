"""What the examples print: progress, tables, the trace. No part of a workflow."""

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import Any, Self
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from hush.core import Event, ItemEnded, ItemStarted
from hush.insight.glyphs import choose_glyphs
from hush.insight.record import from_span
from hush.insight.tree import group_traces
from hush.insight.waterfall import print_waterfall
from hush.observe import configure

MOST_FAILURES = 8
MOST_ITEMS = 4  # in the waterfall
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


def say(text: object = "", style: str = "", *, one_line: bool = False) -> None:
    """Print text, wrapped at the width or cut to one line, without control characters."""
    line = Text("".join(char if char.isprintable() else "?" for char in str(text)), style)
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


class Tracing(logging.Handler):
    """Keeps the spans for the waterfall and, where the environment says so, sends them."""

    def __init__(self) -> None:
        """Set up tracing for this process."""
        super().__init__(logging.WARNING)
        variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        self._endpoint = next(filter(None, map(os.environ.get, variables)), None)
        self._problem = unreachable(self._endpoint) if self._endpoint else None
        if self._endpoint is None or self._problem:
            os.environ["OTEL_TRACES_EXPORTER"] = "none"
        # The exporter tells its failures to the log and to nobody else.
        exporters = logging.getLogger("opentelemetry")
        exporters.addHandler(self)
        exporters.propagate = False
        self._memory = InMemorySpanExporter()
        try:
            self._telemetry = configure(processors=[SimpleSpanProcessor(self._memory)])
        except ValueError as error:  # a variable OTEL_* that nobody understands
            sys.exit(f"error: {error}")
        if self._problem:
            say(f"{self._endpoint} {self._problem}: the spans stay here", "bold yellow")
        elif self._endpoint:
            say(f"the spans also go to {self._endpoint}")

    def emit(self, record: logging.LogRecord) -> None:
        """Note the first failure; a transient one is tried again."""
        text = record.getMessage()
        if not text.startswith("Transient"):
            self._problem = self._problem or f"has not got all spans ({text})"

    def show(self, trace_id: str | None) -> None:
        """Print the trace, and where else it can be seen."""
        spans = [from_span(span) for span in self._memory.get_finished_spans()]
        tree = group_traces(spans).get(trace_id or "")
        if tree is None:
            title("Trace: no spans; a variable OTEL_* has turned them off")
            return
        say()
        print_waterfall(tree, width=console.width, max_items=MOST_ITEMS)
        glyphs = choose_glyphs(console.encoding)
        say(
            f"{glyphs.wait * 2} waiting for a slot  {glyphs.run * 2} running  "
            f"! failure, handled  {glyphs.levels[-1]} how many at once",
            "dim",
        )
        say()
        if self._endpoint is None:
            say(f"trace id {trace_id}; to see such a trace in Jaeger:")
            say("  docker compose -f deploy/docker-compose.yml up -d")
            say("  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo")
            say("  http://localhost:16686/trace/<the id that it prints>")
            return
        self._telemetry.flush()
        say(f"trace id {trace_id}")
        if self._problem:
            say(f"NOT SENT: {self._endpoint} {self._problem}", "bold red")
        else:
            say(f"{len(spans):,} spans sent to {self._endpoint}; where that is Jaeger, look at")
            say(f"  http://{urlsplit(self._endpoint).hostname}:16686/trace/{trace_id}")


def unreachable(endpoint: str) -> str | None:
    """Say why nobody answers at an address; None if somebody does."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=2).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached ({getattr(error, 'strerror', None) or error})"
    return None
