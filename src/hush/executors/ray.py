"""Ray as an engine: a cluster by its address, or one on this machine.

Knows what Ray's calls come to; connecting and ending is :mod:`hush.executors.ray_connection`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from hush.errors import ExecutorError, WorkerLostError
from hush.executors.cluster import ClusterExecutor
from hush.executors.entry import reference_of, value_of
from hush.executors.sharing import Shared
from hush.model.executor import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hush.executors.ray_connection import RayConnection

__all__ = ("RayExecutor",)

END_S = 10.0
"""How long a cancelled call may take to end its work."""


class RayExecutor(ClusterExecutor):
    """Runs calls on a Ray cluster; needs the extra ``ray``.

    Without an address a cluster on this machine is started when it is first entered, without
    dashboard and usage reports, and ended with the last. Ray knows one cluster for each
    process: all executors share it, with what the first one asked for, and one that the
    program has connected itself is used and left open. A cancelled call's worker is killed.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        max_workers: int | None = None,
        object_store_bytes: int = 256 << 20,
        connect_timeout_s: float = 60.0,
        body: str | None = None,
    ) -> None:
        """Set where; nothing connects yet.

        Args:
            address: of a cluster's head, such as ``head:6379`` or ``ray://head:10001``;
                None starts a cluster. TLS is what Ray's environment variables say.
            max_workers: calls at the same time on a cluster that is started; None means one
                for each CPU that this process may use.
            object_store_bytes: shared memory of a cluster that is started, in bytes.
            connect_timeout_s: how long reaching the address may take, and for how long the
                cluster may be gone while calls wait for it, in seconds.
            body: ``module:attribute`` of the top graph, or of its Hush, which workers import and
                compare with this one; None sends them what they run.
        """
        super().__init__(address, max_workers, connect_timeout_s, body)
        self._object_store_bytes = object_store_bytes
        self._lock = threading.Lock()
        self._entered = 0

    @property
    def name(self) -> str:
        """``ray``."""
        return "ray"

    @property
    def capabilities(self) -> Capabilities:
        """A cancelled call's worker is killed; a frozen one is found by a time limit only."""
        return Capabilities(
            stops_running_work=True, detects_frozen_workers=False, code_by_value=True
        )

    @property
    def slots(self) -> int:
        """How many CPUs the cluster has in all, as of a few seconds ago; at least 1."""
        connection = _shared.connection
        return self._slots_of(None if connection is None else connection.slots)

    async def __aenter__(self) -> Self:
        """Connect, or start a cluster.

        Raises:
            ExecutorError: Ray is not installed, the cluster cannot be reached, or this process
                is connected to another one.
        """
        connection = await _shared.enter(self._connect)
        if not connection.serves(self._address):
            await _shared.leave()
            raise ExecutorError(
                f"this process is connected to Ray at {connection.address} already, and Ray knows "
                f"one cluster for each process: {self!r} has to wait until that is left"
            )
        with self._lock:
            self._entered += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, and end a cluster that was started here, if nobody else needs it."""
        with self._lock:
            self._entered -= 1
        await _shared.leave()

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        """Call a function in a worker, once.

        Args:
            function: importable by every worker; takes the payload and raises nothing.
            payload: what it gets.

        Returns:
            What it returned.

        Raises:
            WorkerLostError: the worker or its machine died.
            ExecutorError: the function cannot be imported there, or it raised.
            BaseException: on cancellation the worker is killed; a frozen one when it wakes.
        """
        if not self._entered:
            raise ExecutorError(f"{self!r} has not been entered: async with executor")
        thread, connection = _shared.line()
        reference = reference_of(function)
        try:
            given = await thread.run(lambda: connection.call(reference, payload), end_s=END_S)
        except ConnectionAbortedError as error:
            raise WorkerLostError(f"the connection to Ray was closed: {error}") from error
        return value_of(given, f"a worker of Ray at {connection.address}")

    async def _connect(self) -> RayConnection:
        from hush.executors.ray_connection import connect, start  # noqa: PLC0415  # an extra

        if self._address is None:
            return await start(self._workers(), self._object_store_bytes)
        return await connect(self._address, self._connect_timeout_s)


_shared: Shared[RayConnection] = Shared("hush-ray")
