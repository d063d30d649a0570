"""What every engine promises of a call, with real workers, on either loop.

The clusters are started once and entered by each test anew: on its own loop, while another
loop in another thread keeps them open.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import types

import anyio
import anyio.from_thread
import pytest

from hush.errors import ExecutorError, WorkerLostError
from hush.executors import Executor
from tests.executors import entries
from tests.executors.engines import PATIENCE_S, Calls, kill, wait_gone
from tests.executors.kinds import EACH, WORKERS, make


@pytest.fixture(scope="module", params=EACH)
def kept(request):
    """An executor that stays open: entered on a loop of its own, in a thread of its own."""
    executor = make(request.param)
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        with portal.wrap_async_context_manager(executor):
            yield executor


@pytest.fixture
async def executor(kept, anyio_backend):
    async with kept:
        yield kept


@pytest.fixture
def calls(tmp_path):
    return Calls(tmp_path)


async def settled(executor):
    """Wait until all workers are there and free, whatever a test did to them."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            with anyio.move_on_after(10):
                try:
                    async with anyio.create_task_group() as tasks:
                        for _ in range(WORKERS):
                            tasks.start_soon(executor.call, entries.naps, b"0.05")
                except ExceptionGroup:
                    continue
                return


# --- values -----------------------------------------------------------------------------------


async def test_what_it_is(executor):
    protocol: Executor = executor
    assert protocol.name in {"processes", "dask", "ray"}
    assert protocol.slots == WORKERS
    assert protocol.capabilities.code_by_value


@pytest.mark.parametrize("size", [0, 1, 5_000_000, 20_000_000])
async def test_bytes_arrive_and_come_back_as_they_were(executor, size):
    payload = os.urandom(size)
    assert await executor.call(entries.echo, payload) == payload


async def test_many_at_once_each_get_their_own(executor):
    got = {}

    async def one(number):
        got[number] = await executor.call(entries.echo, str(number).encode())

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(one, number)
    assert got == {number: str(number).encode() for number in range(100)}


async def test_as_many_run_at_once_as_there_are_slots(executor, calls):
    async with anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(executor.call, entries.sleeps, calls.payload(1))
        await calls.wait_begun(WORKERS)
    assert len(set(calls.pids())) == WORKERS


# --- failures ---------------------------------------------------------------------------------


async def test_what_is_raised_arrives_as_data(executor):
    with pytest.raises(ExecutorError, match="ValueError: no such thing") as caught:
        await executor.call(entries.raises, b"")
    assert not isinstance(caught.value, WorkerLostError)
    assert "entries.py" in str(caught.value)
    with pytest.raises(ExecutorError, match="Unprintable"):
        await executor.call(entries.raises_unprintable, b"")
    with pytest.raises(ExecutorError, match="returned str, not bytes"):
        await executor.call(entries.returns_text, b"")


async def test_a_function_that_the_worker_cannot_import(executor, monkeypatch):
    module = types.ModuleType("nowhere_else")
    exec("def function(payload): return payload", module.__dict__)
    monkeypatch.setitem(sys.modules, "nowhere_else", module)
    with pytest.raises(
        ExecutorError, match=r"(?s)No module named 'nowhere_else'.*the same version"
    ):
        await executor.call(module.function, b"")


async def test_a_function_that_nobody_can_import(executor):
    with pytest.raises(ExecutorError, match="a worker cannot import"):
        await executor.call(lambda payload: payload, b"")


@pytest.mark.parametrize("entry", [entries.exits, entries.dies])
async def test_whoever_ends_the_process_loses_the_call(executor, entry):
    with anyio.fail_after(PATIENCE_S), pytest.raises(WorkerLostError):
        await executor.call(entry, b"")
    await settled(executor)


async def test_a_killed_worker_loses_its_call_and_no_other(executor, calls):
    await settled(executor)
    lost, kept = [], []

    async def one():
        try:
            kept.append(await executor.call(entries.sleeps, calls.payload(1.5)))
        except WorkerLostError as error:
            lost.append(error)

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(WORKERS):
                tasks.start_soon(one)
            await calls.wait_begun(WORKERS)
            kill(calls.pids()[0])
    assert (len(lost), kept) == (1, [b"slept"] * (WORKERS - 1))
    await settled(executor)
    # Nothing is ever run again by the engine.
    assert len(calls.began()) == WORKERS


# --- cancellation -----------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [entries.sleeps, entries.computes])
async def test_cancelling_comes_out_at_once_and_stops_what_can_be_stopped(executor, calls, entry):
    await settled(executor)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(executor.call, entry, calls.payload(2))
        await calls.wait_begun()
        tasks.cancel_scope.cancel()
    # Work that goes on proves that nobody waited for its end.
    if executor.capabilities.stops_running_work:
        assert await calls.stopped()
    else:
        assert not await calls.stopped()
    await settled(executor)
    assert await executor.call(entries.echo, b"next") == b"next"


async def test_cancelled_before_it_begins_it_never_does(executor, calls):
    await settled(executor)
    async with anyio.create_task_group() as tasks:
        for _ in range(4 * WORKERS):
            tasks.start_soon(executor.call, entries.sleeps, calls.payload(1))
        await calls.wait_begun(WORKERS)
        tasks.cancel_scope.cancel()
    await settled(executor)
    await anyio.sleep(0.5)
    assert len(calls.began()) == WORKERS


async def test_a_frozen_worker(executor, calls):
    await settled(executor)
    pid = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(executor.call, entries.sleeps, calls.payload(1))
        pid = await calls.wait_begun()
        os.kill(pid, signal.SIGSTOP)
        try:
            # What works goes on beside it.
            for number in range(4):
                if executor.name != "dask":  # its scheduler may choose the frozen one
                    payload = str(number).encode()
                    assert await executor.call(entries.echo, payload) == payload
            began = time.perf_counter()
            tasks.cancel_scope.cancel()
        except BaseException:
            os.kill(pid, signal.SIGCONT)
            raise
    assert time.perf_counter() - began < PATIENCE_S
    if executor.capabilities.stops_running_work:
        if executor.name == "ray":  # the worker is told to end, and hears it when it wakes
            os.kill(pid, signal.SIGCONT)
        await wait_gone(pid)
    else:
        # It goes on and answers, too late for anyone to hear it.
        os.kill(pid, signal.SIGCONT)
    await settled(executor)
    for number in range(4):
        payload = str(number).encode()
        assert await executor.call(entries.echo, payload) == payload
    assert len(calls.began()) == 1


# --- entering ---------------------------------------------------------------------------------


async def test_all_may_enter_at_once(executor):
    async def one():
        async with executor:
            assert await executor.call(entries.echo, b"1") == b"1"

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)


async def test_loops_in_threads_share_one(executor, anyio_backend_name):
    def elsewhere(backend):
        async def use():
            async with executor:
                got.append(await executor.call(entries.echo, b"1"))

        anyio.run(use, backend=backend)

    got = []
    threads = [threading.Thread(target=elsewhere, args=(one,)) for one in ("asyncio", "trio") * 2]
    for thread in threads:
        thread.start()
    await executor.call(entries.echo, b"1")
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert got == [b"1"] * 4


@pytest.mark.parametrize("kind", EACH)
async def test_not_entered(kind):
    executor = make(kind)
    with pytest.raises(ExecutorError, match="has not been entered"):
        await executor.call(entries.echo, b"")
    copy = pickle.loads(pickle.dumps(executor))
    assert type(copy) is type(executor)
