"""Spans of calls to models keep to what Jaeger draws its critical path by."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hush.core import END, START, Each, GraphNode, Hush, MapNode, Retry
from hush.providers import LLMNode
from hush.testing import Answer, ErrorReply, ScriptedLLMServer, capture_spans

AGAIN = Retry(attempts=3, initial_s=0.000_001, jitter=0.0)
REFUSED = ErrorReply(503)


@pytest.fixture
def server():
    with ScriptedLLMServer() as running:
        yield running


async def tree_of(server, items=1, key="m", **options):
    messages = [{"role": "user", "content": "hello"}]
    with GraphNode(name="g") as graph:
        with MapNode(name="each", inputs={"i": Each(range(items))}, max_concurrency=4) as each:
            node = LLMNode("ask", key, inputs={"messages": messages}, retry=AGAIN, **options)
            START >> node >> END
        START >> each >> END
    with capture_spans() as captured:
        await Hush(graph, resources=server.resources("m", "n")).run()
    tree = captured.tree
    tree.assert_sound()
    return tree


def chats_of(tree):
    by_id = {node.record.span_id: node for node in tree}
    for chat in tree.all("chat *"):
        inside = by_id[chat.record.parent_id].record
        assert inside.name == "node ask"
        assert inside.start_ns <= chat.record.start_ns <= chat.record.end_ns <= inside.end_ns
        yield chat.record, [by_id[link.span_id].record for link in chat.record.links]


async def test_a_call_begins_after_the_failed_one_that_it_repeats(server):
    server.script("m", REFUSED, REFUSED, Answer("at last"))
    server.script("n", REFUSED, REFUSED, Answer("at last"))
    for key in ("m", "n"):
        calls = list(chats_of(await tree_of(server, key=key)))
        assert [len(links) for _, links in calls] == [0, 1, 1]
        for (before, _), (after, links) in pairwise(calls):
            assert links[0].span_id == before.span_id
            assert after.start_ns - before.end_ns >= 2_000


async def test_a_fallback_begins_after_the_last_call_of_the_resource_before(server):
    server.script("m", REFUSED, repeat=True)
    server.script("n", Answer("instead"), repeat=True)
    calls = list(chats_of(await tree_of(server, items=12, fallback=["n"])))
    # After some failures the resource is not asked at all.
    assert len(calls) > 12
    for chat, links in calls:
        assert len(links) == (0 if chat.attributes["hush.attempt"] == 1 else 1)
        for before in links:
            assert before.attributes["hush.attempt"] == chat.attributes["hush.attempt"] - 1
            assert chat.start_ns - before.end_ns >= 2_000


async def test_a_hedge_overlaps_and_only_the_one_that_lost_links_to_the_other(server):
    server.script("m", Answer("slow", delay_s=5), Answer("fast"))
    (first, lost_to), (second, links) = chats_of(await tree_of(server, hedge_after_s=0.02))
    assert first.start_ns < second.start_ns < first.end_ns
    assert (first.outcome, second.outcome) == ("cancelled", "ok")
    assert [one.span_id for one in lost_to] == [second.span_id]
    assert links == []
