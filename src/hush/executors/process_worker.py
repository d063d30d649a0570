"""A worker process of :class:`~hush.executors.processes.Processes`: what runs in it.

It reads calls from one pipe and answers on another, one after the other, in its main thread,
and ends with the process that started it, also where that is killed while a call runs. The
pipes are moved away from the standard streams first: what user code prints, or a program that
it starts, must not be taken for an answer. Imports little: it is loaded in each worker first.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
import threading
from typing import IO, Final

from hush.executors.entry import ENDED, answer

__all__ = ("ANSWER", "CALL", "COMMAND", "READY", "main")

CALL: Final = struct.Struct(">HQ")
"""Before a call: lengths of the function's name and of the payload, in bytes."""
ANSWER: Final = struct.Struct(">Q")
"""Before an answer: its length in bytes."""
READY: Final = b"hush-worker-ready\n"
"""The first thing that a worker says."""
COMMAND: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hush.executors.process_worker import main; main()"
)
"""What the interpreter is started with; its arguments are the starting process's ``sys.path``
and its id. Not ``-m``, which would look for modules in other places than that process does."""

_GONE = 70  # the exit code where nobody is left to answer to


def main() -> None:
    """Answer calls until the pipe of calls ends."""
    calls, answers = _moved_pipes()
    # Ctrl-C reaches each process of a terminal. Whoever started this one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    working = threading.Event()
    _watch(int(sys.argv[2]), calls.fileno(), working)
    sys.argv[1:] = []
    answers.write(READY)
    answers.flush()
    while True:
        head = calls.read(CALL.size)
        if len(head) < CALL.size:
            return
        name, size = CALL.unpack(head)
        reference, payload = calls.read(name).decode(), calls.read(size)
        if len(payload) < size:
            return
        working.set()
        given = answer(reference, payload)
        del payload
        answers.write(ANSWER.pack(len(given)))
        answers.write(given)
        answers.flush()
        working.clear()
        if given[:1] == ENDED:
            return


def _moved_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return the pipes; leave empty input, and standard error for output, in their place."""
    # New descriptors are closed in every program that is started from here.
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return calls, answers


def _watch(starter: int, calls: int, working: threading.Event) -> None:
    """End this process when the one that started it has ended."""
    if not hasattr(select, "poll"):
        return  # Windows: found when the call that runs now is answered
    poller = select.poll()
    poller.register(calls, 0)  # the end of a pipe is told unasked
    death: int | None = None
    if hasattr(os, "pidfd_open"):
        try:
            death = os.pidfd_open(starter)
        except ProcessLookupError:
            os._exit(_GONE)
        except OSError:  # an old kernel, or not allowed in a sandbox
            death = None
        else:
            poller.register(death, select.POLLIN)

    def watch() -> None:
        parent = os.getppid()
        while True:
            told = poller.poll(None if death is not None else 1000)
            ended = any(descriptor == death for descriptor, _ in told)
            if ended or (death is None and os.getppid() != parent):
                os._exit(_GONE)
            if told:
                # The pipe is closed. The main thread sees so by itself, if it listens.
                if working.is_set():
                    os._exit(_GONE)
                return

    threading.Thread(target=watch, name="hush-starter-watch", daemon=True).start()
