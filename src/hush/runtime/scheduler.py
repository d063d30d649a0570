"""The scheduler: carries out what the ready set decides, in one task group per graph.

Events go in one way: a node ends, its values are written, the ready set answers, its
answer is carried out. A task that has ended a node goes on with one of the successors
itself; only the others need tasks of their own. Every node runs in a copy of the
graph's context, whichever task it lands in.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hush import semconv
from hush.errors import Failure, JoinError, UnexpectedCancellationError
from hush.model.join import First
from hush.runtime import presence
from hush.runtime.chronicle import Chronicle
from hush.runtime.direct_run import DirectRun
from hush.runtime.failing import BodyFailedError
from hush.runtime.isolation import isolated
from hush.runtime.line_run import run_line
from hush.runtime.lineage import Blame, Lineage
from hush.runtime.lookout import lookout_here
from hush.runtime.node_run import AT_ONCE, Done, NodeRun, Release
from hush.runtime.presence import MapNow, NodeNow, WaitNow
from hush.runtime.ready_set import ReadySet, Status, Step
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import TaskGroup

    from hush.runtime.instrument import Observation
    from hush.runtime.state import Frame, Run
    from hush.runtime.trail import Trail

__all__ = ("run_graph",)

INLINE_DEPTH = 4
"""Nested graphs that share a task before a new one keeps the call stack shallow."""

Turn = tuple[int, Release]
"""A node whose turn it is."""


async def run_graph(frame: Frame, run: Run, seen: Observation) -> Trail:
    """Run one graph once.

    Args:
        frame: its values; written to.
        run: the run that it belongs to.
        seen: the observation of whatever contains it, for the skipped nodes.

    Returns:
        Its critical path.

    Raises:
        BodyFailedError: a node failed; everything it started is over.
    """
    if frame.plan.line is not None and run.straight:
        return await run_line(frame, run)
    graph = _GraphRun(frame, run)
    presence.enter(graph)
    try:
        await graph.drive()
        return graph.chronicle.trail()
    except BaseException as error:
        if not isinstance(error, Exception):
            # Cancelled from outside while it was failing: its failures go no other way up.
            frame.lineage.add_late([*graph.failures, *graph.lineage.take_late()])
            frame.lineage.cut = graph.chronicle.trail()
        raise
    finally:
        presence.leave(graph)
        if graph.skipped:
            names = graph.skipped[: semconv.SKIPPED_LIMIT]
            seen.annotate(semconv.SKIPPED, names)
            if len(graph.skipped) > len(names):
                seen.annotate(semconv.SKIPPED_COUNT, len(graph.skipped))


class _GraphRun:
    def __init__(self, frame: Frame, run: Run) -> None:
        self.frame = frame
        self.run = run
        self.plan = frame.plan
        self.ready = ReadySet(frame.plan.shape)
        self.lineage = Lineage(frame.lineage)
        self.context = copy_context()
        self.lookout = lookout_here(run.instrument)
        self.chronicle = Chronicle(frame.plan, self.ready)
        self.tokens: list[object] = [None] * len(frame.plan.nodes)
        self.failures: list[Failure] = []
        self.culprit: object = None
        self.lost: dict[int, tuple[Failure, ...]] = {}
        self.racing: dict[int, tuple[anyio.CancelScope, Lineage]] = {}
        self.beaten: dict[int, Blame] = {}
        """Those that lost a race before a task came round to them, and to whom."""
        self.skipped: list[str] = []
        self.group: TaskGroup | None = None
        self.turns: deque[Turn] = deque()
        """Whose turn it is, and no task has come round to it."""
        self.followers = 0
        """Tasks that go on with turns."""

    async def drive(self) -> None:
        turns = self._apply(self.ready.start())
        depth = self.frame.depth + 1
        caller = self.run.caller
        # As long as one node runs at a time, no task group is needed.
        while len(turns) == 1 and depth <= INLINE_DEPTH and not self.failures:
            turns = await self._take(turns[0], depth)
            if caller.cancelled() and not self.failures:
                # A node's code has caught what asyncio delivers only once.
                await caller.give_way()
        if turns and not self.failures:
            self.turns.extend(turns)
            try:
                async with anyio.create_task_group() as self.group:
                    self._share()
            except anyio.get_cancelled_exc_class():
                caller.delivered()
                raise
        if self.failures:
            self.failures.extend(self.lineage.take_late())
            raise BodyFailedError(self.failures, self.culprit, self.chronicle.trail())
        if not self.ready.finished:
            # A task went away without a word. If we are being cancelled ourselves, the
            # checkpoint says so; else something cancelled the task behind our back.
            await anyio.lowlevel.checkpoint()
            raise UnexpectedCancellationError(
                self.frame.path, "a task of this graph was cancelled by something outside of it"
            )

    def _share(self) -> None:
        """See to it that others go on with the turns that there are, now that a node waits.

        A node that never waits needs no task of its own. As soon as any waits, there are twice
        as many tasks, so that a hundred nodes that wait are soon under way.
        """
        if self.group is None:
            return
        for _ in range(min(len(self.turns), self.followers or 1)):
            self.followers += 1
            # From within the graph's context, so that the task does not inherit what the
            # node that happened to end last has set.
            self.context.run(self.group.start_soon, self._follow)

    async def _follow(self) -> None:
        """Run nodes whose turn it is, one after the other."""
        # First all that were spawned with this one begin: an interrupt that ends the loop in
        # the first step of a task would leave the others behind.
        await anyio.lowlevel.checkpoint()
        turns = self.turns
        while turns and not self.failures:
            turns.extend(await self._take(turns.popleft(), 1))
        self.followers -= 1
        if self.failures:
            assert self.group is not None  # noqa: S101  # this task is in it
            # Those whose turn it was begin and are cancelled at once, as all that were ready.
            while turns:
                self.context.run(self.group.start_soon, self._take, turns.popleft(), 1)
            self.group.cancel_scope.cancel()

    async def _take(self, turn: Turn, depth: int) -> list[Turn]:
        """Run one node; return whose turn it is then."""
        i, release = turn
        node = self.plan.nodes[i]
        if node.direct is not None and self.run.straight:
            direct = DirectRun(self.frame, self.run, self.lineage, depth, self.lookout)
            context, late = self.context.copy(), bool(self.failures)
            try:
                done = await direct.call(node, release, context, self._share, late=late)
            except BaseException:
                self.chronicle.cut_off(i, self.run.clock(), NO_TRAIL)
                raise
            return self._end(i, done)
        self._share()
        lineage = Lineage(self.lineage)
        node_run = NodeRun(node, self.frame, self.run, lineage, release, depth)
        try:
            if i not in self.plan.shape.lanes:
                done = await isolated(self.context.copy(), node_run.execute(), node_run)
                return self._end(i, done)
            return await self._race(i, node_run)
        except BaseException:
            self.chronicle.cut_off(i, self.run.clock(), lineage.cut)
            raise

    async def _race(self, i: int, node_run: NodeRun) -> list[Turn]:
        """Run a node that others may make superfluous; return whose turn it is then."""
        lineage = node_run.lineage
        lost = True
        with anyio.CancelScope() as scope:
            self.racing[i] = (scope, lineage)
            if i in self.beaten:
                # It begins and is cancelled at once, as if it had been under way.
                lineage.stop_for(self.beaten[i])
                scope.cancel()
            done = await isolated(self.context.copy(), node_run.execute(), node_run)
            lost = False
        self.racing.pop(i, None)
        if lost or lineage.blame is not None:
            # Cancelled, or too late to be: whoever lost a race writes nothing.
            self.chronicle.ended(i, self.run.clock(), NO_TRAIL)
            if not lost:
                for failure in done.failures:
                    self.run.note(replace(failure, kind="tolerated"))
            return self._apply(self.ready.settle(i, Status.LOST))
        return self._end(i, done)

    def _end(self, i: int, done: Done) -> list[Turn]:
        """Write what a node gave and release what waited for it, in one go."""
        self.tokens[i] = done.token
        self.chronicle.ended(i, self.run.clock(), done.trail)
        if self.failures:
            self.failures.extend(done.failures)
            return []
        if done.failures:
            return self._fail(i, done)
        node = self.plan.nodes[i]
        if node.reads or node.star_output:
            self.frame.outputs[i] = done.outputs
        status = Status.OK
        writes = done.writes
        if done.captured:
            status = Status.CAPTURED
            self.lost[i] = done.captured
            if node.races:
                # Whoever lost a race writes nothing.
                writes = {}
            elif node.fills:
                absent = node.fills - self.frame.values.keys()
                writes = {**dict.fromkeys(sorted(absent)), **writes}
        forbidden = self.frame.guarded.get(i, frozenset())
        for key, value in writes.items():
            if key not in forbidden:
                self.frame.write(key, value)
        if self.frame.index is None:
            self.run.state.keep(f"{self.frame.path}.{node.name}", done.outputs)
        chosen = None
        if done.chosen is not None:
            targets = self.plan.shape.choices.get(i, frozenset())
            chosen = [j for j in targets if self.plan.nodes[j].name in done.chosen]
        return self._apply(self.ready.settle(i, status, chosen), winner_writes=writes)

    def _fail(self, i: int, done: Done) -> list[Turn]:
        if i in self.plan.shape.lanes:
            self.lost[i] = done.failures
            self.lineage.mark_partial()
            for failure in done.failures:
                self.run.note(replace(failure, kind="tolerated"))
            return self._apply(self.ready.settle(i, Status.LOST))
        self.failures.extend(done.failures)
        self.chronicle.failed(i)
        self.culprit = done.culprit
        self.lineage.accuse(
            Blame(semconv.REASON_FAIL_FAST, done.failures[0].path, done.culprit),
            being_cancelled=self.run.caller.being_cancelled(),
        )
        return []

    def _apply(self, step: Step, winner_writes: Any = ()) -> list[Turn]:
        """Carry out what the ready set decided; return whose turn it is."""
        for i in step.skipped:
            name = self.plan.nodes[i].name
            self.skipped.append(name)
            self.run.skip(f"{self.frame.path}.{name}", in_item=self.frame.index is not None)
        now = self.run.clock()
        for i, join in step.losers:
            winner = self.ready.winner(join)
            path = self._path(join if winner is None else winner)
            token = None if winner is None else self.tokens[winner]
            self.chronicle.lost(i, winner, now)
            self.beaten[i] = Blame(semconv.REASON_RACE_LOST, path, token)
            if i in self.racing:
                scope, lineage = self.racing[i]
                lineage.stop_for(self.beaten[i])
                scope.cancel()
        turns: list[Turn] = []
        for i in step.ready:
            self._protect(i, winner_writes)
            self.chronicle.ready_at[i] = now
            by = self.ready.release[i]
            if by is None:
                turns.append((i, AT_ONCE))
                continue
            after = [self.tokens[p] for p in self.ready.arrivals[i]]
            lost = [loser for loser, join in step.losers if join == i]
            turns.append((i, Release(self.tokens[by], after, self.chronicle.fan_in(i, lost))))
        for i in step.unmet:
            self.chronicle.ready_at[i] = now
            after = [self.tokens[p] for p in self.plan.shape.hard[i] if self.tokens[p] is not None]
            last = after[-1] if after else None
            turns.append((i, Release(last, after, fault=self._join_error(i))))
        return turns

    def _protect(self, join: int, winner_writes: Any) -> None:
        """Keep what the winner of a race wrote from those that come late."""
        if not isinstance(self.plan.nodes[join].node.join, First):
            return
        winner = self.ready.winner(join)
        for p in self.plan.shape.hard[join]:
            if p != winner:
                keys = self.frame.guarded.get(p, frozenset())
                self.frame.guarded[p] = keys | frozenset(winner_writes)

    def _join_error(self, i: int) -> JoinError:
        shape = self.plan.shape
        predecessors = shape.hard[i]
        hopeful = {Status.OK, Status.RUNNING, Status.WAITING}
        left = sum(self.ready.status[p] in hopeful for p in predecessors)
        # A captured failure further back was no reason: what came after it ran.
        failures = [
            failure
            for p in sorted(self.lost)
            if p in predecessors
            or (i in shape.lanes.get(p, ()) and self.ready.status[p] is Status.LOST)
            for failure in self.lost[p]
        ]
        failed = ", ".join(f.path.rpartition(".")[2] for f in failures)
        return JoinError(
            self._path(i),
            f"needs {shape.quorum[i]} of {len(predecessors)} predecessors, but only {left} can "
            f"still succeed; failed: {failed}. Lower k, or mend what failed",
            failures,
        )

    def _path(self, i: int) -> str:
        return f"{self.frame.path}.{self.plan.nodes[i].name}"

    # --- what is going on, asked from any thread -----------------------------------------

    @property
    def engine(self) -> object:
        return self.run.engine

    @property
    def run_key(self) -> tuple[str, str, float]:
        return self.run.state.run_id, self.run.plan.name, self.run.began

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        for i, node in enumerate(self.plan.nodes):
            if self.ready.status[i] is Status.RUNNING and node.body is None:
                yield NodeNow(self._path(i), node.kind, now - self.chronicle.ready_at[i])

    def waits_now(self, now: float) -> Iterator[WaitNow]:
        for i, node in enumerate(self.plan.nodes):
            arrived = self.ready.arrivals[i]
            if not arrived or self.ready.status[i] is not Status.WAITING:
                continue
            names = [self.plan.nodes[p].name for p in self.ready.pending(i)]
            since = self.chronicle.ended_at[arrived[0]]
            got = tuple(self.plan.nodes[p].name for p in arrived)
            yield WaitNow(
                self._path(i), node.name, self.run.plan.name, now - since, got, tuple(names)
            )

    def maps_now(self, now: float) -> Iterator[MapNow]:
        del now
        return iter(())
