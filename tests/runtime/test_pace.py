"""However many workers there are, little is done each time that the loop goes round."""

from __future__ import annotations

import anyio
import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode, Retry
from hush.runtime import pace, stepping
from hush.runtime.pace import AT_A_TIME, Pace
from hush.runtime.stepping import BREATH_S, TURN_S, WOKEN_S, Stamp


async def never_waits(note):
    note()


async def waits_a_turn(note):
    note()
    await anyio.lowlevel.checkpoint()
    note()


async def sleeps(note):
    note()
    await anyio.sleep(0.001)
    note()


def wide_map(work, note, **policy):
    async def item(x):
        await work(note)
        return {"y": x}

    with GraphNode(name="g") as graph:
        inside = {"x": Each(PARENT["xs"])}
        with MapNode(name="m", inputs=inside, max_concurrency=1_000, **policy) as items:
            START >> CodeNode(name="w", code_fn=item, inputs={"x": PARENT["x"]}) >> END
        START >> items >> END
    return Hush(graph)


@pytest.mark.parametrize("work", [never_waits, waits_a_turn, sleeps])
@pytest.mark.parametrize("policy", [{}, {"retry": Retry(2)}], ids=["straight", "policy"])
async def test_a_thousand_workers_make_a_few_steps_a_turn(monkeypatch, work, policy):
    # Whoever has made a step has worked for long enough: what a turn holds can be counted.
    monkeypatch.setattr(pace, "BREATH_S", 0.0)
    monkeypatch.setattr(stepping, "TURN_S", 0.0)
    steps = most = last = 0
    over = False

    def note():
        nonlocal steps
        steps += 1

    async def tick():
        nonlocal most, last
        while not over:
            most, last = max(most, steps - last), steps
            await anyio.lowlevel.checkpoint()

    engine = wide_map(work, note, **policy)
    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        result = await engine.run({"xs": range(3_000)})
        over = True
    assert result["$state"].run_id
    assert steps == 3_000 if work is never_waits else steps == 6_000
    if work is not sleeps:  # those that wake together are not held back
        # Trio takes those of a round in any order, so two rounds may lie between two ticks; an
        # item that waits has two steps.
        assert most <= 6 * AT_A_TIME


def test_of_many_that_are_woken_together_the_first_begin_at_once():
    """And the others queue, until the loop was elsewhere for a while."""
    stamp, now, each_s = Stamp(0), 50.0, TURN_S * 1.5
    at_once = 0
    for _ in range(1_000):
        stamp.had_turn(now)
        at_once += stamp.until > now
        now += each_s
    assert at_once == pytest.approx(WOKEN_S / each_s, abs=2)
    now += 2 * BREATH_S
    stamp.had_turn(now)
    assert stamp.until > now


async def turn():
    await anyio.lowlevel.checkpoint()


async def test_all_go_on_in_the_order_in_which_they_came():
    pace, went = Pace(Stamp(0)), []

    async def work(number):
        await pace.breathe(turn)
        went.append(number)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(work, number)
    assert sorted(went) == list(range(200))
    assert not pace._behind
    assert not pace._led


async def test_who_is_cancelled_while_it_waits_holds_nobody_up():
    """The one that calls the next ones, too."""
    pace, went = Pace(Stamp(0)), []
    scopes = [anyio.CancelScope() for _ in range(200)]

    async def work(number):
        with scopes[number]:
            await pace.breathe(turn)
            went.append(number)
            # Among them are those that are called just now, and the one that calls.
            for other in range(number + 1, number + 4):
                if other < 200 and other % 5:
                    scopes[other].cancel()

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(work, number)
    assert went
    assert all(number in went for number in range(0, 200, 5))
    assert not pace._led
    await pace.breathe(turn)


async def test_workers_come_a_few_at_a_time_and_all_of_them():
    """Items that wait for one another need every slot."""
    inside = 0
    all_in = anyio.Event()

    async def item(x):
        nonlocal inside
        inside += 1
        if inside == 700:
            all_in.set()
        await all_in.wait()
        return {"y": x}

    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, max_concurrency=700) as items:
            START >> CodeNode(name="w", code_fn=item, inputs={"x": PARENT["x"]}) >> END
        START >> items >> END
    with anyio.fail_after(50):
        await Hush(graph).run({"xs": range(1_000)})
    assert inside == 1_000
