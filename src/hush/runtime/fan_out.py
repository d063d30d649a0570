"""Fan-out: bounded workers that pull from a source and run the body for each item.

There are never more workers than slots, nor more than items pulled so far plus one, and
no task per item: memory stays that of the items under way.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from hush import semconv
from hush.errors import Failure, ToleranceError, UnexpectedCancellationError, text_of
from hush.runtime import presence
from hush.runtime.attempt import Policy
from hush.runtime.cpu import CpuClock
from hush.runtime.direct_item import DirectItem
from hush.runtime.failing import BodyFailedError, culprit_of, failure_of
from hush.runtime.isolation import isolated
from hush.runtime.item_run import ItemRun
from hush.runtime.lineage import Blame, Lineage
from hush.runtime.presence import MapNow, NodeNow, WaitNow
from hush.runtime.scheduler import INLINE_DEPTH
from hush.runtime.source import Source
from hush.runtime.trail import NO_TRAIL, WORTH_A_STEP, Chain, Step, shared_of
from hush.runtime.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from anyio.abc import TaskGroup

    from hush.model.contract import FanOut, ItemRecord
    from hush.runtime.item_run import ItemOutcome
    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.trail import Trail

__all__ = ("run_fan_out",)

EARLY_ITEMS = 20
"""Items of an unsized source before a share of failures is judged."""


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
        self.policy = Policy(request.retry, request.timeout_s, request.deadline_s)
        self.clock = self.run.clock
        self.ready_at = self.clock()
        self.cpu = CpuClock()
        self.verdict = Verdict(request.max_concurrency, self.ready_at)
        self.carried: dict[str, Any] = {}
        self.group: TaskGroup | None = None
        self.workers = 0
        self.direct: list[DirectItem] = []
        """What runs the items of each worker, where they go the straight way."""
        self.last_chain: Chain | None = None
        self.failed_chain: Chain | None = None
        """What led to the failure that stopped the map."""
        self.failed_at = 0.0
        self.stopped: tuple[int, float] | None = None
        """The item that stopped last after that, and when."""
        self.shared_s = 0.0
        """For how long shared limits held the items back, each on its own critical path."""
        self.cut: Trail = NO_TRAIL
        """Critical path of the item that was cut off last."""
        self.pulled_at = self.ready_at
        self.first_asked = math.inf
        """When that worker asked for an item which waited longest as the map was cut off."""
        self.pulled = Chain()
        """What released the source's last item, and when it gave it; of sources without a length."""
        self.begun = self.ok = self.failed = self.handled = self.retried = 0
        self.failures: list[Failure] = []
        self.culprit: object = self.seen.token
        self.fault: Exception | None = None

    async def drive(self) -> None:
        if self.request.max_concurrency == 1 and self.ctx.depth < INLINE_DEPTH:
            await self._work(self.ctx.depth + 1)
        else:
            async with anyio.create_task_group() as self.group:
                self._hire()
        if self.fault is not None:
            if not self.failures:
                for failure in self._late():
                    self.fault.add_note(f"and {failure}")
                raise self.fault
            # An item came first; the source failed while it was being cancelled.
            self.failures.extend(self._failures_of(self.fault))
        if self.failures:
            self.failures.extend(self._late())
            raise BodyFailedError(self.failures, self.culprit, self._trail())
        self._tolerate(at_end=True)
        if self.failures:
            raise BodyFailedError(self.failures, self.culprit, self._trail())
        total = self.source.total
        left = not self.source.over if total is None else self.begun < total
        if left or self.begun != self.ok + self.failed + self.handled:
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
        wanted = 2 * self.begun + 1 if total is None else total
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
        request, verdict = self.request, self.verdict
        while not (self.failures or self.fault):
            asked = clock()
            try:
                pulled = self.source.pull_now() or await self.source.pull()
            except Exception as error:  # noqa: BLE001  # raised again by drive, once every item is over
                self._fail(error)
                return
            except anyio.get_cancelled_exc_class() as error:
                if self.run.caller.cancellation_requested():
                    if self.source.slow and asked < self.first_asked:
                        # Of all that wait, the source was busy for the one that asked first.
                        self.first_asked = asked
                        self.last_chain = self._waited(chain, asked, self.clock())
                    raise
                said = "its source was cancelled although no scope of this run asked for it. "
                said += "Catch in the source what it awaits and something else cancels"
                fault = UnexpectedCancellationError(self.ctx.path, said)
                fault.__cause__ = error
                self._fail(fault)
                return
            if self.source.slow:
                now = clock()
                chain = self._waited(chain, asked, now)
                self.pulled_at, self.pulled = now, chain.copy()
            if pulled is None:
                verdict.dry(clock())
                # The source may have let everybody wait to say that nothing is left.
                self.last_chain = chain
                return
            self.begun += 1
            if self.begun == self.source.total:
                verdict.last(clock())
            if self.workers < request.max_concurrency:
                self._hire()
            began = clock()
            index, values, source_s = pulled
            key, unkeyed = (None, None) if request.key is None else self._key(values)
            if request.broadcast or self.carried:
                values = {**request.broadcast, **self.carried, **values}
            slot_s = 0.0 if self.source.total is None else began - self.ready_at - source_s
            facts = (index, key, values, previous, slot_s, source_s, unkeyed)
            verdict.start(began)
            try:
                if direct is not None:
                    record = await direct.call(*facts, self.context)
                    previous, failed, trail = direct.token, direct.error, direct.trail_now
                else:
                    outcome = await self._item(depth, *facts)
                    record, previous, failed = outcome.record, outcome.token, outcome.error
                    trail = outcome.trail
                    if trail:
                        self.shared_s += shared_of(trail)
            except BaseException:
                verdict.drop(clock())
                # Of whatever is cut off, the last to stop is what was waited for.
                now = clock()
                self.stopped = index, now
                chain.add(index, now - began, self.cut if direct is None else direct.trail)
                self.last_chain = chain
                raise
            now = clock()
            verdict.end(now, index, record.run_s, record.wait_s)
            chain.add(index, now - began, trail)
            # Whoever ends last is the one for whom the map's end was waited.
            self.last_chain = chain
            self._count(record, failed, previous)

    def _direct(self, depth: int) -> DirectItem | None:
        """Return what runs a worker's items, where they can go the straight way."""
        body, request = self.ctx.node.body, self.request
        assert body is not None  # noqa: S101  # a map has a body
        if body.line is None or not self.run.straight or not self.policy.trivial:
            return None
        item = DirectItem(
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

    def _waited(self, chain: Chain, asked: float, now: float) -> Chain:
        """Return what released what the source has just given.

        Args:
            chain: what the worker that asked for it had done until then.
            asked: when it did.
            now: when it was given.
        """
        if asked < self.pulled_at or not chain.count:
            # The source was busy with an item for another worker, and began with this one then;
            # and a new worker is there because the one before it got an item.
            chain = self.pulled.copy()
            asked = self.pulled_at
        chain.waited(now - asked)
        return chain

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

    def _count(self, record: ItemRecord, error: Exception | None, token: object) -> None:
        if record.attempts > 1:
            self.retried += 1
        if error is not None:
            self._note_failed(record, error, token)
        else:
            if record.outcome == semconv.OUTCOME_HANDLED:
                self._note_handled(record)
            else:
                self.ok += 1
            if self.request.carry and record.outputs is not None:
                self.carried.update(record.outputs)
        self.request.on_item(record)

    def _first_failure(self, index: int, message: str) -> None:
        if self.failed + self.handled == 1:
            facts = {semconv.ITEM_INDEX: index, semconv.EXCEPTION_MESSAGE: message}
            self.seen.event(semconv.EVENT_FIRST_FAILURE, facts)

    def _note_handled(self, record: ItemRecord) -> None:
        self.handled += 1
        self.lineage.mark_partial()
        message = record.message or ""
        self._first_failure(record.index, message)
        path = f"{self.ctx.path}[{record.index}]"
        kind = semconv.ERROR_TYPE_HANDLED
        self.run.note(Failure(path, "handled", kind, message, record.index, record.attempts))

    def _note_failed(self, record: ItemRecord, error: Exception, token: object) -> None:
        self.failed += 1
        self._first_failure(record.index, record.message or text_of(error))
        path = f"{self.ctx.path}[{record.index}]"
        failures = failure_of(error, path, index=record.index, attempts=record.attempts)
        if self.request.collect:
            self.lineage.mark_partial()
            self.run.note(replace(failures[0], kind="collected"))
            self._tolerate(at_end=False)
            return
        first = not self.failures
        self.failures.extend(failures)
        if first:
            self.culprit = culprit_of(error, token)
            self._stop(semconv.REASON_FAIL_FAST, failures[0].path, self.culprit)

    def _tolerate(self, *, at_end: bool) -> None:
        """Fail the map where more items failed than it tolerates."""
        limit = self.request.max_failures
        if limit is None or self.failures or not self.request.collect:
            return
        if isinstance(limit, float):
            of = self.source.total
            if of is None:
                if not at_end and self.begun < EARLY_ITEMS:
                    return
                of = self.begun
            allowed = limit * of
            said = f"{limit:.0%} of {of}"
        else:
            allowed, said = limit, str(limit)
        if self.failed <= allowed:
            return
        error = ToleranceError(
            self.ctx.path,
            f"{self.failed} items failed, more than max_failures tolerates ({said}). "
            f"Raise it, or look at the failed items",
        )
        index = self.ctx.frame.index
        mine = failure_of(error, self.ctx.path, index=index)
        inner = f"{self.ctx.path}["
        self.failures.extend(mine)
        self.failures.extend(f for f in self.run.failures if f.path.startswith(inner))
        self._stop(semconv.REASON_TOLERANCE_EXCEEDED, self.ctx.path, self.seen.token)

    def _stop(self, reason: str, path: str, token: object) -> None:
        self.lineage.accuse(
            Blame(reason, path, token),
            being_cancelled=self.run.caller.being_cancelled(),
        )
        self.failed_chain, self.failed_at = self.last_chain, self.clock()
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
            self.ctx.place.lineage.add_late([*self.failures, *self._late(), *late])

    def _failures_of(self, error: Exception) -> tuple[Failure, ...]:
        return failure_of(error, self.ctx.path, index=self.ctx.frame.index)

    def _late(self) -> list[Failure]:
        """Return what failed in items while they were being cancelled, where that counts."""
        late = self.lineage.take_late()
        return [] if self.request.collect else late

    def _trail(self) -> Trail:
        if self.failed_chain is None:
            return NO_TRAIL if self.last_chain is None else self.last_chain.trail()
        trail = self.failed_chain.trail()
        if self.stopped is None:
            return trail
        index, at = self.stopped
        stopping_s = at - self.failed_at
        if stopping_s <= WORTH_A_STEP * sum(step.seconds for step in trail):
            return trail
        return (*trail, Step(f"[{index}] (stopping)", stopping_s))

    def annotate(self) -> None:
        """Put the counts and times on the map's span, and leave its trail with the node."""
        self.ctx.trail = self._trail()
        done = self.ok + self.failed + self.handled
        facts: dict[str, Any] = {}
        if self.request.iterations:
            facts[semconv.LOOP_ITERATIONS] = self.begun
        else:
            facts |= {
                semconv.MAP_ITEMS: self.begun if self.source.total is None else self.source.total,
                semconv.MAP_MAX_CONCURRENCY: self.request.max_concurrency,
                semconv.MAP_OK: self.ok,
                semconv.MAP_FAILED: self.failed,
                semconv.MAP_HANDLED: self.handled,
                semconv.MAP_CANCELLED: self.begun - done,
                semconv.MAP_RETRIED: self.retried,
                semconv.MAP_PEAK_CONCURRENCY: self.verdict.peak,
            }
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
            self.ok + self.failed + self.handled,
            self.source.total,
            self.request.max_concurrency,
        )
