"""Cancelling a run: what still works afterwards is what the engine's capabilities say."""

from __future__ import annotations

import anyio
import pytest

from hush.core import Hush
from hush.testing import capture_spans
from tests.executors_contract import bodies
from tests.executors_contract.places import over


@pytest.mark.parametrize("body", [bodies.sleeps, bodies.computes], ids=["sleeping", "computing"])
async def test_a_cancelled_run_is_over_at_once_and_begins_nothing_more(place, told, body):
    engine = Hush(over(body, place.make(), max_concurrency=2))
    with capture_spans() as captured:
        async with engine:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def stop():
                        await told.wait("tick")
                        tasks.cancel_scope.cancel()

                    tasks.start_soon(stop)
                    with anyio.fail_after(20):
                        await engine.run({"xs": range(12), "folder": str(told.folder)})
            assert not scope.cancelled_caught
            began = told.counts("began")
            assert max(began.values()) == 1
            if place.can.stops_running_work:
                assert await told.stops()
            else:
                assert not await told.stops()
                bodies.let_go(told.folder)
                # What ran may end, and what waited in the same call may have its turn.
                for x in list(told.counts("began")):
                    await told.wait("ended", x)
    tree = captured.tree
    tree.assert_sound()
    assert tree.root.record.outcome == "cancelled"
    items = tree.all("item m")
    assert items
    for item in items:
        assert item.record.outcome == "cancelled"
        abandoned = item.record.attributes.get("hush.abandoned", False)
        assert abandoned != place.can.stops_running_work
    assert not captured.open_spans


async def test_a_deadline_of_the_run_cancels_too(place, told):
    engine = Hush(over(bodies.sleeps, place.make(), max_concurrency=2))
    with pytest.raises(Exception, match="deadline_s"):
        await engine.run({"xs": range(4), "folder": str(told.folder)}, deadline_s=3.0)
    if place.can.stops_running_work:
        assert await told.stops()
