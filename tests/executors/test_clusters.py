"""Clusters that are not there, not reachable, cut off, going away, or without workers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

import anyio
import pytest

from hush.errors import ExecutorError, WorkerLostError
from hush.executors import DaskExecutor, RayExecutor
from tests.executors import entries
from tests.executors.dask_cluster import cluster, security_of
from tests.executors.engines import PATIENCE_S, Calls, children, kill
from tests.executors.proxy import Proxy


@pytest.fixture
def calls(tmp_path):
    return Calls(tmp_path)


@pytest.fixture(scope="module")
def running():
    """Address of a Dask scheduler with two workers."""
    with cluster(2) as (_, address):
        yield address


@pytest.fixture
def proxy(running):
    host, _, port = running.rpartition("/")[2].rpartition(":")
    with Proxy(host, int(port)) as between:
        yield between


EACH = pytest.mark.parametrize(
    ("kind", "library"),
    [
        (DaskExecutor, "distributed"),
        pytest.param(RayExecutor, "ray", marks=pytest.mark.ray),
    ],
)


# --- not there --------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "library"), [(DaskExecutor, "distributed"), (RayExecutor, "ray")])
@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
async def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch, kind, library, address
):
    monkeypatch.setitem(sys.modules, library, None)
    extra = kind.__name__.removesuffix("Executor").lower()
    with pytest.raises(ExecutorError, match=rf'pip install "hush-runtime\[{extra}\]"'):
        async with kind(address):
            pass


@EACH
async def test_nobody_listens(kind, library):
    pytest.importorskip(library)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with anyio.fail_after(PATIENCE_S), pytest.raises(ExecutorError) as caught:
            async with kind(where, connect_timeout_s=1):
                pass
    assert where in str(caught.value)
    assert "Check the address" in str(caught.value)


async def test_somebody_listens_and_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        with anyio.fail_after(PATIENCE_S), pytest.raises(ExecutorError, match=where):
            async with DaskExecutor(where, connect_timeout_s=1):
                pass


@EACH
async def test_entering_can_be_cancelled_and_done_again(kind, library):
    pytest.importorskip(library)
    executor = kind(max_workers=1)
    with anyio.fail_after(PATIENCE_S):
        with anyio.move_on_after(0.05) as scope:
            async with executor:
                pass
        assert scope.cancelled_caught
        async with executor:
            assert await executor.call(entries.echo, b"1") == b"1"


@EACH
def test_workers_of_an_address_are_its_own(kind, library):
    with pytest.raises(ValueError, match="max_workers is for a cluster that is started here"):
        kind("somewhere:1", max_workers=2)


# --- Dask, by its address ---------------------------------------------------------------------


async def test_a_cluster_that_runs_is_left_running(running):
    for _ in range(2):
        async with DaskExecutor(running) as executor:
            assert executor.slots == 2
            assert await executor.call(entries.echo, b"1") == b"1"


async def test_two_executors_on_one_cluster(running):
    async with DaskExecutor(running) as one, DaskExecutor(running) as other:
        assert await one.call(entries.echo, b"1") == b"1"
        assert await other.call(entries.echo, b"2") == b"2"


async def test_a_connection_that_is_cut_loses_what_is_under_way(proxy, calls):
    async with DaskExecutor(f"tcp://127.0.0.1:{proxy.port}", connect_timeout_s=2) as executor:
        assert await executor.call(entries.echo, b"1") == b"1"

        async def cut():
            await calls.wait_begun()
            proxy.cut()

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cut)
                with pytest.raises(WorkerLostError, match=r"127\.0\.0\.1"):
                    await executor.call(entries.sleeps, calls.payload(1))
            with pytest.raises(ExecutorError):
                await executor.call(entries.echo, b"2")
    assert len(calls.began()) == 1


async def test_a_connection_that_comes_back_is_used_again(proxy):
    async with DaskExecutor(f"tcp://127.0.0.1:{proxy.port}", connect_timeout_s=30) as executor:
        assert await executor.call(entries.echo, b"1") == b"1"
        proxy.cut()
        proxy.mend()
        with anyio.fail_after(PATIENCE_S):
            while True:
                try:
                    assert await executor.call(entries.echo, b"2") == b"2"
                except ExecutorError:
                    await anyio.sleep(0.1)
                else:
                    break


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_worker_that_is_retired_while_it_works(calls):
    """Dask would run its work again elsewhere, and say nothing."""
    with cluster(2) as (_, address):
        async with DaskExecutor(address) as executor:

            async def retire():
                await calls.wait_begun()
                thread, connection = executor._shared.line()
                client = connection._client

                async def busy():
                    keys = await client.processing()
                    return [worker for worker, tasks in keys.items() if tasks]

                for worker in await thread.run(busy):
                    await thread.run(lambda worker=worker: client.retire_workers([worker]))

            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(retire)
                    with suppress(WorkerLostError):
                        assert await executor.call(entries.sleeps, calls.payload(1)) == b"slept"
        assert len(calls.began()) == 1


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_cluster_that_is_killed(calls):
    with cluster(1) as (program, address):
        async with DaskExecutor(address, connect_timeout_s=2) as executor:

            async def kill():
                await calls.wait_begun()
                program.kill()

            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(kill)
                    with pytest.raises(WorkerLostError):
                        await executor.call(entries.sleeps, calls.payload(30))
                with pytest.raises(ExecutorError):
                    await executor.call(entries.echo, b"")


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_cluster_without_workers_is_not_waited_for_for_ever():
    with cluster(0) as (_, address):
        async with DaskExecutor(address, connect_timeout_s=1) as executor:
            assert executor.slots == 1
            with anyio.fail_after(PATIENCE_S):
                with pytest.raises(ExecutorError, match="had no workers, for"):
                    await executor.call(entries.echo, b"")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_frozen_worker_is_taken_for_lost_when_its_heartbeats_stop(calls, monkeypatch):
    assert DaskExecutor().capabilities.detects_frozen_workers
    # Five minutes, where nothing else is said.
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "2s")
    with cluster(1) as (_, address):
        async with DaskExecutor(address) as executor:

            async def freeze():
                os.kill(await calls.wait_begun(), signal.SIGSTOP)

            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(freeze)
                    with pytest.raises(WorkerLostError):
                        await executor.call(entries.sleeps, calls.payload(60))
        with suppress(ProcessLookupError):  # its nanny may have seen to it
            kill(*calls.pids())
    assert len(calls.began()) == 1


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority's certificate, and one with its key for everybody on loopback."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    subprocess.run(
        [
            *(*command.split(), "-keyout", key, "-out", certificate, "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, certificate, key


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_tls(certificates):
    with cluster(1, *certificates) as (_, address):
        assert address.startswith("tls://")
        async with DaskExecutor(address, security=security_of(*certificates)) as executor:
            assert await executor.call(entries.echo, b"1") == b"1"
        with anyio.fail_after(PATIENCE_S), pytest.raises(ExecutorError, match="security="):
            async with DaskExecutor(address.replace("tls:", "tcp:"), connect_timeout_s=2):
                pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tls_of_a_cluster_that_is_started(certificates):
    executor = DaskExecutor(max_workers=1, security=security_of(*certificates))
    async with executor:
        assert executor._shared.connection.address.startswith("tls://")
        assert await executor.call(entries.echo, b"1") == b"1"


# --- Ray, by its address ----------------------------------------------------------------------


@pytest.fixture
def head(tmp_path, monkeypatch):
    """The program that keeps a Ray cluster, and the address of its head."""
    pytest.importorskip("ray")
    # What Ray's command demands by default.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="hush-r-", dir="/tmp")
    command = f"{sys.executable} -m ray.scripts.scripts start --head --block --port={port}"
    options = "--num-cpus=1 --include-dashboard=false --object-store-memory=100000000"
    log = (tmp_path / "ray.log").open("wb")
    program = subprocess.Popen(
        [*command.split(), *options.split(), f"--temp-dir={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, "RAY_worker_register_timeout_seconds": "60"},
    )
    with log, program:
        deadline = time.monotonic() + 50
        while b"Ray runtime started" not in (tmp_path / "ray.log").read_bytes():
            assert program.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield program, f"127.0.0.1:{port}"
        end(program)
    shutil.rmtree(folder, ignore_errors=True)


def end(program):
    for pid in [*children(program.pid), program.pid]:
        with suppress(ProcessLookupError):
            kill(pid)


@pytest.mark.ray
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_ray_cluster_that_goes_away(head, calls):
    program, address = head
    for _ in range(2):
        async with RayExecutor(address) as executor:
            assert executor.slots == 1
            assert await executor.call(entries.echo, b"1") == b"1"
            with pytest.raises(ExecutorError, match="one cluster for each process"):
                async with RayExecutor():
                    pass
    async with RayExecutor(address, connect_timeout_s=2) as executor:

        async def kill_it():
            await calls.wait_begun()
            end(program)

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill_it)
                with pytest.raises(WorkerLostError):
                    await executor.call(entries.sleeps, calls.payload(30))
            with pytest.raises(ExecutorError, match=r"127\.0\.0\.1.*has not been there"):
                await executor.call(entries.echo, b"")
