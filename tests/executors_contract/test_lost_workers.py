"""A worker that is killed, frozen or poisoned: all results, and one trace that says so."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import anyio
import pytest

from hush.core import Hush, RunError
from hush.testing import capture_spans
from tests.executors.engines import kill
from tests.executors_contract import bodies
from tests.executors_contract.places import over

LIMIT_S = 3.0


def events(node, name="hush.worker_lost"):
    return [event for event in node.record.events if event.name == name]


@pytest.fixture
def frozen():
    """Processes that a test has stopped; they go on in the end."""
    pids = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_a_worker_killed_in_mid_map_costs_its_chunk_a_second_attempt(place, told):
    engine = Hush(over(bodies.stuck_once, place.make(), stuck=5, max_concurrency=8))
    results = []
    with capture_spans() as captured:
        async with anyio.create_task_group() as tasks:

            async def run():
                inputs = {"xs": range(24), "folder": str(told.folder)}
                results.append(await engine.run(inputs))

            tasks.start_soon(run)
            victim = (await told.wait("stuck"))["pid"]
            kill(victim)
    # Whatever it had answered before counts, and so does what others did.
    assert results[0]["ys"] == [2 * x for x in range(24)]
    tree = captured.tree
    tree.assert_sound()
    tried_again = set()
    for item in tree.all("item m"):
        index = item.record.attributes["hush.item.index"]
        lost = events(item)
        (attempt,) = [child for child in item.children if child.name == "attempt m"]
        assert attempt.record.attributes["hush.attempt"] == 1 + len(lost)
        assert item.record.attributes.get("hush.attempts", 1) == 1 + len(lost)
        assert [child.name for child in attempt.children] == ["node n"]
        assert item.record.outcome == "ok"
        if lost:
            assert len(lost) == 1
            tried_again.add(index)
    assert 5 in tried_again
    # What began twice is of that chunk; it began first where it was killed, or not at all.
    began = told.counts("began")
    for x in range(24):
        pids = [line["pid"] for line in told.all("began", x)]
        assert began[x] == (2 if x in tried_again and victim in pids else 1)
        assert victim not in pids[1:]
    # A chunk is at most what all slots share.
    assert len(tried_again) <= 8 // 2
    keys = {line["key"] for line in told.all("began", 5)}
    assert len(keys) == 1
    assert tree.one("map m").record.attributes["hush.map.retried"] == len(tried_again)


async def test_a_frozen_worker_is_given_up_and_its_late_answer_does_not_count(
    place, told, impatient, frozen
):
    engine = Hush(
        over(bodies.stuck_once, place.make(), stuck=1, max_concurrency=2, timeout_s=LIMIT_S)
    )
    results = []
    with capture_spans() as captured:
        async with engine, anyio.create_task_group() as tasks:

            async def run():
                inputs = {"xs": range(4), "folder": str(told.folder)}
                results.append(await engine.run(inputs))

            tasks.start_soon(run)
            frozen.append((await told.wait("stuck"))["pid"])
            os.kill(frozen[0], signal.SIGSTOP)
            # Its time is over, and the patience too: it has been taken for lost. An engine that
            # does not know that, may even give it the second attempt; so it goes on now, and has
            # something to say of the first that is not true any more.
            await anyio.sleep(LIMIT_S + 1.0 + 0.5)
            bodies.let_go(told.folder)
            with suppress(ProcessLookupError):
                os.kill(frozen[0], signal.SIGCONT)
            if not place.can.stops_running_work:
                await told.wait("ended", 1, count=2)
        # What would come still, would come until now.
    assert results[0]["ys"] == [0, 2, 4, 6]
    tree = captured.tree
    tree.assert_sound()
    item = tree.item("m", 1)
    assert len(events(item)) == 1
    assert item.record.attributes["hush.attempts"] == 2
    assert [c.record.attributes["hush.attempt"] for c in item.children] == [2]


async def test_a_poisonous_item_fails_alone(place, told):
    engine = Hush(
        over(bodies.poison, place.make(), poisonous=2, max_concurrency=8, on_error="collect")
    )
    with capture_spans() as captured:
        result = await engine.run({"xs": range(8), "folder": str(told.folder)})
    assert result["ys"] == [0, 2, None, 6, 8, 10, 12, 14]
    (error,) = result["errors"]
    assert (error["index"], error["attempts"]) == (2, 3)
    assert error["type"].endswith("WorkerLostError")
    began = told.counts("began")
    # With its neighbours, and then twice alone; they were with it once. One more may be lost with
    # an answer that a worker still had when it died of the next call.
    assert began.pop(2) == 3
    assert max(began.values()) <= 3
    tree = captured.tree
    assert len(events(tree.item("m", 2))) == 3
    assert tree.one("map m").record.attributes["hush.map.failed"] == 1
    tree.assert_sound()


async def test_what_must_not_be_done_twice_is_not_tried_again(place, told):
    engine = Hush(
        over(
            bodies.poison,
            place.make(),
            poisonous=2,
            max_concurrency=8,
            on_error="collect",
            idempotent=False,
        )
    )
    result = await engine.run({"xs": range(6), "folder": str(told.folder)})
    assert result["ys"] == [0, 2, None, 6, 8, 10]
    assert told.counts("began") == dict.fromkeys(range(6), 1)
    (error,) = result["errors"]
    assert (error["index"], error["attempts"]) == (2, 1)
    assert error["type"].endswith("WorkerLostError")


async def test_a_map_that_fails_fast_says_which_worker_was_lost(place, told):
    engine = Hush(over(bodies.poison, place.make(), poisonous=0, max_concurrency=1))
    with pytest.raises(RunError, match=r"g\.m\[0\]") as caught:
        await engine.run({"xs": [0], "folder": str(told.folder)})
    assert caught.value.failures[0].error_type.endswith("WorkerLostError")
