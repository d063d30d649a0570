"""What a run of a planned workflow must tell, from first principles.

Everything goes on in simulated time, one thing after the other, and each moment remembers
what it was waited for. The path of the run is then nothing but the way back from its end.
Nothing of the runtime is used, only what it promises about order, joins, failures and limits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial

from tests.runtime.truth_graph import GraphRun, Join
from tests.runtime.truth_kernel import (
    Blame,
    CancelledError,
    End,
    Limiter,
    Mailbox,
    Moment,
    Process,
    Waiting,
    World,
    drained,
)
from tests.runtime.truth_map import MapRun, MapTruth
from tests.runtime.truth_plan import SHARED, Planned, Workflow


class Truth:
    """A run of a workflow in simulated time.

    Attributes:
        end: how it ended.
        spans: how often each path ended how, and why.
        joins: by path, what each node with several predecessors waited for, run after run.
        maps: by path, what each map did, run after run.
    """

    def __init__(self, flow: Workflow) -> None:
        self.flow = flow
        self.world = World()
        self.limiter = Limiter(self.world, SHARED)
        self.tries: Counter[str] = Counter()
        self.spans: Counter[tuple[str, str, str | None, str | None]] = Counter()
        self.joins: dict[str, list[Join]] = defaultdict(list)
        self.maps: dict[str, list[MapTruth]] = defaultdict(list)
        self.end = End("cancelled", [Moment(0.0)])
        ends: list[End] = []
        start = Moment(0.0)
        run = Process(
            self.world, lambda me: self.graph(me, flow.nodes, "g", start), start, ends.append
        )
        if flow.deadline_s is not None:
            self.world.later(flow.deadline_s, lambda: run.cancel(Blame("timeout", "g")))
        if flow.left_after_s is not None:
            self.world.later(flow.left_after_s, lambda: run.cancel(Blame("external", None)))
        self.world.run()
        (self.end,) = ends

    # --- graphs ------------------------------------------------------------------------------

    def graph(self, me: Process, nodes: list[Planned], path: str, start: Moment) -> Waiting:
        """Run nodes until all have settled, or one has failed."""
        run = GraphRun(self, nodes, path, start)
        try:
            run.decide(start)
            while run.running:
                i, end = yield from run.ended.take()
                if run.take(i, end):
                    return (yield from self.stop_failed(me, run, end, path))
        except CancelledError:
            assert me.blame is not None
            return (yield from drained(me, run.running, run.ended, run.stopped, []))
        return End("ok", [run.last])

    def stop_failed(self, me: Process, run: GraphRun, end: End, path: str) -> Waiting:
        me.shielded = me.failing = True
        for process in run.running.values():
            process.cancel(Blame("fail_fast", end.failed))
        last, label = end.at, ""
        while run.running:
            i, other = yield from run.ended.take()
            del run.running[i]
            if other.outcome != "cancelled":
                self.world.unclear = "two failed in the same moment"
            if other.at > last:
                last, label = other.at, f"{path}.{run.nodes[i].name} (stopping)"
        me.shielded = me.failing = False
        moment = end.moment.after(last, label) if label else end.moment
        return End(end.outcome, [moment], end.failed)

    # --- nodes and items ---------------------------------------------------------------------

    def node(self, me: Process, node: Planned, path: str, start: Moment) -> Waiting:
        """Run a node under its policies, and take note of how its span ends."""
        inside = {
            "leaf": lambda it, at, held: self.leaf(it, node, path, at, held=held),
            "graph": lambda it, at, held: self.graph(it, node.inner, path, at),
            "while": lambda it, at, held: self.rounds(it, node, path, at),
        }
        if node.kind in inside:
            limits = node.tries, node.pause_s, node.timeout_s
            end = yield from self.policies(me, *limits, path, start, inside[node.kind])
        elif node.kind == "branch":
            end = End("ok", [start.after(start.at, path)])
        else:
            end = yield from self.fan_out(me, node, path, start)
        self.note(path, end, me)
        return end

    def note(self, path: str, end: End, me: Process) -> None:
        reason = cause = None
        if end.outcome == "cancelled":
            assert me.blame is not None
            reason, cause = me.blame
        self.spans[path, end.outcome, reason, cause] += 1

    def policies(self, me, tries, pause_s, timeout_s, path, start, once) -> Waiting:
        """Try until it succeeds or there are no more tries."""
        moment = start
        held = False
        for attempt in range(1, tries + 1):
            if timeout_s is None:
                end = yield from once(me, moment, held)
            else:
                body = partial(once, at=moment, held=held)
                end = yield from self.limited(me, body, moment, timeout_s, path)
            if end.outcome in ("ok", "cancelled") or attempt == tries:
                return end
            moment = self.failed_try(moment, end.moment, path)
            pause = pause_s * 2 ** (attempt - 1)
            try:
                yield self.world.now + pause
            except CancelledError:
                return End("cancelled", [moment.after(self.world.now, f"{path} (paused)")])
            moment = moment.after(self.world.now, f"{path} (paused)")
            held = True
        raise AssertionError

    def failed_try(self, began: Moment, end: Moment, path: str) -> Moment:
        """Return the end of a try that failed: its own waits for a limit, and the rest."""
        waited = 0.0
        at = end
        while at is not began:
            if at.label == f"{path} (waited for a limit)":
                waited += at.took
            at = at.before[0]
        split = began.at + waited
        if waited:
            began = began.after(split, f"{path} (waited for a limit)")
        return began.after(end.at, f"{path} (failed attempts)")

    def limited(self, me, body, start, timeout_s, path) -> Waiting:
        """Run something that is cancelled when it takes too long."""
        box = Mailbox(self.world)
        inner = Process(self.world, body, start, box.put)
        expires = self.world.now + timeout_s
        expired = []

        def expire() -> None:
            if inner.blame is not None and inner.blame.reason == "external":
                # When the caller went away is known to nobody before everything has stopped.
                self.world.unclear = "its own limit passed while it stopped for the caller"
            if not inner.over and inner.blame is None:
                expired.append(True)
                inner.cancel(Blame("timeout", path))

        self.world.later(expires, expire)
        try:
            end = yield from box.take()
        except CancelledError:
            if expired:
                self.world.unclear = "cancelled while its own limit stopped it"
            inner.cancel(me.blame)
            me.shielded = True
            end = yield from box.take()
            return end
        if expired and end.outcome == "cancelled":
            return End("timeout", end.moments, path)
        return end

    def leaf(self, me: Process, node: Planned, path: str, start: Moment, *, held: bool) -> Waiting:
        """Do what the script says."""
        self.tries[path] += 1
        script = node.script(self.flow.seed, path, self.tries[path])
        moment = start
        holds = False
        try:
            yield self.world.now + script.before_s
            if script.hold_s is not None:
                asked = self.world.now
                yield from self.limiter.acquire()
                holds = True
                if self.world.now > asked:
                    # What it did before is its own, as is what it does after.
                    waited = self.world.now - asked
                    moment = moment.after(moment.at + waited, f"{path} (waited for a limit)")
                    held = True
                yield self.world.now + script.hold_s
                holds = False
                self.limiter.release()
                yield self.world.now + script.after_s
        except CancelledError:
            if holds:
                self.limiter.release()
            me.shielded = True
            if script.stop_s:
                yield self.world.now + script.stop_s
            label = f"{path} (itself)" if held else path
            return End("cancelled", [moment.after(self.world.now, label)])
        end = moment.after(self.world.now, f"{path} (itself)" if held else path)
        return End("error", [end], path) if script.fails else End("ok", [end])

    def rounds(self, me: Process, node: Planned, path: str, start: Moment) -> Waiting:
        """Run the rounds of a loop."""
        end = End("ok", [start])
        for i in range(node.items):
            end = yield from self.graph(me, node.inner, f"{path}[{i}]", end.moment)
            self.note(f"{path}[{i}]", end, me)
            if end.outcome != "ok":
                break
        return end

    # --- maps --------------------------------------------------------------------------------

    def fan_out(self, me: Process, node: Planned, path: str, start: Moment) -> Waiting:
        """Run the items of a map, as its source and its slots let them."""
        run = MapRun(self, node, path, start)
        self.maps[path].append(run.told)
        try:
            end = yield from run.items(me)
        except CancelledError:
            run.halted = True
            asked = run.asked
            sourced = [] if asked is None else [asked.after(self.world.now, f"{path} (source)")]
            end = yield from drained(me, run.running, run.box, run.stopped, sourced)
        run.told.ended = self.world.now
        return end
