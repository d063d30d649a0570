"""The trace of an example's run: kept for the waterfall, stored, or sent where it is said."""

import logging
import os
import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from show import console, say, title

from hush.insight.calls import is_call
from hush.insight.glyphs import choose_glyphs
from hush.insight.record import from_span
from hush.insight.tree import group_traces
from hush.insight.waterfall import print_waterfall
from hush.observe import configure

MOST_ITEMS = 4  # in the waterfall
EXPORTER = "OTEL_TRACES_EXPORTER"


class Tracing(logging.Handler):
    """Keeps the spans for the waterfall and, where the environment says so, sends them."""

    def __init__(self) -> None:
        """Set up tracing for this process."""
        super().__init__(logging.WARNING)
        variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        self._endpoint = next(filter(None, map(os.environ.get, variables)), None)
        self._problem = unreachable(self._endpoint) if self._endpoint else None
        if (self._endpoint is None or self._problem) and os.environ.get(EXPORTER) != "none":
            os.environ[EXPORTER] = "hush"  # the local trace store
        # What is wrong with the receiver is told to the log.
        for name in ("opentelemetry", "hush.export"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.propagate = False
        self._memory = InMemorySpanExporter()
        self._shown: list[str] = []
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
        """Print a trace."""
        spans = [from_span(span) for span in self._memory.get_finished_spans()]
        tree = group_traces(spans).get(trace_id or "")
        if tree is None:
            title("Trace: no spans; a variable OTEL_* has turned them off")
            return
        self._shown.append(tree.trace_id)
        say()
        print_waterfall(tree, width=console.width, max_items=MOST_ITEMS)
        glyphs = choose_glyphs(console.encoding)
        say(
            f"{glyphs.wait * 2} waiting  {glyphs.run * 2} running  ! failure, handled  "
            f"{glyphs.levels[-1]} how many at once",
            "dim",
        )
        if any(is_call(node.record) for node in tree):
            say(f"12{glyphs.to}3: 12 tokens in, 3 out  #2: second call of the node", "dim")

    def spans(self, trace_id: str | None) -> list[ReadableSpan]:
        """Return the spans of a trace."""
        spans = self._memory.get_finished_spans()
        return [span for span in spans if f"{span.context.trace_id:032x}" == trace_id]

    def tell_where(self, command: str) -> None:
        """Say where else the traces can be seen.

        Args:
            command: what runs this example.
        """
        if not self._shown:
            return
        say()
        for trace_id in self._shown:
            say(f"trace id {trace_id}")
        if self._endpoint is None:
            say("to see such a trace in Jaeger:")
            say("  docker compose -f deploy/docker-compose.yml up -d")
            variable = "  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"
            if len(variable) + 1 + len(command) <= console.width:
                say(f"{variable} {command}")
            else:
                say(f"{variable} \\")
                say(f"    {command}")
            say("  http://localhost:16686/trace/<the id that it prints>")
            self._tell_of_store()
            return
        delivered = self._telemetry.flush(5.0)
        if self._problem or not delivered:
            problem = self._problem or "has not got all spans"
            say(f"NOT SENT: {self._endpoint} {problem}", "bold red")
            if self._telemetry.spool is not None:
                say("they wait on the disk; what is wrong, and sending them: hush spool send")
            self._tell_of_store()
            return
        count = len(self._memory.get_finished_spans())
        say(f"{count:,} spans sent to {self._endpoint}; where that is Jaeger, look at")
        for trace_id in self._shown:
            say(f"  http://{urlsplit(self._endpoint).hostname}:16686/trace/{trace_id}")

    def _tell_of_store(self) -> None:
        """Say how to ask the stored trace."""
        if self._telemetry.store is None:
            return
        self._telemetry.flush()
        say("the last one is also in the local trace store; ask it why it took so long:")
        say(f"  {hush_command()} why last", one_line=True)


def hush_command() -> str:
    """Return what calls the command hush of this Python, from the folder that we are in."""
    if shutil.which("hush"):
        return "hush"
    beside = Path(sys.executable).parent / "hush"
    if not beside.exists():
        return f"{Path(sys.executable).name} -m hush.cli"
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)


def unreachable(endpoint: str) -> str | None:
    """Say why nobody answers at an address; None if somebody does."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=2).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached ({getattr(error, 'strerror', None) or error})"
    return None
