"""Blocking: nodes that held the event loop, so that others looked slow.

What the others lost by it they say themselves. Of a trace that does not say it, only what
follows from the instants counts: who became ready while the loop was held could not go on
before the end of it, and who held it itself had waited for the others until then. Whoever
slept on meanwhile (a request, a timer) lost nothing.

Off the loop, the steps of a map's items run side by side, unless they compute: then they
take turns in threads as well, and only what is not of them gains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import COMPUTES, Candidate, Finding
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import CONTAINERS, listed, plural, share, told
from hush.insight.event_loop import Held, steps_of
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.event_loop import Step
    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = ("blocking_nodes",)

_VICTIMS: Final = 3


def blocking_nodes(scene: Scene) -> Iterator[Candidate]:
    """Find nodes that held the loop."""
    blockers = [node for node in scene.nodes if node.record.seconds(semconv.LOOP_BLOCKED_S)]
    groups = scene.grouped(node for node in blockers if node.record.prefix not in CONTAINERS)
    steps = {node.record.span_id: list(steps_of(node)) for node in blockers}
    for path, nodes in groups.items():
        yield _Blocker(scene, path, nodes, steps).told()


class _Blocker:
    """One node of the graph that held the loop."""

    def __init__(
        self, scene: Scene, path: str, nodes: Sequence[TreeNode], steps: Mapping[str, list[Step]]
    ) -> None:
        self.scene = scene
        self.path = path
        self.nodes = nodes
        self.steps = steps
        self.every = Held(step for some in steps.values() for step in some)
        self.mine = [step for node in nodes for step in steps[node.record.span_id]]
        self.held = Held(self.mine)
        self.held_s = sum(node.record.seconds(semconv.LOOP_BLOCKED_S) for node in nodes)
        said = any(node.record.seconds(semconv.WAIT_LOOP_S) for node in scene.nodes)
        lost_s = self._said_s if said else self._seen_s
        self.lost_s = {
            node.record.span_id: min(seconds, node.duration_s)
            for node in scene.nodes
            if node.record.prefix == semconv.SPAN_NODE and (seconds := lost_s(node.record)) > 0.0
        }
        self.computes = self._cpu_s() >= COMPUTES * self.held_s
        self.change = self._change()

    def _said_s(self, record: SpanRecord) -> float:
        """Return what a node says that it lost, as far as this one is to blame."""
        said_s = record.seconds(semconv.WAIT_LOOP_S)
        if not said_s:
            return 0.0
        own = Held(self.steps.get(record.span_id, ()))
        every_s, mine_s, own_s = (
            held.between_s(record.start_ns, record.end_ns) for held in (self.every, self.held, own)
        )
        own_of_mine_s = own_s if any(n.record is record for n in self.nodes) else 0.0
        others_s = every_s - own_s
        return said_s * (mine_s - own_of_mine_s) / others_s if others_s > 0.0 else 0.0

    def _seen_s(self, record: SpanRecord) -> float:
        """Return what a node must have lost by the instants."""
        own = self.steps.get(record.span_id)
        until_ns = own[0].start_ns if own else self.every.until_ns(record.start_ns)
        return self.held.between_s(record.start_ns, min(until_ns, record.end_ns))

    def _cpu_s(self) -> float:
        """Return what CPU the process used while its maps ran, or else the whole run."""
        around = {one.record.span_id: one for n in self.nodes if (one := _outermost(n)) is not None}
        cpu_s = sum(one.record.seconds(semconv.CPU_S) for one in around.values())
        return cpu_s if around else self.scene.run.record.seconds(semconv.CPU_S)

    def _change(self) -> Change:
        durations = {
            node.record.span_id: node.duration_s - self.lost_s[node.record.span_id]
            for node in self.scene.nodes
            if node.record.span_id in self.lost_s
        }
        maps = set()
        for node in () if self.computes else self.nodes:
            around = node.parent
            while around is not None and around is not self.scene.run:
                if around.record.prefix == semconv.SPAN_MAP:
                    maps.add(around.record.span_id)
                around = around.parent
        return Change(durations, off_loop=frozenset(maps))

    def told(self) -> Candidate:
        scene = self.scene
        gain_s = 0.0 if scene.cut else scene.replay.gain_s(self.change)
        where = next((step.where for step in self.mine if step.where), "")
        name = clean(self.path.rpartition(".")[2])
        longest = max(self.nodes, key=lambda node: node.record.seconds(semconv.LOOP_BLOCKED_S))
        victims = scene.grouped(n for n in scene.nodes if n.record.span_id in self.lost_s)
        facts = {
            "blocked_s": self.held_s,
            "times": len(self.mine),
            "at": where,
            "held_up": sorted(victims),
            "waited_s": sum(self.lost_s.values()),
            "longest": scene.path(longest),
            "computes": self.computes,
            **self._around(),
        }
        text = f"The node '{name}' held the event loop for {told(self.held_s)}"
        if len(self.mine) > 1:
            text += f", in {plural(len(self.mine), 'step')}"
        if where and where != "unknown":
            text += f", at {clean(where)}"
        text += ", and nothing else could go on meanwhile"
        if victims:
            text += f"; it kept waiting: {self._victims(victims)}"
        if gain_s >= scene.worth_s:
            text += f". Off the loop it would save about {told(gain_s)} of the run, {share(gain_s, scene.wall_s)}."
        else:
            text += (
                "."
                if scene.cut
                else ". This run lost little by it, others in the same process may."
            )
        remedy = f"Give '{name}' run_in='thread', or let it await; where it computes in Python, run_in='process'."
        if self.computes:
            remedy = (
                f"It computes: give '{name}' run_in='process'. In threads the others could go on, "
                f"but Python computes in one thread at a time."
            )
        return Candidate(
            Finding("blocking_node", self.path, gain_s, text, remedy, facts), self.change
        )

    def _around(self) -> Mapping[str, object]:
        """Return the map that it is directly in, and how long that took; empty where in none."""
        around = self.nodes[0].parent
        while around is not None and around.record.prefix != semconv.SPAN_MAP:
            around = around.parent
        if around is None:
            return {}
        path = self.scene.static(around)
        maps = [node for one in self.scene.maps if one.path == path for node in one.nodes]
        return {"map": path, "map_s": sum(node.duration_s for node in maps)}

    def _victims(self, victims: Mapping[str, Sequence[TreeNode]]) -> str:
        lost = {
            path: sum(self.lost_s[node.record.span_id] for node in nodes)
            for path, nodes in victims.items()
        }
        names = []
        for path in sorted(lost, key=lambda path: -lost[path]):
            count = len(victims[path])
            times = f" in {plural(count, 'place')}" if count > 1 else ""
            names.append(f"'{clean(path.rpartition('.')[2])}' ({told(lost[path])}{times})")
        return listed(names, _VICTIMS)


def _outermost(node: TreeNode) -> TreeNode | None:
    """Return the outermost map that a node is in."""
    found, around = None, node.parent
    while around is not None and around.record.prefix != semconv.SPAN_RUN:
        if around.record.prefix == semconv.SPAN_MAP:
            found = around
        around = around.parent
    return found
