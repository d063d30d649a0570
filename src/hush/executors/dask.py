"""Dask as an engine: a cluster by its address, or one of processes of this machine.

Knows Dask's client; what runs in the workers is :mod:`hush.executors.dask_worker`, and what
keeps the scheduler from running a call twice :mod:`hush.executors.dask_fence`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from hush.errors import WorkerLostError
from hush.executors.cluster import ClusterExecutor
from hush.executors.entry import reference_of, value_of
from hush.executors.sharing import Shared
from hush.model.executor import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hush.executors.dask_connection import DaskConnection

__all__ = ("DaskExecutor",)


class DaskExecutor(ClusterExecutor):
    """Runs calls on a Dask cluster; needs the extra ``dask``.

    Without an address a cluster of processes of this machine, on loopback, is started when it
    is first entered and ended with the last; a script that starts one needs the guard
    ``if __name__ == "__main__"``, because Dask's workers import it. All loops of this process
    share one connection. Dask cannot stop what runs: a cancelled call's work goes on in its
    worker, and its result is discarded.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        max_workers: int | None = None,
        security: Any = None,
        connect_timeout_s: float = 30.0,
        body: str | None = None,
    ) -> None:
        """Set where; nothing connects yet.

        Args:
            address: of a scheduler, such as ``tls://scheduler:8786``; None starts a cluster.
            max_workers: processes of a cluster that is started, each with one thread; None
                means one for each CPU that this process may use.
            security: Dask's ``Security``, with what TLS needs; None means as Dask is
                configured, which without configuration is no encryption.
            connect_timeout_s: how long connecting may take, and for how long the cluster may
                be without a single worker, in seconds.
            body: ``module:attribute`` of the top graph, or of its Hush, which workers import and
                compare with this one; None sends them what they run.
        """
        super().__init__(address, max_workers, connect_timeout_s, body)
        self._security = security
        self._shared: Shared[DaskConnection] = Shared("hush-dask")

    @property
    def name(self) -> str:
        """``dask``."""
        return "dask"

    @property
    def capabilities(self) -> Capabilities:
        """It stops nothing that runs, and takes a worker for dead that sends no heartbeats."""
        return Capabilities(
            stops_running_work=False, detects_frozen_workers=True, code_by_value=True
        )

    @property
    def slots(self) -> int:
        """How many threads its workers have in all, as of a few seconds ago; at least 1."""
        connection = self._shared.connection
        return self._slots_of(None if connection is None else connection.slots)

    async def __aenter__(self) -> Self:
        """Connect, or start a cluster.

        Raises:
            ExecutorError: Dask is not installed, or the scheduler cannot be reached.
        """
        await self._shared.enter(self._connect)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, and end a cluster that was started here, if nobody else needs it."""
        await self._shared.leave()

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        """Call a function in a worker, once.

        Args:
            function: importable by every worker; takes the payload and raises nothing.
            payload: what it gets.

        Returns:
            What it returned.

        Raises:
            WorkerLostError: the worker died, or the connection broke.
            ExecutorError: the cluster has no workers, the function cannot be imported there,
                or it raised.
            BaseException: on cancellation work that has not begun never does; what runs
                goes on, and its result is discarded.
        """
        thread, connection = self._shared.line()
        reference = reference_of(function)
        try:
            given = await thread.run(lambda: connection.call(reference, payload))
        except ConnectionAbortedError as error:
            raise WorkerLostError(f"the connection to Dask was closed: {error}") from error
        return value_of(given, f"a worker of Dask at {connection.address}")

    async def _connect(self) -> DaskConnection:
        from hush.executors.dask_connection import connect, start  # noqa: PLC0415  # an extra

        if self._address is None:
            return await start(self._workers(), self._security, self._connect_timeout_s)
        return await connect(self._address, self._security, self._connect_timeout_s)
