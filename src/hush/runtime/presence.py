"""Presence: what is running and what is waited for now, in this process, across all runs.

Traces tell of what is over; a join that is stuck has no span that ends. So every graph
that runs stands in one register from its start to its end, and whoever asks, from any
thread, gets a picture of this instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = (
    "MapNow",
    "NodeNow",
    "Present",
    "RunNow",
    "Snapshot",
    "WaitNow",
    "enter",
    "leave",
    "present",
    "snapshot",
)


@dataclass(frozen=True, slots=True)
class NodeNow:
    """A node that is running."""

    path: str
    """Its path, items included."""
    kind: str
    seconds: float
    """Since it became ready."""


@dataclass(frozen=True, slots=True)
class WaitNow:
    """A node that waits although some of its predecessors have arrived."""

    path: str
    """Its path, items included."""
    name: str
    graph: str
    """Name of the run's graph."""
    seconds: float
    """Since the first of them arrived."""
    arrived: tuple[str, ...]
    """Names of predecessors that have arrived."""
    pending: tuple[str, ...]
    """Names of predecessors that have not."""


@dataclass(frozen=True, slots=True)
class MapNow:
    """A map or loop over items that is running."""

    path: str
    seconds: float
    running: int
    """Items under way."""
    ended: int
    """Items that are over."""
    total: int | None
    """How many there are; None where the source does not say."""
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class RunNow:
    """A run that is under way."""

    run_id: str
    graph: str
    seconds: float
    nodes: tuple[NodeNow, ...]
    waits: tuple[WaitNow, ...]
    maps: tuple[MapNow, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What runs and what is waited for at one instant."""

    runs: tuple[RunNow, ...]

    def __str__(self) -> str:
        """Return it as text, a line for each thing, longest waits first."""
        if not self.runs:
            return "nothing is running"
        lines: list[str] = []
        for run in self.runs:
            lines.append(f"run {run.graph} ({run.run_id}), {run.seconds:.1f} s")
            lines.extend(
                f"  {wait.path} has waited {wait.seconds:.1f} s for "
                f"{', '.join(wait.pending)}; arrived: {', '.join(wait.arrived)}"
                for wait in sorted(run.waits, key=lambda one: -one.seconds)
            )
            lines.extend(
                f"  {one.path} runs {one.running} of at most {one.max_concurrency} items, "
                f"{one.ended}{'' if one.total is None else f' of {one.total}'} ended, "
                f"{one.seconds:.1f} s"
                for one in run.maps
            )
            lines.extend(
                f"  {node.path} runs, {node.seconds:.1f} s"
                for node in sorted(run.nodes, key=lambda one: -one.seconds)
            )
        return "\n".join(lines)


class Present(Protocol):
    """Something that runs and can say how it stands; asked from any thread."""

    @property
    def engine(self) -> object:
        """The engine that runs it, for who asks about one."""

    @property
    def run_key(self) -> tuple[str, str, float]:
        """Run id, name of the run's graph, and when the run began (perf_counter)."""

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        """Yield the nodes that are running, those that only contain others left out."""

    def waits_now(self, now: float) -> Iterator[WaitNow]:
        """Yield the nodes that wait with some predecessors arrived."""

    def maps_now(self, now: float) -> Iterator[MapNow]:
        """Yield the map, where this is one."""


_present: dict[int, Present] = {}


def enter(one: Present) -> None:
    """Put something into the register."""
    _present[id(one)] = one


def leave(one: Present) -> None:
    """Take it out again."""
    _present.pop(id(one), None)


def present() -> list[Present]:
    """Return what is running now; from any thread."""
    while True:
        try:
            return list(_present.values())
        except RuntimeError:
            # Another thread put something in meanwhile.
            continue


def snapshot(engine: object = None, clock: Callable[[], float] = perf_counter) -> Snapshot:
    """Return what is running and waited for now.

    Args:
        engine: only what this engine runs; None for everything in the process.
        clock: tells the time as the runs do.

    Returns:
        The picture; runs in order of their start. Taken while they go on: what begins or
        ends meanwhile may be in it or not.
    """
    now = clock()
    runs: dict[tuple[str, str, float], list[Present]] = {}
    for one in present():
        if engine is None or one.engine is engine:
            runs.setdefault(one.run_key, []).append(one)
    told = []
    for (run_id, graph, began), parts in sorted(runs.items(), key=lambda pair: pair[0][2]):
        nodes = [node for part in parts for node in part.nodes_now(now)]
        waits = [wait for part in parts for wait in part.waits_now(now)]
        maps = [one for part in parts for one in part.maps_now(now)]
        told.append(RunNow(run_id, graph, now - began, tuple(nodes), tuple(waits), tuple(maps)))
    return Snapshot(tuple(told))
