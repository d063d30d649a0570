"""Chronicle: when each node of a graph became ready and ended, and what follows from that.

From these instants alone, and from who released whom, come the facts of fan-ins and the
graph's critical path. No clock is read here: the instants are told.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.model.join import First
from hush.runtime.trail import NO_TRAIL, WORTH_A_STEP, Step, Trail, along, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hush.plan.plan import Plan
    from hush.runtime.ready_set import ReadySet

__all__ = ("NO_FACTS", "Chronicle")

NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})


class Chronicle:
    """The instants of one graph's run, in seconds since any.

    Attributes:
        ready_at: by node, when it became ready; only meaningful once it has.
        ended_at: by node, when it ended; likewise.
        last: the node that settled last.
    """

    __slots__ = (
        "_cut",
        "_failed",
        "_lost",
        "_plan",
        "_ready",
        "_trails",
        "ended_at",
        "last",
        "ready_at",
    )

    def __init__(self, plan: Plan, ready: ReadySet) -> None:
        """Start with nothing.

        Args:
            plan: the graph.
            ready: tells who released whom.
        """
        self._plan = plan
        self._ready = ready
        size = len(plan.nodes)
        self.ready_at = [0.0] * size
        self.ended_at = [0.0] * size
        self.last: int | None = None
        self._trails: dict[int, Trail] = {}
        self._cut: int | None = None
        self._failed: int | None = None
        self._lost: dict[int, tuple[int | None, float]] = {}

    def ended(self, i: int, now: float, trail: Trail) -> None:
        """Take note that a node ended.

        Args:
            i: its index.
            now: the instant.
            trail: what is known of its inside.
        """
        self.ended_at[i] = now
        self.last = i
        if trail:
            self._trails[i] = trail

    def cut_off(self, i: int, now: float, trail: Trail) -> None:
        """Take note that a node was cancelled and has stopped.

        Args:
            i: its index.
            now: the instant.
            trail: what is known of its inside.
        """
        self.ended_at[i] = now
        self._cut = i
        if trail:
            self._trails[i] = trail

    def failed(self, i: int) -> None:
        """Take note that the graph fails because of a node, which has ended."""
        self._failed = i

    def lost(self, i: int, winner: int | None, now: float) -> None:
        """Take note that a node is cancelled because it lost a race.

        Args:
            i: its index.
            winner: whose end decided that.
            now: the instant.
        """
        self._lost[i] = winner, now

    def fan_in(self, i: int, cancelled: Sequence[int] = ()) -> Mapping[str, Any]:
        """Return what a node that is about to start waited for.

        Args:
            i: its index.
            cancelled: predecessors that its start cancels.

        Returns:
            Facts by names of :mod:`hush.semconv`; none where it waited for one only.
        """
        shape = self._plan.shape
        if len(shape.hard[i]) + len(shape.soft[i]) < 2:  # noqa: PLR2004  # two make a fan-in
            return NO_FACTS
        arrivals = self._ready.arrivals[i]
        pending = [p for p in self._ready.pending(i) if p not in cancelled]
        if len(arrivals) + len(pending) + len(cancelled) < 2:  # noqa: PLR2004  # the others were skipped
            return NO_FACTS
        nodes = self._plan.nodes
        times = [self.ended_at[p] for p in arrivals]
        facts: dict[str, Any] = {
            semconv.FAN_IN_COUNT: len(arrivals),
            semconv.FAN_IN_MODE: self._mode(i),
        }
        released_by = self._ready.release[i]
        if released_by is not None:
            facts[semconv.FAN_IN_LAST] = nodes[released_by].name
        if times:
            first, last = times[0], times[-1]
            facts[semconv.FAN_IN_SPREAD_S] = last - first
            facts[semconv.FAN_IN_LEAD_S] = self._lead_s(i, arrivals, last)
            facts[semconv.FAN_IN_ARRIVALS] = [
                f"{nodes[p].name} +{self.ended_at[p] - first:.6f}s"
                for p in arrivals[: semconv.LINK_LIMIT]
            ]
        if pending:
            names = [nodes[p].name for p in pending[: semconv.LINK_LIMIT]]
            facts[semconv.FAN_IN_LATE] = names
        if cancelled:
            names = [nodes[p].name for p in cancelled[: semconv.LINK_LIMIT]]
            facts[semconv.FAN_IN_CANCELLED] = names
        return facts

    def _lead_s(self, i: int, arrivals: Sequence[int], last: float) -> float:
        """Return how much earlier a node could have started without its last arrival.

        Args:
            i: its index.
            arrivals: the predecessors that it waited for, in order.
            last: the instant of the last one.
        """
        shape, ended = self._plan.shape, self.ended_at
        soft, final = shape.soft[i], arrivals[-1]
        if soft and not shape.hard[i]:
            return 0.0  # one is enough, and no other could have made it start earlier
        needed = [ended[p] for p in arrivals[:-1] if p not in soft]
        if soft and final not in soft:
            # Of those of which one is enough, the first had let it go.
            needed += [ended[p] for p in arrivals if p in soft][:1]
        return last - max(needed) if needed else 0.0

    def _mode(self, i: int) -> str:
        shape = self._plan.shape
        if shape.quorum[i]:
            race = isinstance(self._plan.nodes[i].node.join, First)
            return semconv.FAN_IN_FIRST if race else semconv.FAN_IN_QUORUM
        return semconv.FAN_IN_ANY if shape.soft[i] else semconv.FAN_IN_ALL

    def trail(self) -> Trail:
        """Return the critical path up to now.

        Back from the node that made the graph fail, else from the one that ended or stopped
        last. What had to stop after a failure, or after a race that it had lost, comes after
        what made it stop.
        """
        path: list[tuple[float, int]] = []
        i, stopped, since = self._failed, self._stopped(), 0.0
        if i is not None:
            since = self.ended_at[i]
        elif stopped in self._lost:
            i, since = self._lost[stopped]
        else:
            i, stopped = stopped, None
        while i is not None:
            path.append((max(0.0, self.ended_at[i] - self.ready_at[i]), i))
            i = self._ready.release[i]
        path.reverse()
        nodes, trails = self._plan.nodes, self._trails
        steps = along([(s, nodes[i].name, trails.get(i, NO_TRAIL)) for s, i in path])
        if stopped is not None:
            stopping_s = self.ended_at[stopped] - since
            if stopping_s > WORTH_A_STEP * sum(step.seconds for step in steps):
                steps.append(Step(f"{self._plan.nodes[stopped].name} (stopping)", stopping_s))
        return shortened(steps)

    def _stopped(self) -> int | None:
        """Return the node that ended or stopped last."""
        cut, last = self._cut, self.last
        if cut is None or last is None:
            return last if cut is None else cut
        return cut if self.ended_at[cut] >= self.ended_at[last] else last
