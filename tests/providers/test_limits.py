"""Limits as nodes see them: who shares them, how the wait is told, what a map says of it."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from hush.core import Hush
from hush.providers import ResourceHub
from hush.testing import Answer, ErrorReply, capture_spans
from tests.providers.asking import (
    asks,
    asks_at_once,
    asks_each,
    chats,
    outcomes,
    traced,
    until,
)


def hub_of(server, **options):
    return ResourceHub.from_mapping(server.resources("m", **options))


def limiter(hub):
    def absent():
        raise AssertionError("no engine has used it")

    return hub.state("m", absent).limiter


def idle(hub):
    now = limiter(hub).snapshot()
    return (now.in_use, now.waiting) == (0, 0)


SLOW = Answer("ok", delay_s=0.03)

# --- concurrency --------------------------------------------------------------------------------


async def test_nodes_share_it(server):
    server.default("m", SLOW)
    graph = asks_at_once(*"abcdefgh")
    hub = hub_of(server, max_concurrency=3)
    await traced(Hush(graph, resources=hub))
    assert server.peak_active == 3
    assert idle(hub)


async def test_a_maps_items_share_it(server):
    server.default("m", SLOW)
    hub = hub_of(server, max_concurrency=4)
    result, tree = await traced(Hush(asks_each(range(40), 20), resources=hub))
    assert result["content"] == ["ok"] * 40
    assert server.peak_active == tree.max_overlap("chat m") == 4
    assert tree.max_overlap("item each") == 20


async def test_runs_and_engines_share_it(server):
    server.default("m", SLOW)
    hub = hub_of(server, max_concurrency=3)
    engines = [Hush(asks(), resources=hub), Hush(asks_each(range(5), 5), resources=hub)]
    async with anyio.create_task_group() as group:
        for _ in range(4):
            for engine in engines:
                group.start_soon(engine.run)
    assert len(server.requests) == 24
    assert server.peak_active == 3
    assert idle(hub)


def test_threads_with_loops_of_their_own_share_it(server):
    server.default("m", SLOW)
    hub = hub_of(server, max_concurrency=3)
    engine = Hush(asks_each(range(8), 8), resources=hub)
    results = []

    def work(backend):
        results.append(engine.run_sync(backend=backend)["content"])

    threads = [
        threading.Thread(target=work, args=(backend,)) for backend in ("asyncio", "trio") * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["ok"] * 8] * 4
    assert len(server.requests) == 32
    assert server.peak_active == 3
    assert idle(hub)


async def test_hubs_do_not_share_it(server):
    server.default("m", Answer("ok", delay_s=0.2))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            engine = Hush(asks(), resources=hub_of(server, max_concurrency=1))
            group.start_soon(engine.run)
    assert server.peak_active == 2


async def test_failed_calls_give_their_place_back(server):
    server.script("m", ErrorReply(500), ErrorReply(401))
    hub = hub_of(server, max_concurrency=1)
    for _ in range(2):
        await traced(Hush(asks(), resources=hub))
    assert idle(hub)


async def test_a_pause_between_tries_holds_no_place(server):
    server.script("m", ErrorReply(429, retry_after_s=0.4), Answer("b"), Answer("a"))
    hub = hub_of(server, max_concurrency=1)
    async with anyio.create_task_group() as group:
        group.start_soon(Hush(asks(), resources=hub).run)
        await until(lambda: len(server.requests) == 1 and idle(hub))
        result, _ = await traced(Hush(asks(), resources=hub))
    assert result["content"] == "b"


# --- pace ---------------------------------------------------------------------------------------


async def test_requests_are_paced(server):
    hub = hub_of(server, requests_per_minute=240)
    # One second's worth at once, then one each 250 ms.
    async with Hush(asks_each(range(10), 10), resources=hub) as engine:
        # Ahead of the run: it takes time, which is none of the limit's.
        await engine._resources.endpoint("m").prepare()
        began = time.monotonic()
        _, tree = await traced(engine)
    assert 1.4 < server.requests[-1].at - began < 20
    assert sum("hush.wait.limiter_s" in call.attributes for call in chats(tree)) <= 6
    each = tree.one("map each").record.attributes
    assert each["hush.wait.limiter"] == "llm:m/requests_per_minute"
    assert each["hush.map.bound_by"] == "rate_limit"


async def test_every_try_counts_as_a_request(server):
    server.script("m", *[ErrorReply(500)] * 2)
    hub = hub_of(server, requests_per_minute=60)
    _, tree = await traced(Hush(asks(), resources=hub))
    first, second, third = chats(tree)
    assert "hush.wait.limiter_s" not in first.attributes
    for later in (second, third):
        assert 0.5 < later.attributes["hush.wait.limiter_s"] < 5
    waited = tree.one("node ask").record.attributes["hush.wait.limiter_s"]
    assert waited == pytest.approx(
        sum(call.attributes["hush.wait.limiter_s"] for call in (second, third))
    )


async def test_tokens_are_charged_by_estimate_and_corrected(server):
    hub = hub_of(server, tokens_per_minute=60_000)
    engine = Hush(
        asks(inputs={"messages": [{"role": "user", "content": "x" * 2000}]}), resources=hub
    )
    server.script("m", Answer("ok", prompt_tokens=100, completion_tokens=40, delay_s=0.3))
    full = 1000.0
    during = []
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run)
        await until(lambda: server.active == 1)
        during.append(limiter(hub).snapshot().token_level)
    # 504 guessed for the prompt and 256 for an answer of which nothing is known.
    assert during[0] < full - 200
    assert limiter(hub).snapshot().token_level > full - 200


async def test_tokens_are_paced_by_what_was_really_used(server):
    # Each call really takes 500: after the first second's 1,000 there is debt to wait for.
    server.default("m", Answer("ok", prompt_tokens=300, completion_tokens=200))
    hub = hub_of(server, tokens_per_minute=60_000)
    began = time.monotonic()
    _, tree = await traced(Hush(asks_each(range(5), 1), resources=hub))
    assert server.requests[-1].at - began > 0.8
    each = tree.one("map each").record.attributes
    assert each["hush.wait.limiter"] == "llm:m/tokens_per_minute"


async def test_a_call_that_broke_off_keeps_its_charge(server):
    server.script("m", Answer(chunks=["a", "b"], cut_after=1))
    hub = hub_of(server, tokens_per_minute=60_000)
    began = time.monotonic()
    from hush.core import Retry

    await traced(Hush(asks(stream=True, retry=Retry(1)), resources=hub))
    refilled = (time.monotonic() - began) * 1000
    assert limiter(hub).snapshot().token_level < 1000 - 200 + refilled


# --- what is told of the wait --------------------------------------------------------------------


async def test_the_wait_is_told_on_all_levels(server):
    server.default("m", Answer("ok", delay_s=0.1))
    hub = hub_of(server, max_concurrency=1)
    async with Hush(asks_each(range(6), 6), resources=hub) as engine:
        # As above.
        await engine._resources.endpoint("m").prepare()
        _, tree = await traced(engine)
    nodes = [node.record.attributes for node in tree.all("node ask")]
    waits = sorted(facts.get("hush.wait.limiter_s", 0.0) for facts in nodes)
    assert waits[0] == 0.0
    assert 0.05 < waits[1] < waits[2]
    assert waits[5] > 0.4
    for node in tree.all("node ask"):
        facts, item = node.record.attributes, node.parent.record.attributes
        waited = facts.get("hush.wait.limiter_s", 0.0)
        assert facts.get("hush.wait.limiter") == ("llm:m/max_concurrency" if waited else None)
        assert facts["hush.run_s"] <= node.record.duration_s - waited + 0.001
        assert item.get("hush.wait.limiter_s") == facts.get("hush.wait.limiter_s")
        assert item.get("hush.wait.limiter") == facts.get("hush.wait.limiter")
        # The call's own span begins when it is let in.
        (call,) = node.children
        assert call.record.duration_s <= node.record.duration_s - waited
    for above in (tree.one("map each"), tree.root):
        assert above.record.attributes["hush.wait.limiter_s"] == pytest.approx(sum(waits))
        assert above.record.attributes["hush.wait.limiter"] == "llm:m/max_concurrency"
    assert tree.one("map each").record.attributes["hush.map.bound_by"] == "rate_limit"


async def test_who_does_not_wait_says_nothing(server):
    _, tree = await traced(
        Hush(asks_each(range(4), 2), resources=hub_of(server, max_concurrency=4))
    )
    for node in tree:
        assert "hush.wait.limiter" not in node.record.attributes
        assert "hush.wait.limiter_s" not in node.record.attributes
        assert node.record.attributes.get("hush.map.bound_by") != "rate_limit"


async def test_a_map_that_waits_little_is_not_bound_by_it(server):
    server.script("m", *[Answer("ok", delay_s=0.2)] * 4)
    hub = hub_of(server, max_concurrency=3)
    _, tree = await traced(Hush(asks_each(range(4), 4), resources=hub))
    each = tree.one("map each").record.attributes
    assert each["hush.wait.limiter_s"] > 0
    assert each.get("hush.map.bound_by") != "rate_limit"


# --- cancelled while waiting ----------------------------------------------------------------------


async def test_a_cancellation_while_waiting_leaves_nothing(server):
    server.default("m", Answer("ok", delay_s=0.3))
    hub = hub_of(server, max_concurrency=1)
    engine = Hush(asks(), resources=hub)
    async with anyio.create_task_group() as outer:
        outer.start_soon(engine.run)
        await until(lambda: server.active == 1)
        with capture_spans() as captured:
            async with anyio.create_task_group() as group:
                group.start_soon(engine.run)
                await until(lambda: limiter(hub).snapshot().waiting == 1)
                group.cancel_scope.cancel()
        assert limiter(hub).snapshot().waiting == 0
        assert str(captured.tree) == "run g cancelled\n  node ask cancelled"
        assert captured.open_spans == ()
    assert len(server.requests) == 1
    assert idle(hub)


async def test_a_deadline_counts_the_wait(server):
    server.default("m", Answer("ok", delay_s=0.4))
    hub = hub_of(server, max_concurrency=1)
    async with anyio.create_task_group() as group:
        group.start_soon(Hush(asks(), resources=hub).run)
        await until(lambda: server.active == 1)
        error, tree = await traced(Hush(asks(deadline_s=0.05), resources=hub))
    assert error.outcome == "timeout"
    assert outcomes(tree) == []
    assert idle(hub)


async def test_a_timeout_of_one_call_does_not_count_the_wait(server):
    server.default("m", Answer("ok", delay_s=0.15))
    hub = hub_of(server, max_concurrency=1)
    result, _ = await traced(Hush(asks_each(range(4), 4, timeout_s=0.4), resources=hub))
    assert result["content"] == ["ok"] * 4
