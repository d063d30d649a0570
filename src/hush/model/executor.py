"""Executor: where the items of a map run, as a workflow names it and a driver uses it.

One narrow protocol. An executor moves bytes to a worker and bytes back; it knows nothing of
graphs, items or spans. What the bytes mean is the business of :mod:`hush.runtime.remote`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ("Capabilities", "Executor")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do; the driver makes up for what it cannot."""

    stops_running_work: bool
    """Whether a cancelled call's work is over when the call is. Where not, it may outlive
    the scope that asked for it."""
    detects_frozen_workers: bool
    """Whether a worker that no longer answers, but is not dead, is found by the engine itself.
    Where not, only a time limit finds it."""
    code_by_value: bool
    """Whether a worker runs what its own files do not hold."""


class Executor(Protocol):
    """Runs calls in workers, which are other processes, here or elsewhere.

    One that has an attribute ``body``, a ``module:attribute``, has workers import the graph from
    there; without one, or where it is None, they are sent what they run.
    """

    @property
    def name(self) -> str:
        """What it is called on spans; low-cardinality: ``processes``, ``dask``, ``ray``."""

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do."""

    @property
    def slots(self) -> int:
        """How many calls its workers run at the same time; known once it has been entered."""

    async def __aenter__(self) -> Self:
        """Connect, or start what is needed; free where that has been done already.

        May be entered several times, also at once; the last one to leave closes.

        Raises:
            ExecutorError: there is nothing to connect to.
        """

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what entering opened, if nobody else needs it."""

    async def call(self, function: Callable[[bytes], bytes], payload: bytes) -> bytes:
        """Call a function in a worker, once: nothing is ever run again by the engine.

        Args:
            function: importable by every worker; takes the payload and raises nothing.
            payload: what it gets.

        Returns:
            What it returned.

        Raises:
            WorkerLostError: the worker died, or the connection to it did; the function may
                have run, in part or whole.
            ExecutorError: the engine failed otherwise.
            BaseException: cancellation comes out promptly; the work is stopped where the
                engine can do so, and what it returns is discarded in any case.
        """
