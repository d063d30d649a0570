"""Fan-out: bounded workers that pull from a source and run the body for each item.

There are never more workers than slots, nor more than items pulled so far plus one, and
no task per item: memory stays that of the items under way.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio

from hush.runtime import presence
from hush.runtime.direct_item import DirectItem
from hush.runtime.isolation import isolated
from hush.runtime.item_run import ItemRun
from hush.runtime.lookout import lookout_here
from hush.runtime.map_run import MapRun
from hush.runtime.scheduler import INLINE_DEPTH
from hush.runtime.stepping import stamp_here
from hush.runtime.trail import NO_TRAIL, Chain, shared_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from hush.model.contract import FanOut
    from hush.runtime.item_run import ItemOutcome
    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.presence import NodeNow
    from hush.runtime.trail import Trail

__all__ = ("run_fan_out",)

AT_ONCE: Final = 32
"""How many workers begin at once; where there are more, a few each time that the loop goes round."""


async def run_fan_out(ctx: RuntimeContext, request: FanOut) -> None:
    """Run the body for every item.

    Args:
        ctx: the map's context.
        request: what the map asks for.

    Raises:
        BodyFailedError: an item failed, or too many did.
        MapSourceError: a source failed.
    """
    target = ctx.place.run.targets.get(id(ctx.node.node))
    if target is None:
        fan_out: MapRun = LocalMapRun(ctx, request)
    else:
        # Few workflows need it.
        from hush.runtime.remote.driver import RemoteMapRun  # noqa: PLC0415  # as above

        fan_out = RemoteMapRun(ctx, request, target)
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


class LocalMapRun(MapRun):
    """One map, or loop over items, the items of which run in this process."""

    def __init__(self, ctx: RuntimeContext, request: FanOut) -> None:
        """Prepare to run."""
        super().__init__(ctx, request)
        self.lookout = lookout_here(self.run.instrument)
        self.workers = self.started = 0
        """Workers hired, and those of them that have begun."""
        self.direct: list[DirectItem] = []
        """What runs the items of each worker, where they go the straight way."""
        self.cut: Trail = NO_TRAIL
        """Critical path of the item that was cut off last."""

    async def run_items(self) -> None:
        """Run items until there are no more, or the map has failed."""
        if self.request.max_concurrency == 1 and self.ctx.depth < INLINE_DEPTH:
            await self._work(self.ctx.depth + 1)
        else:
            try:
                async with anyio.create_task_group() as self.group:
                    self._hire()
            except anyio.get_cancelled_exc_class():
                self.run.caller.delivered()
                raise

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
        # A few at once, and two more for each item that is pulled: to hire a thousand holds the
        # loop for as long as a thousand items do.
        most = min(wanted, self.request.max_concurrency, max(AT_ONCE, self.workers + 2))
        for _ in range(most - self.workers):
            self.workers += 1
            self.context.run(self.group.start_soon, self._work, 1)

    async def _work(self, depth: int) -> None:
        if self.group is not None:
            # First all that were hired with this one begin: an interrupt that ends the loop
            # in the first step of a task would leave the others behind.
            self.started += 1
            if self.started <= AT_ONCE:
                await self.run.caller.turn()
                stamp_here().had_turn(perf_counter())
            else:
                await self.run.pace.breathe(self.run.caller.turn)
        previous: object = None
        trail: Trail | Callable[[], Trail | Callable[[], Trail]]
        failed: Exception | None
        chain = Chain()
        clock, direct = self.clock, self._direct(depth)
        request, verdict, outcomes, way = self.request, self.verdict, self.outcomes, self.way
        source, context = self.source, self.context.copy()
        slow, shared = source.slow, bool(request.broadcast or request.carry)
        asked = 0.0
        while not (outcomes.failures or self.fault):
            if slow:
                asked = clock()
            try:
                pulled = source.pull_now() or await source.pull()
            except Exception as error:  # noqa: BLE001  # raised again by drive, once every item is over
                self.fail(error)
                return
            except anyio.get_cancelled_exc_class() as error:
                if self.run.caller.cancellation_requested():
                    if slow:
                        way.cut_off_waiting(chain, asked, clock())
                    raise
                self.fail(self.source_cancelled(error))
                return
            if slow:
                chain = way.gave(chain, asked, clock())
            if pulled is None:
                verdict.dry(clock())
                # The source may have let everybody wait to say that nothing is left.
                way.last = chain
                return
            outcomes.begun += 1
            if outcomes.begun == source.total:
                verdict.last(clock())
            if self.workers < request.max_concurrency:
                self._hire()
            began = clock()
            index, values, source_s = pulled
            key, unkeyed = (None, None) if request.key is None else self.key_of(values)
            if shared:
                values = {**request.broadcast, **outcomes.carried, **values}
            slot_s = 0.0 if source.total is None else began - self.ready_at - source_s
            verdict.start(began)
            try:
                if direct is not None:
                    record = await direct.call(
                        index, key, values, previous, slot_s, source_s, unkeyed, context, began
                    )
                    previous, failed, trail = direct.token, direct.error, direct.trail_now
                else:
                    outcome = await self._item(
                        depth, index, key, values, previous, slot_s, source_s, unkeyed
                    )
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

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        """Yield the nodes that go the straight way."""
        for item in list(self.direct):
            yield from item.nodes_now(now)
