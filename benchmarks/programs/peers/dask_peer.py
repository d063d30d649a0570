"""dask, untraced: ``delayed`` with the scheduler of threads, 100 of them for a map.

It runs plain functions, not coroutines: the same work as a ``def``. What is measured is
making the graph and computing it, as one does for every run.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import dask

from benchmarks.work import LIMIT

VERSIONS = {"dask": version("dask")}


def work(x: int) -> dict[str, int]:
    return {"y": x + 1}


def value(x: int) -> int:
    return work(x)["y"]


def mapping(size: int) -> Callable[[], object]:
    one = dask.delayed(value, pure=False)

    def run() -> object:
        calls = [one(i) for i in range(size)]
        return list(dask.compute(*calls, scheduler="threads", num_workers=LIMIT))

    return run


def chain(size: int) -> Callable[[], object]:
    one = dask.delayed(value, pure=False)

    def run() -> object:
        x = 0
        for _ in range(size):
            x = one(x)
        return dask.compute(x, scheduler="threads", optimize_graph=False)[0]

    return run


CASES = {"map": mapping, "chain": chain, "fan-out": mapping}
