"""Trail: what a graph's time was spent on, step by step, as the scheduler knows it.

Every node remembers what released it. Walked back from the node that ended last, that is the
critical path: shorten any step on it, and the graph gets faster; shorten anything else, and
it does not. Steps of nested graphs, maps and loops take the place of the node that contains
them. Whatever the size of the work, a trail has a bounded number of steps: the longest stand
for themselves, and the others are counted together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = (
    "NO_TRAIL",
    "WORTH_A_STEP",
    "Chain",
    "Step",
    "Trail",
    "along",
    "precise",
    "rest_of",
    "shared_of",
    "shortened",
    "told",
    "within",
)

LIMIT: Final = 20
"""Most steps of a trail."""
WORTH_A_STEP: Final = 0.05
"""Share of a whole from which on a remainder is told."""
LONGEST: Final = 4
"""Items of one worker of a map that stand for themselves."""
SHORT_S: Final = 0.1
"""Seconds below which thousandths say too little."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a critical path."""

    label: str
    """The node, below what the trail belongs to: ``fetch``, ``pages[6].fetch``; what it waited
    for, where it waited, behind a blank: ``ask (rate limit)``."""
    seconds: float
    """How long it was on the path."""
    others: int = 0
    """How many further steps it stands for, that were too short to stand for themselves."""
    shared_s: float = 0.0
    """For how much of that a limit shared by all runs, such as a rate limit, held it back."""


Trail = tuple[Step, ...]
NO_TRAIL: Trail = ()


def within(label: str, seconds: float, inner: Trail) -> list[Step]:
    """Return the steps of a node that contains others.

    Args:
        label: the node.
        seconds: how long it took.
        inner: the trail of what it contains.

    Returns:
        The steps inside, and what the node itself took besides, if that is worth a step.
    """
    if not inner:
        return [Step(label, seconds)]
    steps = [
        Step(f"{label}{_joint(step.label)}{step.label}", step.seconds, step.others, step.shared_s)
        for step in inner
    ]
    rest = seconds - sum(step.seconds for step in inner)
    # Opening spans, resolving inputs, starting tasks: seldom worth a line.
    if rest > WORTH_A_STEP * seconds:
        steps.append(Step(f"{label} (itself)", rest))
    return steps


def along(path: Sequence[tuple[float, str, Trail]]) -> list[Step]:
    """Return the steps of nodes that ran one after the other, the short ones in one.

    Args:
        path: of each how long it took, its name, and the trail of what it contains.
    """
    kept, short = list(path), []
    # Of a long path only what will be told is looked into.
    if len(path) > LIMIT:
        ranks = [(one[0], position) for position, one in enumerate(path)]
        least = nlargest(LIMIT, ranks)[-1]
        kept = [one for one, rank in zip(path, ranks, strict=True) if rank >= least]
        short = [rank[0] for rank in ranks if rank < least]
    steps: list[Step] = []
    for seconds, name, inner in kept:
        steps.extend(within(name, seconds, inner))
    if short:
        steps.append(rest_of(short, len(short)))
    return steps


def _joint(label: str) -> str:
    return "" if label.startswith(("[", " ")) else "."


def shortened(steps: Iterable[Step], limit: int = LIMIT) -> Trail:
    """Return a trail of bounded length with the same seconds in all.

    Args:
        steps: in order.
        limit: most steps.

    Returns:
        The longest in their order, and at the end one for all the others.
    """
    every = tuple(steps)
    sums = [step for step in every if _is_rest(step)]
    if len(every) <= limit and len(sums) < 2:  # noqa: PLR2004  # two sums become one
        return every
    alone = [step for step in every if not _is_rest(step)]
    ranked = sorted(range(len(alone)), key=lambda i: alone[i].seconds, reverse=True)
    kept = sorted(ranked[: limit - 1])
    left = [*(alone[i] for i in ranked[limit - 1 :]), *sums]
    count = sum(max(step.others, 1) for step in left)
    rest = rest_of([step.seconds for step in left], count, shared_of(left))
    return (*(alone[i] for i in kept), rest)


def _is_rest(step: Step) -> bool:
    return step.others > 0 and step.label.startswith("(")


def rest_of(seconds: Iterable[float], count: int, shared_s: float = 0.0) -> Step:
    """Return one step for many that are too short to stand for themselves.

    Args:
        seconds: theirs.
        count: how many they are.
        shared_s: for how much of that shared limits held them back.
    """
    return Step(f"({count} shorter steps)", math.fsum(seconds), count, shared_s)


def shared_of(trail: Iterable[Step]) -> float:
    """Return for how many seconds of a trail shared limits held it back."""
    return math.fsum(step.shared_s for step in trail)


class Chain:
    """What a moment of a map was released by, all the way back, in bounded memory.

    The items of one worker, one after the other; and where several waited for the source, what
    the source had been waited for until it began with theirs.
    """

    __slots__ = ("_longest", "count", "paused_s", "queue_s", "seconds", "shared_s", "source_s")

    def __init__(self) -> None:
        """Start with nothing."""
        self.count = 0
        self.seconds = 0.0
        """Of all items together."""
        self.source_s = 0.0
        """Waited for the source."""
        self.queue_s = 0.0
        """Waited on the way to workers."""
        self.paused_s = 0.0
        """Waited before an item was tried again, with nothing else to do."""
        self.shared_s = 0.0
        """Of the items' seconds, those for which shared limits held them back."""
        self._longest: list[tuple[float, int, Trail | Callable[[], Trail]]] = []

    def copy(self) -> Chain:
        """Return another that begins with what this one has done."""
        other = Chain()
        other._longest = self._longest.copy()
        other.count, other.seconds = self.count, self.seconds
        other.source_s, other.shared_s = self.source_s, self.shared_s
        other.queue_s, other.paused_s = self.queue_s, self.paused_s
        return other

    def waited(self, seconds: float) -> None:
        """Take note of a wait for the source.

        Args:
            seconds: how long.
        """
        self.source_s += seconds

    def add(
        self, index: int, seconds: float, inner: Trail | Callable[[], Trail | Callable[[], Trail]]
    ) -> None:
        """Take note of an item.

        Args:
            index: its index.
            seconds: how long it took.
            inner: its trail; or what gives it where it is wanted, or gives what will, which
                nothing shared held back.
        """
        self.count += 1
        self.seconds += seconds
        if isinstance(inner, tuple) and inner:
            self.shared_s += shared_of(inner)
        longest = self._longest
        if len(longest) < LONGEST or seconds > longest[-1][0]:
            one = seconds, index, inner if isinstance(inner, tuple) else inner()
            at = len(longest)
            while at and longest[at - 1][:2] < (seconds, index):
                at -= 1
            longest.insert(at, one)
            del longest[LONGEST:]

    def trail(self) -> Trail:
        """Return what the worker did as steps below the map's label."""
        steps: list[Step] = []
        longest = [
            (seconds, index, inner if isinstance(inner, tuple) else inner())
            for seconds, index, inner in self._longest
        ]
        # Sums first: most of what they stand for came before the end, which is told last.
        held = {"source": self.source_s, "queue": self.queue_s, "paused": self.paused_s}
        worth = WORTH_A_STEP * (self.seconds + sum(held.values()))
        steps.extend(Step(f" ({what})", held[what]) for what in held if held[what] > worth)
        others = self.count - len(longest)
        if others:
            rest = self.seconds - sum(one[0] for one in longest)
            noun = "item" if others == 1 else "items"
            shared_s = self.shared_s - sum(shared_of(inner) for _, _, inner in longest)
            steps.append(Step(f" ({others} more {noun})", rest, others, shared_s))
        for seconds, index, inner in sorted(longest, key=lambda one: one[1]):
            steps.extend(within(f"[{index}]", seconds, inner))
        return shortened(steps)


def told(trail: Sequence[Step], total_s: float) -> list[str]:
    """Return a trail as texts for a span.

    Args:
        trail: the steps.
        total_s: what the whole took, for the shares.

    Returns:
        ``label seconds share`` each, such as ``pages[6].fetch 0.601s 85%``.
    """
    whole = total_s or 1.0
    return [f"{step.label} {precise(step.seconds)}s {step.seconds / whole:.0%}" for step in trail]


def precise(seconds: float) -> str:
    """Return seconds to a thousandth, short ones to a millionth: a run may last no longer."""
    return f"{seconds:.3f}" if seconds >= SHORT_S else f"{seconds:.6f}"
