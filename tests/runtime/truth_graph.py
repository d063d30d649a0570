"""How a graph goes on in simulated time: joins, races, branches and what a failure takes along."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.runtime.truth_kernel import Blame, End, Mailbox, Moment, Process, Waiting
from tests.runtime.truth_plan import Planned

if TYPE_CHECKING:
    from tests.runtime.truth_simulation import Truth


@dataclass
class Join:
    """What a node with several predecessors waited for."""

    mode: str
    last: str
    arrivals: list[tuple[str, float]]
    lead_s: float
    late: set[str]
    cancelled: set[str]


class GraphRun:
    """Where the nodes of one graph stand, asked anew from the rules after each event."""

    def __init__(self, truth: Truth, nodes: list[Planned], path: str, start: Moment) -> None:
        self.truth = truth
        self.nodes = nodes
        self.path = path
        self.status = ["waiting"] * len(nodes)
        self.ends: dict[int, Moment] = {}
        self.order: list[int] = []
        """Those that ended well, as they did."""
        self.running: dict[int, Process] = {}
        self.unmet: set[int] = set()
        self.hopeless_at: float | None = None
        self.ended = Mailbox(truth.world)
        self.last = start
        self.decided: dict[int, Moment] = {}
        """Of those that lost a race, when that was so."""
        self.over: set[int] = set()
        """Joins that need nobody any more."""
        self.after = [[j for j, n in enumerate(nodes) if i in n.before] for i in range(len(nodes))]

    def lane(self, i: int) -> bool:
        """Say whether all that comes of a node goes into joins."""
        return bool(self.after[i]) and all(
            self.nodes[j].quorum or self.lane(j) for j in self.after[i]
        )

    def superfluous(self, i: int) -> bool:
        return self.lane(i) and all(
            j in self.over
            if self.nodes[j].quorum and self.status[j] != "lost"
            else self.superfluous(j)
            for j in self.after[i]
        )

    def edge(self, p: int, j: int) -> str:
        """Return what an arrival is worth: ``ok``, ``skipped``, ``lost`` or ``pending``."""
        status, node = self.status[p], self.nodes[p]
        if status in ("waiting", "running"):
            return "pending"
        if status == "captured" and self.nodes[j].quorum:
            return "lost"
        if status in ("ok", "captured"):
            if j in node.targets and (status == "captured" or node.chosen != j):
                return "skipped"
            return "ok"
        return status

    def take(self, i: int, end: End) -> bool:
        """Take note of how a node ended; say whether the graph failed by it."""
        del self.running[i]
        node, path = self.nodes[i], f"{self.path}.{self.nodes[i].name}"
        moment = end.moment
        lost = self.decided.get(i)
        if lost is not None:
            moment = lost.after(end.at, f"{path} (stopping)") if end.at > lost.at else lost
            status = "lost"
        elif end.outcome == "ok":
            status = "ok"
        elif node.captures:
            status = "captured"
        elif self.lane(i):
            status = "lost"
        else:
            return True
        self.status[i] = status
        self.ends[i] = moment
        if moment is not lost:
            if moment.at == self.last.at and not moment.follows(self.last):
                self.truth.world.unclear = "two ended in the same moment"
            self.last = moment
        self.order.append(i)
        self.decide(moment)
        return False

    def decide(self, moment: Moment) -> None:
        """Find what follows until nothing more does."""
        changed = True
        while changed:
            changed = False
            for i in range(len(self.nodes)):
                if self.status[i] == "waiting":
                    self.status[i] = self.settled(i)
                    changed = changed or self.status[i] != "waiting"
                    if self.status[i] == "running":
                        self.begin(i, moment)

    def settled(self, i: int) -> str:
        node = self.nodes[i]
        if self.superfluous(i):
            if node.quorum:
                self.over.add(i)
            return "lost"
        edges = {p: self.edge(p, i) for p in node.before}
        worth = Counter(edges.values())
        if node.quorum:
            if worth["ok"] >= node.quorum:
                return "running"
            if len(edges) - worth["skipped"] - worth["lost"] < node.quorum:
                if worth["lost"]:
                    self.unmet.add(i)
                    return "running"
                return "waiting" if worth["pending"] else "skipped"
            return "waiting"
        hard = Counter(edges[p] for p in node.hard)
        soft = Counter(edges[p] for p in node.soft)
        nothing = bool(node.soft) and not soft["ok"] and not soft["pending"]
        if hard["lost"] or (nothing and soft["lost"]):
            return "lost"
        if hard["skipped"] or nothing:
            may_be_lost = self.lane(i) and worth["pending"]
            return "waiting" if may_be_lost else "skipped"
        if hard["pending"] or (node.soft and not soft["ok"]):
            return "waiting"
        return "running"

    def begin(self, i: int, moment: Moment) -> None:
        node, path = self.nodes[i], f"{self.path}.{self.nodes[i].name}"
        truth = self.truth
        if i in self.unmet:
            if self.hopeless_at == truth.world.now:
                truth.world.unclear = "two joins became hopeless in the same moment"
            self.hopeless_at = truth.world.now

            def fails(me: Process) -> Waiting:
                end = End("error", [moment.after(moment.at, path)], path)
                truth.note(path, end, me)
                return end
                yield

            body = fails
        else:
            self.tell(i, moment)

            def body(me: Process) -> Waiting:
                return truth.node(me, node, path, moment)

        self.running[i] = Process(truth.world, body, moment, lambda end: self.ended.put((i, end)))

    def tell(self, i: int, moment: Moment) -> None:
        """Decide a race, and say what a node waited for."""
        node = self.nodes[i]
        cancelled = set()
        if node.quorum and node.cancels:
            self.over.add(i)
            winner = f"{self.path}.{self.nodes[self.order[-1]].name}"
            more = True
            while more:
                more = False
                for p, status in enumerate(self.status):
                    if not self.superfluous(p):
                        continue
                    if p in self.running and p not in self.decided:
                        self.decided[p] = moment
                        self.running[p].cancel(Blame("race_lost", winner))
                        cancelled.add(self.nodes[p].name)
                        if self.nodes[p].quorum:
                            self.over.add(p)
                            more = True
                    elif status == "waiting":
                        self.status[p] = "lost"
                        more = True
                        if self.nodes[p].quorum:
                            self.over.add(p)
        if len(node.before) < 2:
            return
        arrived = [p for p in self.order if p in node.before and self.edge(p, i) == "ok"]
        late = {self.nodes[p].name for p in node.before if self.edge(p, i) == "pending"}
        late -= cancelled
        if len(arrived) + len(late) + len(cancelled) < 2:
            return
        mode = "any" if node.soft else "all"
        if node.quorum:
            mode = "first" if node.race else "quorum"
        arrivals = [(self.nodes[p].name, self.ends[p].at) for p in arrived]
        lead_s = arrivals[-1][1] - self.without(node, arrived)
        self.truth.joins[f"{self.path}.{node.name}"].append(
            Join(mode, arrivals[-1][0], arrivals, lead_s, late, cancelled)
        )

    def without(self, node: Planned, arrived: list[int]) -> float:
        """Return when a node would have begun, had its last arrival been there before all."""
        last = arrived[-1]
        ends = {p: self.ends[p].at for p in arrived}
        if node.quorum:
            needed = [ends[p] for p in arrived[:-1]]
        else:
            needed = [ends[p] for p in node.hard if p != last and p in ends]
            soft = sorted(ends[p] for p in node.soft if p in ends)
            if soft and last not in node.soft:
                needed.append(soft[0])
            if node.soft and not node.hard:
                return ends[last]
        return max(needed, default=ends[last])

    def stopped(self, i: int, end: End) -> list[Moment]:
        """Return what the graph waited for, where it was cut off and this stopped last."""
        lost = self.decided.get(i)
        if lost is None:
            return end.moments
        return [lost.after(end.at, f"{self.path}.{self.nodes[i].name} (stopping)")]
