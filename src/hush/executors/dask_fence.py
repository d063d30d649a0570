"""A plugin for Dask's scheduler that keeps it from running one of our calls twice.

Dask runs a task again where its worker died (three times by default), was retired, or died
with the result. Here a worker asks before it begins: whoever asks second is refused, and the loss
of a worker that had begun is the task's failure. A task that only waited its turn there goes to
another one, however often that happens. Only tasks of ours are touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from distributed.diagnostics.plugin import SchedulerPlugin

__all__ = ("CLAIM", "FENCE", "PREFIX", "fence")

PREFIX: Final = "hush-"
"""Keys of our tasks begin with it."""
CLAIM: Final = "hush_claim"
"""Name of the request by which a worker asks whether it may begin."""
FENCE: Final = "hush-fence-2"
"""Name of the plugin at the scheduler, with its version."""


def fence() -> SchedulerPlugin:
    """Return the plugin.

    Its class is made here, so that it travels by value: the scheduler need not have hush.
    """
    from distributed.diagnostics.plugin import SchedulerPlugin  # noqa: PLC0415  # an extra

    prefix, claim = PREFIX, CLAIM

    class Fence(SchedulerPlugin):
        def __init__(self) -> None:
            self.scheduler: Any = None
            self.claimed: set[str] = set()

        async def start(self, scheduler: Any) -> None:
            self.scheduler = scheduler
            scheduler.handlers[claim] = self.claim

        async def claim(self, key: str) -> bool:
            """Say whether a task may begin: it is wanted, and has not begun before."""
            if key not in self.scheduler.tasks or key in self.claimed:
                return False
            self.claimed.add(key)
            self.judge(key)
            return True

        def judge(self, key: str) -> None:
            """Say how many losses of workers are borne: one where it has begun is too many."""
            task = self.scheduler.tasks[key]
            task.suspicious = self.scheduler.allowed_failures if key in self.claimed else 0

        def transition(self, key: Any, *told: Any, **_more: Any) -> None:
            if not isinstance(key, str) or not key.startswith(prefix):
                return
            finish = told[1]
            if finish == "processing":
                self.judge(key)
            elif finish == "forgotten":
                self.claimed.discard(key)

    return Fence()
