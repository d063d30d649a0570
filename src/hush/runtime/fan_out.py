"""Fan-out: bounded workers that pull from a source and run the body for each item.

There are never more workers than slots, nor more than items pulled so far plus one, and
no task per item: memory stays that of the items under way.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from hush import semconv
from hush.errors import Failure, UnexpectedCancellationError
from hush.runtime import presence
from hush.runtime.attempt import Policy
from hush.runtime.cpu import CpuClock
from hush.runtime.direct_item import DirectItem
from hush.runtime.failing import BodyFailedError, failure_of
from hush.runtime.isolation import isolated
from hush.runtime.item_run import ItemRun
from hush.runtime.lineage import Blame, Lineage
from hush.runtime.lookout import lookout_here
from hush.runtime.map_trail import MapTrail
from hush.runtime.outcomes import Outcomes
from hush.runtime.presence import MapNow, NodeNow, WaitNow
from hush.runtime.scheduler import INLINE_DEPTH
from hush.runtime.source import Source
from hush.runtime.trail import NO_TRAIL, Chain, shared_of
from hush.runtime.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from anyio.abc import TaskGroup

    from hush.model.contract import FanOut
    from hush.runtime.item_run import ItemOutcome
    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.trail import Trail

__all__ = ("run_fan_out",)


async def run_fan_out(ctx: RuntimeContext, request: FanOut) -> None:
    """Run the body for every item.

    Args:
        ctx: the map's context.
        request: what the map asks for.

    Raises:
        BodyFailedError: an item failed, or too many did.
        MapSourceError: a source failed.
    """
    fan_out = _FanOut(ctx, request)
    presence.enter(fan_out)
    try:
        await fan_out.drive()
    except BaseException as error:
        fan_out.over()
        ctx.place.lineage.cut = ctx.trail
        # What fails at closing must not stand in the place of why it is closed.
        await fan_out.close_after(error)
        raise
    fan_out.over()
    for fault in await fan_out.source.close():
        raise fault


class _FanOut:
    def __init__(self, ctx: RuntimeContext, request: FanOut) -> None:
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
        self.lookout = lookout_here(self.run.instrument)
        self.policy = Policy(request.retry, request.timeout_s, request.deadline_s)
        self.clock = self.run.clock
        self.ready_at = self.clock()
        self.cpu = CpuClock()
        self.verdict = Verdict(request.max_concurrency, self.ready_at)
        self.group: TaskGroup | None = None
        self.workers = 0
        self.direct: list[DirectItem] = []
        """What runs the items of each worker, where they go the straight way."""
        self.outcomes = Outcomes(ctx, request, self.source, self.lineage, self._stop)
        self.way = MapTrail(self.ready_at)
        self.shared_s = 0.0
        """For how long shared limits held the items back, each on its own critical path."""
        self.cut: Trail = NO_TRAIL
        """Critical path of the item that was cut off last."""
        self.fault: Exception | None = None

    async def drive(self) -> None:
        outcomes, failures = self.outcomes, self.outcomes.failures
        if self.request.max_concurrency == 1 and self.ctx.depth < INLINE_DEPTH:
            await self._work(self.ctx.depth + 1)
        else:
            async with anyio.create_task_group() as self.group:
                self._hire()
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

    def _hire(self) -> None:
        """Start workers for the slots that there may be items for.

        The number of items is known, or else the workers double with the items pulled:
        a source of three items never gets a thousand idle workers, and a long one soon
        has all of them.
        """
        if self.group is None:
            return
        total = self.source.total
        wanted = 2 * self.outcomes.begun + 1 if total is None else total
        for _ in range(min(wanted, self.request.max_concurrency) - self.workers):
            self.workers += 1
            self.context.run(self.group.start_soon, self._work, 1)

    async def _work(self, depth: int) -> None:
        if self.group is not None:
            # First all that were hired with this one begin: an interrupt that ends the loop
            # in the first step of a task would leave the others behind.
            await anyio.lowlevel.checkpoint()
        previous: object = None
        trail: Trail | Callable[[], Trail]
        failed: Exception | None
        chain = Chain()
        clock, direct = self.clock, self._direct(depth)
        request, verdict, outcomes, way = self.request, self.verdict, self.outcomes, self.way
        while not (outcomes.failures or self.fault):
            asked = clock()
            try:
                pulled = self.source.pull_now() or await self.source.pull()
            except Exception as error:  # noqa: BLE001  # raised again by drive, once every item is over
                self._fail(error)
                return
            except anyio.get_cancelled_exc_class() as error:
                if self.run.caller.cancellation_requested():
                    if self.source.slow:
                        way.cut_off_waiting(chain, asked, clock())
                    raise
                said = "its source was cancelled although no scope of this run asked for it. "
                said += "Catch in the source what it awaits and something else cancels"
                fault = UnexpectedCancellationError(self.ctx.path, said)
                fault.__cause__ = error
                self._fail(fault)
                return
            if self.source.slow:
                chain = way.gave(chain, asked, clock())
            if pulled is None:
                verdict.dry(clock())
                # The source may have let everybody wait to say that nothing is left.
                way.last = chain
                return
            outcomes.begun += 1
            if outcomes.begun == self.source.total:
                verdict.last(clock())
            if self.workers < request.max_concurrency:
                self._hire()
            began = clock()
            index, values, source_s = pulled
            key, unkeyed = (None, None) if request.key is None else self._key(values)
            if request.broadcast or outcomes.carried:
                values = {**request.broadcast, **outcomes.carried, **values}
            slot_s = 0.0 if self.source.total is None else began - self.ready_at - source_s
            facts = (index, key, values, previous, slot_s, source_s, unkeyed)
            verdict.start(began)
            try:
                if direct is not None:
                    record = await direct.call(*facts, self.context, began)
                    previous, failed, trail = direct.token, direct.error, direct.trail_now
                else:
                    outcome = await self._item(depth, *facts)
                    record, previous, failed = outcome.record, outcome.token, outcome.error
                    trail = outcome.trail
                    if trail:
                        self.shared_s += shared_of(trail)
            except BaseException:
                verdict.drop(clock())
                now = clock()
                chain.add(index, now - began, self.cut if direct is None else direct.trail)
                way.cut_off(chain, index, now)
                raise
            now = clock()
            verdict.end(now, index, record.run_s, record.wait_s)
            chain.add(index, now - began, trail)
            way.last = chain
            outcomes.count(record, failed, previous)

    def _direct(self, depth: int) -> DirectItem | None:
        """Return what runs a worker's items, where they can go the straight way."""
        body, request = self.ctx.node.body, self.request
        assert body is not None  # noqa: S101  # a map has a body
        if body.line is None or not self.run.straight or not self.policy.trivial:
            return None
        item = DirectItem(
            lookout=self.lookout,
            run=self.run,
            body=body,
            owner=self.ctx.path,
            name=self.ctx.node.name,
            total=self.source.total,
            lineage=self.lineage,
            policy=self.policy,
            handled_text=request.failed_when,
            limited=self.ctx.limited,
            depth=depth,
            iteration=request.iterations,
            budget=request.span_budget,
        )
        self.direct.append(item)
        return item

    def _fail(self, fault: Exception) -> None:
        """Take note that the source failed, and stop the items that are running."""
        self.source.over = True
        if self.fault is None:
            self.fault = fault
        self._stop(semconv.REASON_FAIL_FAST, self.ctx.path, self.seen.token)

    async def _item(
        self,
        depth: int,
        index: int,
        key: str | None,
        values: dict[str, Any],
        previous: object,
        wait_slot_s: float,
        wait_source_s: float,
        fault: Exception | None,
    ) -> ItemOutcome:
        item = ItemRun(
            run=self.run,
            body=self.ctx.node.body,  # type: ignore[arg-type]  # a map has a body
            owner=self.ctx.path,
            name=self.ctx.node.name,
            index=index,
            key=key,
            total=self.source.total,
            values=values,
            lineage=self.lineage,
            policy=self.policy,
            handled_text=self.request.failed_when,
            limited=self.ctx.limited or self.policy.limited,
            depth=depth,
            iteration=self.request.iterations,
            released_by=previous,
            wait_slot_s=wait_slot_s,
            wait_source_s=wait_source_s,
            budget=self.request.span_budget,
            fault=fault,
        )
        try:
            return await isolated(self.context.copy(), item.execute())
        except BaseException:
            self.cut = item.trail
            raise

    def _key(self, values: dict[str, Any]) -> tuple[str | None, Exception | None]:
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
        return self.run.engine

    @property
    def run_key(self) -> tuple[str, str, float]:
        return self.run.state.run_id, self.run.plan.name, self.run.began

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        for item in list(self.direct):
            yield from item.nodes_now(now)

    def waits_now(self, now: float) -> Iterator[WaitNow]:
        del now
        return iter(())

    def maps_now(self, now: float) -> Iterator[MapNow]:
        yield MapNow(
            self.ctx.path,
            now - self.ready_at,
            self.verdict.running,
            self.outcomes.ended,
            self.source.total,
            self.request.max_concurrency,
        )
