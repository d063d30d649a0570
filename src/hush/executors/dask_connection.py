"""A connection to a Dask scheduler, and a cluster that was started for it.

All of it lives on one asyncio loop, that of the thread it was opened in. Knows Dask, and
which of its errors mean that a worker was lost.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from hush.errors import ExecutorError, WorkerLostError, text_of
from hush.executors.dask_fence import FENCE, PREFIX, fence
from hush.executors.extras import load
from hush.executors.scratch import scratch_folder
from hush.executors.turns import Turns
from hush.executors.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ("DaskConnection", "connect", "start")

SCATTERED_BYTES: Final = 1 << 22
"""From this size on a payload goes beside the task: Dask warns of tasks of 10 MB."""
START_S: Final = 15.0
"""How long a cluster that nobody wants any more may take to start, before it is closed."""
CLOSE_S: Final = 10.0
"""How long each part may take to close."""


async def connect(address: str, security: Any, timeout_s: float) -> DaskConnection:
    """Connect to a scheduler.

    Args:
        address: where it listens.
        security: Dask's ``Security``; None means as Dask is configured.
        timeout_s: how long it may take.

    Raises:
        ExecutorError: Dask is not installed, or nobody answers.
    """
    load("distributed", "dask")
    undo = ExitStack()
    try:
        return await _connected(address, address, security, timeout_s, undo, {})
    except BaseException:
        undo.close()
        raise


async def start(workers: int, security: Any, timeout_s: float) -> DaskConnection:
    """Start a cluster of processes of this machine, and connect to it.

    Args:
        workers: how many, each with one thread.
        security: Dask's ``Security``; None means no encryption; it listens on loopback only.
        timeout_s: how long connecting may take.

    Raises:
        ExecutorError: Dask is not installed, or it did not come up.
    """
    distributed = load("distributed", "dask")
    undo = ExitStack()
    undo.enter_context(_silence())
    folder = scratch_folder("dask")
    undo.callback(shutil.rmtree, folder, ignore_errors=True)
    cluster: Any = None
    try:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            security=security,
            silence_logs=logging.CRITICAL,
            # Even without a dashboard it serves pages; not where others could reach them.
            scheduler_kwargs={
                "local_directory": folder,
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
            },
            local_directory=folder,
            asynchronous=True,
        )
        try:
            await _started(cluster)
        except Exception as error:
            raise ExecutorError(
                f"Dask could not start a cluster here: {text_of(error).rstrip('.')}. A script that starts "
                'one needs the guard: if __name__ == "__main__"'
            ) from error
        where = f"{cluster.scheduler_address} (started here)"
        return await _connected(cluster, where, security, timeout_s, undo, {"cluster": cluster})
    except BaseException:
        if cluster is not None:
            await _closed(cluster.close())
        undo.close()
        raise


async def _connected(
    target: Any,
    address: str,
    security: Any,
    timeout_s: float,
    undo: ExitStack,
    owned: dict[str, Any],
) -> DaskConnection:
    distributed = load("distributed", "dask")
    undo.enter_context(_silence())
    client: Any = None
    try:
        options = {} if owned else {"security": security}
        client = distributed.Client(
            target,
            asynchronous=True,
            timeout=timeout_s,
            set_as_default=False,
            name="hush",
            **options,
        )
        await asyncio.wait_for(client, timeout_s + 1)
        await client.register_plugin(fence(), name=FENCE)
        slots = sum((await client.nthreads()).values())
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        await _closed(client.close())
        raise ExecutorError(_unreachable(address, timeout_s, error)) from error
    except BaseException:
        if client is not None:
            await _closed(client.close())
        raise
    return DaskConnection(client, address, slots, timeout_s, undo, owned.get("cluster"))


def _unreachable(address: str, timeout_s: float, error: BaseException) -> str:
    what = text_of(error) or type(error).__name__
    if isinstance(error, OSError):
        return (
            f"no Dask scheduler can be reached at {address} within {timeout_s:g} s: {what}. Check "
            "the address, that the scheduler runs (dask scheduler), and that tcp:// or tls:// and "
            "security= are what it expects"
        )
    return f"the Dask scheduler at {address} cannot be used: {what}"


class DaskConnection:
    """A client, what was started for it, and the calls that are under way."""

    def __init__(
        self,
        client: Any,
        address: str,
        slots: int,
        patience_s: float,
        undo: ExitStack,
        cluster: Any,
    ) -> None:
        """Keep them.

        Args:
            client: connected.
            address: of the scheduler, for people.
            slots: threads of its workers.
            patience_s: for how long the cluster may be without workers.
            undo: what to undo in the end.
            cluster: what was started; None where nothing was.
        """
        self.address = address
        self._turns = Turns(slots)
        self._client = client
        self._undo = undo
        self._cluster = cluster
        self._watch = Watch(
            self._look,
            patience_s,
            f"the Dask cluster at {address} has not been there, or had no workers, for {{}}; start "
            f"some: dask worker {address}",
        )

    @property
    def slots(self) -> int:
        """How many threads the workers have in all, as last heard."""
        return self._turns.slots

    async def call(self, reference: str, payload: bytes) -> bytes:
        """Call once; return the answer."""
        from hush.executors.dask_worker import perform  # noqa: PLC0415  # an extra

        futures: list[Any] = []
        try:
            return await self._watch.over(self._in_turn(perform, reference, payload, futures))
        finally:
            if futures:
                await _closed(self._client._cancel(futures))  # noqa: SLF001  # awaits no answer
            for future in futures:
                future.release()

    async def _in_turn(
        self, perform: Any, reference: str, payload: bytes, futures: list[Any]
    ) -> bytes:
        async with self._turns.turn():
            return await self._call(perform, reference, payload, futures)

    async def _call(
        self, perform: Any, reference: str, payload: bytes, futures: list[Any]
    ) -> bytes:
        key = f"{PREFIX}{uuid.uuid4().hex}"
        try:
            sent: Any = payload
            if len(payload) >= SCATTERED_BYTES:
                sent = await self._client.scatter(payload, hash=False)
                futures.append(sent)
            future = self._client.submit(
                perform, key, reference, sent, key=key, retries=0, pure=False
            )
            futures.append(future)
            given: bytes = await future
        except asyncio.CancelledError as error:
            if type(error) is asyncio.CancelledError:
                raise
            raise self._lost(error) from error
        except Exception as error:
            raise self._failed(error) from error
        return given

    def _failed(self, error: Exception) -> ExecutorError:
        """Return what an error of Dask's means."""
        distributed = load("distributed", "dask")
        kind = type(error).__name__
        if isinstance(error, distributed.KilledWorker):
            return WorkerLostError(f"a worker of Dask at {self.address} died while it worked")
        if isinstance(error, OSError) or "Cancelled" in kind or kind == "ClosedClientError":
            if self._client.status == "running":
                return self._lost(error)
            return self._lost(error) if "Cancelled" in kind else self._gone(error)
        if isinstance(error, ImportError):
            return ExecutorError(
                f"workers of Dask at {self.address} cannot import hush ({text_of(error)}): install "
                "the same version of hush-runtime there"
            )
        return ExecutorError(f"Dask at {self.address}: {kind}: {text_of(error)}")

    def _lost(self, error: BaseException) -> WorkerLostError:
        return WorkerLostError(
            f"Dask at {self.address} lost a call, and may have run it: {text_of(error)}"
        )

    def _gone(self, error: BaseException) -> ExecutorError:
        return ExecutorError(
            f"the Dask scheduler at {self.address} cannot be reached any more: {text_of(error)}"
        )

    async def _look(self) -> bool:
        """Ask how many threads the workers have; say whether there are any."""
        self._turns.slots = sum((await self._client.nthreads()).values())
        return self.slots > 0

    async def close(self) -> None:
        """Disconnect, and end what was started."""
        await self._watch.stop()
        try:
            await _closed(self._client.close())
            if self._cluster is not None:
                await _closed(self._cluster.close())
        finally:
            self._undo.close()


async def _started(cluster: Any) -> None:
    """Await a cluster's start to its end, cancelled or not."""
    # Cancelled on its way it would leave workers behind, and could not be closed.
    start = asyncio.ensure_future(_awaited(cluster))
    try:
        await asyncio.shield(start)
    except asyncio.CancelledError:
        await asyncio.wait({start}, timeout=START_S)
        raise


async def _awaited(something: Any) -> None:
    await something


async def _closed(closing: Coroutine[Any, Any, Any]) -> None:
    """Await for a bounded time; an engine that cannot close is left to itself."""
    with suppress(Exception):
        await asyncio.wait_for(closing, CLOSE_S)


def _silence() -> Any:
    """Keep Dask from writing to the terminal; what matters comes out as errors."""
    from distributed.utils import silence_logging_cmgr  # noqa: PLC0415  # an extra

    return silence_logging_cmgr(logging.CRITICAL)
