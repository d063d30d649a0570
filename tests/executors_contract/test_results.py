"""What a map gives and looks like elsewhere: the same as in this process, and who did it."""

from __future__ import annotations

from collections import Counter

from hush.core import Hush
from hush.testing import capture_spans
from tests.executors_contract import bodies
from tests.executors_contract.places import over


def shape(tree):
    """Return how often each way from the root is there, attempts in workers left out."""
    return Counter(
        tuple(name for name in names_of(node) if not name.startswith("attempt")) for node in tree
    )


def names_of(node):
    names = []
    while node is not None:
        names.append(node.name)
        node = node.parent
    return names[::-1]


async def traced(engine, inputs):
    with capture_spans() as captured:
        result = await engine.run(inputs)
    captured.tree.assert_sound()
    return result, captured.tree


async def test_results_in_order_and_one_trace_of_the_same_shape(place, told):
    inputs = {"xs": list(range(20)), "folder": str(told.folder)}
    result, tree = await traced(Hush(over(bodies.double, place.make())), inputs)
    assert result["ys"] == [2 * x for x in range(20)]
    assert told.counts("began") == dict.fromkeys(range(20), 1)
    here, tree_here = await traced(Hush(over(bodies.double)), inputs)
    assert here["ys"] == result["ys"]
    with_attempts = Counter(node.name for node in tree)
    assert with_attempts.pop("attempt m") == 20
    assert with_attempts == Counter(node.name for node in tree_here)
    assert set(shape(tree_here)) <= set(shape(tree))
    for node in tree.all("node n"):
        assert [one.name for one in (node.parent, node.parent.parent)] == ["attempt m", "item m"]
        assert node.parent.record.attributes["hush.attempt"] == 1
    for name in ("hush.map.items", "hush.map.ok", "hush.map.failed", "hush.map.max_concurrency"):
        there = tree.one("map m").record.attributes
        assert there[name] == tree_here.one("map m").record.attributes[name]


async def test_keys_name_run_path_and_item(place, told):
    result = await Hush(over(bodies.double, place.make())).run(
        {"xs": [5, 6], "folder": str(told.folder)}
    )
    keys = {line["x"]: line["key"] for line in told.all("began")}
    assert keys == {5: f"{result.run_id}/g.m[0]", 6: f"{result.run_id}/g.m[1]"}


async def test_the_engine_says_where_maps_run_that_say_nothing(place, told):
    inputs = {"xs": [1, 2, 3], "folder": str(told.folder)}
    result = await Hush(over(bodies.double), executor=place.make()).run(inputs)
    assert result["ys"] == [2, 4, 6]
    import os

    assert os.getpid() not in {line["pid"] for line in told.lines}


async def test_nothing_of_a_run_is_left_for_the_next(place, told):
    engine = Hush(over(bodies.double, place.make()))
    async with engine:
        for number in range(3):
            result = await engine.run({"xs": range(number, 6), "folder": str(told.folder)})
            assert result["ys"] == [2 * x for x in range(number, 6)]


async def test_a_shard_is_a_run_with_workers_and_a_trace_of_its_own(place, told):
    with capture_spans() as captured:
        result = await Hush(over(bodies.shard, place.make(), max_concurrency=2)).run(
            {"xs": [3, 4], "folder": str(told.folder)}
        )
    assert result["ys"] == [6, 12]
    above = captured.trees[result.trace_id]
    shards = [tree for trace_id, tree in captured.trees.items() if trace_id != result.trace_id]
    assert sorted(len(tree.all("item m")) for tree in shards) == [3, 4]
    askers = {node.record.span_id for node in above.all("node n")}
    for tree in shards:
        tree.assert_sound()
        assert tree.root.name == "shard"
        (link,) = tree.root.record.links
        assert (link.trace_id, link.span_id in askers) == (result.trace_id, True)
