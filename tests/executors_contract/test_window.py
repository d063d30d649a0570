"""How much is under way: never more than ``max_concurrency``, counted where it is done."""

from __future__ import annotations

import pytest

from hush.core import Hush
from hush.testing import capture_spans
from tests.executors_contract import bodies
from tests.executors_contract.places import over


@pytest.mark.parametrize("width", [1, 3, 8])
async def test_a_slow_item_fills_no_queue(place, told, width):
    engine = Hush(over(bodies.double_slowly, place.make(), max_concurrency=width))
    with capture_spans() as captured:
        result = await engine.run({"xs": range(40), "folder": str(told.folder)})
    assert result["ys"] == [2 * x for x in range(40)]
    assert told.most_at_once() <= width
    of_map = captured.tree.one("map m").record.attributes
    assert of_map["hush.map.peak_concurrency"] <= width
    assert captured.tree.max_overlap("item m") <= width
    captured.tree.assert_sound()


async def test_a_source_is_read_no_further_than_the_window(place, told):
    pulled = 0

    async def numbers():
        nonlocal pulled
        for x in range(30):
            pulled += 1
            # One may be pulled while the others are under way.
            assert pulled <= len(told.all("ended")) + 4 + 2
            yield x

    engine = Hush(over(bodies.double, place.make(), max_concurrency=4))
    result = await engine.run({"xs": numbers(), "folder": str(told.folder)})
    assert result["ys"] == [2 * x for x in range(30)]
