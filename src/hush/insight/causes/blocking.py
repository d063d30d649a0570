"""Blocking: nodes that held the event loop, so that others looked slow.

A step of a node that lasted has an event, at the step's end. What others lost by it is
seen in three places, and nothing is claimed beyond them:

- a node that blocks itself waited for its turn while the loop went from one long step to
  the next, without a gap, up to its own: all of that;
- a node that became ready in the midst of such steps could not begin before their end: the
  rest of them;
- a node that ended as soon as such steps did, having begun before, could not go on when
  what it awaited was there. When in their course that was nobody knows; half of them is
  what it lost on the average.

Whoever slept on meanwhile (a request, a timer) lost nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import BACK_TO_BACK_S, Candidate, Finding
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import CONTAINERS, listed, plural, share, told
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = ("blocking_nodes",)

_NANO: Final = 1e9


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of the event loop that lasted."""

    start_ns: int
    end_ns: int
    node: TreeNode
    where: str


def blocking_nodes(scene: Scene) -> Iterator[Candidate]:
    """Find nodes that held the loop."""
    blockers = [node for node in scene.nodes if node.record.seconds(semconv.LOOP_BLOCKED_S)]
    groups = scene.grouped(node for node in blockers if node.record.prefix not in CONTAINERS)
    steps = sorted(
        (step for node in blockers for step in _steps(node)), key=lambda step: step.start_ns
    )
    for path, nodes in groups.items():
        mine = frozenset(node.record.span_id for node in nodes)
        change, held = _without(scene, steps, mine)
        yield _told(scene, path, nodes, steps, change, held)


def _steps(node: TreeNode) -> Iterator[_Step]:
    events = [e for e in node.record.events if e.name == semconv.EVENT_LOOP_BLOCKED]
    for event in events:
        seconds = event.attributes.get(semconv.LOOP_BLOCKED_S)
        if isinstance(seconds, int | float):
            start_ns = max(node.record.start_ns, event.time_ns - round(seconds * _NANO))
            where = str(event.attributes.get(semconv.LOOP_BLOCKED_AT, ""))
            yield _Step(start_ns, event.time_ns, node, where)
    if not events:
        # Events may be cut by whoever kept the trace; about then it must have been.
        seconds = node.record.seconds(semconv.LOOP_BLOCKED_S)
        start_ns = max(node.record.start_ns, node.record.end_ns - round(seconds * _NANO))
        yield _Step(start_ns, node.record.end_ns, node, "")


def _without(
    scene: Scene, steps: Sequence[_Step], mine: frozenset[str]
) -> tuple[Change, list[TreeNode]]:
    """Return what changes when some nodes block no more, and whom they had held up."""
    starts = [step.start_ns for step in steps]
    own: dict[str, list[int]] = {}
    for i, step in enumerate(steps):
        own.setdefault(step.node.record.span_id, []).append(i)
    durations: dict[str, float] = {}
    held: list[TreeNode] = []
    for node in scene.nodes:
        record = node.record
        if record.prefix != semconv.SPAN_NODE:
            continue
        lost_ns, floor_ns = 0, record.start_ns
        turns = own.get(record.span_id)
        if turns is None:
            lost_ns = _lost_asleep(steps, starts, record, mine)
        else:
            for i in turns:
                before = _before(steps, i)
                lost_ns += _blamed(before, mine - {record.span_id}, floor_ns, steps[i].start_ns)
                floor_ns = steps[i].end_ns
        if lost_ns:
            durations[record.span_id] = max(0.0, node.duration_s - lost_ns / _NANO)
            held.append(node)
    return Change(durations), held


def _lost_asleep(
    steps: Sequence[_Step], starts: Sequence[int], record: SpanRecord, mine: frozenset[str]
) -> int:
    """Return what a node that does not block itself lost, at its beginning and at its end."""
    # The last step that began before it was ready.
    first = _stretch(steps, bisect_right(starts, record.start_ns))
    lost_ns = _blamed(first, mine, record.start_ns, record.end_ns)
    after = bisect_right(starts, record.end_ns)
    if after == 0 or record.end_ns - steps[after - 1].end_ns > BACK_TO_BACK_S * _NANO:
        return lost_ns
    last = [step for step in (steps[after - 1], *_before(steps, after - 1)) if step not in first]
    return lost_ns + _blamed(last, mine, record.start_ns, record.end_ns) // 2


def _before(steps: Sequence[_Step], i: int) -> list[_Step]:
    """Return the steps that led up to one without a gap, the last first."""
    found: list[_Step] = []
    at = steps[i].start_ns
    for step in reversed(steps[:i]):
        if at - step.end_ns > BACK_TO_BACK_S * _NANO:
            break
        found.append(step)
        at = step.start_ns
    return found


def _stretch(steps: Sequence[_Step], after: int) -> list[_Step]:
    """Return the step under way at an instant, and those that follow it without a gap.

    Args:
        steps: by start.
        after: position of the first that began later than that instant.
    """
    if after == 0:
        return []
    found = [steps[after - 1]]
    for step in steps[after:]:
        if step.start_ns - found[-1].end_ns > BACK_TO_BACK_S * _NANO:
            break
        found.append(step)
    return found


def _blamed(steps: Iterable[_Step], mine: frozenset[str], from_ns: int, to_ns: int) -> int:
    return sum(
        max(0, min(step.end_ns, to_ns) - max(step.start_ns, from_ns))
        for step in steps
        if step.node.record.span_id in mine
    )


def _told(
    scene: Scene,
    path: str,
    nodes: Sequence[TreeNode],
    steps: Sequence[_Step],
    change: Change,
    held: Sequence[TreeNode],
) -> Candidate:
    gain_s = scene.replay.gain_s(change)
    ids = frozenset(node.record.span_id for node in nodes)
    mine = [step for step in steps if step.node.record.span_id in ids]
    blocked_s = sum(node.record.seconds(semconv.LOOP_BLOCKED_S) for node in nodes)
    where = next((step.where for step in mine if step.where), "")
    name = clean(path.rpartition(".")[2])
    longest = max(nodes, key=lambda node: node.record.seconds(semconv.LOOP_BLOCKED_S))
    victims = scene.grouped(held)
    facts = {
        "blocked_s": blocked_s,
        "times": len(mine),
        "at": where,
        "held_up": sorted(victims),
        "longest": scene.path(longest),
    }
    text = f"The node '{name}' held the event loop for {told(blocked_s)}"
    if len(mine) > 1:
        text += f", in {plural(len(mine), 'step')}"
    if where and where != "unknown":
        text += f", at {clean(where)}"
    text += ", and nothing else could go on meanwhile"
    if held:
        names = [
            f"'{clean(one.rpartition('.')[2])}' ({len(some)})" for one, some in victims.items()
        ]
        text += f"; it kept waiting: {listed(names)}"
    if gain_s >= scene.worth_s:
        text += f". Off the loop it would save about {told(gain_s)} of the run, {share(gain_s, scene.wall_s)}."
    else:
        text += ". This run lost little by it, others in the same process may."
    remedy = (
        f"Give '{name}' run_in='thread', or let it await; where it computes in Python, "
        f"run_in='process'."
    )
    return Candidate(Finding("blocking_node", path, gain_s, text, remedy, facts), change)
