"""One worker process, as the process that started it sees it: start, call, end.

Knows the worker's language, and anyio; nothing of how many workers there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, cast

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from hush.errors import ExecutorError, WorkerLostError
from hush.executors.process_worker import ANSWER, CALL, COMMAND, READY

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

__all__ = ("WorkerProcess",)

START_S: Final = 60.0
"""How long an interpreter may take to start on a busy machine."""
END_S: Final = 5.0
"""How long a worker may take to leave of its own accord, or a killed one to be gone."""
LAST_WORDS_S: Final = 1.0
"""How long what a dead worker had written is still read."""


class WorkerProcess:
    """An interpreter of its own that runs one call at a time."""

    def __init__(self, process: Process) -> None:
        """Keep a process that has been started with pipes."""
        self._process = process
        self._calls = cast("ByteSendStream", process.stdin)
        self._answers = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))
        self.served = 0
        """How many calls it has answered."""

    @classmethod
    async def start(cls) -> Self:
        """Start one.

        Raises:
            ExecutorError: it did not come up.
        """
        if not sys.executable:
            raise ExecutorError("there is no interpreter to start: sys.executable is empty")
        path = json.dumps([os.fspath(one) for one in sys.path])
        # As this interpreter was started, -O for one, else code is another there; and nothing is
        # imported from where it happens to start (-P) before it has this process's path.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing does; there is no public way
        command = [sys.executable, *flags, "-P", "-c", COMMAND, path, str(os.getpid())]
        try:
            process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None
            )
        except OSError as error:
            raise ExecutorError(f"cannot start a worker process: {error}") from error
        worker = cls(process)
        try:
            with anyio.fail_after(START_S):
                ready = await worker._answers.receive_exactly(len(READY))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
            await worker.kill()
            raise ExecutorError(
                f"a worker process ended with code {process.returncode} while it started"
            ) from error
        except TimeoutError as error:
            await worker.kill()
            raise ExecutorError(f"a worker process did not start within {START_S:g} s") from error
        except BaseException:
            await worker.kill()
            raise
        if ready != READY:
            await worker.kill()
            raise ExecutorError(f"a worker process began with {ready!r}")
        return worker

    @property
    def name(self) -> str:
        """What to call it."""
        return f"worker process {self._process.pid}"

    @property
    def alive(self) -> bool:
        """Whether it is not known to have ended."""
        return self._process.returncode is None

    async def call(self, reference: str, payload: bytes) -> bytes:
        """Call once; whatever interrupts it leaves the process dead.

        Args:
            reference: of the function.
            payload: what it gets.

        Returns:
            The answer.

        Raises:
            WorkerLostError: it died.
        """
        given: bytes | None = None
        try:
            async with anyio.create_task_group() as tasks:
                # A process that the worker forked may hold its end of the pipe open.
                tasks.start_soon(self._notice_death, tasks.cancel_scope)
                given = await self._exchanged(reference, payload)
                tasks.cancel_scope.cancel()
        finally:
            if given is None:
                await self.kill()
        if given is None:
            raise WorkerLostError(
                f"{self.name} was lost{self._how()} while it worked; what it was doing may have "
                "been done in part"
            )
        self.served += 1
        return given

    async def _exchanged(self, reference: str, payload: bytes) -> bytes | None:
        """Return the answer; None where the worker ended before it had given one."""
        name = reference.encode()
        try:
            await self._calls.send(CALL.pack(len(name), len(payload)) + name)
            await self._calls.send(payload)
            (size,) = ANSWER.unpack(await self._answers.receive_exactly(ANSWER.size))
            return await self._answers.receive_exactly(size)
        except (
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
            anyio.EndOfStream,
            anyio.IncompleteRead,
        ):
            return None

    async def _notice_death(self, scope: anyio.CancelScope) -> None:
        if hasattr(os, "pidfd_open"):
            # On asyncio, older Pythons say that a process has ended when its pipes have.
            with suppress(OSError):
                await self._dead()
        else:
            await self._process.wait()
        # What it had written before may be a whole answer.
        await anyio.sleep(LAST_WORDS_S)
        scope.cancel()

    async def _dead(self) -> None:
        descriptor = os.pidfd_open(self._process.pid)
        try:
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        """Let it end by itself, for its clean-up's sake; kill it where it does not."""
        with anyio.move_on_after(END_S, shield=True):
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._calls.aclose()
            await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once, and wait until it has; free where it has ended."""
        with anyio.move_on_after(END_S, shield=True):
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.aclose()

    def _how(self) -> str:
        code = self._process.returncode
        if code is None:
            return ""
        return f" (signal {-code})" if code < 0 else f" (exit code {code})"
