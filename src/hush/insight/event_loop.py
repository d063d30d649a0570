"""The event loop in a trace: who held it, and who could not go on meanwhile.

A step of a node that lasted has an event, at the step's end; whoever was kept waiting says
for about how long. Traces of a version that did not say it tell less: of these all of the
time counts in which somebody beside a step of others might have wanted to go on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hush.insight.tree import TreeNode

__all__ = ("Held", "Step", "Turn", "steps_of", "turns_of")

_NANO: Final = 1e9


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the event loop that lasted."""

    start_ns: int
    end_ns: int
    node: TreeNode
    where: str
    """File and line; empty where nobody saw it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What an item of a map had of the loop."""

    held_s: float
    """How long it held the loop itself."""
    waited_s: float
    """How long it waited while others held it."""


def steps_of(node: TreeNode) -> Iterator[Step]:
    """Yield the steps in which a node held the loop.

    Args:
        node: a node's span; nothing is yielded where it did not.
    """
    events = [e for e in node.record.events if e.name == semconv.EVENT_LOOP_BLOCKED]
    for event in events:
        seconds = event.attributes.get(semconv.LOOP_BLOCKED_S)
        if isinstance(seconds, int | float):
            start_ns = max(node.record.start_ns, event.time_ns - round(seconds * _NANO))
            where = str(event.attributes.get(semconv.LOOP_BLOCKED_AT, ""))
            yield Step(start_ns, event.time_ns, node, where)
    held_s = node.record.seconds(semconv.LOOP_BLOCKED_S)
    if held_s and not events:
        # Events may be cut by whoever kept the trace; about then it must have been.
        start_ns = max(node.record.start_ns, node.record.end_ns - round(held_s * _NANO))
        yield Step(start_ns, node.record.end_ns, node, "")


class Held:
    """Some steps, and when they held the loop; asked in logarithmic time."""

    def __init__(self, steps: Iterable[Step]) -> None:
        """Put them in order; a loop is in one step at a time.

        Args:
            steps: in any order.
        """
        ordered = sorted(steps, key=lambda step: (step.start_ns, step.end_ns))
        self._starts = [step.start_ns for step in ordered]
        self._ends = list(accumulate((step.end_ns for step in ordered), max))
        self._sums = [0, *accumulate(step.end_ns - step.start_ns for step in ordered)]

    def between_s(self, start_ns: int, end_ns: int) -> float:
        """Return for how many seconds of a stretch of time they held it."""
        first, after = bisect_right(self._ends, start_ns), bisect_left(self._starts, end_ns)
        if first >= after:
            return 0.0
        over = max(0, start_ns - self._starts[first]) + max(0, self._ends[after - 1] - end_ns)
        return max(0, self._sums[after] - self._sums[first] - over) / _NANO

    def until_ns(self, instant_ns: int) -> int:
        """Return the end of the step that was under way at an instant, else the instant."""
        at = bisect_right(self._starts, instant_ns) - 1
        return instant_ns if at < 0 else max(instant_ns, self._ends[at])


def turns_of(items: Sequence[TreeNode]) -> Mapping[str, Turn]:
    """Return what the items of a map had of the loop.

    Args:
        items: spans of items.

    Returns:
        By span id; empty where none of them held it.
    """
    inside = {
        item.record.span_id: [n for n in item.walk() if n.record.prefix == semconv.SPAN_NODE]
        for item in items
    }
    steps = {span_id: [s for n in nodes for s in steps_of(n)] for span_id, nodes in inside.items()}
    if not any(steps.values()):
        return {}
    held = {span_id: sum(_seconds(s) for s in mine) for span_id, mine in steps.items()}
    waited = {
        span_id: sum(n.record.seconds(semconv.WAIT_LOOP_S) for n in nodes)
        for span_id, nodes in inside.items()
    }
    if not any(waited.values()):
        every = Held(step for mine in steps.values() for step in mine)
        for item in items:
            record = item.record
            both_s = every.between_s(record.start_ns, record.end_ns)
            waited[record.span_id] = max(0.0, both_s - held[record.span_id])
    turns = {}
    for item in items:
        span_id = item.record.span_id
        held_s = min(held[span_id], item.duration_s)
        # Nodes side by side wait side by side.
        turns[span_id] = Turn(held_s, min(waited[span_id], item.duration_s - held_s))
    return turns


def _seconds(step: Step) -> float:
    return (step.end_ns - step.start_ns) / _NANO
