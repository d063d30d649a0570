"""A connection to Ray, and a cluster that was started for it.

All of it lives on one thread, that of the loop it was opened on: what Ray starts ends with
the thread that started it. Knows Ray, and which of its errors mean that a worker was lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from hush.errors import ExecutorError, WorkerLostError, text_of
from hush.executors.entry import answer
from hush.executors.extras import load
from hush.executors.scratch import scratch_folder
from hush.executors.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("RayConnection", "connect", "start")

OWN_S: Final = 30.0
"""For how long a cluster of this machine may be without machines."""
REACH_S: Final = 5.0
"""How long a head that is there may take to accept a connection."""
CANCEL_S: Final = 5.0
"""How long Ray may take to say that it has killed a worker; a frozen one it cannot."""
LOST: Final = (
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectLostError",
    "OutOfMemoryError",
    "TaskCancelledError",
    "WorkerCrashedError",
)
"""Ray's errors, their subclasses included, that mean that a call was lost."""


async def start(workers: int, object_store_bytes: int) -> RayConnection:
    """Start a cluster on this machine, if this process is not connected to one.

    Args:
        workers: how many calls at the same time.
        object_store_bytes: its shared memory, in bytes.

    Raises:
        ExecutorError: Ray is not installed, or it did not come up.
    """
    ray = load("ray", "ray")
    if ray.is_initialized():
        return RayConnection(ray, None, "this process's own connection", OWN_S, None)
    undo = ExitStack()
    try:
        # Its own folder, which can be removed; the names of sockets in it must stay short.
        folder = scratch_folder("ray")
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        _initialise(
            ray,
            undo,
            num_cpus=workers,
            include_dashboard=False,
            object_store_memory=object_store_bytes,
            _temp_dir=folder,
        )
    except Exception as error:
        undo.close()
        raise ExecutorError(f"Ray could not be started here: {text_of(error)}") from error
    return RayConnection(ray, None, "this machine (started here)", OWN_S, undo)


async def connect(address: str, timeout_s: float) -> RayConnection:
    """Connect to a cluster, if this process is not connected already.

    Args:
        address: of its head.
        timeout_s: how long reaching it may take.

    Raises:
        ExecutorError: Ray is not installed, or nobody answers.
    """
    ray = load("ray", "ray")
    if ray.is_initialized():
        return RayConnection(ray, None, "this process's own connection", timeout_s, None)
    undo = ExitStack()
    try:
        # Ray itself tries for long, and may end the process where it does not succeed.
        await _reach(address, timeout_s)
        _initialise(ray, undo, address=address)
    except Exception as error:
        undo.close()
        raise ExecutorError(
            f"no Ray cluster can be reached at {address} within {timeout_s:g} s: "
            f"{text_of(error) or type(error).__name__}. Check the address, that the head runs "
            "(ray start --head), that it has the same version of Ray and of Python, and what it "
            "demands: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN, RAY_USE_TLS"
        ) from error
    return RayConnection(ray, address, address, timeout_s, undo)


async def _reach(address: str, timeout_s: float) -> None:
    """See whether anybody listens."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and the like
    _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), timeout_s)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _initialise(ray: Any, undo: ExitStack, **options: Any) -> None:
    """Connect without a word, and note how to undo it."""
    undo.enter_context(_silence())
    with _environment(RAY_USAGE_STATS_ENABLED="0"):
        undo.callback(ray.shutdown)
        ray.init(configure_logging=False, log_to_driver=False, **options)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Ray from writing to the terminal; what matters comes out as errors."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    worker = load("ray._private.worker", "ray")
    # Ray prints what happens to workers; no option of it says otherwise.
    printed = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False  # noqa: SLF001  # as above
    try:
        yield
    finally:
        worker._worker_logs_enabled = printed  # noqa: SLF001  # as above
        logger.setLevel(level)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables that are not set, for a while."""
    mine = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


class RayConnection:
    """This process's connection to Ray, and the calls that are made over it."""

    def __init__(
        self, ray: Any, asked: str | None, address: str, patience_s: float, undo: ExitStack | None
    ) -> None:
        """Keep it.

        Args:
            ray: the library, connected.
            asked: the address that was asked for; None for none.
            address: of the cluster, for people.
            patience_s: for how long the cluster may be without machines, in seconds.
            undo: what to undo in the end; None where the program connected by itself.
        """
        self.address = address
        self.slots = int(ray.cluster_resources().get("CPU", 1))
        self._head = asked or ray.get_runtime_context().gcs_address
        self._watch = Watch(
            self._look,
            patience_s,
            f"the Ray cluster at {address} has not been there, or had no machines, for {{}}",
        )
        self._ray = ray
        self._asked = asked
        self._undo = undo
        # Workers of a cluster on this machine find what this process does.
        self._path = () if asked or undo is None else tuple(map(os.path.abspath, sys.path))
        self._lost = tuple(getattr(ray.exceptions, name) for name in LOST)
        self._function = ray.remote(num_cpus=1, max_retries=0, max_calls=0)(_perform)

    def serves(self, asked: str | None) -> bool:
        """Say whether it is what somebody asks for: an address, or None for none."""
        return self._undo is None or asked == self._asked

    async def call(self, reference: str, payload: bytes) -> bytes:
        """Call once; return the answer."""
        return await self._watch.over(self._call(reference, payload))

    async def _call(self, reference: str, payload: bytes) -> bytes:
        try:
            sent = self._function.remote(reference, payload, self._path)
            future = asyncio.wrap_future(sent.future())
        except Exception as error:
            raise self._failed(error) from error
        try:
            given: bytes = await asyncio.shield(future)
        except asyncio.CancelledError:
            with suppress(Exception):
                self._ray.cancel(sent, force=True)
                # Over only when Ray says so.
                await asyncio.wait_for(future, CANCEL_S)
            raise
        except Exception as error:
            raise self._failed(error) from error
        return given

    def _failed(self, error: Exception) -> ExecutorError:
        """Return what an error of Ray's means."""
        what = (text_of(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, self._lost):
            return WorkerLostError(
                f"a worker of Ray at {self.address} was lost while it worked: {what}"
            )
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return ExecutorError(
                f"a worker of Ray at {self.address} cannot run hush ({what}): install the same "
                "version of hush-runtime there"
            )
        return ExecutorError(f"Ray at {self.address}: {type(error).__name__}: {what}")

    async def _look(self) -> bool:
        """Say whether the cluster has machines; raise where it is gone."""
        # Asked while it is gone, Ray would keep a thread for a minute.
        await _reach(self._head, REACH_S)
        nodes = [node for node in await asyncio.to_thread(self._ray.nodes) if node["Alive"]]
        self.slots = int(sum(node["Resources"].get("CPU", 0) for node in nodes))
        return bool(nodes)

    async def close(self) -> None:
        """Disconnect, and end what was started."""
        await self._watch.stop()
        if self._undo is not None:
            self._undo.close()


def _perform(reference: str, payload: bytes, path: tuple[str, ...]) -> bytes:
    """Make a call; in a worker."""
    sys.path.extend(one for one in path if one not in sys.path)
    return answer(reference, payload)
