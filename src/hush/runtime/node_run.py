"""One node's run: observe, resolve inputs, execute under its policies, check outputs.

Every kind of node goes this way. Its values are only handed back here: the scheduler
writes them after the span has closed, together with releasing the successors, so that
nobody sees one without the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import anyio.lowlevel

from hush import semconv
from hush.errors import Failure, text_of, type_name
from hush.log import get_logger
from hush.model.contract import Selection
from hush.model.ref import Ref, parts
from hush.runtime.attempt import Place, Policy, Tally, interrupted, persist
from hush.runtime.chronicle import NO_FACTS
from hush.runtime.events import NodeEnded, NodeStarted
from hush.runtime.failing import culprit_of, failed, failure_of, trail_of
from hush.runtime.instrument import OK, Ending, Scope
from hush.runtime.passing import checked, resolved, starred, writes_of
from hush.runtime.stepping import lost_s, stamp_here
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hush.plan.plan import NodePlan
    from hush.runtime.instrument import Level, Observation
    from hush.runtime.lineage import Lineage
    from hush.runtime.state import Frame, Run
    from hush.runtime.trail import Trail

__all__ = ("AT_ONCE", "Done", "NodeRun", "Release")

STARVED_S: Final = 0.5
"""For how long, all together, the loop of a run stood still before that is worth a warning."""
_NOBODY, _WATCHERS = "", " watchers"
"""Stand for no node among those that were warned of."""
LEVELS: dict[str, Level] = {"graph": "graph", "map": "map", "loop": "loop"}


class Release(NamedTuple):
    """What let a node start."""

    by: object = None
    """Token of the predecessor that released it; None where it starts with its graph."""
    after: Sequence[object] = ()
    """Tokens of the predecessors that arrived."""
    facts: Mapping[str, Any] = NO_FACTS
    """What it waited for, where that was more than one."""
    fault: Exception | None = None
    """Why it cannot run although it is its turn: a join that cannot be met."""


AT_ONCE: Final = Release()
"""Of a node that waits for nothing."""


@dataclass(slots=True)
class Done:
    """How a node's run ended, if it was not cancelled."""

    token: object
    outputs: Mapping[str, Any]
    writes: Mapping[str, Any]
    chosen: frozenset[str] | None = None
    failures: tuple[Failure, ...] = ()
    """Why it failed; empty where it did not."""
    captured: tuple[Failure, ...] = ()
    """Why it failed where the outputs tell of it instead."""
    culprit: object = None
    """Token of what failed first, the node itself or something inside it."""
    trail: Trail = NO_TRAIL
    """What its time was spent on, where that is more than itself."""


class NodeRun:
    """A node that is about to run.

    Attributes:
        seen: its observation while it runs.
        place: likewise.
        blocked_s: how long it held up the event loop.
        left_at: when its last step ended.
        loop_wait_s: about how long it waited for an event loop that others held up.
        over: whether its span has ended: what comes now is not its doing.
    """

    __slots__ = (
        "blocked_s",
        "depth",
        "frame",
        "left_at",
        "lineage",
        "loop_wait_s",
        "node",
        "over",
        "place",
        "release",
        "run",
        "seen",
    )

    def __init__(
        self,
        node: NodePlan,
        frame: Frame,
        run: Run,
        lineage: Lineage,
        release: Release,
        depth: int,
    ) -> None:
        """Prepare a run.

        Args:
            node: the node.
            frame: its graph's values.
            run: the run that it belongs to.
            lineage: the node's own.
            release: what let it start.
            depth: frames of calls that the current task holds for the graphs around it.
        """
        self.node = node
        self.frame = frame
        self.run = run
        self.lineage = lineage
        self.release = release
        self.depth = depth
        self.seen: Observation | None = None
        self.place: Place | None = None
        self.blocked_s = 0.0
        self.left_at = math.inf
        self.loop_wait_s = 0.0
        self.over = False

    @property
    def elsewhere(self) -> bool:
        """Whether a thread or a process does its work."""
        return self.place is not None and self.place.tally.elsewhere

    @property
    def path(self) -> str:
        """The node's path, items included."""
        return f"{self.frame.path}.{self.node.name}"

    async def execute(self) -> Done:
        """Run the node once.

        Returns:
            How it ended.

        Raises:
            BaseException: only cancellation and what else is no Exception; every
                Exception is in what is returned.
        """
        node, run, path = self.node, self.run, self.path
        run.started += 1
        run.state.started(self.frame, path)
        events = run.events
        began = run.clock()
        ending = OK
        try:
            with run.instrument.observe(self._scope(path)) as seen:
                self.seen = seen
                place = Place(run, node.name, path, seen, self.lineage, Tally(), self.frame.index)
                self.place = place
                try:
                    if events is not None:
                        await events.emit(NodeStarted(path, node.name, node.kind))
                    done = await self._under_policies(place)
                except Exception as error:  # noqa: BLE001  # a node's failure is a result here, raised again by its graph
                    done, ending = self._failed(error, place)
                except anyio.get_cancelled_exc_class():
                    ending = interrupted(place)
                    self.lineage.cut = place.tally.trail(self.lineage.cut)
                    self._hand_on_late()
                    seen.end(ending)
                    raise
                finally:
                    self._annotate(place, run.clock() - began)
                    self.over = True
                seen.end(ending)
        except anyio.get_cancelled_exc_class():
            if events is not None:
                await events.emit_cancelled(self._ended(ending, began))
            raise
        if events is not None:
            await events.emit(self._ended(ending, began))
        return done

    def _scope(self, path: str) -> Scope:
        node, release = self.node, self.release
        facts = {
            semconv.NODE_NAME: node.name,
            semconv.NODE_PATH: path,
            semconv.NODE_KIND: node.kind,
            **release.facts,
        }
        level: Level = LEVELS.get(node.kind, "node") if node.body is not None else "node"
        return Scope(level, node.name, facts, release.by, release.by is None, release.after)

    def _ended(self, ending: Ending, began: float) -> NodeEnded:
        node, seconds = self.node, self.run.clock() - began
        said = _said(ending)
        return NodeEnded(self.path, node.name, node.kind, ending.outcome, seconds, said)

    def _annotate(self, place: Place, total_s: float) -> None:
        seen, tally = place.seen, place.tally
        stamp_here().settle(self)
        seen.annotate(semconv.RUN_S, total_s - tally.backoff_s - tally.waited_s)
        if tally.waited_s:
            seen.annotate(semconv.WAIT_LIMITER_S, tally.waited_s)
        if self.node.node.retry is not None:
            seen.annotate(semconv.ATTEMPTS, tally.attempts)
        if self.node.node.retry is not None or tally.backoff_s:
            seen.annotate(semconv.BACKOFF_S, tally.backoff_s)
        if self.loop_wait_s and self.node.body is None:
            # Of what contains others it is theirs.
            seen.annotate(semconv.WAIT_LOOP_S, self.loop_wait_s)
        self.lineage.annotate(seen)

    def kept_waiting(self, held_from: float, held_until: float) -> None:
        """Take note that others held the loop when the node might have gone on."""
        self.loop_wait_s += lost_s(held_until - self.left_at, max(0.0, held_from - self.left_at))

    def blocked(self, seconds: float, where: str | None) -> None:
        """Take note that a step of the node held up the event loop."""
        if where is None and self.elsewhere:
            # Not in its code: a thread could not be started, or told what to do.
            self.starved(seconds)
            return
        self.blocked_s += seconds
        if self.over:
            self._said_of_watchers(seconds, where)
            return
        if self.seen is not None:
            self.seen.annotate(semconv.LOOP_BLOCKED_S, self.blocked_s)
            facts = {semconv.LOOP_BLOCKED_S: seconds, semconv.LOOP_BLOCKED_AT: where or "unknown"}
            self.seen.event(semconv.EVENT_LOOP_BLOCKED, facts)
        if self.node.name in self.run.warned:
            return
        self.run.warned.add(self.node.name)
        get_logger().warning(
            "a node holds up the event loop, and everything else on it; "
            "give it run_in='thread', or let it await",
            **{semconv.NODE_PATH: self.path},
            blocked_s=round(seconds, 3),
            where=where,
        )

    def _said_of_watchers(self, seconds: float, where: str | None) -> None:
        if _WATCHERS in self.run.warned:
            return
        self.run.warned.add(_WATCHERS)
        get_logger().warning(
            "whoever watches the run holds up the event loop, and everything else on it: a span "
            "processor or an event's listener that blocks; use BatchSpanProcessor, or let the "
            "listener await",
            **{semconv.NODE_PATH: self.path},
            blocked_s=round(seconds, 3),
            where=where,
        )

    def starved(self, seconds: float) -> None:
        """Take note that the event loop stood still while it was this node's turn."""
        run = self.run
        run.starved_s += seconds
        # Not for every hiccup of a busy machine.
        if run.starved_s < STARVED_S or _NOBODY in run.warned:
            return
        run.warned.add(_NOBODY)
        get_logger().warning(
            "the event loop stood still, and no node held it up: threads that compute in Python "
            "keep the interpreter to themselves, or the machine is busy; "
            "give nodes that compute run_in='process'",
            stood_s=round(run.starved_s, 3),
        )

    async def _under_policies(self, place: Place) -> Done:
        # Keeps the loop fair and lets cancellation in, also where every node is a lambda.
        await anyio.lowlevel.checkpoint()
        if self.release.fault is not None:
            raise self.release.fault
        spec = self.node.node
        policy = Policy(spec.retry, spec.timeout_s, spec.deadline_s)

        async def once() -> Done:
            ctx = self.run.context_type(self.node, self.frame, place, depth=self.depth)
            outputs = await spec.execute(resolved(self.node, self.frame), ctx)
            done = self._done(outputs, place.seen.token)
            done.trail = ctx.trail
            return done

        done = await persist(once, policy, place)
        done.trail = place.tally.trail(done.trail)
        return done

    def _done(self, outputs: object, token: object) -> Done:
        node, frame = self.node, self.frame
        given = checked(node, outputs, frame)
        chosen = given.chosen if isinstance(given, Selection) else None
        return Done(token, given, writes_of(node, given, frame), chosen)

    # --- failure ---------------------------------------------------------------------------

    def _hand_on_late(self) -> None:
        """Hand on what failed while it was being cancelled, or note it where it ends here."""
        kind = None
        if self.node.node.captures:
            kind = "captured"
        elif self.lineage.blame is not None:
            kind = "tolerated"  # it lost a race
        for failure in self.lineage.take_late():
            if kind is not None:
                self.run.note(replace(failure, kind=kind))
            elif self.lineage.outer is not None:
                self.lineage.outer.add_late((failure,))

    def _failed(self, error: Exception, place: Place) -> tuple[Done, Ending]:
        node, tally = self.node, place.tally
        failures = failure_of(
            error, place.path, index=self.frame.index, attempts=max(tally.attempts, 1)
        )
        ending = failed(error, place.path, recorded=tally.has_recorded(error))
        trail = tally.trail(trail_of(error, self.lineage.cut))
        if not node.node.captures:
            culprit = culprit_of(error, place.seen.token)
            done = Done(place.seen.token, {}, {}, failures=failures, culprit=culprit, trail=trail)
            return done, ending
        self.lineage.mark_partial()
        for failure in failures:
            self.run.note(replace(failure, kind="captured"))
        root = failures[0]
        names = (node.declared or frozenset()) | (node.starred or frozenset())
        names |= node.reads - {"*"}
        outputs: dict[str, Any] = dict.fromkeys(sorted(names))
        outputs["error"] = {
            "type": root.error_type,
            "message": root.message,
            "path": root.path,
        }
        writes = starred(node, outputs)
        for key, _ in node.writes:
            # An operation on a None that stands for nothing would only hide the failure.
            writes[key] = None
        for output in node.node.output_maps:
            if _is_plain_error(output.source):
                writes[output.key] = outputs["error"]
        chosen = frozenset[str]() if node.node.targets() else None
        token = place.seen.token
        return Done(token, outputs, writes, chosen, captured=failures, trail=trail), ending


def _is_plain_error(source: Ref) -> bool:
    inside = parts(source)
    return inside.key == "error" and not inside.ops


def _said(ending: Ending) -> str | None:
    if ending.error is None:
        return ending.message
    return f"{type_name(ending.error)}: {text_of(ending.error)}"
