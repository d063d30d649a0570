"""A span budget over workers: exact counts, failures and the slowest kept, no orphans."""

from __future__ import annotations

from hush.core import Hush
from hush.testing import capture_spans
from tests.executors_contract import bodies
from tests.executors_contract.places import over

ITEMS = 3_000
BAD = range(250, ITEMS, 500)


async def test_a_large_map_keeps_what_matters(place, told):
    engine = Hush(
        over(
            bodies.uneven,
            place.make(),
            max_concurrency=100,
            on_error="collect",
            span_budget=40,
        )
    )
    with capture_spans() as captured:
        result = await engine.run({"xs": range(ITEMS), "folder": str(told.folder)})
    assert result["ys"] == [None if x in BAD else 2 * x for x in range(ITEMS)]
    assert [error["index"] for error in result["errors"]] == list(BAD)
    tree = captured.tree
    tree.assert_sound()
    of_map = tree.one("map m").record.attributes
    assert of_map["hush.map.items"] == ITEMS
    assert of_map["hush.map.failed"] == len(BAD)
    assert of_map["hush.map.ok"] == ITEMS - len(BAD)
    kept = {node.record.attributes["hush.item.index"]: node for node in tree.all("item m")}
    assert len(kept) <= 40
    # Each with its attempt and its node.
    assert of_map["hush.map.spans_omitted"] == 3 * (ITEMS - len(kept))
    assert set(BAD) <= set(kept)
    assert 77 in kept
    assert of_map["hush.map.slowest"][0].startswith("77:")
    for item in kept.values():
        (attempt,) = item.children
        (node,) = attempt.children
        assert (attempt.name, node.name) == ("attempt m", "node n")
    # No span hangs in the air.
    assert all(node.parent is not None for node in tree if node.name != "run g")
    assert not captured.open_spans
