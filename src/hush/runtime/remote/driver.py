"""Driver: a map whose items run in workers: what is sent when, and what comes of it.

A few tasks, no more than the engine takes calls at a time and one, gather items into chunks,
send them and take in what comes back. An item that is tried again waits without a task, and
keeps its place among those that are under way: there are never more than ``max_concurrency``.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from hush.errors import ExecutorError, UnexpectedCancellationError, WorkerLostError
from hush.runtime.map_run import MapRun
from hush.runtime.remote.call import SCHEMA, Call
from hush.runtime.remote.chunking import ChunkSize
from hush.runtime.remote.exchange import backend, enter, exchange
from hush.runtime.remote.gate import gate_to
from hush.runtime.remote.intake import Intake
from hush.runtime.remote.packing import pack_telemetry, pack_values
from hush.runtime.remote.pulling import Pulling
from hush.runtime.remote.supply import Supply
from hush.runtime.trail import NO_TRAIL, Chain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hush.model.contract import FanOut
    from hush.runtime.events import Event
    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.remote.gate import Gate
    from hush.runtime.remote.sent_item import SentItem
    from hush.runtime.remote.target import Target

__all__ = ("RemoteMapRun",)


class RemoteMapRun(MapRun):
    """One map while it runs, the items of which run elsewhere.

    Attributes:
        target: where.
        supply: items that are to be sent.
        under_way: items that have begun and not ended, those that wait to be tried again too.
        to_tell: events that have happened and were not told yet.
    """

    def __init__(self, ctx: RuntimeContext, request: FanOut, target: Target) -> None:
        """Prepare to run; nothing connects yet."""
        super().__init__(ctx, request)
        self.target = target
        self.under_way = 0
        self.to_tell: list[Event] = []
        self._pulling = Pulling(self)
        self.supply = Supply(self._pulling.now if self.source.sync else None)
        self._intake = Intake(self)
        self.size: ChunkSize
        """How many items go into a chunk."""
        self._broadcast = b""
        self._telemetry = pack_telemetry(self.run.instrument)
        self._gate: Gate
        self._slots = self._lanes = 0
        self._calls = 0
        """Chunks that are under way, or about to be."""
        self._reserved = 0
        """Items of these that have not begun."""
        self.idle = 0
        """Lanes that wait for something to do."""
        self._changed = anyio.Event()

    # --- from the beginning to the end ---------------------------------------------------------

    async def run_items(self) -> None:
        """Run items until there are no more, or the map has failed."""
        try:
            self._broadcast = pack_values(self.ctx.path, self.request.broadcast)
        except Exception as error:  # noqa: BLE001  # the map's failure, raised where it ends
            self.fault = error
            return
        async with AsyncExitStack() as engine:
            try:
                await enter(engine, self.target.executor)
                slots = max(1, self.target.executor.slots)
            except ExecutorError as error:
                self.fault = error
                return
            try:
                with gate_to(self.target.executor) as self._gate:
                    await self._run_on(slots)
            finally:
                self._drop_all(list(self.supply.waiting()), Chain(), abandoned=False)
                await self._tell(cancelled=True)

    async def _run_on(self, slots: int) -> None:
        limit = self.request.max_concurrency
        self._slots = slots
        target = self.target
        self.size = ChunkSize(limit, slots, idempotent=target.idempotent, pace=target.pace)
        # One more than run at a time lies ready for the worker that is done first. Not where
        # time is limited: what waits would have to be taken for lost.
        self._lanes = min(limit, slots if self.policy.limited else slots + 1)
        try:
            async with anyio.create_task_group() as self.group:
                if not self.source.sync:
                    self.context.run(self.group.start_soon, self._pulling.run)
                for _ in range(self._lanes):
                    self.context.run(self.group.start_soon, self._lane)
        except anyio.get_cancelled_exc_class():
            self.run.caller.delivered()
            raise

    @property
    def room(self) -> int:
        """How many more items may begin."""
        return self.request.max_concurrency - self.under_way - self._reserved

    @property
    def takes_more(self) -> bool:
        """Whether another chunk would be of use now.

        What lies ready must not take the room of those that could run: in a map that waits
        for something, all of its items do so at the same time.
        """
        if self._calls < self._slots:
            return True
        wide = self.size.next(None) * (self._slots + 1) <= self.request.max_concurrency
        return wide and self._calls < self._lanes

    @property
    def stopping(self) -> bool:
        """Whether the map has failed: nothing is begun or tried again."""
        return bool(self.outcomes.failures or self.fault)

    # --- what is sent --------------------------------------------------------------------------

    async def _lane(self) -> None:
        """Send one chunk after the other."""
        # First all that were spawned with this one begin: an interrupt that ends the loop in
        # the first step of a task would leave the others behind.
        await anyio.lowlevel.checkpoint()
        chain = Chain()
        previous: object = None
        while not self.stopping:
            waited = False
            while not (chunk := self._chunk(chain)):
                if self.stopping or (self.supply.empty and not self._calls):
                    self.notify()
                    return
                waited = True
                await self._wait()
            if waited:
                # It is not what this lane did before that had been waited for.
                led = chunk[-1].chain or self.way.last
                chain = Chain() if led is None else led.copy()
            async with self._admitted(chunk, chain):
                chunk = self._opened(chunk, previous)
                if chunk:
                    chain, previous = await self._send(chunk, chain)
            await self._tell()
            await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def _admitted(self, chunk: list[SentItem], chain: Chain) -> AsyncIterator[None]:
        """Wait until the engine has room for a chunk, which other maps may have taken.

        Args:
            chunk: is to be sent.
            chain: what the lane has done before.
        """
        fresh = sum(not item.opened for item in chunk)
        self._count_calls(1)
        self._reserved += fresh
        try:
            try:
                await self._gate.enter(self._lanes)
            except BaseException:
                self._drop_all([item for item in chunk if item.opened], chain, abandoned=False)
                raise
            finally:
                self._reserved -= fresh
            try:
                yield
            finally:
                self._gate.leave()
        finally:
            self._count_calls(-1)
            self.notify()

    def _count_calls(self, change: int) -> None:
        self._calls += change
        self.verdict.fill(self.clock(), full=not self.takes_more)

    def _chunk(self, chain: Chain) -> list[SentItem]:
        """Return what goes next; nothing where that has to be waited for."""
        if self.stopping:
            return []
        now = anyio.current_time()
        total = self.source.total
        size = self.size.next(None if total is None else total - self.outcomes.begun)
        chunk = self.supply.due(size, now)
        if chunk or self.room <= 0 or not self.takes_more:
            return chunk
        asked = self.clock()
        try:
            chunk = self.supply.fresh(min(size, self.room), now)
        except Exception as error:  # noqa: BLE001  # raised again when every item is over
            self.fail(error)
            return []
        if self.source.slow and self.source.sync:
            self.way.gave(chain, asked, self.clock())
        if self.supply.over and not self.supply.held:
            self.verdict.dry(self.clock())
        return chunk

    def _opened(self, chunk: list[SentItem], previous: object) -> list[SentItem]:
        """Begin with items; return those that have to be sent.

        Args:
            chunk: of these.
            previous: token of what the lane did before.
        """
        run, now = self.run, anyio.current_time()
        for item in chunk:
            if item.opened:
                continue
            self.outcomes.begun += 1
            self.under_way += 1
            if self.outcomes.begun == self.source.total:
                self.verdict.last(self.clock())
            if self.source.total is not None:
                item.wait_slot_s = self.clock() - self.ready_at - item.wait_source_s
            begun = item.open(self.context, previous)
            if self.policy.deadline_s is not None:
                item.deadline = now + self.policy.deadline_s
            self.verdict.start(item.began)
            if run.events is not None:
                self.to_tell.append(begun)
        ready = []
        for item in chunk:
            if item.fault is not None:
                item.tally.attempts = 1
                self._intake.failed(item, item.fault)
            elif item.deadline <= now:
                self._intake.timed_out(item)
            else:
                ready.append(item)
        return ready

    async def _send(self, chunk: list[SentItem], chain: Chain) -> tuple[Chain, object]:
        """Send a chunk, and take in what comes back; return what the lane has done then."""
        limits = [item.deadline - anyio.current_time() for item in chunk]
        deadline_s = min(limits) if self.policy.deadline_s is not None else None
        call = self._call(chunk, deadline_s)
        bounds = [one for one in (self.policy.timeout_s, deadline_s) if one is not None]
        began = self.clock()
        try:
            await self._tell()
            answer = await exchange(self.target, call, min(bounds) if bounds else None)
            chain = self._intake.take(chunk, answer, chain)
        except WorkerLostError as error:
            chain.add(chunk[0].index, self.clock() - began, NO_TRAIL)
            self._intake.lost(chunk, error, chain)
        except Exception as error:  # noqa: BLE001  # raised again when every item is over
            self.fail(error)
            self._drop_all(chunk, chain)
        except anyio.get_cancelled_exc_class() as error:
            self._drop_all(chunk, chain)
            if self.run.caller.cancellation_requested():
                raise
            said = f"the executor {self.target.executor.name!r} cancelled a call although no "
            said += "scope of this run asked for it"
            fault = UnexpectedCancellationError(self.ctx.path, said)
            fault.__cause__ = error
            self.fail(fault)
        except BaseException:
            self._drop_all(chunk, chain)
            raise
        return chain, chunk[-1].seen.token

    def _call(self, chunk: list[SentItem], deadline_s: float | None) -> Call:
        ctx, run = self.ctx, self.run
        return Call(
            schema=SCHEMA,
            run_id=run.state.run_id,
            graph=run.plan.name,
            path=ctx.path,
            name=ctx.node.name,
            level="item",
            body=self.target.body,
            broadcast=self._broadcast,
            items=tuple(item.as_sent() for item in chunk),
            concurrency=len(chunk),
            backend=backend(),
            timeout_s=self.policy.timeout_s,
            deadline_s=None if deadline_s is None else max(0.0, deadline_s),
            resources=self.target.resources,
            telemetry=self._telemetry,
            reads=self.request.reads,
        )

    def _drop_all(self, chunk: list[SentItem], chain: Chain, *, abandoned: bool = True) -> None:
        abandoned = abandoned and not self.target.executor.capabilities.stops_running_work
        for item in chunk:
            if not item.closed:
                self.drop(item, chain, abandoned=abandoned)

    def drop(self, item: SentItem, chain: Chain, *, abandoned: bool) -> None:
        """End an item as cancelled.

        Args:
            item: has begun.
            chain: what the lane has done until then.
            abandoned: whether its work may go on all the same.
        """
        item.cancel(abandoned=abandoned)
        self.under_way -= 1
        now = self.clock()
        self.verdict.drop(now)
        chain = chain.copy()
        chain.add(item.index, now - item.began, NO_TRAIL)
        self.way.cut_off(chain, item.index, now)
        if self.run.events is not None:
            self.to_tell.append(item.told())

    # --- what is waited for --------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait until there may be something to do."""
        changed = self._changed
        self.idle += 1
        self._pulling.ask()
        try:
            now = anyio.current_time()
            with anyio.move_on_after(self.supply.until(now) - now):
                await changed.wait()
        finally:
            self.idle -= 1

    def notify(self) -> None:
        """Let all that wait look again whether there is something to do."""
        self._pulling.ask()
        self._changed.set()
        self._changed = anyio.Event()

    async def _tell(self, *, cancelled: bool = False) -> None:
        """Tell what has happened."""
        events, self.to_tell = self.to_tell, []
        sink = self.run.events
        if sink is None:
            return
        try:
            while events and not cancelled:
                await sink.emit(events[0])
                del events[0]
        finally:
            for event in events:
                await sink.emit_cancelled(event)
