"""The engines as tests ask for them: by name, small, and only where they are installed."""

from __future__ import annotations

import importlib.util

import pytest

from hush.executors import DaskExecutor, Processes, RayExecutor

WORKERS = 2

EACH = ("processes", "dask", pytest.param("ray", marks=pytest.mark.ray))
CLUSTERS = EACH[1:]


def make(kind):
    """Return an executor that starts its own workers."""
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed here; make test-ray has it")
    return {
        "processes": lambda: Processes(WORKERS),
        "dask": lambda: DaskExecutor(max_workers=WORKERS),
        "ray": lambda: RayExecutor(max_workers=WORKERS),
    }[kind]()
