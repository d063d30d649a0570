"""Limits: how many threads and processes an engine's plain functions may use at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hush.plan.plan import Plan

__all__ = ("process_limit", "thread_limit")

MAX_THREADS = 256
"""Least number of threads that plain functions may use at the same time."""


def thread_limit(plan: Plan, max_threads: int | None) -> int:
    """Return how many threads may work at the same time.

    Args:
        plan: the top graph, compiled.
        max_threads: what the user says; None leaves it to the graph.

    Raises:
        ValueError: it is not a positive integer.
    """
    if max_threads is None:
        return max(MAX_THREADS, plan.widest)
    if not isinstance(max_threads, int) or isinstance(max_threads, bool) or max_threads < 1:
        msg = f"max_threads={max_threads!r}: expected a positive integer or None"
        raise ValueError(msg)
    return max_threads


def process_limit(plan: Plan, threads: int) -> int:
    """Return how many processes may work at the same time.

    Args:
        plan: the top graph, compiled.
        threads: the limit on threads, which bounds processes too.
    """
    return min(threads, max(os.cpu_count() or 1, _widest_over_processes(plan)))


def _widest_over_processes(plan: Plan) -> int:
    """Return the largest ``max_concurrency`` around a node that runs in a process; 0 without."""
    widest = 0
    for node in plan.nodes:
        if node.body is None:
            here = int(getattr(node.node, "run_in", None) == "process")
        else:
            here = _widest_over_processes(node.body)
            here = here and max(here, getattr(node.node, "max_concurrency", 1))
        widest = max(widest, here)
    return widest
