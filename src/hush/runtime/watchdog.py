"""Watchdog: a thread that looks in on the event loops while runs are under way.

Two faults show in no span until it is too late: a node that holds the loop, so that its
siblings look slow, and a join that waits and waits. How long a node held the loop is
measured by the loop itself; where it did can only be seen from outside, while it does.
"""

from __future__ import annotations

import sys
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.log import get_logger
from hush.runtime import presence
from hush.runtime.starvation import Processor
from hush.runtime.stepping import BLOCKED_S, all_stamps, stamp_here, starvation

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("Watchdog", "watch")

TICK_S: Final = 0.04
"""How often it looks at the loops."""
JOINS_S: Final = 1.0
"""How often it looks at the joins."""
IDLE_S: Final = 5.0
"""How long it stays when nothing runs."""

_OURS: Final = ("_weakrefset", "anyio.", "asyncio.", "opentelemetry.", "trio.", "weakref")
"""Code that stands between a node's and the loop's, or comes with the collection of garbage."""


class Watchdog:
    """One for the process; its thread comes with the first run and goes when none is left."""

    def __init__(self, stuck_join_s: float = 60.0) -> None:
        """Prepare.

        Args:
            stuck_join_s: after how many seconds a waiting join is logged, once.
        """
        self.stuck_join_s = stuck_join_s
        self._lock = threading.Lock()
        self._running = False
        self._told: set[tuple[str, str]] = set()

    def wake(self) -> None:
        """See to it that the thread runs; cheap where it does."""
        if self._running:
            return
        with self._lock:
            if not self._running:
                self._running = True
                # Until it can say so itself: it should be there now.
                now = perf_counter()
                starvation.rests()
                starvation.goes_on(now, now)
                stamp_here().processor.look(now)
                threading.Thread(target=self._watch, name="hush watchdog", daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        mine = Processor(perf_counter())
        joins_at = idle_since = perf_counter()
        while True:
            now = perf_counter()
            starvation.goes_on(now, now + TICK_S, mine)
            pause.wait(TICK_S)
            now = perf_counter()
            starvation.goes_on(now, now, mine)
            for stamp in all_stamps():
                stamp.processor.look(now)
                owner, since = stamp.owner, stamp.since
                known = stamp.caught is owner and stamp.caught_since == since
                if owner is not None and now - since > BLOCKED_S and not known:
                    where = _place_of(sys._current_frames().get(stamp.thread))  # noqa: SLF001  # the only way to see another thread's stack
                    # Still the same step? Else the frame may be someone else's.
                    if stamp.owner is owner and stamp.since == since:
                        stamp.caught, stamp.caught_since, stamp.where = owner, since, where
            if presence.present():
                idle_since = now
            if now - joins_at > min(JOINS_S, self.stuck_join_s):
                joins_at = now
                self._look_at_joins(now)
            if now - idle_since > IDLE_S:
                with self._lock:
                    if not presence.present():
                        starvation.rests()
                        self._running = False
                        return

    def _look_at_joins(self, now: float) -> None:
        waiting: set[tuple[str, str]] = set()
        for one in presence.present():
            run_id, _, _ = one.run_key
            for wait in one.waits_now(now):
                key = (run_id, wait.path)
                waiting.add(key)
                if wait.seconds < self.stuck_join_s or key in self._told:
                    continue
                self._told.add(key)
                get_logger().warning(
                    "a join has waited long; look at what has not arrived",
                    **{semconv.NODE_PATH: wait.path, semconv.RUN_ID: run_id},
                    waited_s=round(wait.seconds, 3),
                    pending=list(wait.pending),
                    arrived=list(wait.arrived),
                )
        self._told &= waiting


def _place_of(frame: FrameType | None) -> str | None:
    """Return file and line of the user's function that is running in a thread.

    Args:
        frame: the innermost frame.

    Returns:
        Where the outermost frame is that this library has called: there the user wrote what
        blocks, however deep in another library that is. None where it is this library's own
        code, or what that calls by itself, such as the start of a thread.
    """
    place = None
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("hush."):
            return None if name.startswith("hush.executors.") else place
        if not name.startswith(_OURS):
            code = frame.f_code
            place = f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
        frame = frame.f_back
    return place


watch = Watchdog()
"""The process's own."""
