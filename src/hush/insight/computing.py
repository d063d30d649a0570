"""Computing: whether a map was held up by what one Python process can compute.

Threads of one process compute Python one at a time, and so does an event loop: more slots
make nothing of it faster. A map's span says what CPU the process used while it ran. That is
everybody's: where other nodes ran beside the map, whose it was nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from hush.insight.tree import TreeNode

__all__ = ("Computing", "computing_of")

MUCH: Final = 0.5
"""From this share of a map's time on it is not promised that slots help."""
FULL: Final = 0.8
"""From here on there is nothing left that more slots could use; a busy machine has the rest."""
PARALLEL: Final = 1.2
"""Beyond this, code ran that computes on several cores (numpy and the like, in threads)."""
BESIDE: Final = 0.5
"""Where others ran for more than this share of a map's time, the CPU may be theirs."""


@dataclass(frozen=True, slots=True)
class Computing:
    """What the process computed while a map ran."""

    cpu_s: float
    wall_s: float
    load: float
    """How many wanted each CPU of the machine; the process had so much less of one."""
    alone: bool
    """Whether nothing else of the run was under way for most of that time."""

    @property
    def cores(self) -> float:
        """How many cores were at work or wanted, on the average.

        Who used all that a busy machine has for one wanted more. Who used less than that got
        what it wanted: schedulers let those go first who want little.
        """
        used = self.cpu_s / self.wall_s
        return 1.0 if used < 1.0 <= used * self.load else used

    @property
    def binds(self) -> bool:
        """Whether computing is what held the map up, or may well be."""
        return self.alone and MUCH <= self.cores <= PARALLEL

    @property
    def rest_s(self) -> float:
        """How much shorter it gets at most while one core has to compute all of it."""
        return max(0.0, 1.0 - self.cores) * self.wall_s

    @property
    def used(self) -> str:
        """What was used, in words."""
        busy = f" on a busy machine ({self.load:.1f} wanted each CPU)" if self.load > 1.0 else ""
        return f"{format_duration(self.cpu_s)} of CPU in {format_duration(self.wall_s)}{busy}"

    @property
    def caution(self) -> str:
        """Why slots bring less than it seems, in words; empty where nothing speaks for it."""
        if self.cores > PARALLEL:
            return (
                f"the process used {self.used}, {self.cores:.1f} cores: more slots help only as far "
                f"as further cores are free"
            )
        if self.full:
            return (
                f"the process used {self.used}: one Python process computes one thing at a time, "
                f"in threads and on the loop, so that neither more slots nor fewer change much "
                f"(run_in='process' uses more cores)"
            )
        if self.binds:
            return (
                f"the process used {self.used}: that much has to be computed one after the other, "
                f"whatever the slots, and on a busy machine it takes longer"
            )
        if self.cores >= MUCH:
            return (
                f"the process used {self.used}, this map's items or what ran beside it: what "
                f"computes gains nothing by slots"
            )
        return ""

    @property
    def full(self) -> bool:
        """Whether it is certain."""
        return self.binds and self.cores >= FULL


def computing_of(node: TreeNode) -> Computing | None:
    """Say what was computed while a map ran.

    Args:
        node: the map's span. Of a map inside items the outermost map around it counts, for
            the others beside it share the process.

    Returns:
        None where the trace does not say it, or nothing worth a word was computed.
    """
    outermost = run = node
    while run.parent is not None and run.record.prefix != semconv.SPAN_RUN:
        run = run.parent
        if run.record.prefix == semconv.SPAN_MAP:
            outermost = run
    cpu_s, wall_s = outermost.record.seconds(semconv.CPU_S), outermost.duration_s
    if not cpu_s or wall_s <= 0.0:
        return None
    load = max(1.0, outermost.record.seconds(semconv.HOST_LOAD))
    found = Computing(cpu_s, wall_s, load, alone=True)
    if found.cores < MUCH:
        return found
    return Computing(cpu_s, wall_s, load, alone=_beside_s(run, outermost) <= BESIDE * wall_s)


def _beside_s(run: TreeNode, node: TreeNode) -> float:
    """Return for how many seconds others in the run were under way beside a map."""
    start_ns, end_ns = node.record.start_ns, node.record.end_ns
    beside_ns = 0
    pending = [run]
    while pending:
        one = pending.pop()
        if one is node or one.record.end_ns <= start_ns or one.record.start_ns >= end_ns:
            continue
        if one.record.prefix == semconv.SPAN_NODE:
            beside_ns += min(one.record.end_ns, end_ns) - max(one.record.start_ns, start_ns)
        else:
            pending.extend(one.children)
    return beside_ns / 1e9
