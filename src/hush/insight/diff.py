"""Two runs of one workflow: what took longer, what cost more, what failed that had not.

**What adds up.** Of each change ``seconds = queue_s + run_s + backoff_s``, and of a change
between two runs ``seconds`` is the difference of their wall times. Changes do not add up to
each other: siblings run at the same time, a container's seconds hold those of what it
contains, and an item that waits for a slot waits while others run. To see what is behind a
difference read :attr:`TraceDiff.maps`, maps that were set or fed otherwise, and then
:attr:`TraceDiff.causes`: what contains nothing, by the time after it had started.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.alignment import align
from hush.insight.map_changes import map_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hush.insight.alignment import Alone, Pair
    from hush.insight.map_changes import MapChange
    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("Change", "Only", "TraceDiff", "diff")

_CALM: Final = frozenset({semconv.OUTCOME_OK, None})


@dataclass(frozen=True, slots=True)
class Change:
    """How one thing differs: second run minus first run throughout."""

    path: str
    """Such as ``g.rank[doc-7].score``."""
    kind: str
    """``run``, ``node``, ``graph``, ``map``, ``item``, ``loop`` or ``iteration``."""
    outcome_a: str | None
    outcome_b: str | None
    tries_a: int
    """Attempts, or calls to models where these were more."""
    tries_b: int
    seconds: float
    """The whole difference: of its spans' durations, and of the waits before them."""
    queue_s: float
    """Of that, waiting: an item for its slot and its source, a node for limits on threads
    or models. An item's wait for a slot is since its map began."""
    run_s: float
    """Of that, what is neither waiting nor pausing."""
    backoff_s: float
    """Of that, pauses between attempts."""
    own_s: float
    """Of ``seconds``, what passed after it had started."""
    tokens_input: int
    tokens_output: int
    tokens_wasted: int
    cost_usd: float | None
    """None where a cost is not known in one of the runs."""
    contains: bool
    """Whether other changes lie inside it."""

    @property
    def has_new_outcome(self) -> bool:
        """Whether it ended otherwise."""
        return self.outcome_a != self.outcome_b


@dataclass(frozen=True, slots=True)
class Only:
    """What is in one run only, with everything inside it."""

    path: str
    kind: str
    outcome: str | None
    seconds: float
    spans: int
    """How many spans it has, those inside included."""
    skipped: bool
    """Whether the other run says that it skipped it."""


@dataclass(frozen=True, slots=True)
class TraceDiff:
    """What differs between two runs."""

    trace_a: str
    trace_b: str
    graph_a: str
    """The workflow of the first run."""
    graph_b: str
    maps: tuple[MapChange, ...]
    """Maps whose limit or number of items differs, by seconds, the greatest first."""
    changes: tuple[Change, ...]
    """Everything that is in both, by absolute seconds, the greatest first."""
    only_a: tuple[Only, ...]
    """By seconds, the greatest first."""
    only_b: tuple[Only, ...]
    unseen: Mapping[str, int]
    """By path of a map: items that have a span in one run only because spans were omitted."""

    @property
    def same_workflow(self) -> bool:
        """Whether both are runs of one workflow, as far as its name tells."""
        return self.graph_a == self.graph_b

    @property
    def outcome_changes(self) -> tuple[Change, ...]:
        """What ended otherwise: first what went wrong that had not, origins before containers."""
        found = [change for change in self.changes if change.has_new_outcome]
        return tuple(
            sorted(
                found, key=lambda c: (c.outcome_b in _CALM, c.contains, -c.path.count("."), c.path)
            )
        )

    @property
    def causes(self) -> tuple[Change, ...]:
        """What contains nothing, by the absolute seconds after it had started."""
        leaves = [change for change in self.changes if not change.contains]
        return tuple(sorted(leaves, key=lambda change: (-abs(change.own_s), change.path)))


def diff(a: TraceTree, b: TraceTree) -> TraceDiff:
    """Compare two runs of about the same workflow.

    Args:
        a: the first.
        b: the second; differences are ``b - a``.

    Returns:
        What differs, aligned by node path and by item key or index (see
        :mod:`hush.insight.alignment`).
    """
    found = align(a, b)
    changes = [_change(pair) for pair in found.pairs]
    only_a = [_only(one) for one in found.alone if one.side == "a"]
    only_b = [_only(one) for one in found.alone if one.side == "b"]
    return TraceDiff(
        trace_a=a.trace_id,
        trace_b=b.trace_id,
        graph_a=_graph(a),
        graph_b=_graph(b),
        maps=map_changes(found.pairs),
        changes=tuple(sorted(changes, key=lambda change: (-abs(change.seconds), change.path))),
        only_a=tuple(sorted(only_a, key=lambda one: (-one.seconds, one.path))),
        only_b=tuple(sorted(only_b, key=lambda one: (-one.seconds, one.path))),
        unseen=dict(found.unseen),
    )


def _graph(tree: TraceTree) -> str:
    """Return the name of a trace's first workflow; of a trace without a run, of its first span."""
    for node in tree:
        if node.record.prefix == semconv.SPAN_RUN:
            name = node.record.attributes.get(semconv.GRAPH_NAME)
            return name if isinstance(name, str) else node.name.partition(" ")[2]
    return tree.roots[0].name if tree.roots else ""


def _change(pair: Pair) -> Change:
    a, b = _total(pair.a), _total(pair.b)
    queue_s, run_s, backoff_s = b.queue_s - a.queue_s, b.run_s - a.run_s, b.backoff_s - a.backoff_s
    return Change(
        path=pair.path,
        kind=pair.b[-1].record.prefix or "",
        outcome_a=pair.a[-1].record.outcome,
        outcome_b=pair.b[-1].record.outcome,
        tries_a=a.tries,
        tries_b=b.tries,
        seconds=queue_s + run_s + backoff_s,
        queue_s=queue_s,
        run_s=run_s,
        backoff_s=backoff_s,
        own_s=b.duration_s - a.duration_s,
        tokens_input=b.tokens_input - a.tokens_input,
        tokens_output=b.tokens_output - a.tokens_output,
        tokens_wasted=b.tokens_wasted - a.tokens_wasted,
        cost_usd=None if a.cost_usd is None or b.cost_usd is None else b.cost_usd - a.cost_usd,
        contains=pair.contains,
    )


def _only(alone: Alone) -> Only:
    last = alone.spans[-1].record
    seconds = sum(span.duration_s for span in alone.spans)
    spans = sum(1 for span in alone.spans for _ in span.walk())
    return Only(alone.path, last.prefix or "", last.outcome, seconds, spans, alone.skipped)


@dataclass(slots=True)
class _Total:
    """Sums over the spans of one thing."""

    duration_s: float = 0.0
    queue_s: float = 0.0
    backoff_s: float = 0.0
    tries: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_wasted: int = 0
    cost_usd: float | None = 0.0
    before_s: float = 0.0
    """Of the queue, what came before its start."""

    @property
    def run_s(self) -> float:
        return self.duration_s + self.before_s - self.queue_s - self.backoff_s


def _total(spans: Sequence[TreeNode]) -> _Total:
    total = _Total()
    for span in spans:
        record = span.record
        before_s = record.seconds(semconv.WAIT_SLOT_S) + record.seconds(semconv.WAIT_SOURCE_S)
        backoff_s = min(record.seconds(semconv.BACKOFF_S), record.duration_s)
        limiter_s = 0.0
        if record.prefix == semconv.SPAN_NODE:
            # On a container it is the sum of waits side by side, which is no time of its own.
            limiter_s = min(record.seconds(semconv.WAIT_LIMITER_S), record.duration_s - backoff_s)
        total.duration_s += record.duration_s
        total.before_s += before_s
        total.queue_s += before_s + limiter_s
        total.backoff_s += backoff_s
        total.tries += max(1, _count(record.attributes, semconv.ATTEMPTS), _calls(span))
        into = _count(record.attributes, semconv.TOKENS_INPUT)
        out = _count(record.attributes, semconv.TOKENS_OUTPUT)
        total.tokens_input += into
        total.tokens_output += out
        total.tokens_wasted += _count(record.attributes, semconv.TOKENS_WASTED)
        cost = record.attributes.get(semconv.COST_USD)
        if isinstance(cost, int | float) and total.cost_usd is not None:
            total.cost_usd += cost
        elif into or out:
            total.cost_usd = None
    return total


def _count(attributes: Mapping[str, object], name: str) -> int:
    value = attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _calls(span: TreeNode) -> int:
    if span.record.prefix != semconv.SPAN_NODE:
        return 0
    return sum(inner.record.prefix == semconv.SPAN_CHAT for inner in span.walk())
