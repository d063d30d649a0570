"""A shared limit as a gate that lets calls in one after the other, at a pace.

Rates are paced, not counted (docs/decisions/0009), so that a limit that is reached lets a
call in every so many seconds. A limit on calls at a time does the same on average: one for
each that ends. Either way the pace is what the trace shows while somebody waited.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Final

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hush.insight.tree import TreeNode

__all__ = ("Gate", "find_gate")

_MATERIAL: Final = 0.05
"""Waits below this share of the items' time stay in their durations."""
_LEAST_GAPS: Final = 3
_TOGETHER: Final = 0.1
"""Gaps below this share of the mean one are none."""
_THREADS: Final = semconv.LIMITER_THREADS


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit that the items of a map had to wait for."""

    name: str
    """The limit's name."""
    pace_s: float
    """Mean gap between two that it let in while the later one was waiting already."""
    burst_s: float
    """How far ahead of that pace it was when the first had to wait: what it had saved up."""
    waits_s: Mapping[str, float]
    """By how many seconds it held each item up, by span id."""
    calls: Mapping[str, int]
    """How often each item asked, by span id."""

    @property
    def told(self) -> str:
        """What it is, in words."""
        return "a free thread (max_threads)" if self.name == _THREADS else self.name

    @property
    def least_s(self) -> float:
        """How long it takes to let everybody in, however many slots there are."""
        return max(0.0, self.pace_s * sum(self.calls.values()) - self.burst_s)


@dataclass(frozen=True, slots=True)
class _Call:
    item: str
    resource: str
    let_in_ns: int
    waited_s: float


def find_gate(items: Sequence[TreeNode]) -> Gate | None:
    """Find the shared limit that items waited for most.

    Args:
        items: of one map.

    Returns:
        None where they waited for less than a twentieth of their time, or where too few
        waited at the same time to tell the pace.
    """
    calls = list(_calls(items))
    waited: dict[str, float] = defaultdict(float)
    for call in calls:
        waited[call.resource] += call.waited_s
    resource = max(waited, key=waited.__getitem__, default=None)
    total_s = sum(item.duration_s for item in items)
    if resource is None or waited[resource] <= _MATERIAL * total_s:
        return None
    those = sorted(
        (call for call in calls if call.resource == resource), key=lambda call: call.let_in_ns
    )
    gaps = [
        (after.let_in_ns - before.let_in_ns) / 1e9
        for before, after in pairwise(those)
        if after.waited_s and after.let_in_ns - after.waited_s * 1e9 <= before.let_in_ns
    ]
    if len(gaps) < _LEAST_GAPS:
        return None
    pace_s = _pace_s(gaps)
    first = next(i for i, call in enumerate(those) if call.waited_s)
    passed_s = (those[first].let_in_ns - those[0].let_in_ns) / 1e9
    waits = {item.record.span_id: _held_up_s(item) for item in items}
    names = (item.record.attributes.get(semconv.WAIT_LIMITER) for item in items)
    told = Counter(name for name in names if isinstance(name, str))
    mine = [name for name, _ in told.most_common() if resource in name]
    name = mine[0] if mine else resource
    burst_s = max(0.0, first * pace_s - passed_s)
    return Gate(name, pace_s, burst_s, waits, Counter(call.item for call in those))


def _held_up_s(item: TreeNode) -> float:
    """Return how much earlier an item would have ended had nothing in it waited."""
    held: dict[str, float] = {}
    # What is inside comes first; by a loop, for a trace may be deeper than Python's stack.
    for node in reversed(list(item.walk())):
        held[node.record.span_id] = _earlier_s(node, held)
    return held[item.record.span_id]


def _earlier_s(node: TreeNode, held: Mapping[str, float]) -> float:
    """Return the same of a span, given what it is of what it contains.

    What waits beside something longer holds nobody up, and waits side by side hold up once.
    Who began when another had ended is taken to have followed that one.
    """
    record = node.record
    if record.prefix == semconv.SPAN_NODE:
        return min(record.seconds(semconv.WAIT_LIMITER_S), node.duration_s)
    earlier: list[tuple[int, float]] = []
    """Ends of what is inside, in order, and how much earlier each would have been."""
    last_ns, without_ns = record.start_ns, float(record.start_ns)
    for child in sorted(node.children, key=lambda one: one.record.start_ns):
        start_ns, end_ns = child.record.start_ns, child.record.end_ns
        before = bisect_right(earlier, (start_ns, math.inf)) - 1
        shift_s = held[child.record.span_id] + (earlier[before][1] if before >= 0 else 0.0)
        insort(earlier, (end_ns, shift_s))
        last_ns = max(last_ns, end_ns)
        without_ns = max(without_ns, end_ns - shift_s * 1e9)
    return max(0.0, (last_ns - without_ns) / 1e9)


def _pace_s(gaps: Sequence[float]) -> float:
    """Return the mean gap between two that were let in.

    Threads that began together come free together: of the first such lot only the last
    counts, for what came before the lot is not among the gaps.
    """
    lot = next((i for i, gap in enumerate(gaps) if gap > _TOGETHER * fmean(gaps)), 0)
    return sum(gaps) / (len(gaps) - lot)


def _calls(items: Iterable[TreeNode]) -> Iterator[_Call]:
    for item in items:
        for node in item.walk():
            record = node.record
            waited_s = record.seconds(semconv.WAIT_LIMITER_S)
            if record.prefix == semconv.SPAN_CHAT:
                # Its span opens when it is let in.
                resource = str(record.attributes.get(semconv.LLM_RESOURCE, ""))
                yield _Call(item.record.span_id, resource, record.start_ns, waited_s)
            elif record.prefix == semconv.SPAN_NODE and waited_s and not _asks_models(node):
                let_in_ns = record.start_ns + round(waited_s * 1e9)
                yield _Call(item.record.span_id, _THREADS, let_in_ns, waited_s)


def _asks_models(node: TreeNode) -> bool:
    return any(inner.record.prefix == semconv.SPAN_CHAT for inner in node.walk())
