"""Whole programs with each engine: how their workers end, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest

from tests.executors.engines import Calls, children, wait_gone
from tests.executors.kinds import EACH, make

ROOT = Path(__file__).parents[2]

HEAD = """
    import json, sys, threading, time
    from pathlib import Path
    import anyio
    from hush.errors import WorkerLostError
    from tests.executors import entries
    from tests.executors.engines import children
    from tests.executors.kinds import make
    executor, backend = make(sys.argv[1]), sys.argv[2]
"""

ENDLESS = """
    async def main():
        async with executor, anyio.create_task_group() as tasks:
            tasks.start_soon(executor.call, entries.sleeps, sys.argv[3].encode())
            tasks.start_soon(executor.call, entries.computes, sys.argv[3].encode())

    anyio.run(main, backend=backend)
"""

ORDERLY = """
    async def main():
        async with executor:
            assert await executor.call(entries.echo, b"1") == b"1"
            try:
                await executor.call(entries.dies, b"")
            except WorkerLostError:
                pass
            with anyio.move_on_after(0.5):
                await executor.call(entries.naps, b"2")

    anyio.run(main, backend=backend)
    # trio and Dask keep idle threads, daemons, and multiprocessing what it needs for its
    # processes until the program ends. What is about to end may do so.
    deadline = time.monotonic() + 10
    while True:
        left = [
            *(
                thread.name
                for thread in threading.enumerate()
                if thread is not threading.main_thread()
                and not thread.name.startswith(("Dask-Offload", "Trio thread"))
            ),
            *(
                line
                for pid in children()
                if "resource_tracker" not in (line := Path(f"/proc/{pid}/cmdline").read_text())
            ),
        ]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    print(json.dumps(left))
"""


def lingers(pid):
    """Say whether a process may take a minute: Ray's agents look now and then who is there."""
    return Path(f"/proc/{pid}/cmdline").read_text().startswith(("ray::", "ray-dashboard")) and (
        "Agent" in Path(f"/proc/{pid}/cmdline").read_text()
    )


def program(body, kind, backend, *arguments, **variables):
    make(kind)
    code = textwrap.dedent(HEAD) + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, kind, backend, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("sent", "backend"),
    [(signal.SIGKILL, "asyncio"), (signal.SIGKILL, "trio"), (signal.SIGINT, "asyncio")],
)
@pytest.mark.parametrize("kind", EACH)
def test_workers_end_with_their_driver(tmp_path, kind, backend, sent):
    calls = Calls(tmp_path)

    async def watch():
        await calls.wait_begun(2)
        workers = [pid for pid in children(driver.pid) if not lingers(pid)]
        assert set(calls.pids()) <= set(workers)
        driver.send_signal(sent)
        await wait_gone(*workers)
        assert await calls.stopped()

    with program(ENDLESS, kind, backend, calls.payload().decode()) as driver:
        anyio.run(watch)
        driver.communicate()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", EACH)
def test_it_says_nothing_and_leaves_nothing(tmp_path, kind, backend):
    # Ray keeps a token of its own in the home folder, and names of sockets must be short.
    home = {"HOME": str(tmp_path)} if kind == "ray" else {"TMPDIR": str(tmp_path)}
    with program(ORDERLY, kind, backend, **home) as driver:
        out, err = driver.communicate(timeout=50)
    assert err == ""
    assert json.loads(out) == []
    if kind != "ray":
        assert list(tmp_path.iterdir()) == []
