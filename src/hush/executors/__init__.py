"""Where the items of a map run: in this process, in others of this machine, or on a cluster.

Importing this loads none of the engines; a name's first use does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hush.executors.dask import DaskExecutor
    from hush.executors.in_process import InProcess
    from hush.executors.processes import Processes
    from hush.executors.ray import RayExecutor
    from hush.model.executor import Capabilities, Executor

__all__ = ("Capabilities", "DaskExecutor", "Executor", "InProcess", "Processes", "RayExecutor")

_HOMES: Final = {
    "Capabilities": "hush.model.executor",
    "DaskExecutor": "hush.executors.dask",
    "Executor": "hush.model.executor",
    "InProcess": "hush.executors.in_process",
    "Processes": "hush.executors.processes",
    "RayExecutor": "hush.executors.ray",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
