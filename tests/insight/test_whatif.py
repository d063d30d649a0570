"""What-if: the simulation against a naive one, and whole made-up runs against their own truth."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any

import anyio
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hush import semconv
from hush.core import PARENT, START, Each, GraphNode, Hush, MapNode, Quorum, code_node
from hush.insight.record import LinkRecord, SpanRecord
from hush.insight.simulation import Costs, Load, load_effect, simulate
from hush.insight.tree import TraceTree
from hush.insight.whatif import KNEE, WhatIf, what_if
from hush.testing import capture_spans

# --- the simulation ----------------------------------------------------------------------

# Whole numbers of seconds: sums are exact, whatever their order.
WHOLE = st.integers(0, 50).map(float)
RUNS = st.lists(st.builds(Load, run_s=WHOLE), min_size=1, max_size=40)
GATED = st.lists(st.builds(Load, run_s=WHOLE, source_s=WHOLE, gate_s=WHOLE), max_size=40)
ON_LOOP = st.lists(
    st.tuples(WHOLE, WHOLE, WHOLE).map(
        lambda each: Load(each[0] + each[2], each[1], loop_s=each[2])
    ),
    max_size=40,
)
LOADS = GATED | ON_LOOP
COSTS = st.builds(Costs, head_s=WHOLE, pull_s=WHOLE, hop_s=WHOLE, tail_s=WHOLE, burst_s=WHOLE)
SLOTS = st.integers(1, 45)


def naive(loads: list[Load], workers: int, costs: Costs) -> tuple[float, float]:
    """Event by event: a line of workers before the source, lines of items at gate and loop."""
    todo = deque(loads)
    number = count()
    events: list[tuple[float, int, str, Any]] = []
    line: deque[None] = deque()
    gate: deque[tuple[float, Load]] = deque()
    source_busy = False
    looping: deque[tuple[float, Load]] = deque()
    loop_busy = False
    wall = used = 0.0
    # The gate as a bucket of seconds: it is full at first, and fills by one each second.
    level, filled = costs.burst_s, 0.0
    for _ in range(workers):
        heappush(events, (0.0, next(number), "free", None))
    while events:
        now, _, what, load = heappop(events)
        if what == "free":
            line.append(None)
        elif what == "pulled":
            # The source rests, the item asks at the gate if it must.
            heappush(events, (now + costs.pull_s, next(number), "source ready", None))
            if load.gate_s:
                gate.append((now, load))
            elif load.loop_s:
                looping.append((now, load))
            else:
                heappush(events, (now + load.run_s, next(number), "end", (now, load)))
        elif what == "source ready":
            source_busy = False
        elif what == "loop free":
            loop_busy = False
        elif what == "end":
            used += now - load[0]
            wall = max(wall, now)
            heappush(events, (now + costs.hop_s, next(number), "free", None))
        if line and todo and not source_busy:
            line.popleft()
            source_busy = True
            item = todo.popleft()
            heappush(events, (now + item.source_s, next(number), "pulled", item))
        if looping and not loop_busy:
            loop_busy = True
            asked, item = looping.popleft()
            heappush(events, (now + item.loop_s, next(number), "loop free", None))
            heappush(events, (now + item.run_s, next(number), "end", (asked, item)))
        level, filled = min(costs.burst_s, level + now - filled), now
        while gate and level >= 0.0:
            asked, item = gate.popleft()
            level -= item.gate_s
            heappush(events, (now + item.run_s, next(number), "end", (asked, item)))
        if gate:
            heappush(events, (now - level, next(number), "look again", None))
    return costs.head_s + wall + costs.tail_s, used


@given(loads=LOADS, workers=SLOTS, costs=COSTS)
def test_simulation_is_that_of_the_events(loads: list[Load], workers: int, costs: Costs):
    found = simulate(loads, workers, costs)

    assert (found.wall_s, found.used_s) == naive(loads, workers, costs)


@given(loads=RUNS)
def test_one_slot_takes_the_sum(loads: list[Load]):
    assert simulate(loads, 1).wall_s == sum(load.run_s for load in loads)


@given(loads=RUNS, more=st.integers(0, 3))
def test_slots_for_all_take_the_longest(loads: list[Load], more: int):
    assert simulate(loads, len(loads) + more).wall_s == max(load.run_s for load in loads)


@given(loads=LOADS, workers=SLOTS, costs=COSTS)
def test_another_slot_never_takes_longer(loads: list[Load], workers: int, costs: Costs):
    # No timing anomalies: see the module's docstring for why.
    more = simulate(loads, workers + 1, costs).wall_s

    assert more <= simulate(loads, workers, costs).wall_s
    assert simulate(loads, max(1, len(loads)), costs).wall_s <= more


@given(loads=RUNS, workers=SLOTS)
def test_never_faster_than_the_work_allows(loads: list[Load], workers: int):
    total, longest = sum(load.run_s for load in loads), max(load.run_s for load in loads)
    wall = simulate(loads, workers).wall_s

    assert wall >= max(longest, total / workers)
    # Graham's bound, whatever the order of the items.
    assert wall <= total / workers + longest * (1 - 1 / workers) + 1e-9


@given(loads=LOADS, workers=SLOTS)
def test_source_gate_and_loop_are_floors(loads: list[Load], workers: int):
    wall = simulate(loads, workers).wall_s
    gated = [load.gate_s for load in loads if load.gate_s]

    assert wall >= sum(load.source_s for load in loads)
    assert wall >= sum(gated[:-1])
    assert wall >= sum(load.loop_s for load in loads)


# --- load --------------------------------------------------------------------------------


def crowd(seed: int, slower: float, *, slots: int = 8) -> list[tuple[float, float]]:
    """Items that come at random; ``slower`` per other item that runs at their start."""
    chance = random.Random(seed)
    runs: list[tuple[float, float]] = []
    now = 0.0
    for i in range(200):
        # Quiet and busy times take turns.
        now += chance.expovariate(1 / (0.3 if i // 20 % 2 else 2.0))
        others = sum(end > now for _, end in runs)
        if others < slots:
            runs.append((now, now + chance.uniform(0.8, 1.2) * (1 + slower * others)))
    return runs


@pytest.mark.parametrize("seed", range(5))
def test_load_that_slows_items_is_seen(seed: int):
    effect = load_effect(crowd(seed, 0.5))

    assert effect is not None
    assert effect.rise > 1.3
    assert effect.busy > effect.quiet


@pytest.mark.parametrize("seed", range(20))
def test_load_that_does_not_is_not(seed: int):
    assert load_effect(crowd(seed, 0.0)) is None


@pytest.mark.parametrize("order", ["as it comes", "longest first", "longest last"])
@pytest.mark.parametrize("seed", range(10))
def test_quiet_end_of_a_map_is_no_effect_of_load(order: str, seed: int):
    chance = random.Random(seed)
    took = [chance.expovariate(1.0) for _ in range(100)]
    if order != "as it comes":
        took.sort(reverse=order == "longest first")
    free = [0.0] * 8
    runs = []
    for one in took:
        free.sort()
        runs.append((free[0], free[0] + one))
        free[0] += one + chance.uniform(0.001, 0.01)

    assert load_effect(runs) is None


def test_a_few_items_or_none_say_nothing():
    assert load_effect([]) is None
    assert load_effect([(i, i + 1 + i % 3) for i in range(19)]) is None
    assert load_effect([(i, i + 1) for i in range(50)]) is None


# --- whole runs, made up -----------------------------------------------------------------

US = 1_000


@dataclass
class Leaf:
    """A node."""

    took: int
    after: list[int] = field(default_factory=list)
    need: int = 0


@dataclass
class Maps:
    """A map, of which each item is a graph."""

    limit: int
    items: list[list[Any]]
    after: list[int] = field(default_factory=list)
    need: int = 0


@dataclass
class Body:
    """A nested graph, or a loop of so many rounds of it."""

    nodes: list[Any]
    rounds: int = 0
    after: list[int] = field(default_factory=list)
    need: int = 0


def static(path: str) -> str:
    """Drop the indices: a path is split at brackets, and every second part is one."""
    return "".join(path.replace("]", "[").split("[")[::2])


class Truth:
    """Runs a made-up graph in virtual time, in whole microseconds, and writes the spans."""

    def __init__(self, varied: str, limit: int | None) -> None:
        self.varied, self.limit = varied, limit
        self.records: list[SpanRecord] = []
        self.ids = count(1)

    def run(self, nodes: list[Any]) -> TraceTree:
        span_id = self._id()
        end = self._graph(nodes, "g", 5, span_id) + 3
        self._write(span_id, None, "run g", 0, end)
        return TraceTree(self.records)

    def _id(self) -> str:
        return f"{next(self.ids):016x}"

    def _write(
        self, span_id: str, parent: str | None, name: str, start: int, end: int, **more: Any
    ):
        links = tuple(LinkRecord("t", link) for link in more.pop("links", ()))
        facts = {semconv.OUTCOME: "ok", **more.pop("facts", {})}
        self.records.append(
            SpanRecord(
                "t", span_id, parent, name, start * US, end * US, attributes=facts, links=links
            )
        )

    def _graph(self, nodes: list[Any], path: str, start: int, parent: str) -> int:
        ends: list[int] = []
        ids: list[str] = []
        for i, node in enumerate(nodes):
            arrived = sorted(node.after, key=lambda j: ends[j])
            late = arrived[node.need :] if node.need else []
            arrived = arrived[: node.need] if node.need else arrived
            begin = ends[arrived[-1]] + 2 if arrived else start
            span_id, name = self._id(), f"n{i}"
            facts = {semconv.NODE_NAME: name, semconv.NODE_PATH: f"{path}.{name}"}
            if node.need:
                facts[semconv.FAN_IN_MODE] = "any" if node.need == 1 else "quorum"
                facts[semconv.FAN_IN_LATE] = [f"n{j}" for j in late]
            kind, end = self._node(node, f"{path}.{name}", begin, span_id, facts)
            links = [ids[j] for j in arrived]
            self._write(span_id, parent, f"{kind} {name}", begin, end, links=links, facts=facts)
            ends.append(end)
            ids.append(span_id)
        return max(ends)

    def _node(self, node: Any, path: str, begin: int, span_id: str, facts: dict[str, Any]):
        if isinstance(node, Leaf):
            return "node", begin + node.took
        if isinstance(node, Maps):
            return "map", self._map(node, path, begin, span_id, facts)
        if not node.rounds:
            return "graph", self._graph(node.nodes, path, begin, span_id) + 4
        end = begin
        for i in range(node.rounds):
            round_id, at = self._id(), end + 2
            end = self._graph(node.nodes, f"{path}[{i}]", at, round_id)
            facts_of = {semconv.ITERATION_INDEX: i}
            self._write(round_id, span_id, "iteration n", at, end, facts=facts_of)
        return "loop", end + 1

    def _map(self, node: Maps, path: str, begin: int, span_id: str, facts: dict[str, Any]) -> int:
        varied = static(path) == self.varied and self.limit is not None
        limit = self.limit if varied else node.limit
        facts[semconv.MAP_MAX_CONCURRENCY] = limit
        facts[semconv.MAP_ITEMS] = facts[semconv.MAP_OK] = len(node.items)
        facts |= dict.fromkeys((semconv.MAP_FAILED, semconv.MAP_HANDLED, semconv.MAP_CANCELLED), 0)
        free = [begin] * limit
        for i, item in enumerate(node.items):
            at = min(free)
            item_id = self._id()
            end = self._graph(item, f"{path}[{i}]", at, item_id) + 1
            free[free.index(at)] = end
            self._write(item_id, span_id, "item n", at, end, facts={semconv.ITEM_INDEX: i})
        return max(free) + 7


def wired(draw: Any, nodes: list[Any]) -> list[Any]:
    for i, node in enumerate(nodes):
        node.after = sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else []
        # 0: all of them. Else so many are enough.
        node.need = draw(st.integers(0, len(node.after)))
    return nodes


@st.composite
def graphs(draw: Any, depth: int = 2) -> list[Any]:
    made: list[Any] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["leaf", "map", "graph", "loop"] if depth else ["leaf"]))
        if kind == "leaf":
            made.append(Leaf(draw(st.integers(1, 900))))
        elif kind == "map":
            items = draw(st.lists(graphs(depth=depth - 1), min_size=1, max_size=5))
            made.append(Maps(draw(st.integers(1, 4)), items))
        else:
            rounds = draw(st.integers(1, 3)) if kind == "loop" else 0
            made.append(Body(draw(graphs(depth=depth - 1)), rounds))
    return wired(draw, made)


def uniform(nodes: list[Any], path: str, limits: dict[str, int]) -> dict[str, int]:
    """One limit per map, as in one graph: what items hold may differ, their maps' limits not."""
    for i, node in enumerate(nodes):
        at = f"{path}.n{i}"
        if isinstance(node, Maps):
            node.limit = limits.setdefault(at, node.limit)
            for item in node.items:
                uniform(item, at, limits)
        elif isinstance(node, Body):
            uniform(node.nodes, at, limits)
    return limits


@given(nodes=graphs(), data=st.data())
def test_made_up_run_is_predicted_to_the_microsecond(nodes: list[Any], data: st.DataObject):
    limits = uniform(nodes, "g", {})
    assume(limits)
    path = data.draw(st.sampled_from(sorted(limits)))
    recorded, other = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    tree = Truth(path, recorded).run(nodes)

    found = what_if(tree, [other], map_path=path)

    truth = Truth(path, other).run(nodes)
    maps = [node for node in truth if node.name.startswith("map ")]
    mine = [node for node in maps if static(node.record.attributes[semconv.NODE_PATH]) == path]
    assert found.predictions[0].run_s == pytest.approx(truth.duration_s, abs=1e-9)
    assert found.predictions[0].map_s == pytest.approx(
        sum(node.duration_s for node in mine), abs=1e-9
    )
    assert found.replayed.run_s == pytest.approx(tree.duration_s, abs=1e-9)
    assert found.floor.run_s <= found.knee.run_s <= KNEE * found.floor.run_s + 1e-12
    assert not found.approximate


# --- whole runs, told by hand ------------------------------------------------------------

MS = 1_000_000


def span(
    span_id: str, parent: str | None, name: str, start_ms: float, end_ms: float, **more: Any
) -> SpanRecord:
    links = tuple(LinkRecord("t", link) for link in more.pop("links", ()))
    facts = {semconv.OUTCOME: more.pop("outcome", "ok"), **more}
    kind, _, rest = name.partition(" ")
    if kind in {"node", "map", "graph"}:
        facts |= {semconv.NODE_NAME: rest, semconv.NODE_PATH: f"g.{rest}"}
    return SpanRecord(
        "t",
        span_id,
        parent,
        name,
        round(start_ms * MS),
        round(end_ms * MS),
        attributes=facts,
        links=links,
    )


def mapped(
    name: str, took: list[float], limit: int, *, start: float = 0.0, **more: Any
) -> tuple[list[SpanRecord], float]:
    """Return a map's spans below the run, and its end; times in ms."""
    free = [start] * limit
    items = []
    for i, one in enumerate(took):
        free.sort()
        facts = {semconv.ITEM_INDEX: i, semconv.RUN_S: one / 1e3}
        items.append(span(f"{name}{i}", name, f"item {name}", free[0], free[0] + one, **facts))
        free[0] += one
    end = max(free)
    facts = {semconv.MAP_MAX_CONCURRENCY: limit, semconv.MAP_ITEMS: len(took)}
    facts |= {semconv.MAP_OK: len(took), semconv.MAP_FAILED: 0, semconv.MAP_HANDLED: 0}
    facts |= {semconv.MAP_CANCELLED: 0, **more}
    return [span(name, "run", f"map {name}", start, end, **facts), *items], end


def test_map_that_promises_most_is_taken():
    first, end = mapped("long", [100.0] * 2, 2)
    second, end = mapped("wide", [10.0] * 12, 2, start=end)
    second[0] = replace(second[0], links=(LinkRecord("t", "long"),))
    tree = TraceTree([span("run", None, "run g", 0, end), *first, *second])

    assert what_if(tree, []).map_path == "g.wide"
    assert what_if(tree, [1], map_path="g.long").predictions[0].run_s == pytest.approx(0.26)


def test_floor_knee_and_utilisation():
    spans, end = mapped("m", [10.0] * 16 + [40.0], 2)
    found = what_if(TraceTree([span("run", None, "run g", 0, end + 60), *spans]), [1, 4, 1_000])

    assert found.recorded.run_s == pytest.approx(0.18)
    assert [one.run_s for one in found.predictions] == pytest.approx([0.26, 0.14, 0.1])
    assert [one.map_s for one in found.predictions] == pytest.approx([0.2, 0.08, 0.04])
    assert found.predictions[1].utilisation == pytest.approx(0.2 / 4 / 0.08)
    assert found.floor.max_concurrency == 17
    assert found.floor.run_s == pytest.approx(0.1)
    # With 16 the long one starts 10 ms late, which is 10 % of the floor.
    assert found.knee.max_concurrency == 17
    assert (found.maps, found.items) == (1, 17)
    # Nothing speaks against it, but then nobody has seen it either.
    assert [caution.kind for caution in found.cautions] == ["load_unknown"]
    assert "at most 2 items at once" in found.cautions[0].text


def test_victim_ends_with_what_cancelled_it():
    spans, end = mapped("m", [10.0] * 8, 2)
    race = span("slow", "run", "node slow", 0, end + 1, outcome="cancelled", links=["m"])
    then = span("then", "run", "node then", end, end + 5, links=["m"])
    tree = TraceTree([span("run", None, "run g", 0, end + 5), race, then, *spans])

    assert what_if(tree, [8]).predictions[0].run_s == pytest.approx(0.015)


def test_what_a_quick_map_wins_the_slow_branch_loses():
    spans, end = mapped("m", [10.0] * 8, 1)
    quick = span("quick", "run", "node quick", 0, 30)
    facts: dict[str, Any] = {semconv.FAN_IN_MODE: "any", semconv.FAN_IN_LATE: ["m"]}
    then = span("then", "run", "node then", 30, 130, links=["quick"], **facts)
    tree = TraceTree([span("run", None, "run g", 0, 130), quick, then, *spans])

    assert end == 80
    # The map comes first now, and what waits for the first of them starts earlier.
    assert what_if(tree, [8]).predictions[0].run_s == pytest.approx(0.11)


def test_hard_edge_beside_soft_ones_is_still_waited_for():
    spans, end = mapped("m", [10.0] * 8, 2)
    facts: dict[str, Any] = {semconv.FAN_IN_MODE: "any", semconv.FAN_IN_LATE: ["late"]}
    soft, late = span("soft", "run", "node soft", 0, 5), span("late", "run", "node late", 0, 45)
    then = span("then", "run", "node then", end, end + 5, links=["soft", "m"], **facts)
    tree = TraceTree([span("run", None, "run g", 0, end + 5), soft, late, then, *spans])

    assert what_if(tree, [1]).predictions[0].run_s == pytest.approx(0.085)


def test_fan_in_with_too_many_links_waits_for_all():
    spans, end = mapped("m", [10.0] * 4, 1)
    then = span("then", "run", "node then", end, end + 5, **{semconv.LINKS_DROPPED: 3})
    found = what_if(TraceTree([span("run", None, "run g", 0, end + 5), then, *spans]), [4])

    assert found.predictions[0].run_s == pytest.approx(0.015)
    assert "more nodes than its span can name" in found.reasons[0]


def test_time_that_no_span_explains_is_said():
    spans, _ = mapped("m", [10.0] * 8, 2)
    # Each item started late, as if it had waited for something that has no span.
    apart = [
        replace(one, start_ns=i * 50 * MS, end_ns=(i * 50 + 10) * MS)
        for i, one in enumerate(spans[1:])
    ]
    wide = replace(spans[0], end_ns=360 * MS)
    found = what_if(TraceTree([span("run", None, "run g", 0, 360), wide, *apart]), [4])

    assert found.approximate
    assert "something held it up that the spans do not tell" in found.reasons[0]


def test_map_that_ended_early_is_approximate():
    facts = {semconv.MAP_ITEMS: 10}
    spans, end = mapped("m", [10.0] * 4, 2, **facts)

    found = what_if(TraceTree([span("run", None, "run g", 0, end), *spans]), [4])

    assert found.reasons == ("the map ended early: 6 of 10 items never ran",)


def test_blocked_loop_is_told():
    spans, end = mapped("m", [10.0] * 4, 2)
    nodes = [
        span(f"n{i}", f"m{i}", "node work", 0, 10, **{semconv.LOOP_BLOCKED_S: 0.01})
        for i in range(4)
    ]
    found = what_if(TraceTree([span("run", None, "run g", 0, end), *spans, *nodes]), [4])

    assert [caution.kind for caution in found.cautions] == ["loop_blocked"]


def test_predictions_are_corrected_by_what_the_model_missed_so_that_fewer_slots_are_no_gain():
    # What nobody tells holds up each item's start; the model knows nothing of it.
    spans, end = mapped("m", [10.0] * 8, 4)
    late = [replace(one, start_ns=one.start_ns + i * 4 * MS, end_ns=one.end_ns + i * 4 * MS)
            for i, one in enumerate(spans[1:])]  # fmt: skip
    wide = replace(spans[0], end_ns=max(one.end_ns for one in late))
    end = wide.end_ns / MS
    found = what_if(TraceTree([span("run", None, "run g", 0, end), wide, *late]), [1, 2, 3, 4, 8])

    assert found.replayed.run_s < 0.9 * found.recorded.run_s
    assert found.predictions[3].run_s == pytest.approx(found.recorded.run_s)
    runs = [one.run_s for one in found.predictions]
    assert runs == sorted(runs, reverse=True)
    assert min(runs[:4]) >= found.recorded.run_s * (1 - 1e-9)


def computing(cores: float, *beside: SpanRecord, load: float = 0.0) -> WhatIf:
    facts = {semconv.CPU_S: cores * 0.04, semconv.HOST_LOAD: load}
    spans, end = mapped("m", [10.0] * 16, 4, **facts)
    return what_if(TraceTree([span("run", None, "run g", 0, end), *spans, *beside]), [1, 2, 8, 16])


def test_what_one_process_computes_no_slots_divide():
    found = computing(0.95)
    assert [one.run_s for one in found.predictions] == pytest.approx([0.04] * 4)
    assert [caution.kind for caution in found.cautions] == ["cpu"]
    assert "38.0 ms of CPU in 40.0 ms" in found.cautions[0].text


def test_what_is_computed_half_of_the_time_remains():
    found = computing(0.6)
    assert [one.run_s for one in found.predictions] == pytest.approx([0.16, 0.08, 0.024, 0.024])
    assert [caution.kind for caution in found.cautions] == ["cpu"]


def test_on_a_busy_machine_who_had_its_share_wanted_more_and_who_had_less_did_not():
    assert computing(0.3, load=4.0).predictions[3].run_s == pytest.approx(0.04)
    assert computing(0.2, load=4.0).predictions[3].run_s == pytest.approx(0.01)


def test_computing_on_several_cores_or_beside_others_is_only_a_caution():
    beside = span("busy", "run", "node busy", 0, 40)
    for found in (computing(3.0), computing(0.95, beside)):
        assert [one.map_s for one in found.predictions] == pytest.approx([0.16, 0.08, 0.02, 0.01])
        assert [caution.kind for caution in found.cautions] == ["cpu"]
    assert computing(0.1).cautions[0].kind == "load_unknown"


@pytest.mark.parametrize("limit", [0, -1, True, 2.0])
def test_limit_must_be_a_positive_integer(limit: Any):
    with pytest.raises(ValueError, match="no positive integer"):
        what_if(TraceTree([]), [limit])


def test_no_map_or_no_such_map_says_what_there_is():
    spans, end = mapped("m", [10.0], 2)
    with pytest.raises(LookupError, match="holds no map"):
        what_if(TraceTree([span("run", None, "run g", 0, 1)]), [1])
    with pytest.raises(LookupError, match=r"no map 'g\.x'; it holds: g\.m"):
        what_if(TraceTree([span("run", None, "run g", 0, end), *spans]), [1], map_path="g[3].x")


def test_map_without_items_is_left_as_it_is():
    spans, _ = mapped("m", [], 4)
    found = what_if(TraceTree([span("run", None, "run g", 0, 10), *spans]), [1])

    assert found.predictions[0].run_s == pytest.approx(0.01)


# --- spans that were omitted ----------------------------------------------------------------


def thinned(spans: list[SpanRecord], limit: int, budget: int) -> list[SpanRecord]:
    """Keep what a span budget keeps: the slowest, and an even sample of the others."""
    whole, items = spans[0], spans[1:]
    order = sorted(items, key=lambda one: one.duration_s)
    slowest, others = order[-budget // 4 :], order[: -budget // 4]
    others.sort(key=lambda one: one.index or 0)
    step = len(others) / (budget - len(slowest))
    kept = slowest + [others[int(i * step)] for i in range(budget - len(slowest))]
    used_s = sum(one.duration_s for one in items)
    facts = {
        **whole.attributes,
        semconv.MAP_SPANS_OMITTED: len(items) - len(kept),
        semconv.MAP_RUN_P50_S: order[len(order) // 2].duration_s,
        semconv.MAP_RUN_P95_S: order[len(order) * 95 // 100].duration_s,
        semconv.MAP_UTILISATION: round(used_s / limit / whole.duration_s, 4),
    }
    return [replace(whole, attributes=facts), *kept]


@pytest.mark.parametrize("shape", ["uniform", "exponential", "two kinds"])
def test_omitted_items_are_made_up_so_that_sums_come_out(shape: str):
    chance = random.Random(shape)
    draw = {
        "uniform": lambda: chance.uniform(10, 50),
        "exponential": lambda: chance.expovariate(1 / 30) + 1,
        "two kinds": lambda: chance.choice([5.0, 100.0]),
    }[shape]
    spans, end = mapped("m", [draw() for _ in range(6_000)], 16)
    run = span("run", None, "run g", 0, end)
    limits = (2, 8, 32, 100)
    whole = what_if(TraceTree([run, *spans]), limits)

    found = what_if(TraceTree([run, *thinned(spans, 16, 300)]), limits)

    assert found.items == 6_000
    assert "5,700 of 6,000 items were omitted" in found.reasons[0]
    for one, truth in zip(found.predictions, whole.predictions, strict=True):
        assert one.run_s == pytest.approx(truth.run_s, rel=0.03)


# --- a shared limit -----------------------------------------------------------------------


def paced(
    took: list[float], limit: int, burst: int = 0, *, start: float = 0.0, m: str = "m"
) -> tuple[list[SpanRecord], float]:
    """Each item makes one call; a bucket gives one every 25 ms, and has some at first."""
    free, spans = [start] * limit, []
    tokens, filled = burst + 1.0, start
    for i, one in enumerate(took):
        free.sort()
        asked = free[0]
        tokens = min(burst + 1.0, tokens + max(0.0, asked - filled) / 25.0)
        filled = max(asked, filled)
        let_in = filled + max(0.0, 1.0 - tokens) * 25.0
        tokens, filled = max(0.0, tokens - 1.0), let_in
        free[0] = let_in + one
        waited = {semconv.WAIT_LIMITER_S: (let_in - asked) / 1e3} if let_in > asked else {}
        named = {semconv.WAIT_LIMITER: "llm:small/requests_per_minute"} if waited else {}
        item = {semconv.ITEM_INDEX: i, **waited, **named}
        call = {semconv.LLM_RESOURCE: "small", **waited}
        spans += [
            span(f"{m}i{i}", m, "item m", asked, let_in + one, **item),
            span(f"{m}n{i}", f"{m}i{i}", "node ask", asked, let_in + one, **waited),
            span(f"{m}c{i}", f"{m}n{i}", "chat x", let_in, let_in + one, **call),
        ]
    facts = {semconv.MAP_MAX_CONCURRENCY: limit, semconv.MAP_ITEMS: len(took)}
    return [span(m, "run", "map m", start, max(free), **facts), *spans], max(free)


@pytest.mark.parametrize("burst", [0, 10])
@pytest.mark.parametrize("recorded", [4, 8, 24])
def test_limit_that_all_share_is_replayed_and_told(recorded: int, burst: int):
    chance = random.Random(recorded)
    took = [chance.uniform(60, 90) for _ in range(80)]
    spans, end = paced(took, recorded, burst)
    limits = (1, 2, 4, 8, 24)

    found = what_if(TraceTree([span("run", None, "run g", 0, end), *spans]), limits)

    for one in found.predictions:
        truth = paced(took, one.max_concurrency, burst)[1]
        assert one.run_s * 1e3 == pytest.approx(truth, rel=0.02)
    assert [caution.kind for caution in found.cautions] == ["rate_limit"]
    assert "llm:small/requests_per_minute" in found.cautions[0].text
    assert found.knee.max_concurrency <= 5


def test_waits_of_an_inner_map_are_not_those_of_the_outer_one():
    took = [70.0] * 12
    inner, end = paced(took, 8)
    item = span("it", "outer", "item outer", 0, end, **{semconv.ITEM_INDEX: 0})
    outer = span("outer", "run", "map outer", 0, end, **{semconv.MAP_MAX_CONCURRENCY: 1})
    inner[0] = replace(inner[0], parent_id="it")
    tree = TraceTree([span("run", None, "run g", 0, end), outer, item, *inner])

    found = what_if(tree, [2], map_path="g.m")

    assert found.replayed.run_s == pytest.approx(end / 1e3)
    assert found.predictions[0].run_s == pytest.approx(paced(took, 2)[1] / 1e3)


# --- a run of the runtime's own -----------------------------------------------------------


@code_node
async def nap(s: float) -> dict[str, Any]:
    await anyio.sleep(s)
    return {"done": s}


async def test_recorded_limit_is_replayed_and_the_quorum_holds():
    with GraphNode(name="g") as graph:
        naps = Each([0.02] * 12)
        with MapNode(name="each", inputs={"s": naps}, max_concurrency=3) as each:
            START >> nap(inputs={"s": PARENT["s"]})
        a, b = nap(name="a", inputs={"s": 0.01}), nap(name="b", inputs={"s": 0.15})
        then = nap(name="then", inputs={"s": 0.01}, join=Quorum(2))
        START >> [a, b, each] >> then
    with capture_spans() as capture:
        await Hush(graph).run({})

    found = what_if(capture.tree, [12], map_path="g.each")

    items = capture.tree.all("item each")
    longest_s = max(item.duration_s for item in items)
    assert found.recorded.max_concurrency == 3
    assert found.replayed.run_s == pytest.approx(found.recorded.run_s, rel=0.05)
    # By the model; what it missed of the recorded limit it is corrected by.
    missed = found.recorded.map_s / found.replayed.map_s
    assert longest_s <= found.predictions[0].map_s / missed < longest_s + 0.01
    # b takes its time in any case.
    assert 0.15 < found.predictions[0].run_s <= found.recorded.run_s + 0.001
