"""Whether so much waits to be exported that a new run had better not start yet.

Whoever starts runs asks here, and so needs to know nothing of spans; whoever queues
something says here how full it is.
"""

from __future__ import annotations

import time
import weakref
from typing import Final, Protocol

import anyio

from hush.export.counts import counts

__all__ = ("Crowded", "crowd", "wait_for_room")

_LOOK_S: Final = 0.01


class Crowded(Protocol):
    """Something with a queue."""

    @property
    def start_wait_s(self) -> float:
        """How long the start of a run may be held up, in seconds.

        Infinite where it may for as long as it takes.
        """

    def crowded(self) -> bool:
        """Say whether a new run should wait; cheap, and asked at the start of each run."""


_crowds: tuple[weakref.ref[Crowded], ...] = ()
"""Replaced and never changed: runs start in any thread."""


def crowd(one: Crowded) -> None:
    """Let something hold up new runs.

    Args:
        one: is held weakly.
    """
    global _crowds  # noqa: PLW0603  # see there
    _crowds = (*(known for known in _crowds if known() is not None), weakref.ref(one))


async def wait_for_room(limit_s: float | None = None) -> None:
    """Wait while too much waits to be exported, for a bounded time.

    Args:
        limit_s: wait no longer than so many seconds; None has no such limit.

    Cancellation ends the waiting. What is waited for is a thread of this process that
    writes to the disk, or, where that was chosen, room on the disk; never the receiver.
    """
    if not _crowds:
        return
    began = time.monotonic()
    held = False
    while any(_holds_up(one(), time.monotonic() - began, limit_s) for one in _crowds):
        if not held:
            held = True
            counts.hold()
        await anyio.sleep(_LOOK_S)


def _holds_up(one: Crowded | None, waited_s: float, limit_s: float | None) -> bool:
    if one is None or (limit_s is not None and waited_s >= limit_s):
        return False
    try:
        return waited_s < one.start_wait_s and one.crowded()
    except Exception:  # noqa: BLE001  # telemetry never breaks a run
        return False
