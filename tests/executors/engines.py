"""What the tests of all engines share: what is known of a call from outside of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import anyio
import anyio.lowlevel

PATIENCE_S = 30


class Calls:
    """Calls of entries that tell by files what they do."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def payload(self, seconds=60):
        return json.dumps({"folder": str(self.folder), "seconds": seconds}).encode()

    def began(self):
        """Return the files of the calls that have begun, in order."""
        return sorted(self.folder.glob("*.began"), key=lambda file: file.stem.split("-")[1])

    def pids(self):
        return [int(file.read_text()) for file in self.began()]

    async def wait_begun(self, count=1):
        with anyio.fail_after(PATIENCE_S):
            while len(self.began()) < count:
                await anyio.sleep(0.01)
        return self.pids()[-1]

    def ticks(self):
        """Return how much all calls have done so far."""
        return sum(file.stat().st_size for file in self.folder.glob("*.ticks"))

    async def stopped(self, for_s=0.5):
        """Say whether nothing is being done any more."""
        before = self.ticks()
        await anyio.sleep(for_s)
        return self.ticks() == before


def alive(pid):
    """Say whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in "ZX"


async def wait_gone(*pids, within_s=PATIENCE_S):
    with anyio.fail_after(within_s):
        while any(map(alive, pids)):
            await anyio.sleep(0.02)


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def children(pid=None):
    """Return all descendants of a process."""
    found, todo = [], [pid or os.getpid()]
    while todo:
        parent = todo.pop()
        for task in Path(f"/proc/{parent}/task").glob("*"):
            try:
                own = [int(one) for one in (task / "children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += own
            todo += own
    return found
