"""What if a map had other slots: the run's wall time, predicted from one recorded run.

The recorded items are scheduled anew, in the order of their indices, on other numbers of
workers (:func:`~hush.insight.simulation.simulate`); the rest of the run follows by its own
structure (:class:`~hush.insight.rescheduling.Rescheduling`). The prediction holds as long
as items take as long as they did: where the trace says otherwise there is a caution. What the
model makes of the recorded limit is compared with what was measured, and by that factor every
prediction is corrected: who asks for the recorded limit gets what was recorded.

What is shared by all items is not multiplied by slots. The event loop, where items hold it, and
a limit that they wait for let in one after the other; and what a map's items compute, one
Python process computes no faster (:mod:`hush.insight.computing`): of a map that this held up
every limit is predicted to be like the recorded one.

A source is taken to work when it is asked. One that gives items at instants of its own
(a queue that others fill) is faster when asked later; with more slots than recorded the
prediction for it is too short. Nor does a run tell of a limit that it did not reach: a rate
limit is replayed only where items waited for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from hush import semconv
from hush.insight.computing import computing_of
from hush.insight.rescheduling import Rescheduling, static_path
from hush.insight.simulation import load_effect
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hush.insight.computing import Computing
    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("KNEE", "Caution", "Prediction", "WhatIf", "what_if")

KNEE: Final = 1.05
"""A run within 5 % of the floor has little left to gain."""
_TRUSTED: Final = 0.05
"""Further off than this at the recorded limit, the model has missed something."""
_BLOCKED: Final = 0.05
"""Share of the map's time from which on a blocked event loop is told."""
_BOUND: Final = 0.5
"""Share of the floor from which on a shared limit is told."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one limit comes to."""

    max_concurrency: int
    run_s: float
    """Wall time of the run, in seconds."""
    map_s: float
    """Wall time of the map; the sum where it runs several times."""
    utilisation: float
    """Share of the slots' time in which they were taken, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Why other slots would do less, or other things, than predicted."""

    kind: Literal["load", "rate_limit", "loop_blocked", "cpu", "load_unknown"]
    text: str
    """In words, for people."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What other limits of one map come to."""

    map_path: str
    """The map, without the items that it is in."""
    maps: int
    """How often it ran in this run."""
    items: int
    """How many items began, in all of them."""
    recorded: Prediction
    """What was measured."""
    replayed: Prediction
    """What the model makes of the recorded limit, uncorrected; the difference is its error."""
    predictions: tuple[Prediction, ...]
    """For each limit asked for, in that order."""
    floor: Prediction
    """A slot for each item: no limit is faster. What remains is the longest item, the
    source, a shared limit, or the rest of the run."""
    knee: Prediction
    """The smallest limit whose run is within 5 % of the floor: beyond it, slots buy little."""
    cautions: tuple[Caution, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it is approximate, in words; empty where it is not."""

    @property
    def approximate(self) -> bool:
        """Whether something had to be made up that the trace does not hold."""
        return bool(self.reasons)


def what_if(tree: TraceTree, limits: Iterable[int], *, map_path: str | None = None) -> WhatIf:
    """Predict a run's wall time for other limits of one of its maps.

    Args:
        tree: of a recorded run.
        limits: values of ``max_concurrency``, each at least 1; none asks for floor and knee.
        map_path: path of a map, such as ``g.outer.inner``; indices of items are ignored,
            for a map that is inside items has one limit. None takes the map by which the
            run could be shortened most, and among equals the one that took longest.

    Returns:
        The predictions.

    Raises:
        ValueError: a limit is no positive integer.
        LookupError: there is no such map; says which there are.
    """
    wanted = tuple(limits)
    for limit in wanted:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"max_concurrency {limit!r} is no positive integer")
    found = _maps_of(tree)
    if not found:
        raise LookupError("this trace holds no map: only a map's max_concurrency can be varied")
    if map_path is None:
        path, run, nodes = _most_promising(found)
    else:
        path = static_path(map_path)
        these = [one for one in found if one[0] == path]
        if not these:
            known = ", ".join(sorted({one[0] for one in found}))
            raise LookupError(f"this trace holds no map {path!r}; it holds: {known}")
        path, run, nodes = max(these, key=lambda one: one[1].duration_s)
    return _explored(path, run, nodes, wanted)


_Found = tuple[str, "TreeNode", "list[TreeNode]"]
"""A map's path, the run that it is in, its spans."""


def _maps_of(tree: TraceTree) -> list[_Found]:
    groups: dict[tuple[str, str], _Found] = {}
    runs: dict[str, TreeNode] = {}
    for node in tree:
        outer = None if node.parent is None else runs[node.parent.record.span_id]
        # The outermost run; without one (its span was lost) whatever is on top.
        inner = outer is not None and outer.record.prefix == semconv.SPAN_RUN
        begins = outer is None or (not inner and node.record.prefix == semconv.SPAN_RUN)
        run = runs[node.record.span_id] = node if begins or outer is None else outer
        if node.record.prefix == semconv.SPAN_MAP:
            path = _path_of(node)
            groups.setdefault((run.record.span_id, path), (path, run, []))[2].append(node)
    return list(groups.values())


def _path_of(node: TreeNode) -> str:
    path = node.record.attributes.get(semconv.NODE_PATH)
    return static_path(path) if isinstance(path, str) else node.name.partition(" ")[2]


def _most_promising(found: Sequence[_Found]) -> _Found:
    def promise(one: _Found) -> tuple[float, float]:
        _, run, nodes = one
        model = Rescheduling(run, nodes)
        gain_s = model.replay().run_s - model.replay(_most_items(model)).run_s
        # Microseconds are rounding, not gain.
        return round(gain_s, 6), sum(node.duration_s for node in nodes)

    return found[0] if len(found) == 1 else max(found, key=promise)


def _most_items(model: Rescheduling) -> int:
    return max(1, *(recorded.size for recorded in model.maps))


def _explored(path: str, run: TreeNode, nodes: Sequence[TreeNode], limits: Sequence[int]) -> WhatIf:
    model = Rescheduling(run, nodes)
    limit = max(recorded.limit for recorded in model.maps)

    used_s = sum(one.used_s for one in model.maps)
    recorded = _prediction(limit, run.duration_s, sum(node.duration_s for node in nodes), used_s)
    walls = model.replay(limit)
    replayed = _prediction(limit, walls.run_s, walls.map_s, walls.used_s)
    computing = computing_of(nodes[0])

    def predict(slots: int) -> Prediction:
        if computing is not None and computing.full:
            # Whatever the slots, all of it has to be computed, one after the other.
            return _prediction(slots, recorded.run_s, recorded.map_s, used_s)
        walls = model.replay(slots)
        run_s = walls.run_s * _correction(recorded.run_s, replayed.run_s)
        map_s = walls.map_s * _correction(recorded.map_s, replayed.map_s)
        if computing is not None and computing.binds:
            run_s = max(run_s, recorded.run_s - computing.rest_s)
            map_s = max(map_s, recorded.map_s - computing.rest_s)
        return _prediction(slots, run_s, map_s, walls.used_s)

    most = _most_items(model)
    floor = predict(most)
    knee = predict(_first(most, lambda slots: predict(slots).run_s <= KNEE * floor.run_s))
    reasons = list(model.reasons)
    off = replayed.run_s / recorded.run_s - 1.0 if recorded.run_s > 0.0 else 0.0
    if abs(off) > _TRUSTED:
        reasons.append(
            f"the model makes {replayed.run_s:.3g} s of the recorded run, which took "
            f"{recorded.run_s:.3g} s: something held it up that the spans do not tell"
        )
    cautions = tuple(_cautions(model, floor, recorded, computing))
    return WhatIf(
        map_path=path,
        maps=len(nodes),
        items=sum(one.size for one in model.maps),
        recorded=recorded,
        replayed=replayed,
        predictions=tuple(map(predict, limits)),
        floor=floor,
        knee=knee,
        cautions=cautions or tuple(_unknown(limit, recorded, floor)),
        reasons=tuple(reasons),
    )


def _prediction(limit: int, run_s: float, map_s: float, used_s: float) -> Prediction:
    slots_s = limit * map_s
    return Prediction(limit, run_s, map_s, min(1.0, used_s / slots_s) if slots_s > 0.0 else 0.0)


def _correction(recorded_s: float, replayed_s: float) -> float:
    return recorded_s / replayed_s if recorded_s > 0.0 and replayed_s > 0.0 else 1.0


def _first(most: int, holds: Callable[[int], bool]) -> int:
    """Return the smallest number for which something holds that holds from there on."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _cautions(
    model: Rescheduling, floor: Prediction, recorded: Prediction, computing: Computing | None
) -> Iterator[Caution]:
    items = [item for one in model.maps for item in one.items]
    origin_ns = min((item.record.start_ns for item in items), default=0)
    effect = load_effect(
        ((item.record.start_ns - origin_ns) / 1e9, (item.record.end_ns - origin_ns) / 1e9)
        for item in items
    )
    if effect is not None:
        yield Caution(
            "load",
            f"items took {effect.rise:.1f} times as long with {effect.busy:.0f} others running "
            f"as with {effect.quiet:.0f} (rank correlation {effect.correlation:.2f}): more slots "
            f"would make each item slower, and bring less than predicted",
        )
    for gate in {one.gate.name: one.gate for one in model.maps if one.gate is not None}.values():
        least_s = sum(one.gate.least_s for one in model.maps if one.gate is not None)
        if least_s > _BOUND * floor.map_s:
            yield Caution(
                "rate_limit",
                f"items waited for {gate.told}: it lets one in every "
                f"{format_duration(gate.pace_s)}, and so all of them in {format_duration(least_s)} "
                f"at best, whatever the slots",
            )
            break
    blocked_s = sum(
        node.record.seconds(semconv.LOOP_BLOCKED_S)
        for item in items
        for node in item.walk()
        if node.record.prefix == semconv.SPAN_NODE
    )
    if blocked_s > _BLOCKED * recorded.map_s:
        yield Caution(
            "loop_blocked",
            f"items held the event loop for {format_duration(blocked_s)}, in which no other could "
            f"go on: that takes as long with any number of slots; run such nodes in threads "
            f"(run_in='thread')",
        )
    if computing is not None and (said := computing.caution):
        yield Caution("cpu", said)


def _unknown(limit: int, recorded: Prediction, floor: Prediction) -> Iterator[Caution]:
    """Say that more slots than were recorded are beyond what the trace can tell."""
    if floor.max_concurrency > limit and floor.run_s * KNEE < recorded.run_s:
        yield Caution(
            "load_unknown",
            f"this run had at most {limit:,} items at once; that they stay as fast beside more is "
            f"taken for granted",
        )
