"""How a map goes on in simulated time: a source, slots, and what its items add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.runtime.truth_kernel import Blame, End, Mailbox, Moment, Process, Waiting
from tests.runtime.truth_plan import Planned

if TYPE_CHECKING:
    from tests.runtime.truth_simulation import Truth

SOURCE = -1
"""In the place of an item's index."""


@dataclass
class MapTruth:
    """What a map did."""

    began: float
    limit: int
    sized: int | None
    ended: float = 0.0
    begun: int = 0
    ok: int = 0
    failed: int = 0
    retried: int = 0
    last: int | None = None
    given: float | None = None
    """When the source gave the last item."""
    dry: float | None = None
    """When it said that there are no more."""
    spans: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By index of an item, from when to when it had its slot."""
    runs: dict[int, float] = field(default_factory=dict)
    """How long those ran that were not cancelled, without pauses."""
    waited_s: float = 0.0
    """Of the items' paths, what was waited for the shared limit."""

    @property
    def over_at_last(self) -> bool:
        """Whether it is known with the last item that there are no more."""
        return self.sized is not None and self.begun == self.sized


class MapRun:
    """One run of a map: one item after the other is asked for, whenever a slot is free."""

    def __init__(self, truth: Truth, node: Planned, path: str, start: Moment) -> None:
        self.truth = truth
        self.world = truth.world
        self.node = node
        self.path = path
        sized = node.source in ("list", "slow sized")
        # Nobody asks for more than there are, until an item is over.
        self.slots = min(node.limit, node.items) if sized else node.limit
        self.told = MapTruth(start.at, node.limit, node.items if sized else None)
        self.running: dict[int, Process] = {}
        self.box = Mailbox(truth.world)
        self.asked: Moment | None = start
        """Since when the source is waited for; None while no slot is free."""
        self.over = False
        self.last = start
        self.halted = False

    def pause_s(self, i: int) -> float:
        return self.node.pauses[i] if self.node.source.startswith("slow") else 0.0

    def ask(self, since: Moment) -> None:
        self.asked = since
        i = self.told.begun
        at = self.world.now + self.pause_s(i)
        self.world.later(at, lambda: None if self.halted else self.box.put((SOURCE, None)))

    def items(self, me: Process) -> Waiting:
        self.ask(self.last)
        while self.running or not self.over:
            i, end = yield from self.box.take()
            if i < 0:
                self.gives()
                continue
            failed = self.ended(i, end)
            if failed is not None:
                return (yield from self.stop(me, failed))
            if not self.over and self.asked is None:
                self.ask(end.moment)
        return End("ok", [self.last])

    def gives(self) -> None:
        """Take what the source gives, an item or its end."""
        told, node = self.told, self.node
        i = told.begun
        assert self.asked is not None
        waited = self.pause_s(i)
        moment = self.asked
        if waited:
            moment = moment.after(self.world.now, f"{self.path} (source)")
        self.asked = None
        if i == node.items:
            self.over = True
            told.dry = self.world.now
            if moment.at >= self.last.at:
                self.last = moment
            return
        told.begun += 1
        told.given = self.world.now
        path = f"{self.path}[{i}]"
        told.spans[i] = (self.world.now, self.world.now)
        self.running[i] = Process(
            self.world,
            lambda me: self.item(me, i, path, moment),
            moment,
            lambda end: self.box.put((i, end)),
        )
        if len(self.running) < self.slots:
            self.ask(moment)

    def item(self, me: Process, i: int, path: str, start: Moment) -> Waiting:
        node, truth = self.node, self.truth
        end = yield from truth.policies(
            me,
            node.item_tries,
            node.item_pause_s,
            node.timeout_s,
            path,
            start,
            lambda it, at, held: truth.graph(it, node.inner, path, at),
        )
        truth.note(path, end, me)
        return end

    def ended(self, i: int, end: End) -> End | None:
        """Take note of an item's end; return how the map fails by it, if it does."""
        told, node = self.told, self.node
        del self.running[i]
        began = told.spans[i][0]
        told.spans[i] = (began, self.world.now)
        told.last = i
        if end.at == self.last.at and not end.moment.follows(self.last):
            self.world.unclear = "two ended in the same moment"
        steps = list(end.moment.back_to(began))
        paused = sum(s for label, s in steps if label == f"{self.path}[{i}] (paused)")
        told.runs[i] = end.at - began - paused
        told.waited_s += sum(s for label, s in steps if label.endswith("(waited for a limit)"))
        told.retried += any(label == f"{self.path}[{i}] (failed attempts)" for label, _ in steps)
        self.last = end.moment
        if end.outcome == "ok":
            told.ok += 1
            return None
        told.failed += 1
        if not node.collects:
            return end
        if node.tolerated is not None and told.failed > node.tolerated:
            return End("error", end.moments, self.path)
        return None

    def stop(self, me: Process, end: End) -> Waiting:
        self.halted = True
        me.shielded = me.failing = True
        reason = "tolerance_exceeded" if self.node.collects else "fail_fast"
        for process in self.running.values():
            process.cancel(Blame(reason, end.failed))
        last, label = end.at, ""
        while self.running:
            i, other = yield from self.box.take()
            if i < 0:
                continue
            self.stopped(i, other)
            del self.running[i]
            if other.outcome != "cancelled":
                self.world.unclear = "two failed in the same moment"
            if other.at > last:
                last, label = other.at, f"{self.path}[{i}] (stopping)"
        me.shielded = me.failing = False
        moment = end.moment.after(last, label) if label else end.moment
        return End(end.outcome, [moment], end.failed)

    def stopped(self, i: int, end: End) -> list[Moment]:
        self.told.spans[i] = (self.told.spans[i][0], end.at)
        return end.moments
