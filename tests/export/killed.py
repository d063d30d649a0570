"""Processes that end spans and are killed with -9 while they do: a program for a test.

    python -m tests.export.killed FOLDER URL ROUNDS SEED

Each round forks a child that opens the spool anew, ends spans and says so in a pipe: ``E``
with the id and the instant before each end, ``A`` with how many are on the disk whenever
the writer has put a batch there. The parent kills it at a random moment. One line of JSON
a round goes to standard output.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from hush.export.options import SpoolOptions
from hush.export.outbox import Outbox, open_outbox
from hush.export.span_spool import SpoolingSpanProcessor

warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)


class Telling(Outbox):
    """Says how many spans are on the disk."""

    pipe = -1
    stored = 0

    def put(self, signal, data, count):
        kept = super().put(signal, data, count)
        self.stored += count
        os.write(self.pipe, b"A %d\n" % self.stored)
        return kept


def child(folder: Path, url: str, pipe: int, pause_s: float) -> None:
    made = open_outbox("traces", url, SpoolOptions(path=folder))
    outbox = Telling(made.spool, made.memory.routes)
    outbox.pipe = pipe
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SpoolingSpanProcessor(outbox))
    tracer = provider.get_tracer("killed")
    while True:
        span = tracer.start_span("span")
        text = f"E {span.get_span_context().span_id:016x} {time.monotonic():.6f}\n"
        os.write(pipe, text.encode())
        span.end()
        if pause_s:
            time.sleep(pause_s)


def one_round(folder: Path, url: str, chance: random.Random) -> dict[str, object]:
    read, write = os.pipe()
    pause_s = chance.choice([0.0, 0.0005, 0.005])
    pid = os.fork()
    if not pid:
        os.close(read)
        try:
            child(folder, url, write, pause_s)
        finally:
            os._exit(1)
    os.close(write)
    until = time.monotonic() + chance.uniform(0.05, 0.7)
    said = b""
    while time.monotonic() < until:
        said += os.read(read, 65_536)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while part := os.read(read, 65_536):
        said += part
    os.waitpid(pid, 0)
    os.close(read)
    lines = [line.split() for line in said.decode().split("\n")[:-1]]
    ended = [(line[1], float(line[2])) for line in lines if line[0] == "E"]
    acknowledged = max((int(line[1]) for line in lines if line[0] == "A"), default=0)
    return {"killed": killed, "ended": ended, "acknowledged": acknowledged}


def main() -> None:
    folder, url, rounds, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    for _ in range(int(rounds)):
        print(json.dumps(one_round(Path(folder), url, chance)), flush=True)


if __name__ == "__main__":
    main()
