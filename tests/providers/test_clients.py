"""Clients: one for each resource and loop, kept and closed when they should be."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from hush.core import Hush, Retry
from hush.providers import ResourceHub, resources
from hush.testing import Answer, ErrorReply, Hang
from tests.providers.asking import asks, asks_at_once, asks_each, nothing_left, traced, until


@pytest.fixture
def made(monkeypatch):
    """All clients that are made."""
    found = []
    make = resources.make_client

    def counting(resource):
        found.append(make(resource))
        return found[-1]

    monkeypatch.setattr(resources, "make_client", counting)
    return found


def ports(server):
    return {request.port for request in server.requests}


def all_closed(made):
    return all(client.is_closed() for client in made)


async def test_none_is_made_before_it_is_needed(server, made):
    async with Hush(asks(fallback="n"), resources=server.resources("m", "n")) as engine:
        assert made == []
        await engine.run()
        assert len(made) == 1
    assert all_closed(made)


async def test_a_run_closes_what_it_opened(server, made):
    engine = Hush(asks(), resources=server.resources("m"))
    for count in (1, 2):
        await engine.run()
        await nothing_left(server)
        assert len(made) == len(ports(server)) == count
        assert all_closed(made)


async def test_a_block_keeps_connections_between_runs(server, made):
    async with Hush(asks(), resources=server.resources("m")) as engine:
        for _ in range(5):
            await engine.run()
            assert server.open_connections == 1
        assert not all_closed(made)
    assert len(made) == len(ports(server)) == 1
    assert all_closed(made)
    await nothing_left(server)


async def test_blocks_nest(server, made):
    engine = Hush(asks(), resources=server.resources("m"))
    async with engine:
        async with engine:
            await engine.run()
        await engine.run()
        assert not all_closed(made)
    assert len(made) == 1
    assert all_closed(made)


async def test_runs_at_the_same_time_share_one(server, made):
    server.default("m", Answer("ok", delay_s=0.1))
    engine = Hush(asks(), resources=server.resources("m"))
    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(engine.run)
    assert len(made) == 1
    assert all_closed(made)


async def test_the_last_of_several_runs_closes(server, made):
    server.script("m", Answer("long", delay_s=0.3), Answer("short"))
    engine = Hush(asks(), resources=server.resources("m"))
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run)
        await until(lambda: server.active == 1)
        await engine.run()
        assert not all_closed(made)
    assert len(made) == 1
    assert all_closed(made)


async def test_engines_of_one_hub_share_one(server, made):
    hub = ResourceHub.from_mapping(server.resources("m"))
    async with Hush(asks(), resources=hub) as one, Hush(asks(), resources=hub) as other:
        await one.run()
        await other.run()
    assert len(made) == len(ports(server)) == 1
    assert all_closed(made)


async def test_engines_of_two_hubs_do_not(server, made):
    async with (
        Hush(asks(), resources=server.resources("m")) as one,
        Hush(asks(), resources=server.resources("m")) as other,
    ):
        await one.run()
        await other.run()
    assert len(made) == len(ports(server)) == 2


async def test_each_resource_has_its_own(server, made):
    graph = asks(fallback=["n"])
    server.default("m", ErrorReply(401))
    await traced(Hush(graph, resources=server.resources("m", "n")))
    assert len(made) == len(ports(server)) == 2
    assert all_closed(made)


async def test_a_map_reuses_connections(server, made):
    await traced(Hush(asks_each(range(60), 4), resources=server.resources("m")))
    assert len(made) == 1
    assert len(ports(server)) <= 4


@pytest.mark.parametrize("stream", [False, True])
async def test_streams_give_their_connection_back(server, stream):
    async with Hush(asks(stream=stream), resources=server.resources("m")) as engine:
        for _ in range(4):
            await engine.run()
    assert len(ports(server)) == 1


async def test_errors_give_their_connection_back(server):
    server.script("m", ErrorReply(500), ErrorReply(429), ErrorReply(503), ErrorReply(401))
    async with Hush(asks(), resources=server.resources("m")) as engine:
        await traced(engine)
        await traced(engine)
        await traced(engine)
    assert len(server.requests) == 5
    assert len(ports(server)) == 1


async def test_a_run_that_fails_closes_too(server, made):
    server.default("m", ErrorReply(401))
    await traced(Hush(asks(), resources=server.resources("m")))
    assert all_closed(made)
    await nothing_left(server)


async def test_a_run_that_is_cancelled_closes_too(server, made):
    server.default("m", Hang())
    async with anyio.create_task_group() as group:
        group.start_soon(Hush(asks_at_once("a", "b"), resources=server.resources("m")).run)
        await until(lambda: server.active == 2)
        group.cancel_scope.cancel()
    assert len(made) == 1
    assert all_closed(made)
    await nothing_left(server)


async def test_a_block_that_is_cancelled_closes_too(server, made):
    with anyio.CancelScope() as scope:
        async with Hush(asks(), resources=server.resources("m")) as engine:
            await engine.run()
            scope.cancel()
            await anyio.sleep(30)
    assert all_closed(made)
    await nothing_left(server)


async def test_making_one_is_no_part_of_a_call(server, made, monkeypatch):
    counting = resources.make_client

    def slowly(resource):
        time.sleep(0.6)
        return counting(resource)

    monkeypatch.setattr(resources, "make_client", slowly)
    graph = asks(timeout_s=0.5, hedge_after_s=0.4, retry=Retry(1))
    result, tree = await traced(Hush(graph, resources=server.resources("m")))
    assert result["content"] == "hello you"
    assert len(server.requests) == 1
    assert tree.one("chat m").record.duration_s < 0.5


async def test_one_that_cannot_be_made_moves_on(server, made, monkeypatch):
    counting = resources.make_client

    def broken(resource):
        if resource.name == "m":
            raise OSError("no certificates")
        return counting(resource)

    monkeypatch.setattr(resources, "make_client", broken)
    graph = asks(fallback="n")
    result, tree = await traced(Hush(graph, resources=server.resources("m", "n")))
    assert result["resource_used"] == "n"
    assert "no certificates" in tree.one("chat m").record.status_description


@pytest.fixture
def closing(made, monkeypatch):
    """Say what happens when the first client that is made is to be closed."""

    def set_(close):
        monkeypatch.setattr(resources, "CLOSING_S", 0.1)
        counting = resources.make_client

        def make(resource):
            client = counting(resource)
            if len(made) == 1:
                client.close = close
            return client

        monkeypatch.setattr(resources, "make_client", make)

    return set_


async def hangs():
    await anyio.sleep(30)


async def fails():
    raise OSError("cannot close")


@pytest.mark.parametrize("close", [hangs, fails])
async def test_closing_that_goes_wrong_spoils_nothing(server, made, closing, close, caplog):
    closing(close)
    server.default("m", ErrorReply(401))
    with anyio.fail_after(10):
        result = await Hush(asks(fallback="n"), resources=server.resources("m", "n")).run()
    assert result["content"]
    stubborn, other = made
    assert other.is_closed()
    assert ("llm:m" in caplog.text) is (close is fails)
    await stubborn._client.aclose()


# --- several loops ----------------------------------------------------------------------------


def test_threads_never_share_one(server, made):
    server.default("m", Answer("ok", delay_s=0.05))
    hub = ResourceHub.from_mapping(server.resources("m"))
    engine = Hush(asks_each(range(6), 3), resources=hub)
    failed = []

    async def main():
        async with engine:
            for _ in range(3):
                assert (await engine.run())["content"] == ["ok"] * 6

    def work(backend):
        try:
            anyio.run(main, backend=backend)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(backend,)) for backend in ("asyncio", "trio") * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    # One for each loop: six loops that share one would have made fewer.
    assert len(made) == 6
    assert all_closed(made)


@pytest.mark.parametrize("backends", ["aa", "tt", "at", "ta"])
def test_loops_one_after_the_other_never_share_one(server, made, backends):
    engine = Hush(asks(), resources=server.resources("m"))
    for backend in backends:
        name = {"a": "asyncio", "t": "trio"}[backend]
        assert engine.run_sync(backend=name)["content"] == "hello you"
    assert len(made) == len(ports(server)) == 2
    assert all_closed(made)


async def test_a_client_is_not_to_be_had_outside_of_a_run(server):
    engine = Hush(asks(), resources=server.resources("m"))
    await engine.run()
    with pytest.raises(RuntimeError, match="llm:m is not open on this event loop"):
        engine._resources.endpoint("m").client
