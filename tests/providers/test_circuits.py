"""Circuits as nodes see them: when calls are refused, what is told, how it comes back."""

from __future__ import annotations

import logging

import anyio
import pytest

from hush.core import Hush, LLMCircuitError, LLMStatusError, Retry, RunError
from hush.providers import ResourceHub
from hush.testing import Answer, Disconnect, ErrorReply, Hang, Malformed
from tests.providers.asking import (
    asks,
    asks_at_once,
    asks_each,
    chats,
    events,
    outcomes,
    traced,
    until,
)

ONCE = Retry(1)


def hub_of(server, *models, **options):
    options = {"circuit_failures": 2, "circuit_cooldown_s": 60.0, **options}
    return ResourceHub.from_mapping(server.resources(*(models or ("m",)), **options))


def circuit(hub, name="m"):
    def absent():
        raise AssertionError("no engine has used it")

    return hub.state(name, absent).circuit


async def test_it_opens_and_refuses_without_a_call(server, caplog):
    server.default("m", ErrorReply(500))
    hub = hub_of(server)
    engine = Hush(asks(retry=ONCE), resources=hub)
    first, tree = await traced(engine)
    assert isinstance(first.__cause__, LLMStatusError)
    assert not events(tree.one("node ask").record, "hush.circuit_open")
    assert circuit(hub).state == "closed"
    second, tree = await traced(engine)
    assert isinstance(second.__cause__, LLMStatusError)
    (opened,) = events(tree.one("node ask").record, "hush.circuit_open")
    assert opened == {"hush.llm.resource": "m", "error.type": "500", "hush.limit_s": 60.0}
    assert circuit(hub).state == "open"
    for _ in range(3):
        refused, tree = await traced(engine)
        assert isinstance(refused.__cause__, LLMCircuitError)
        assert "2 calls in a row had failed" in str(refused)
        assert str(tree) == "run g error\n  node ask error"
        # No call has recorded it, so the node does.
        assert len(events(tree.one("node ask").record, "exception")) == 1
    assert len(server.requests) == 2
    warnings = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
    for said in ("g.ask", "'m'", "60.0"):
        assert said in warnings[0].getMessage()


async def test_retries_end_when_it_opens(server):
    server.default("m", ErrorReply(503))
    error, tree = await traced(Hush(asks(retry=Retry(9, initial_s=0.01)), resources=hub_of(server)))
    assert len(server.requests) == len(chats(tree)) == 2
    assert isinstance(error.__cause__, LLMCircuitError)
    assert error.__cause__.history == (
        "m: LLMStatusError 503",
        "m: LLMStatusError 503",
        "m: LLMCircuitError circuit_open",
    )
    assert "503" in str(error)


async def test_an_open_one_moves_on_to_the_fallback_at_once(server):
    server.default("m", ErrorReply(500))
    engine = Hush(asks(fallback="n"), resources=hub_of(server, "m", "n"))
    result, _ = await traced(engine)
    assert result["resource_used"] == "n"
    server.requests.clear()
    result, tree = await traced(engine)
    assert result["resource_used"] == "n"
    assert [request.model for request in server.requests] == ["n"]
    assert outcomes(tree) == ["ok"]
    node = tree.one("node ask").record
    assert events(node, "hush.fallback") == [
        {"hush.llm.resource": "m", "error.type": "circuit_open", "hush.fallback.to": "n"}
    ]
    assert not events(node, "hush.retry")
    assert node.attributes["hush.attempts"] == 1


async def opened(server, **options):
    """An engine, its hub, and the circuit opened by failures."""
    server.script("m", ErrorReply(500), ErrorReply(500))
    hub = hub_of(server, **options)
    engine = Hush(asks(retry=ONCE), resources=hub)
    for _ in range(2):
        await traced(engine)
    server.requests.clear()
    return engine, hub


async def test_a_probe_that_succeeds_closes_it(server):
    engine, hub = await opened(server, circuit_cooldown_s=0.1)
    await until(lambda: circuit(hub).state == "half_open")
    result, _ = await traced(engine)
    assert result["content"]
    assert circuit(hub).state == "closed"
    result, _ = await traced(engine)
    assert result["content"]


async def test_a_probe_that_fails_opens_it_again(server):
    engine, hub = await opened(server, circuit_cooldown_s=0.1)
    server.script("m", ErrorReply(500))
    await until(lambda: circuit(hub).state == "half_open")
    _, tree = await traced(engine)
    assert len(events(tree.one("node ask").record, "hush.circuit_open")) == 1
    assert circuit(hub).state == "open"
    error, _ = await traced(engine)
    assert isinstance(error.__cause__, LLMCircuitError)


async def test_only_one_call_probes(server):
    engine, hub = await opened(server, circuit_cooldown_s=0.1)
    await until(lambda: circuit(hub).state == "half_open")
    server.script("m", Hang())
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run)
        await until(lambda: server.active == 1)
        error, _ = await traced(engine)
        assert "under way" in str(error)
        group.cancel_scope.cancel()
    assert len(server.requests) == 1
    # A probe that was cancelled has shown nothing; the next one may try.
    result, _ = await traced(engine)
    assert result["content"]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 429])
async def test_what_is_not_the_servers_illness_does_not_open_it(server, status):
    server.default("m", ErrorReply(status))
    hub = hub_of(server)
    engine = Hush(asks(retry=ONCE), resources=hub)
    for _ in range(4):
        error, _ = await traced(engine)
        assert error.__cause__.status == status
    assert circuit(hub).state == "closed"
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "reply", [Disconnect(), Hang(), Malformed(), ErrorReply(503)], ids=lambda r: type(r).__name__
)
async def test_what_is_opens_it(server, reply):
    server.default("m", reply)
    hub = hub_of(server, timeout_s=0.2)
    for _ in range(2):
        await traced(Hush(asks(retry=ONCE), resources=hub))
    assert circuit(hub).state == "open"


async def test_a_success_between_forgets_the_failures(server):
    server.script("m", *([ErrorReply(500), Answer("ok")] * 4))
    hub = hub_of(server)
    engine = Hush(asks(retry=ONCE), resources=hub)
    for _ in range(8):
        await traced(engine)
    assert circuit(hub).state == "closed"
    assert len(server.requests) == 8


async def test_cancelled_calls_do_not_count(server):
    server.default("m", Hang())
    hub = hub_of(server)
    for _ in range(3):
        error, _ = await traced(Hush(asks(deadline_s=0.05), resources=hub))
        assert error.outcome == "timeout"
    assert circuit(hub).state == "closed"


async def test_none_never_opens(server):
    server.default("m", ErrorReply(500))
    engine = Hush(
        asks(retry=Retry(12, initial_s=0.001, factor=1.0)),
        resources=hub_of(server, circuit_failures=None),
    )
    await traced(engine)
    assert len(server.requests) == 12


async def test_engines_share_it_by_their_hub(server):
    _, hub = await opened(server)
    error, _ = await traced(Hush(asks(), resources=hub))
    assert isinstance(error.__cause__, LLMCircuitError)
    result, _ = await traced(Hush(asks(), resources=hub_of(server)))
    assert result["content"]


async def test_who_waits_for_the_limit_is_refused_when_it_opens(server):
    server.default("m", ErrorReply(500))
    graph = asks_each(range(20), 20, {"on_error": "collect"}, retry=ONCE)
    result, tree = await traced(Hush(graph, resources=hub_of(server, max_concurrency=1)))
    assert len(server.requests) == len(chats(tree)) == 2
    assert result["content"] == [None] * 20


async def test_who_waits_for_the_limit_is_let_in_when_it_has_closed(server):
    _, hub = await opened(server, circuit_cooldown_s=0.1, max_concurrency=1)
    await until(lambda: circuit(hub).state == "half_open")
    result, _ = await traced(Hush(asks(), resources=hub))
    assert result["content"]
    server.default("m", Answer("ok", delay_s=0.02))
    result, _ = await traced(Hush(asks_at_once("a", "b", "c"), resources=hub))
    assert not isinstance(result, RunError)
