"""What a list of traces says of one of them, put together from its spans as they come.

Spans come in any order and in many batches, and the root comes last, or never. So what is
known of a trace is kept beside its spans and grows with each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.insight.formats.json_reading import MAX_NS

if TYPE_CHECKING:
    from hush.insight.record import SpanRecord

__all__ = ("GIST", "Gist", "plain_text", "storable_ns")

GIST: Final = (
    "graph",
    "name",
    "start_ns",
    "end_ns",
    "outcome",
    "partial_failure",
    "complete",
    "ours",
    "root_start_ns",
    "run_start_ns",
    "run_end_ns",
)
"""Columns of the table of traces that hold it."""


class Gist:
    """What is known of a trace as a whole; grows with each span."""

    __slots__ = GIST

    def __init__(self) -> None:
        """Know nothing yet."""
        self.graph: str | None = None
        self.name = ""
        self.start_ns = MAX_NS
        self.end_ns = 0
        self.outcome: str | None = None
        self.partial_failure = False
        self.complete = False
        self.ours = False
        self.root_start_ns: int | None = None
        self.run_start_ns: int | None = None
        self.run_end_ns: int | None = None

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Gist:
        """Return what has been stored, its values in the order of ``GIST``."""
        gist = cls()
        for name, value in zip(GIST, row, strict=True):
            setattr(gist, name, value)
        return gist

    def row(self) -> tuple[Any, ...]:
        """Return what is to be stored, in the order of ``GIST``."""
        return tuple(getattr(self, name) for name in GIST)

    def note(self, record: SpanRecord) -> None:
        """Learn from one more span.

        Args:
            record: of this trace; one that was noted before changes nothing.
        """
        start_ns, end_ns = storable_ns(record.start_ns), storable_ns(record.end_ns)
        self.start_ns = min(self.start_ns, start_ns)
        self.end_ns = max(self.end_ns, end_ns)
        if record.scope == "hush":
            self.ours = True
            if self.graph is None:
                # A guess for a run that never ends: paths begin with the graph's name.
                path = record.attributes.get(semconv.NODE_PATH)
                self.graph = plain_text(path.partition(".")[0]) if isinstance(path, str) else None
        is_run = record.prefix == semconv.SPAN_RUN
        # A run whose parent is elsewhere is a server's; here it is the root.
        if record.parent_id is None or (is_run and record.kind == "server"):
            self._note_root(record, start_ns)
        if is_run:
            self._note_run(record, start_ns, end_ns)

    def _note_root(self, record: SpanRecord, start_ns: int) -> None:
        self.complete = True
        if self.root_start_ns is None or start_ns <= self.root_start_ns:
            self.root_start_ns = start_ns
            self.name = plain_text(record.name)
        if self.run_start_ns is None:
            self.outcome = record.outcome

    def _note_run(self, record: SpanRecord, start_ns: int, end_ns: int) -> None:
        self.partial_failure |= record.attributes.get(semconv.PARTIAL_FAILURE) is True
        # Of runs inside runs the outermost speaks for the trace: it starts first and ends last.
        if (
            self.run_start_ns is None
            or self.run_end_ns is None
            or (start_ns, -end_ns) <= (self.run_start_ns, -self.run_end_ns)
        ):
            self.run_start_ns, self.run_end_ns = start_ns, end_ns
            graph = record.attributes.get(semconv.GRAPH_NAME)
            self.graph = plain_text(
                graph if isinstance(graph, str) else record.name.partition(" ")[2]
            )
            self.outcome = record.outcome


def plain_text(text: str) -> str:
    """Return a text that UTF-8 can say: half a surrogate pair, which no backend takes, is ``?``."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def storable_ns(time_ns: int) -> int:
    """Return the nearest instant that 63 bits can say."""
    return min(max(time_ns, 0), MAX_NS)
