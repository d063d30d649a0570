"""Processes of this machine as workers: one call for each at a time, warm between calls.

A worker that is killed loses its call and nothing else; a call that is cancelled has its
worker killed. Knows anyio and its own workers, and nothing of what the bytes mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from hush.errors import ExecutorError
from hush.executors.cpus import usable_cpus
from hush.executors.entry import ENDED, reference_of, value_of
from hush.executors.limits import positive
from hush.model.executor import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hush.executors.worker_process import WorkerProcess

__all__ = ("Processes",)


@dataclass(slots=True, eq=False)
class _Pool:
    """Workers of one executor on one event loop."""

    limiter: anyio.CapacityLimiter
    entered: int = 0
    idle: list[WorkerProcess] = field(default_factory=list)
    """The one that worked last is the last."""


class Processes:
    """Runs calls in processes of this machine.

    Workers start when there is work for them, and stay until the last ``async with`` on
    their event loop ends. Each loop has workers of its own. A worker ends with the process
    that started it. What it prints goes to standard error.
    """

    def __init__(self, max_workers: int | None = None, *, body: str | None = None) -> None:
        """Set the limit; nothing starts yet.

        Args:
            max_workers: most processes at the same time on one event loop; None means one
                for each CPU that this process may use.
            body: ``module:attribute`` of the top graph, or of its Hush, which workers import and
                compare with this one; None sends them what they run.
        """
        self.body = body
        self._asked = positive("max_workers", max_workers)
        self._slots = max_workers or usable_cpus()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self._slots})"

    def __reduce__(self) -> tuple[object, ...]:
        # Goes along inside of what a worker gets; there it is not used, but must not disturb.
        return type(self), (self._asked,)

    @property
    def name(self) -> str:
        """``processes``."""
        return "processes"

    @property
    def capabilities(self) -> Capabilities:
        """A cancelled call's worker is killed; a frozen one is found by a time limit only."""
        return Capabilities(
            stops_running_work=True, detects_frozen_workers=False, code_by_value=True
        )

    @property
    def slots(self) -> int:
        """How many processes work at the same time on one event loop."""
        return self._slots

    async def __aenter__(self) -> Self:
        """Make ready; workers start with the first calls."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        pools = _pools()
        pool = pools.get(self)
        if pool is None:
            pool = pools[self] = _Pool(anyio.CapacityLimiter(self._slots))
        pool.entered += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the workers, if nobody else on this loop needs them."""
        pool = _pools()[self]
        pool.entered -= 1
        if not pool.entered:
            await _end(pool)

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        """Call a function in a worker, once; a place is waited for where all are busy.

        Args:
            function: importable by every worker; takes the payload and raises nothing.
            payload: what it gets.

        Returns:
            What it returned.

        Raises:
            WorkerLostError: the worker died.
            ExecutorError: no worker could be started, the function cannot be imported there,
                or it raised.
            BaseException: on cancellation the worker is killed, and gone when it comes out.
        """
        pool = _pools().get(self)
        if pool is None or not pool.entered:
            raise ExecutorError(f"{self!r} has not been entered here: async with executor")
        reference = reference_of(function)
        borrower = object()
        await pool.limiter.acquire_on_behalf_of(borrower)
        try:
            worker = await _worker(pool)
            given = await worker.call(reference, payload)
            # Told to end by what ran in it, it does so by itself.
            if pool.entered and given[:1] != ENDED:
                pool.idle.append(worker)
            else:
                await worker.close()
        finally:
            pool.limiter.release_on_behalf_of(borrower)
        return value_of(given, worker.name)


# Weak, so that an executor that was made for one request takes its workers' list with it.
_pools_of = anyio.lowlevel.RunVar[WeakKeyDictionary[Processes, _Pool]]("hush_worker_processes")


def _pools() -> WeakKeyDictionary[Processes, _Pool]:
    try:
        return _pools_of.get()
    except LookupError:
        known = WeakKeyDictionary[Processes, _Pool]()
        _pools_of.set(known)
        return known


async def _worker(pool: _Pool) -> WorkerProcess:
    """Return a warm worker, or else a new one."""
    while pool.idle:
        worker = pool.idle.pop()
        if worker.alive:
            return worker
        await worker.kill()
    # It brings all of subprocess with it.
    from hush.executors.worker_process import WorkerProcess  # noqa: PLC0415  # as above

    return await WorkerProcess.start()


async def _end(pool: _Pool) -> None:
    """End all idle workers, side by side."""
    workers, pool.idle = pool.idle, []
    with anyio.CancelScope(shield=True):  # each of them takes a bounded time
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.close)
