"""CPU: what the process used while something ran, and whether it could have had more.

One Python process computes one thing at a time, in threads and on the loop. Whether that is
what something waited for shows in the CPU that was used meanwhile, read twice; on a machine
that is busy with others it is used more slowly, which the machine's load says.
"""

from __future__ import annotations

import os
from time import process_time
from typing import TYPE_CHECKING, Final

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("CpuClock",)

_CPUS: Final = os.cpu_count() or 1
_load: Final = getattr(os, "getloadavg", None)  # not on Windows


class CpuClock:
    """The CPU time of this process from now on."""

    __slots__ = ("_began_s",)

    def __init__(self) -> None:
        """Start."""
        self._began_s = process_time()

    def facts(self) -> Iterator[tuple[str, float]]:
        """Yield what a span says of it, by names of :mod:`hush.semconv`.

        The load is told only where the machine has too few CPUs for all that want one.
        """
        yield semconv.CPU_S, process_time() - self._began_s
        if _load is None:
            return
        try:
            load = _load()[0] / _CPUS
        except OSError:  # where nobody knows it
            return
        if load > 1.0:
            yield semconv.HOST_LOAD, round(load, 2)
