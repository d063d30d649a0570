"""What the contract's workflows do in workers. Each tells by lines of a file what it does.

What an engine says of its workers is what is tested; a file is what was done.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import anyio
from opentelemetry import context, trace

from hush.core import idempotency_key

MOST_S = 40.0
"""For how long what is to be stopped works at most, so that nothing is left of a failed test."""


class TwoArguments(Exception):
    """Cannot be unpickled: its arguments are not what it was made of."""

    def __init__(self, what, how):
        super().__init__(f"{what}, {how}")
        self.what = what


def tell(folder, what, x, **more):
    """Write one line; short ones that are appended come whole, whoever else writes."""
    line = {"what": what, "x": x, "pid": os.getpid(), "at": time.monotonic_ns(), **more}
    file = os.open(Path(folder) / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def first(folder, name):
    """Say whether this is the first time that it is asked for a name, in any process."""
    try:
        os.close(os.open(Path(folder) / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def let_go(folder, name="go"):
    (Path(folder) / name).touch()


def wait_for(folder, name="go"):
    ends = time.monotonic() + MOST_S
    while not (Path(folder) / name).exists() and time.monotonic() < ends:
        time.sleep(0.01)


def double(x, folder):
    tell(folder, "began", x, key=idempotency_key())
    tell(folder, "ended", x)
    return {"y": 2 * x}


def double_slowly(x, folder):
    """Take a while, and one item much longer."""
    tell(folder, "began", x)
    time.sleep(0.3 if x == 0 else 0.01)
    tell(folder, "ended", x)
    return {"y": 2 * x}


def stuck_once(x, folder, stuck):
    """Double, but for one item, whose first attempt waits until it is let go."""
    tell(folder, "began", x, key=idempotency_key())
    y = 2 * x
    if x == stuck and first(folder, f"stuck-{x}"):
        tell(folder, "stuck", x)
        wait_for(folder)
        y = -1
    tell(folder, "ended", x)
    return {"y": y}


def poison(x, folder, poisonous):
    """Take the worker along where the item is the poisonous one."""
    tell(folder, "began", x)
    if x == poisonous:
        os._exit(9)
    tell(folder, "ended", x)
    return {"y": 2 * x}


async def sleeps(x, folder):
    """Sleep in small steps until it is let go, and count them."""
    tell(folder, "began", x)
    ends = time.monotonic() + MOST_S
    while not (Path(folder) / "go").exists() and time.monotonic() < ends:
        await anyio.sleep(0.02)
        tell(folder, "tick", x)
    tell(folder, "ended", x)
    return {"y": 2 * x}


async def computes(x, folder):
    """Keep the processor and its event loop busy until it is let go, and count the rounds."""
    tell(folder, "began", x)
    ends = time.monotonic() + MOST_S
    while not (Path(folder) / "go").exists() and time.monotonic() < ends:
        sum(range(300_000))
        tell(folder, "tick", x)
    tell(folder, "ended", x)
    return {"y": 2 * x}


def raises_two_arguments(x, folder):
    if x == 1:
        raise TwoArguments("a cup", "broken")
    return {"y": 2 * x}


def gives_lock(x, folder):
    return {"y": 2 * x, "z": threading.Lock() if x == 1 else None}


def takes_any(x, folder):
    return {"y": str(type(x).__name__)}


def shard(x, folder):
    """Run a map with workers of its own, in a trace of its own, linked to this item."""
    from hush.core import Hush
    from hush.executors import Processes
    from tests.executors_contract.places import over

    link = trace.Link(trace.get_current_span().get_span_context())
    token = context.attach(context.Context())
    try:
        with trace.get_tracer("shards").start_as_current_span("shard", links=[link]):
            engine = Hush(over(double, Processes(1)))
            done = engine.run_sync({"xs": range(x), "folder": folder})
    finally:
        context.detach(token)
    return {"y": sum(done["ys"])}


async def uneven(x, folder):
    """Fail now and then, and be slow once."""
    if x == 77:
        await anyio.sleep(0.5)
    if x % 500 == 250:
        raise ValueError(f"item {x} is no good")
    return {"y": 2 * x}
