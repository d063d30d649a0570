"""Processes of this machine: warm, each lost by itself, gone with whoever started them."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import anyio
import pytest

from hush.errors import ExecutorError, WorkerLostError
from hush.executors import Processes
from tests.executors import entries
from tests.executors.engines import Calls, alive, kill, wait_gone

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calls(tmp_path):
    return Calls(tmp_path)


async def test_workers_are_warm_between_calls_and_gone_afterwards():
    executor = Processes(2)
    async with executor:
        pids = {int(await executor.call(entries.pid, b"")) for _ in range(5)}
        assert len(pids) == 1
        assert alive(*pids)
    assert not alive(*pids)
    async with executor:
        assert int(await executor.call(entries.pid, b"")) not in pids


async def test_no_more_workers_than_asked_for(calls):
    executor = Processes(2)
    assert executor.slots == 2
    async with executor, anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(executor.call, entries.sleeps, calls.payload(0.1))
    assert len(calls.began()) == 6
    assert len(set(calls.pids())) == 2


async def test_entered_twice_it_closes_with_the_last():
    executor = Processes(1)
    async with executor:
        async with executor:
            pid = int(await executor.call(entries.pid, b""))
        assert int(await executor.call(entries.pid, b"")) == pid
    await wait_gone(pid)
    with pytest.raises(ExecutorError, match="has not been entered"):
        await executor.call(entries.pid, b"")


async def test_several_loops_in_several_threads_share_one(anyio_backend_name):
    executor = Processes(1)
    seen = []

    async def use():
        async with executor:
            seen.append(int(await executor.call(entries.pid, b"")))

    threads = [
        threading.Thread(target=anyio.run, args=(use,), kwargs={"backend": anyio_backend_name})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    async with executor:
        own = int(await executor.call(entries.pid, b""))
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        assert int(await executor.call(entries.pid, b"")) == own
    assert len({own, *seen}) == 4
    await wait_gone(own, *seen)


async def test_what_user_code_prints_is_no_answer(capfd):
    async with Processes(1) as executor:
        assert await executor.call(entries.prints, b"") == b"printed"
        assert await executor.call(entries.echo, b"1") == b"1"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["said by Python", "said to descriptor 1", "said by a program"]


async def test_a_child_that_a_dead_worker_left_holds_up_nothing():
    async with Processes(1) as executor:
        with anyio.fail_after(20), pytest.raises(WorkerLostError, match="exit code 9"):
            await executor.call(entries.leaves_child, b"40")
        assert await executor.call(entries.echo, b"1") == b"1"


async def test_an_idle_worker_that_dies_is_replaced():
    async with Processes(1) as executor:
        pid = int(await executor.call(entries.pid, b""))
        kill(pid)
        await wait_gone(pid)
        await anyio.sleep(0.2)
        assert int(await executor.call(entries.pid, b"")) != pid


def test_it_travels_as_its_arguments():
    copy = pickle.loads(pickle.dumps(Processes(3)))
    assert (copy.slots, repr(copy)) == (3, "Processes(max_workers=3)")


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
def test_a_limit_is_a_positive_integer(count):
    with pytest.raises(ValueError, match="max_workers must be a positive integer"):
        Processes(count)


def test_a_function_that_no_worker_can_import():
    def local(payload):
        return payload

    async def use():
        async with Processes(1) as executor:
            await executor.call(local, b"")

    with pytest.raises(ExecutorError, match="a worker cannot import"):
        anyio.run(use)


async def test_where_a_worker_starts_hides_no_module_from_it(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    async with Processes(1) as executor:
        assert await executor.call(entries.echo, b"1") == b"1"


def test_a_worker_is_started_as_the_interpreter_was():
    program = textwrap.dedent("""
        import anyio
        from hush.executors import Processes
        from tests.executors import entries

        async def main():
            async with Processes(1) as executor:
                print((await executor.call(entries.optimised, b"")).decode())

        anyio.run(main)
    """)
    for flags, told in ([], "0"), (["-O"], "1"):
        done = subprocess.run(
            [sys.executable, *flags, "-c", program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == told
