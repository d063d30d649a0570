"""The ready set: events in, decisions out, in any order of completion.

Properties compare it with :class:`Oracle`, which knows no counters and no arrivals: it
asks again after each event, from the rules alone, what has become of every node.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hush.plan.plan import Shape
from hush.runtime.ready_set import ReadySet, Status, Step

# --- worlds: who waits for whom ----------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A graph's shape as a test draws it."""

    hard: tuple[tuple[int, ...], ...]
    """Of a join: all its predecessors."""
    soft: tuple[tuple[int, ...], ...]
    quorum: tuple[int, ...]
    cancel_rest: tuple[bool, ...]
    targets: tuple[frozenset[int], ...]
    """By node, the successors among which it chooses."""
    to_end: frozenset[int]
    """Nodes that END waits for, besides those without successors."""

    @property
    def size(self) -> int:
        return len(self.hard)

    def predecessors(self, i: int) -> tuple[int, ...]:
        return self.hard[i] + self.soft[i]

    def successors(self, i: int) -> tuple[int, ...]:
        return tuple(j for j in range(self.size) if i in self.predecessors(j))

    def joins_of(self, i: int) -> frozenset[int] | None:
        """The joins into which alone all ways lead; None where one leads elsewhere."""
        after = self.successors(i)
        if not after or i in self.to_end:
            return None
        found: frozenset[int] = frozenset()
        for j in after:
            beyond = frozenset((j,)) if self.quorum[j] else self.joins_of(j)
            if beyond is None:
                return None
            found |= beyond
        return found

    def lanes(self) -> dict[int, frozenset[int]]:
        every = ((i, self.joins_of(i)) for i in range(self.size))
        return {i: joins for i, joins in every if joins is not None}

    def shape(self) -> Shape:
        return Shape(
            size=self.size,
            hard=self.hard,
            soft=self.soft,
            quorum=self.quorum,
            cancel_rest=self.cancel_rest,
            successors=tuple(self.successors(i) for i in range(self.size)),
            choices={i: chosen for i, chosen in enumerate(self.targets) if chosen},
            lanes=self.lanes(),
        )


@st.composite
def worlds(draw, *, most=9, soft=True, joins=True, races=True, choices=True):
    """Graphs of up to ``most`` nodes, in topological order."""
    size = draw(st.integers(1, most))
    hard: list[tuple[int, ...]] = []
    softs: list[tuple[int, ...]] = []
    quorum: list[int] = []
    cancel_rest: list[bool] = []
    sealed: set[int] = set()  # what may lose a race is needed by nothing else
    for i in range(size):
        before = [p for p in range(i) if p not in sealed]
        chosen = draw(st.lists(st.sampled_from(before), unique=True, max_size=4)) if before else []
        chosen.sort()
        kinds = ["hard"]
        if soft:
            kinds.append("soft")
        if joins:
            kinds.append("join")
        if races:
            kinds.append("race")
        kind = draw(st.sampled_from(kinds)) if chosen else "hard"
        if kind == "race":
            used = {p for row in (*hard, *softs) for p in row}
            chosen = [p for p in chosen if p not in used]
            kind = "race" if chosen else "hard"
        weak = [p for p in chosen if kind == "soft" and draw(st.booleans())]
        hard.append(tuple(p for p in chosen if p not in weak))
        softs.append(tuple(weak))
        join = kind in {"join", "race"}
        quorum.append(draw(st.integers(1, len(chosen))) if join else 0)
        cancel_rest.append(kind == "race")
        if kind == "race":
            sealed.update(chosen)
    after = [[j for j in range(size) if i in hard[j] + softs[j]] for i in range(size)]
    targets = [
        frozenset(draw(st.lists(st.sampled_from(row), unique=True))) if row and choices else ()
        for row in after
    ]
    to_end = draw(st.frozensets(st.integers(0, size - 1), max_size=2)) if joins else frozenset()
    return World(
        tuple(hard),
        tuple(softs),
        tuple(quorum),
        tuple(cancel_rest),
        tuple(map(frozenset, targets)),
        frozenset(to_end),
    )


# --- the oracle ----------------------------------------------------------------------------

WAITING, RUNNING, UNMET, SKIPPED, LOST, OK = "waiting", "running", "unmet", "skipped", "lost", "ok"
CAPTURED = "captured"


class Oracle:
    """What must have become of each node, asked anew after every event.

    The rules: a node starts when all its hard predecessors are done well and, where it has
    soft ones, any of those. It is skipped when a hard predecessor is gone or all soft ones
    are; a predecessor that did not choose the node is gone for it. Who captured its failure
    is done well, save for joins, for which it is lost. A join starts when
    enough are done well; it is gone when enough cannot be any more, which is a failure
    where any predecessor failed, else a skip; what may still fail is waited for, so that
    the answer does not hang on the order. Once a race is won, what only led into won races,
    or into joins that lost in one, is not needed any more: it is cancelled where it runs,
    gone where it waits.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.lanes = world.lanes()
        self.fates = dict.fromkeys(range(world.size), WAITING)
        self.chosen: dict[int, frozenset[int] | None] = {}
        self.won: set[int] = set()
        self.told: set[int] = set()

    def ended(self, i: int, status: Status, chosen: frozenset[int] | None = None) -> None:
        """Take note of what the driver told the ready set."""
        assert self.fates[i] in {RUNNING, UNMET}
        self.fates[i] = status.value
        self.chosen[i] = chosen

    def check(self, step: Step, statuses: list[Status]) -> None:
        """Compare a step with the rules, and go on from there."""
        memo: dict[int, set[str]] = {}
        for i in range(self.world.size):
            self._fate(i, memo)
        new = {i: memo[i] for i, fate in self.fates.items() if fate == WAITING}
        self.won |= {i for i in new if new[i] == {RUNNING} and self.world.cancel_rest[i]}
        while True:
            unneeded = {i for i, joins in self.lanes.items() if joins <= self.won}
            lost_joins = {i for i in unneeded if self.world.quorum[i] and self.fates[i] != OK}
            if lost_joins <= self.won:
                break
            self.won |= lost_joins
        losers = {i for i in unneeded if self.fates[i] in {RUNNING, UNMET}} - self.told
        self.told |= losers
        new |= {i: {LOST} for i in unneeded if new.get(i) == {WAITING}}

        assert set(step.ready) == {i for i in new if new[i] == {RUNNING}}
        assert {i for i, _ in step.losers} == losers
        for _loser, race in step.losers:
            assert race in step.ready
        for decided in (step.ready, step.skipped, step.unmet, [i for i, _ in step.losers]):
            assert len(set(decided)) == len(decided)
        for i, allowed in new.items():
            self.fates[i] = UNMET if i in step.unmet else statuses[i].value
            assert self.fates[i] in allowed
            assert (i in step.skipped) == (self.fates[i] in {SKIPPED, LOST})
        assert set(step.skipped) | set(step.unmet) <= set(new)

    def _edge(self, p: int, i: int, memo: dict[int, set[str]]) -> set[str]:
        """What a predecessor means to a node: OK, SKIPPED, LOST, or WAITING for undecided."""
        fate = self._fate(p, memo)
        if fate & {RUNNING, UNMET, WAITING}:
            return {WAITING}
        if fate == {CAPTURED}:
            fate = {LOST} if self.world.quorum[i] else {OK}
        chosen = self.chosen.get(p)
        if fate == {OK} and chosen is not None and i in self.world.targets[p]:
            return {OK} if i in chosen else {SKIPPED}
        return fate

    def _fate(self, i: int, memo: dict[int, set[str]]) -> set[str]:
        if self.fates[i] != WAITING:
            return {self.fates[i]}
        if i not in memo:
            memo[i] = self._decide(i, memo)
        return memo[i]

    def _decide(self, i: int, memo: dict[int, set[str]]) -> set[str]:
        hard = [self._edge(p, i, memo) for p in self.world.hard[i]]
        soft = [self._edge(p, i, memo) for p in self.world.soft[i]]
        gone_hard = [fate for fate in hard if fate <= {SKIPPED, LOST}]
        gone_soft = [fate for fate in soft if fate <= {SKIPPED, LOST}]
        quorum = self.world.quorum[i]
        if quorum:
            if hard.count({OK}) >= quorum:
                return {RUNNING}
            if len(hard) - len(gone_hard) >= quorum:
                return {WAITING}
            if {LOST} in gone_hard:
                return {UNMET}
            over = len(gone_hard) + hard.count({OK}) == len(hard)
            return {SKIPPED} if over else {WAITING}
        no_soft = bool(soft) and len(gone_soft) == len(soft)
        if {LOST} in gone_hard or (no_soft and {LOST} in gone_soft):
            return {LOST}
        if gone_hard or no_soft:
            over = {WAITING} not in hard + soft
            return {SKIPPED} if over or i not in self.lanes else {WAITING}
        if hard.count({OK}) == len(hard) and (not soft or {OK} in soft):
            return {RUNNING}
        return {WAITING}


def final_fates(world, chosen, failing):
    """What becomes of each node in the end, where no race is cancelled: a plain recursion."""
    memo: dict[int, str] = {}

    def done(p, i):
        if fate(p) != OK:
            return False
        return i not in world.targets[p] or i in chosen[p]

    def fate(i):
        if i not in memo:
            memo[i] = decide(i)
        return memo[i]

    def decide(i):
        well = [done(p, i) for p in world.hard[i]]
        any_soft = not world.soft[i] or any(done(p, i) for p in world.soft[i])
        enough = sum(well) >= world.quorum[i] if world.quorum[i] else all(well)
        if enough and any_soft:
            return LOST if i in failing else OK
        failed = any(fate(p) == LOST for p in world.predecessors(i))
        return LOST if failed else SKIPPED

    return [fate(i) for i in range(world.size)]


# --- properties ----------------------------------------------------------------------------


class Drive:
    """A ready set under way, watched by the oracle."""

    def __init__(self, world, oracle=None):
        self.world = world
        self.ready = ReadySet(world.shape())
        self.oracle = Oracle(world)
        self.running: list[int] = []
        self.started: list[int] = []
        self._take(self.ready.start())

    def settle(self, i, status, chosen=None):
        picked = chosen & self.world.targets[i] if chosen is not None else None
        if not self.world.targets[i]:
            picked = None
        self.running.remove(i)
        self.oracle.ended(i, status, None if status is Status.LOST else picked)
        step = self.ready.settle(i, status, picked)
        self._take(step)
        return step

    def _take(self, step):
        self.oracle.check(step, self.ready.status)
        for i in step.ready:
            well = self._well(i)
            if self.world.predecessors(i):
                assert self.ready.release[i] == self.ready.arrivals[i][-1]
            assert len(set(self.ready.arrivals[i])) == len(self.ready.arrivals[i])
            assert set(self.ready.arrivals[i]) == well
        self.started += step.ready
        self.running += [*step.ready, *step.unmet]
        assert len(set(self.started)) == len(self.started)
        at_work = {i for i, s in enumerate(self.ready.status) if s is Status.RUNNING}
        assert at_work == set(self.running)
        assert {i for i, _ in step.losers} <= at_work
        left = [i for i, s in enumerate(self.ready.status) if s is Status.WAITING]
        assert self.ready.finished == (not left and not self.running)
        for i in left:
            assert self.ready.pending(i)

    def _well(self, i):
        return {p for p in self.world.predecessors(i) if self.oracle._edge(p, i, {}) == {OK}}


@settings(max_examples=400)
@given(worlds(), st.data())
def test_each_step_is_what_the_rules_say(world, data):
    drive = Drive(world)
    lanes = world.lanes()
    while drive.running:
        i = data.draw(st.sampled_from(sorted(drive.running)), label="ends")
        # What a join does not wait for would fail the whole graph: that is the scheduler's.
        ways = [Status.OK, Status.CAPTURED, *([Status.LOST] if i in lanes else [])]
        status = data.draw(st.sampled_from(ways), label="how")
        chosen = data.draw(st.frozensets(st.sampled_from(sorted(world.targets[i]) or [i])))
        drive.settle(i, status, chosen)
    assert drive.ready.finished
    with pytest.raises(RuntimeError, match="not running"):
        drive.ready.settle(0, Status.OK)


def run_through(world, order, chosen, failing=frozenset()):
    """Run to the end; whatever runs ends in the order of ``order``."""
    drive = Drive(world)
    while drive.running:
        i = min(drive.running, key=order.index)
        unmet = drive.oracle.fates[i] == UNMET
        drive.settle(i, Status.LOST if unmet or i in failing else Status.OK, chosen[i])
    assert drive.ready.finished
    return [status.value for status in drive.ready.status]


def orders(world):
    return st.permutations(range(world.size))


def choices(world):
    one = [st.frozensets(st.sampled_from(sorted(t) or [0])) for t in world.targets]
    return st.tuples(*one)


@settings(max_examples=200)
@given(worlds(soft=False, joins=False, races=False), st.data())
def test_with_hard_edges_alone_the_order_does_not_matter(world, data):
    chosen = data.draw(choices(world))
    first = run_through(world, data.draw(orders(world)), chosen)
    second = run_through(world, data.draw(orders(world)), chosen)
    assert first == second == final_fates(world, chosen, frozenset())


@settings(max_examples=200)
@given(worlds(races=False), st.data())
def test_without_races_and_failures_the_order_does_not_matter(world, data):
    chosen = data.draw(choices(world))
    fates = run_through(world, data.draw(orders(world)), chosen)
    assert fates == final_fates(world, chosen, frozenset())


@settings(max_examples=200)
@given(worlds(races=False, choices=False), st.data())
def test_without_races_and_choices_failures_are_counted_in_any_order(world, data):
    # Only where joins alone depend; a join that cannot be met may itself fail such a join.
    lanes = sorted(world.lanes())
    failing = data.draw(st.frozensets(st.sampled_from(lanes or [-1])))
    chosen = [None] * world.size
    fates = run_through(world, data.draw(orders(world)), chosen, failing)
    assert fates == final_fates(world, chosen, failing)


@settings(max_examples=100)
@given(worlds(races=False, choices=False), st.data())
def test_where_nothing_is_chosen_and_nothing_fails_everything_runs(world, data):
    order = data.draw(orders(world))
    assert set(run_through(world, order, [None] * world.size)) == {OK}


# --- examples --------------------------------------------------------------------------------


def world(size, hard=(), soft=(), *, joins=(), races=(), targets=()):
    """Nodes 0..size-1; each argument maps a node to its predecessors, count or targets."""
    hard, soft, targets = dict(hard), dict(soft), dict(targets)
    quorum = dict(joins) | dict(races)
    nodes = range(size)
    return World(
        tuple(hard.get(i, ()) for i in nodes),
        tuple(soft.get(i, ()) for i in nodes),
        tuple(quorum.get(i, 0) for i in nodes),
        tuple(i in dict(races) for i in nodes),
        tuple(frozenset(targets.get(i, ())) for i in nodes),
        frozenset(),
    )


def begun(one):
    """A ready set with everything started that waits for nothing."""
    ready = ReadySet(one.shape())
    ready.start()
    return ready


def test_what_waits_for_nothing_starts_at_once():
    ready = ReadySet(world(3, {2: (0, 1)}).shape())
    assert ready.start() == Step(ready=[0, 1])
    assert ready.status == [Status.RUNNING, Status.RUNNING, Status.WAITING]
    assert ready.pending(2) == [0, 1]
    assert not ready.finished


def test_a_fan_in_waits_for_all_and_knows_who_released_it():
    ready = begun(world(4, {3: (0, 1, 2)}))
    assert ready.settle(1, Status.OK) == Step()
    assert ready.settle(2, Status.OK) == Step()
    assert ready.pending(3) == [0]
    assert ready.settle(0, Status.OK) == Step(ready=[3])
    assert ready.release[3] == 0
    assert ready.arrivals[3] == [1, 2, 0]
    assert ready.settle(3, Status.OK) == Step()
    assert ready.finished


def test_the_first_of_the_soft_predecessors_is_enough():
    ready = begun(world(3, soft={2: (0, 1)}))
    assert ready.settle(1, Status.OK) == Step(ready=[2])
    assert ready.settle(2, Status.OK) == Step()
    assert not ready.finished  # the run waits for the other
    assert ready.settle(0, Status.OK) == Step()
    assert ready.arrivals[2] == [1]
    assert ready.finished


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0)])
def test_of_both_kinds_all_hard_ones_and_any_soft_one(order):
    ready = begun(world(4, {3: (0,)}, {3: (1, 2)}))
    released_at = max(order.index(0), min(order.index(1), order.index(2)))
    for position, i in enumerate(order):
        assert ready.settle(i, Status.OK).ready == ([3] if position == released_at else [])
    assert ready.release[3] == order[released_at]


def test_skipping_spreads_along_hard_edges():
    ready = begun(world(4, {1: (0,), 2: (1,), 3: (2,)}, targets={0: (1,)}))
    step = ready.settle(0, Status.OK, ())
    assert step == Step(skipped=[1, 2, 3])
    assert ready.finished


def test_successors_that_are_no_targets_always_run():
    ready = begun(world(4, {1: (0,), 2: (0,), 3: (0,)}, targets={0: (1, 2)}))
    step = ready.settle(0, Status.OK, (2,))
    assert sorted(step.ready) == [2, 3]
    assert step.skipped == [1]


def test_a_node_with_soft_edges_is_skipped_only_when_all_are():
    one = world(5, {1: (0,), 2: (0,), 4: (3,)}, {3: (1, 2)}, targets={0: (1, 2)})
    ready = begun(one)
    assert ready.settle(0, Status.OK, (1,)) == Step(ready=[1], skipped=[2])
    assert ready.settle(1, Status.OK) == Step(ready=[3])
    ready = begun(one)
    assert sorted(ready.settle(0, Status.OK, ()).skipped) == [1, 2, 3, 4]
    assert ready.finished


def test_a_skipped_hard_predecessor_outweighs_soft_ones():
    ready = begun(world(4, {2: (0,), 3: (2,)}, {3: (1,)}, targets={0: (2,)}))
    assert ready.settle(1, Status.OK) == Step()
    assert ready.settle(0, Status.OK, ()) == Step(skipped=[2, 3])


def test_a_quorum_starts_when_enough_are_done_and_leaves_the_rest_running():
    ready = begun(world(4, {3: (0, 1, 2)}, joins={3: 2}))
    assert ready.settle(2, Status.OK) == Step()
    assert ready.winner(3) is None
    assert ready.settle(0, Status.OK) == Step(ready=[3])
    assert ready.winner(3) == 0
    assert ready.arrivals[3] == [2, 0]
    ready.settle(3, Status.OK)
    assert not ready.finished
    assert ready.settle(1, Status.LOST) == Step()
    assert ready.finished


def test_a_quorum_out_of_reach_is_unmet_and_is_settled_by_whoever_fails_it():
    ready = begun(world(5, {3: (0, 1, 2), 4: (3,)}, joins={3: 2}))
    assert ready.settle(0, Status.LOST) == Step()
    assert ready.settle(1, Status.LOST) == Step(unmet=[3])
    assert ready.status[3] is Status.RUNNING
    assert ready.settle(2, Status.OK) == Step()
    assert ready.settle(3, Status.LOST) == Step(skipped=[4])
    assert ready.finished


def test_a_quorum_out_of_reach_because_of_a_choice_is_skipped():
    one = world(5, {1: (0,), 2: (0,), 4: (1, 2, 3)}, joins={4: 3}, targets={0: (1, 2)})
    ready = begun(one)
    step = ready.settle(0, Status.OK, (1,))
    assert (step.ready, step.skipped) == ([1], [2])  # 1 and 3 may still fail
    assert ready.settle(3, Status.OK) == Step()
    assert ready.settle(1, Status.OK) == Step(skipped=[4])


def test_a_failure_among_skipped_ones_makes_a_join_unmet():
    ready = begun(world(4, {1: (0,), 3: (1, 2)}, joins={3: 1}, targets={0: (1,)}))
    assert ready.settle(2, Status.LOST) == Step()
    assert ready.settle(0, Status.OK, ()) == Step(skipped=[1], unmet=[3])


def test_the_winner_of_a_race_cancels_what_runs_and_drops_what_waits():
    # Three ways into the race 5: 0, 1 and 2 >> 3; 4 has nothing to do with it.
    ready = begun(world(6, {3: (2,), 5: (0, 1, 3)}, races={5: 1}))
    step = ready.settle(1, Status.OK)
    assert step == Step(ready=[5], skipped=[3], losers=[(0, 5), (2, 5)])
    assert ready.winner(5) == 1
    assert ready.status[4] is Status.RUNNING
    assert ready.settle(0, Status.LOST) == Step()
    assert ready.settle(2, Status.OK) == Step()  # done before it could be cancelled
    ready.settle(4, Status.OK)
    ready.settle(5, Status.OK)
    assert ready.finished


def test_what_leads_into_two_races_runs_until_both_are_won():
    # 0 >> 1 >> race 5, 0 >> 2 >> race 6; 3 and 4 are the rivals.
    hard = {1: (0,), 2: (0,), 5: (1, 3), 6: (2, 4)}
    ready = begun(world(7, hard, races={5: 1, 6: 1}))
    assert ready.settle(3, Status.OK) == Step(ready=[5], skipped=[1])
    assert ready.settle(4, Status.OK) == Step(ready=[6], skipped=[2], losers=[(0, 6)])


def test_a_loser_is_told_of_once_and_by_a_race_of_its_own():
    # 0 and 1 race into 4, 2 and 3 into 5; the loser 0 takes its time to go.
    ready = begun(world(6, {4: (0, 1), 5: (2, 3)}, races={4: 1, 5: 1}))
    assert ready.settle(1, Status.OK) == Step(ready=[4], losers=[(0, 4)])
    assert ready.settle(3, Status.OK) == Step(ready=[5], losers=[(2, 5)])


def test_who_fails_in_a_race_has_only_lost_it():
    ready = begun(world(3, {2: (0, 1)}, races={2: 1}))
    assert ready.settle(0, Status.LOST) == Step()
    assert ready.settle(1, Status.OK) == Step(ready=[2])


def test_a_captured_failure_is_none_of_a_joins_successes():
    # 0 and 1 are wanted by the join 3; what comes after 0 is 2.
    ready = begun(world(4, {2: (0,), 3: (0, 1)}, joins={3: 1}))
    assert ready.settle(0, Status.CAPTURED) == Step(ready=[2])
    assert ready.settle(1, Status.OK) == Step(ready=[3])
    assert ready.arrivals[3] == [1]
    ready = begun(world(3, {2: (0, 1)}, joins={2: 2}))
    assert ready.settle(0, Status.CAPTURED) == Step(unmet=[2])


def test_a_join_that_was_unmet_before_its_race_was_lost_takes_its_predecessors_with_it():
    # 0 and 1 race into 2; 2 and 3 race into 4.
    ready = begun(world(5, {2: (0, 1), 4: (2, 3)}, races={2: 2, 4: 1}))
    assert ready.settle(0, Status.LOST) == Step(unmet=[2])
    assert ready.settle(2, Status.LOST) == Step()
    assert ready.settle(3, Status.OK) == Step(ready=[4], losers=[(1, 4)])


def test_the_others_of_a_join_whose_failure_was_captured_run_to_their_end():
    # 0 and 1 lead into 2, which cancels nobody; 2 and 3 race into 4.
    ready = begun(world(5, {2: (0, 1), 4: (2, 3)}, joins={2: 1}, races={4: 1}))
    assert ready.settle(0, Status.OK) == Step(ready=[2])
    assert ready.settle(2, Status.CAPTURED) == Step()
    assert ready.settle(3, Status.OK) == Step(ready=[4])


def test_what_made_a_join_hopeless_is_what_ended_though_others_lie_between():
    # 0 leads to 1, which the join 3 needs besides 2.
    ready = begun(world(4, {1: (0,), 3: (1, 2)}, joins={3: 2}))
    assert ready.settle(0, Status.LOST) == Step(unmet=[3], skipped=[1])
    assert ready.release[3] == 0


def test_only_what_runs_can_be_settled():
    ready = begun(world(2, {1: (0,)}))
    with pytest.raises(RuntimeError, match="node 1 is waiting, not running"):
        ready.settle(1, Status.OK)
    ready.settle(0, Status.OK)
    with pytest.raises(RuntimeError, match="node 0 is ok, not running"):
        ready.settle(0, Status.OK)


CHAIN = 10_000


def test_a_long_chain_is_walked():
    shape = Shape(
        size=CHAIN,
        hard=tuple((i - 1,) if i else () for i in range(CHAIN)),
        soft=((),) * CHAIN,
        quorum=(0,) * CHAIN,
        cancel_rest=(False,) * CHAIN,
        successors=tuple((i + 1,) if i + 1 < CHAIN else () for i in range(CHAIN)),
        choices={0: frozenset((1,))},
        lanes={},
    )
    ready = ReadySet(shape)
    at = ready.start().ready
    for i in range(CHAIN):
        assert at == [i]
        at = ready.settle(i, Status.OK, (1,) if i == 0 else None).ready
    assert at == []
    assert ready.finished
    # And skipped from end to end, without recursion.
    ready = ReadySet(shape)
    ready.start()
    assert len(ready.settle(0, Status.OK, ()).skipped) == CHAIN - 1
    assert ready.finished


def test_a_join_that_lost_takes_its_own_predecessors_with_it():
    """p1, p2 -> inner (first); inner, f -> outer (first); f wins."""
    shape = Shape(
        size=5,
        hard=((), (), (0, 1), (), (2, 3)),
        soft=((),) * 5,
        quorum=(0, 0, 1, 0, 1),
        cancel_rest=(False, False, True, False, True),
        successors=((2,), (2,), (4,), (4,), ()),
        choices={},
        lanes={0: frozenset((2,)), 1: frozenset((2,)), 2: frozenset((4,)), 3: frozenset((4,))},
    )
    ready = ReadySet(shape)
    ready.start()
    step = ready.settle(3, Status.OK)
    assert step.ready == [4]
    assert sorted(step.losers) == [(0, 4), (1, 4)]


def test_whether_a_join_fails_does_not_hang_on_the_order_of_a_skip_and_a_loss():
    """br (chooses t or nothing) -> t -> q; c -> q; q needs both."""

    def ending(*events):
        shape = Shape(
            size=4,
            hard=((), (0,), (), (1, 2)),
            soft=((),) * 4,
            quorum=(0, 0, 0, 2),
            cancel_rest=(False,) * 4,
            successors=((1,), (3,), (3,), ()),
            choices={0: frozenset((1,))},
            lanes={1: frozenset((3,)), 2: frozenset((3,))},
        )
        ready = ReadySet(shape)
        ready.start()
        unmet = []
        for event in events:
            unmet += ready.settle(*event).unmet
        return unmet

    skip, loss = (0, Status.OK, ()), (2, Status.LOST)
    assert ending(skip, loss) == ending(loss, skip) == [3]
