"""The ready set: which nodes may start now. Events in, decisions out, no I/O.

It knows nodes only as indices. ``start`` and ``settle`` return a :class:`Step`; the
scheduler carries it out. Skipping spreads here, joins are counted here, races are
decided here. Loops, not recursion: chains of 10,000 nodes are ordinary.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hush.plan.plan import Shape

__all__ = ("ReadySet", "Status", "Step")


class Status(Enum):
    """Where a node stands."""

    WAITING = "waiting"
    RUNNING = "running"
    OK = "ok"
    CAPTURED = "captured"
    """It failed and gave that as its output: done well, only not for joins."""
    SKIPPED = "skipped"
    """A branch did not select it, or it hangs on one that was not selected."""
    LOST = "lost"
    """It failed or was cancelled where only joins depended on it."""


@dataclass(slots=True)
class Step:
    """What follows from an event."""

    ready: list[int] = field(default_factory=list)
    """Nodes to start, in the order in which they were released."""
    skipped: list[int] = field(default_factory=list)
    """Nodes that will not run."""
    unmet: list[int] = field(default_factory=list)
    """Joins that cannot be met any more; they count as running until settled."""
    losers: list[tuple[int, int]] = field(default_factory=list)
    """Running nodes to cancel, each with the join that no longer needs it."""


class ReadySet:
    """The progress of one graph's run.

    Every node is started at most once, and only when what it waits for has settled.
    """

    def __init__(self, shape: Shape) -> None:
        """Start with nothing settled.

        Args:
            shape: who waits for whom.
        """
        self._shape = shape
        size = shape.size
        self.status: list[Status] = [Status.WAITING] * size
        self.arrivals: list[list[int]] = [[] for _ in range(size)]
        """Predecessors that settled well while the node was waiting, in order."""
        self.release: list[int | None] = [None] * size
        """The predecessor whose settling released the node, or made its join hopeless."""
        self._hard_left = [len(hard) for hard in shape.hard]
        self._soft_left = [len(soft) for soft in shape.soft]
        self._soft_sets = [frozenset(soft) for soft in shape.soft]
        self._soft_ok = [not soft for soft in shape.soft]
        self._failed_soft = [False] * size
        self._hard_skipped = [False] * size
        self._unsettled = [
            len(hard) + len(soft) for hard, soft in zip(shape.hard, shape.soft, strict=True)
        ]
        self._won = [0] * size
        self._gone = [0] * size
        self._left = size
        self._over: set[int] = set()
        self._told: set[int] = set()

    @property
    def finished(self) -> bool:
        """Whether every node has settled."""
        return self._left == 0

    def winner(self, join: int) -> int | None:
        """Return the predecessor that met a join, None while it waits."""
        return self.release[join]

    def pending(self, i: int) -> list[int]:
        """Return the predecessors that a node still waits for."""
        every = (*self._shape.hard[i], *self._shape.soft[i])
        return [p for p in every if self.status[p] in {Status.WAITING, Status.RUNNING}]

    def start(self) -> Step:
        """Begin: release every node that waits for nothing."""
        step = Step()
        shape = self._shape
        for i in range(shape.size):
            if not shape.hard[i] and not shape.soft[i]:
                self._begin(i, step)
        return step

    def settle(self, i: int, status: Status, chosen: Iterable[int] | None = None) -> Step:
        """Take note that a running node has ended.

        Args:
            i: its index.
            status: OK, CAPTURED or LOST.
            chosen: successors that it selected among those it chooses from; None where
                it does not choose.

        Returns:
            What follows.

        Raises:
            RuntimeError: the node is not running.
        """
        if self.status[i] is not Status.RUNNING:
            msg = f"node {i} is {self.status[i].value}, not running"
            raise RuntimeError(msg)
        step = Step()
        selected = None if chosen is None else frozenset(chosen)
        pending = deque([(i, status, selected)])
        while pending:
            source, now, picked = pending.popleft()
            self.status[source] = now
            self._left -= 1
            if now is Status.SKIPPED or (now is Status.LOST and source != i):
                step.skipped.append(source)
            choices = self._shape.choices.get(source, frozenset())
            for target in self._shape.successors[source]:
                # A join counts successes, and no failure is one, captured or not.
                failed = now is Status.CAPTURED and self._shape.quorum[target] > 0
                lost = failed or now is Status.LOST
                taken = (
                    now in {Status.OK, Status.CAPTURED}
                    and not failed
                    and (target not in choices or picked is None or target in picked)
                )
                ended = self._arrive(source, target, step, taken=taken, lost=lost)
                if ended is not None:
                    # Claimed at once, so that no other way settles it twice.
                    self.status[target] = ended
                    pending.append((target, ended, None))
                pending.extend((n, Status.LOST, None) for n in self._dropped(target, step))
        for join in step.unmet:
            self.release[join] = i
        return step

    def _begin(self, i: int, step: Step) -> None:
        self.status[i] = Status.RUNNING
        step.ready.append(i)

    def _arrive(
        self, source: int, target: int, step: Step, *, taken: bool, lost: bool
    ) -> Status | None:
        """Count an arrival; return how the target settles by it, None where it does not."""
        if self.status[target] is not Status.WAITING:
            return None
        if taken:
            self.arrivals[target].append(source)
        if self._shape.quorum[target]:
            return self._arrive_at_join(source, target, step, taken=taken, lost=lost)
        if source in self._soft_sets[target]:
            self._soft_left[target] -= 1
            self._soft_ok[target] |= taken
            self._failed_soft[target] |= lost
        elif taken:
            self._hard_left[target] -= 1
        elif lost:
            return Status.LOST
        else:
            self._hard_skipped[target] = True
        self._unsettled[target] -= 1
        no_soft = not self._soft_ok[target] and not self._soft_left[target]
        if no_soft and self._failed_soft[target]:
            return Status.LOST
        if no_soft or self._hard_skipped[target]:
            # Where a predecessor may still be lost, that decides, whichever comes first.
            waits = target in self._shape.lanes and self._unsettled[target]
            return None if waits else Status.SKIPPED
        if not self._hard_left[target] and self._soft_ok[target]:
            self.release[target] = source
            self._begin(target, step)
        return None

    def _arrive_at_join(
        self, source: int, target: int, step: Step, *, taken: bool, lost: bool
    ) -> Status | None:
        needed, every = self._shape.quorum[target], len(self._shape.hard[target])
        if taken:
            self._won[target] += 1
            if self._won[target] == needed:
                self.release[target] = source
                self._begin(target, step)
                if self._shape.cancel_rest[target]:
                    self._over.add(target)
                return None
        else:
            self._gone[target] += 1
            self._failed_soft[target] |= lost
        if every - self._gone[target] >= needed:
            return None
        if self._failed_soft[target]:
            self.status[target] = Status.RUNNING
            step.unmet.append(target)
            return None
        # Skips alone made it impossible; a predecessor that may still be lost decides.
        return Status.SKIPPED if self._won[target] + self._gone[target] == every else None

    def _dropped(self, join: int, step: Step) -> list[int]:
        """Decide a race: return waiting nodes that nothing needs, cancel running ones."""
        if join not in self._over or join not in step.ready:
            return []
        waiting = []
        over = [join]
        while over:
            decided = over.pop()
            for i, joins in self._shape.lanes.items():
                if decided not in joins or not joins <= self._over:
                    continue
                if self.status[i] is Status.RUNNING and i not in self._told:
                    self._told.add(i)
                    step.losers.append((i, join))
                elif self.status[i] is Status.WAITING:
                    self.status[i] = Status.LOST
                    waiting.append(i)
                elif self.status[i] in {Status.OK, Status.CAPTURED}:
                    continue
                if self._shape.quorum[i] and i not in self._over:
                    # A join that lost, now or before: nothing needs its own predecessors.
                    self._over.add(i)
                    over.append(i)
        return waiting
