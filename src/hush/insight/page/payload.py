"""A trace as the data of a page: plain lists and texts, as small as is sensible.

What needs knowledge of Hush (paths, waits, sentences) is worked out here; what needs a
screen (rows, zoom, search) is left to the page. The page reads this in ``model.js``.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.insight.asides import items_of
from hush.insight.calls import call_facts, is_call, notes_of, sums, usage_line
from hush.insight.glyphs import FINE
from hush.insight.outcome import CUT_OFF, is_cut_off, outcome_of, remark_on, run_of, word_of
from hush.insight.page.findings import Findings
from hush.insight.page.places import Places, path_steps
from hush.insight.page.sentences import sentences_of
from hush.insight.summary import is_origin, summarise
from hush.insight.waits import waits_in
from hush.insight.wording import counted, error_text, item_key, span_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hush.insight.diagnosis import Diagnosis
    from hush.insight.page.sentences import Sentence
    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("payload_of",)

_EXACT: Final = 2**53
"""Larger whole numbers lose digits in a browser."""
_SHARED: Final = 64
"""Longest text that is worth a place among the shared ones."""
_DECIMALS: Final = 9
"""Of seconds: nanoseconds."""


def payload_of(
    tree: TraceTree, *, title: str | None = None, diagnosis: Diagnosis | Sequence[str] = ()
) -> dict[str, Any]:
    """Return all that the page shows of a trace.

    Args:
        tree: of any size, also empty.
        title: of the page; None takes the graph's name.
        diagnosis: of this trace, or sentences to show on top.

    Returns:
        A dictionary that JSON can hold.
    """
    return _Writer(tree).write(title, diagnosis)


class _Writer:
    """Numbers the spans in the order of the tree and writes each as a short list."""

    def __init__(self, tree: TraceTree) -> None:
        self._tree = tree
        self._nodes = list(tree)
        self._start_ns = tree.start_ns
        self._places = Places(tree)
        self._number = {node.record.span_id: at for at, node in enumerate(self._nodes)}
        self._words: dict[str, int] = {}

    def write(self, title: str | None, diagnosis: Diagnosis | Sequence[str]) -> dict[str, Any]:
        root = self._root()
        graph = "" if root is None else self._places.path(root)
        steps = path_steps(self._tree, self._places)
        said = Findings(self._tree, self._places, self._at).write(diagnosis, graph)
        spans = [self._span(node) for node in self._nodes]
        return {
            "title": title or graph or "trace",
            "graph": graph or (root.record.name if root else ""),
            "outcome": (outcome_of(self._tree) or word_of(root.record) or "") if root else "",
            "remark": self._remark(),
            "omitted": any(n.record.attributes.get(semconv.MAP_SPANS_OMITTED) for n in self._nodes),
            "error": error_text(root.record) if root else "",
            "trace": self._tree.trace_id,
            "run": str(root.record.attributes.get(semconv.RUN_ID, "")) if root else "",
            "began": self._began(),
            "took": self._tree.end_ns - self._start_ns,
            "summary": self._summary(),
            "usage": usage_line(self._tree),
            "diagnosis": said,
            "path": [
                [step.label, step.seconds, step.share, self._at(step.node), step.kind]
                for step in steps
            ],
            "spans": spans,
            "words": list(self._words),
        }

    def _root(self) -> TreeNode | None:
        return run_of(self._tree) or (self._nodes[0] if self._nodes else None)

    def _remark(self) -> str:
        """Say what a reader would miss."""
        if not self._nodes:
            return ""
        if remark := remark_on(self._tree):
            return remark
        if is_cut_off(self._tree) and not path_steps(self._tree, self._places):
            return f"no critical path: {CUT_OFF}"
        return ""

    def _summary(self) -> str:
        spans, _, told = str(summarise(self._tree)).partition(", ")
        return ", ".join(filter(None, (spans.partition(" ")[0], told)))

    def _began(self) -> str:
        try:
            moment = datetime.fromtimestamp(self._start_ns / 1e9, UTC)
        except (OverflowError, ValueError, OSError):
            return ""  # no instant that a calendar knows
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _at(self, node: TreeNode | None) -> int:
        return -1 if node is None else self._number[node.record.span_id]

    def _word(self, text: str) -> int:
        return self._words.setdefault(text, len(self._words))

    # --- one span --------------------------------------------------------------------------

    def _span(self, node: TreeNode) -> list[Any]:
        record = node.record
        more = {key: value for key, value in self._more(node) if value}
        row = [
            self._at(node.parent),
            record.start_ns - self._start_ns,
            record.end_ns - record.start_ns,
            self._word(record.name),
            self._word(record.outcome or ""),
            record.span_id,
        ]
        return [*row, more] if more else row

    def _more(self, node: TreeNode) -> Iterable[tuple[str, Any]]:
        record = node.record
        label = span_label(record, FINE, short=node.parent is not None)
        yield "label", label if label != record.name else ""
        yield "prefix", record.prefix or ""
        yield "path", self._places.path(node)
        yield "key", item_key(record)
        yield "aside", self._aside(node)
        yield "error", error_text(record)
        yield "raised", int(is_origin(node))
        yield "waits", self._waits(node)
        yield "notes", notes_of((node,))
        yield "said", [self._parts(sentence) for sentence in sentences_of(node, self._places)]
        yield "facts", self._facts(record.attributes)
        yield (
            "events",
            [
                [self._word(e.name), e.time_ns - self._start_ns, self._facts(e.attributes)]
                for e in record.events
            ],
        )
        yield (
            "links",
            [
                [self._number.get(k.span_id, -1), k.span_id, self._facts(k.attributes)]
                for k in record.links
            ],
        )
        yield "kind", "" if record.kind == "internal" else record.kind
        yield "scope", "" if record.scope in {"", "hush"} else record.scope
        yield "status", record.status_description or ""

    def _aside(self, node: TreeNode) -> str:
        record = node.record
        if is_call(record):
            return " · ".join(call_facts(record, FINE))
        said = []
        if record.prefix == semconv.SPAN_MAP:
            count, peak = items_of(node)
            said = [counted(count, "item"), f"peak {peak:,}"]
        return " · ".join([*said, *sums(record, FINE)])

    def _waits(self, node: TreeNode) -> list[list[Any]]:
        """Return stretches of waiting: of what kind, from when, to when."""
        record = node.record
        retries = {e.time_ns for e in record.events if e.name == semconv.EVENT_RETRY}
        slot = record.seconds(semconv.WAIT_SLOT_S) >= record.seconds(semconv.WAIT_SOURCE_S)
        waits = []
        for from_ns, to_ns in waits_in(node):
            kind = "limiter"
            if from_ns in retries:
                kind = "backoff"
            elif to_ns == record.start_ns and record.prefix == semconv.SPAN_ITEM:
                kind = "slot" if slot else "source"
            until_ns = min(to_ns, record.end_ns)
            if until_ns > from_ns:
                start = from_ns - self._start_ns
                waits.append([self._word(kind), start, until_ns - self._start_ns])
        return waits

    # --- texts -----------------------------------------------------------------------------

    def _parts(self, sentence: Sentence) -> list[Any]:
        return [
            part if isinstance(part, str) else [part[0], self._at(part[1])] for part in sentence
        ]

    def _facts(self, attributes: Mapping[str, Any]) -> list[Any]:
        """Return names and values in turn; a negative name says that the value is a word."""
        facts: list[Any] = []
        for name, value in attributes.items():
            key = self._word(str(name))
            if isinstance(value, str) and len(value) <= _SHARED:
                facts += [-1 - key, self._word(value)]
            else:
                facts += [key, _plain(value, seconds=str(name).endswith("_s"))]
        return facts


def _plain(value: Any, *, seconds: bool = False) -> Any:
    """Return what JSON and a browser can hold without loss, else its text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _EXACT else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return round(value, _DECIMALS) if seconds else value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else str(value)
