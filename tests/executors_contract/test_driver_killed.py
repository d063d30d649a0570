"""A driver that is killed with -9: what its workers do then."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio

from tests.executors.engines import kill, wait_gone
from tests.executors_contract import bodies

ROOT = Path(__file__).parents[2]
PROGRAM = """
from hush.core import Hush
from hush.executors import *
from tests.executors_contract import bodies
from tests.executors_contract.places import over

if __name__ == "__main__":
    engine = Hush(over(bodies.sleeps, {executor}, max_concurrency=2))
    engine.run_sync({{"xs": range(50), "folder": {folder!r}}}, backend={backend!r})
"""


async def test_workers_stop_with_their_driver(place, told, anyio_backend_name):
    script = told.folder / "driver.py"
    script.write_text(
        textwrap.dedent(PROGRAM).format(
            executor=place.program, folder=str(told.folder), backend=anyio_backend_name
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*sys.path, ROOT)))},
    ) as driver:
        try:
            await told.wait("tick")
        finally:
            kill(driver.pid)
    if place.can.stops_running_work:
        await wait_gone(*{line["pid"] for line in told.lines})
        return
    # The engine cannot stop what runs. When that has ended, nothing more begins.
    began = told.counts("began")
    bodies.let_go(told.folder)
    for x in began:
        await told.wait("ended", x)
    await anyio.sleep(2)
    assert len(told.all("began")) <= len(began) + 2
    assert await told.stops("began", 1.0)
