"""Map run: what all maps and loops over items have in common while they run, wherever that is.

Where the items come from, what has become of them, who is to blame for a cancellation, and
how the map ends. Whoever runs the items stands on this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from hush import semconv
from hush.errors import Failure, UnexpectedCancellationError
from hush.runtime import presence
from hush.runtime.attempt import Policy
from hush.runtime.cpu import CpuClock
from hush.runtime.failing import BodyFailedError, failure_of
from hush.runtime.lineage import Blame, Lineage
from hush.runtime.map_trail import MapTrail
from hush.runtime.outcomes import Outcomes
from hush.runtime.presence import MapNow, NodeNow, WaitNow
from hush.runtime.source import Source
from hush.runtime.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from anyio.abc import TaskGroup

    from hush.model.contract import FanOut
    from hush.runtime.node_context import RuntimeContext

__all__ = ("MapRun",)


class MapRun(ABC):
    """One map, or loop over items, while it runs."""

    def __init__(self, ctx: RuntimeContext, request: FanOut) -> None:
        """Prepare to run.

        Args:
            ctx: the map's context.
            request: what it asks for.
        """
        self.ctx = ctx
        self.request = request
        self.run = ctx.place.run
        self.seen = ctx.place.seen
        self.source = Source(
            ctx.path,
            request.each,
            request.each_in_thread,
            self.run.placement,
            on_abandon=ctx.abandoned if ctx.limited else None,
        )
        self.lineage = Lineage(ctx.place.lineage)
        self.context = copy_context()
        self.policy = Policy(request.retry, request.timeout_s, request.deadline_s)
        self.clock = self.run.clock
        self.ready_at = self.clock()
        self.cpu = CpuClock()
        self.verdict = Verdict(request.max_concurrency, self.ready_at)
        self.group: TaskGroup | None = None
        self.outcomes = Outcomes(ctx, request, self.source, self.lineage, self._stop)
        self.way = MapTrail(self.ready_at)
        self.shared_s = 0.0
        """For how long shared limits held the items back, each on its own critical path."""
        self.fault: Exception | None = None

    async def drive(self) -> None:
        """Run all items, and say how the map ends.

        Raises:
            BodyFailedError: an item failed, or too many did.
            Exception: the source failed.
        """
        await self.run_items()
        outcomes, failures = self.outcomes, self.outcomes.failures
        if self.fault is not None:
            if not failures:
                for failure in self._late():
                    self.fault.add_note(f"and {failure}")
                raise self.fault
            # An item came first; the source failed while it was being cancelled.
            failures.extend(self._failures_of(self.fault))
        if failures:
            failures.extend(self._late())
        else:
            outcomes.tolerate(at_end=True)
        if failures:
            raise BodyFailedError(failures, outcomes.culprit, self.way.trail())
        if not outcomes.complete:
            # A worker went away without a word. If we are being cancelled ourselves, the
            # checkpoint says so; else something cancelled its task behind our back.
            await anyio.lowlevel.checkpoint()
            raise UnexpectedCancellationError(
                self.ctx.path, "a task of this map was cancelled by something outside of it"
            )

    @abstractmethod
    async def run_items(self) -> None:
        """Run items until there are no more, or the map has failed.

        Raises:
            BaseException: only what is no Exception.
        """

    def fail(self, fault: Exception) -> None:
        """Take note that the source failed, or an engine; stop the items that are running."""
        self.source.over = True
        if self.fault is None:
            self.fault = fault
        self._stop(semconv.REASON_FAIL_FAST, self.ctx.path, self.seen.token)

    def source_cancelled(self, error: BaseException) -> UnexpectedCancellationError:
        """Return what it means that the source was cancelled, and by nobody of this run."""
        said = "its source was cancelled although no scope of this run asked for it. "
        said += "Catch in the source what it awaits and something else cancels"
        fault = UnexpectedCancellationError(self.ctx.path, said)
        fault.__cause__ = error
        return fault

    def key_of(self, values: dict[str, Any]) -> tuple[str | None, Exception | None]:
        """Return an item's key, or why there is none."""
        try:
            return str(self.request.key(dict(values))), None  # type: ignore[misc]  # asked only where there is one
        except Exception as error:  # noqa: BLE001  # becomes the item's own failure
            return None, error

    def _stop(self, reason: str, path: str, token: object) -> None:
        self.lineage.accuse(
            Blame(reason, path, token),
            being_cancelled=self.run.caller.being_cancelled(),
        )
        self.way.stops(self.clock())
        if self.group is not None:
            self.group.cancel_scope.cancel()

    def over(self) -> None:
        """Say that all items are."""
        presence.leave(self)
        self.annotate()

    async def close_after(self, error: BaseException) -> None:
        """Close the source of a map that is over before its end; its faults come second.

        Args:
            error: why it is over.
        """
        faults = await self.source.close()
        late = [failure for fault in faults for failure in self._failures_of(fault)]
        if isinstance(error, BodyFailedError):
            error.failures = (*error.failures, *late)
        elif isinstance(error, Exception):
            for fault in faults:
                error.add_note(f"and {fault}")
        else:
            # Cancelled from outside: what has failed until then goes no other way up.
            if self.fault is not None:
                late = [*self._failures_of(self.fault), *late]
            self.ctx.place.lineage.add_late([*self.outcomes.failures, *self._late(), *late])

    def _failures_of(self, error: Exception) -> tuple[Failure, ...]:
        return failure_of(error, self.ctx.path, index=self.ctx.frame.index)

    def _late(self) -> list[Failure]:
        """Return what failed in items while they were being cancelled, where that counts."""
        late = self.lineage.take_late()
        return [] if self.request.collect else late

    def annotate(self) -> None:
        """Put the counts and times on the map's span, and leave its trail with the node."""
        self.ctx.trail = self.way.trail()
        facts: dict[str, Any] = {}
        if self.request.iterations:
            facts[semconv.LOOP_ITERATIONS] = self.outcomes.begun
        else:
            facts |= self.outcomes.facts()
            facts[semconv.MAP_MAX_CONCURRENCY] = self.request.max_concurrency
            facts[semconv.MAP_PEAK_CONCURRENCY] = self.verdict.peak
            facts |= self.verdict.facts(self.clock(), self.shared_s)
            facts |= self.cpu.facts()
        if self.lineage.partial:
            facts[semconv.PARTIAL_FAILURE] = True
        for name, value in facts.items():
            self.seen.annotate(name, value)

    # --- what is going on, asked from any thread -------------------------------------------

    @property
    def engine(self) -> object:
        """Who runs it."""
        return self.run.engine

    @property
    def run_key(self) -> tuple[str, str, float]:
        """Run id, name of the run's graph, and when the run began."""
        return self.run.state.run_id, self.run.plan.name, self.run.began

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        """Yield the nodes that are running here and that no other register knows."""
        del now
        return iter(())

    def waits_now(self, now: float) -> Iterator[WaitNow]:
        """Yield nothing: nobody waits for several."""
        del now
        return iter(())

    def maps_now(self, now: float) -> Iterator[MapNow]:
        """Yield the map."""
        yield MapNow(
            self.ctx.path,
            now - self.ready_at,
            self.verdict.running,
            self.outcomes.ended,
            self.source.total,
            self.request.max_concurrency,
        )
