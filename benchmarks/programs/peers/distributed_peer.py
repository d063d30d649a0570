"""dask.distributed, untraced: a local cluster of one worker in this process, 100 threads.

Plain functions, submitted by ``Client.map`` and gathered; the scheduler and its worker talk
within the process. The cluster is started before anything is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import version

import dask
from distributed import Client

from benchmarks.work import LIMIT

VERSIONS = {"distributed": version("distributed")}

logging.getLogger("distributed").setLevel(logging.ERROR)
dask.config.set({"distributed.admin.event-loop-monitor-interval": "10m"})
client = Client(
    processes=False,
    n_workers=1,
    threads_per_worker=LIMIT,
    dashboard_address=None,
    protocol="inproc",
)


def value(x: int) -> int:
    return x + 1


def mapping(size: int) -> Callable[[], object]:
    def run() -> object:
        return client.gather(client.map(value, range(size), pure=False, batch_size=1_000))

    return run


def chain(size: int) -> Callable[[], object]:
    def run() -> object:
        x: object = 0
        for _ in range(size):
            x = client.submit(value, x, pure=False)
        return client.gather(x)

    return run


CASES = {"map": mapping, "chain": chain, "fan-out": mapping}
