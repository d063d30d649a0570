"""A receiver of spans that takes connections and never answers: nothing waits for it."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

PROGRAM = """
import json, sys, time
from hush.core import Hush
from hush.executors import *
from hush.observe import configure
from tests.executors_contract import bodies
from tests.executors_contract.places import over
import anyio

async def main(executor, folder):
    inputs = {{"xs": range(400), "folder": folder}}
    engine = Hush(over(bodies.double, executor, max_concurrency=16))
    seconds = []
    async with engine:
        await engine.run(inputs)
        for _ in range(3):
            began = time.perf_counter()
            await engine.run(inputs)
            seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds), flush=True)

if __name__ == "__main__":
    telemetry = configure(endpoint=sys.argv[1] if len(sys.argv) > 1 else None)
    anyio.run(main, {executor}, {folder!r}, backend={backend!r})
    # What could not be sent is kept on the disk; leaving is not what is measured.
    import os
    os._exit(0)
"""


@contextmanager
def hole():
    """Listen, accept, and say nothing; yields the address and who connected."""
    peers = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()
        taken = []

        def accept():
            while not over.is_set():
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                taken.append(connection)
                peers.append(peer)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", peers
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in taken:
                connection.close()


def test_a_map_takes_no_longer_while_nobody_takes_its_spans(place, tmp_path, anyio_backend_name):
    script = tmp_path / "program.py"
    script.write_text(
        PROGRAM.format(executor=place.program, folder=str(tmp_path), backend=anyio_backend_name)
    )
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([*sys.path, root])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    environment |= {"PYTHONPATH": path, "XDG_STATE_HOME": str(tmp_path / "state")}

    def measured(*arguments, **variables):
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            capture_output=True,
            encoding="utf-8",
            env={**environment, **variables},
            cwd=root,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return statistics.median(json.loads(done.stdout.splitlines()[-1]))

    with hole() as (address, peers):
        untroubled = measured(OTEL_TRACES_EXPORTER="none")
        troubled = measured(address)
    assert peers, "nobody has tried to send"
    # Twice the time, and half a second for a machine that does other things too.
    assert troubled <= 2 * untroubled + 0.5, (troubled, untroubled)
