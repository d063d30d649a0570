"""Fan-ins: nodes that waited for one predecessor when all the others had come.

Who came last is known from the scheduler's facts; without these, from the links of a node
to its predecessors and from their ends. To blame is not always who came last: of the nodes
that only the last one depended on, the longest.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import NODE_LEVELS, capital, number, plural, share, told
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.tree import TreeNode

__all__ = ("slow_predecessors",)

_PAIR: Final = 2


class _FanIn:
    """A node that waited for several, and what it owes to the last of them."""

    def __init__(self, node: TreeNode, arrived: Sequence[TreeNode]) -> None:
        self.node = node
        self.arrived = sorted(arrived, key=lambda one: one.record.end_ns)
        self.last = self._last()
        others = [one for one in self.arrived if one is not self.last]
        self.second = others[-1]
        between_ns = self.last.record.end_ns - self.second.record.end_ns
        said = node.record.attributes.get(semconv.FAN_IN_LEAD_S)
        self.known = isinstance(said, int | float)
        self.lead_s = node.record.seconds(semconv.FAN_IN_LEAD_S) if self.known else between_ns / 1e9

    def _last(self) -> TreeNode:
        said = self.node.record.attributes.get(semconv.FAN_IN_LAST)
        named = [
            one for one in self.arrived if one.record.attributes.get(semconv.NODE_NAME) == said
        ]
        return named[-1] if named and said is not None else self.arrived[-1]


def slow_predecessors(scene: Scene) -> Iterator[Candidate]:
    """Find fan-ins that one predecessor held up."""
    found: dict[tuple[str, str], list[tuple[_FanIn, list[TreeNode]]]] = defaultdict(list)
    for fan_in in _fan_ins(scene):
        # What the last one alone waited for, itself included.
        chain = _exclusive(scene, fan_in)
        blamed = max(chain, key=lambda node: node.duration_s)
        found[scene.static(fan_in.node), scene.static(blamed)].append((fan_in, chain))
    for group in found.values():
        # However many of them there are, they cannot be worth more than all their leads.
        if sum(fan_in.lead_s for fan_in, _ in group) >= scene.worth_s:
            yield _told(scene, group)


def _fan_ins(scene: Scene) -> Iterator[_FanIn]:
    for node in scene.nodes:
        record = node.record
        if record.prefix not in NODE_LEVELS or node.parent is None:
            continue
        mode = record.attributes.get(semconv.FAN_IN_MODE)
        # Of soft edges one is enough; where there are hard ones beside them, somebody led.
        lead_s = record.seconds(semconv.FAN_IN_LEAD_S)
        if mode == semconv.FAN_IN_FIRST or (mode == semconv.FAN_IN_ANY and not lead_s):
            continue
        arrived = _predecessors(scene, node)
        if len(arrived) >= _PAIR:
            fan_in = _FanIn(node, arrived)
            if fan_in.lead_s > 0.0:
                yield fan_in


def _predecessors(scene: Scene, node: TreeNode) -> list[TreeNode]:
    """Return the nodes beside it that a node waited for; a link to a later end is blame."""
    linked = dict.fromkeys(link.span_id for link in node.record.links)
    return [
        one
        for span_id in linked
        if (one := scene.node(span_id)) is not None
        and one.parent is node.parent
        and one.record.prefix in NODE_LEVELS
        and one.record.end_ns <= node.record.start_ns
    ]


def _exclusive(scene: Scene, fan_in: _FanIn) -> list[TreeNode]:
    """Return the last one and those before it whose delay was its alone, the last first."""
    chain = [fan_in.last]
    shared: set[str] = set()
    # What the others waited for, the latest first: no further back than the chain goes.
    pending: list[tuple[int, str]] = []

    def add(nodes: Iterable[TreeNode]) -> None:
        for node in nodes:
            heappush(pending, (-node.record.end_ns, node.record.span_id))

    add(one for one in fan_in.arrived if one is not fan_in.last)
    while True:
        beside = _predecessors(scene, chain[-1])
        before = max(beside, key=lambda one: one.record.end_ns, default=None)
        if before is None:
            return chain
        while pending and -pending[0][0] >= before.record.end_ns:
            _, span_id = heappop(pending)
            node = scene.node(span_id)
            if node is not None and span_id not in shared:
                shared.add(span_id)
                add(_predecessors(scene, node))
        if before.record.span_id in shared:
            return chain
        chain.append(before)


def _told(scene: Scene, group: Sequence[tuple[_FanIn, list[TreeNode]]]) -> Candidate:
    durations: dict[str, float] = {}
    for fan_in, chain in group:
        left_s = fan_in.lead_s
        for node in sorted(chain, key=lambda one: -one.duration_s):
            taken_s = min(left_s, node.duration_s)
            shorter_s = node.duration_s - taken_s
            span_id = node.record.span_id
            durations[span_id] = min(shorter_s, durations.get(span_id, shorter_s))
            left_s -= taken_s
            if left_s <= 0.0:
                break
    change = Change(durations)
    gain_s = scene.replay.gain_s(change)
    fan_in, chain = max(group, key=lambda one: one[0].lead_s)
    blamed = max(chain, key=lambda node: node.duration_s)
    count = number(fan_in.node.record, semconv.FAN_IN_COUNT) or len(fan_in.arrived)
    last, second = (_name(scene, one) for one in (fan_in.last, fan_in.second))
    facts = {
        "fan_in": scene.path(fan_in.node),
        "last": scene.path(fan_in.last),
        "second": scene.path(fan_in.second),
        "lead_s": fan_in.lead_s,
        "run_s": blamed.duration_s,
        "fan_ins": len(group),
    }
    about = "" if fan_in.known else "about "
    text = (
        f"{scene.name(fan_in.node)} waited for {count} predecessors and was held up by {last}, "
        f"which came {about}{told(fan_in.lead_s)} after the one before it, {second}"
    )
    name = _name(scene, blamed)
    if blamed is not fan_in.last:
        text += f"; of what {last} waited for, {name} took longest, {told(blamed.duration_s)}"
    else:
        text += f"; it took {told(blamed.duration_s)}"
    if len(group) > 1:
        all_s = sum(one.lead_s for one, _ in group)
        text += f". That happened {plural(len(group), 'time')}, for {told(all_s)} in all"
    text += f". In time with the others it would save {told(gain_s)} of the run"
    if gain_s < 0.9 * fan_in.lead_s and len(group) == 1:  # the rest is rounding
        text += f" ({told(fan_in.lead_s - gain_s)} of the lead did not matter: others took as long)"
    text += f", {share(gain_s, scene.wall_s)}."
    remedy = (
        f"Make {name} faster or start it earlier; where it is not needed by all of what follows, "
        f"let only that wait for it."
    )
    path = scene.path(blamed) if len(group) == 1 else scene.static(blamed)
    return Candidate(
        Finding("slow_predecessor", path, gain_s, capital(text), remedy, facts), change, depth=0
    )


def _name(scene: Scene, node: TreeNode) -> str:
    return f"'{clean(scene.path(node).rpartition('.')[2])}'"
