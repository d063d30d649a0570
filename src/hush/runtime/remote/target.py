"""Target: where the items of one map run, and all that is known of that before any run.

Made by whoever makes runs. The runtime knows neither engines nor what runs in a worker: it
is told here whom to ask, and for what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.model.executor import Executor
    from hush.runtime.remote.call import Body
    from hush.runtime.remote.chunking import Pace

__all__ = ("Target",)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where the body of a map or a graph runs."""

    executor: Executor
    function: Callable[[bytes], bytes]
    """What is called in a worker: takes a call, gives a report, both packed."""
    body: Body
    pace: Pace
    """What runs have learnt of the items so far."""
    idempotent: bool = True
    """Whether an item may be run again after its worker was lost."""
    resources: bytes | None = None
    """Where language models are configured, pickled; None where the body uses none."""
