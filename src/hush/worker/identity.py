"""Identity: which worker this is, as spans and errors name it."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Final

from hush.runtime.remote.call import Worker

__all__ = ("VARIABLE", "this_worker")

VARIABLE: Final = "HUSH_WORKER_NAME"
"""The environment variable that names a worker where its engine does not."""


def this_worker() -> Worker:
    """Return who runs the call that asks; in each process, and each thread, the right one."""
    host, pid = socket.gethostname(), os.getpid()
    return Worker(host, pid, os.environ.get(VARIABLE) or _engines_name() or f"{host}:{pid}")


def _engines_name() -> str | None:
    """Return what the engine calls this worker, where one runs here; imports none."""
    dask: Any = sys.modules.get("distributed.worker")
    if dask is not None:
        try:
            return str(dask.get_worker().name)
        except Exception:  # noqa: BLE001, S110  # not inside a task of this engine
            pass
    ray: Any = sys.modules.get("ray")
    if ray is not None:
        try:
            return str(ray.get_runtime_context().get_worker_id())
        except Exception:  # noqa: BLE001, S110  # likewise
            pass
    return None
