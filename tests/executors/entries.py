"""What the tests let engines call in their workers: bytes in, bytes out.

Payloads of most are JSON. What a worker has done is told through files: what an engine says
is what is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def echo(payload):
    return payload


def pid(payload):
    return str(os.getpid()).encode()


def raises(payload):
    raise ValueError("no such thing: \udc80")


def naps(payload):
    time.sleep(float(payload))
    return b"napped"


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


def raises_unprintable(payload):
    raise Unprintable


def returns_text(payload):
    return "text"


def exits(payload):
    sys.exit(3)


def dies(payload):
    os._exit(9)


def _began(folder):
    """Say that a call has begun: a file for each, with the worker's process id as its name."""
    file = Path(folder) / f"{os.getpid()}-{time.monotonic_ns()}.began"
    file.with_suffix(".tmp").write_text(str(os.getpid()))
    file.with_suffix(".tmp").rename(file)
    return file


def sleeps(payload):
    """Sleep in small steps, and count them."""
    asked = json.loads(payload)
    file = _began(asked["folder"])
    ends = time.monotonic() + asked["seconds"]
    with file.with_suffix(".ticks").open("ab", buffering=0) as ticks:
        while time.monotonic() < ends:
            time.sleep(0.02)
            ticks.write(b".")
    return b"slept"


def computes(payload):
    """Keep the processor busy without ever letting go, and count the rounds."""
    asked = json.loads(payload)
    file = _began(asked["folder"])
    ends = time.monotonic() + asked["seconds"]
    with file.with_suffix(".ticks").open("ab", buffering=0) as ticks:
        while time.monotonic() < ends:
            sum(range(200_000))
            ticks.write(b".")
    return b"computed"


def prints(payload):
    """Say things where an answer might be expected, as code of users and programs do."""
    print("said by Python", flush=True)
    os.write(1, b"said to descriptor 1\n")
    subprocess.run(["/bin/sh", "-c", "echo said by a program; cat"], check=True)
    return b"printed"


def leaves_child(payload):
    """Leave a process behind that has all descriptors which a fork inherits, and die."""
    child = os.fork()
    if child == 0:
        time.sleep(float(payload))
        os._exit(0)
    os._exit(9)


def optimised(payload):
    """How far the interpreter that runs it leaves assertions out."""
    return str(sys.flags.optimize).encode()
