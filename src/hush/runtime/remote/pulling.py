"""Pulling: a map's items come from its source, never more than there is room for.

What never waits is asked when a chunk is made. What has to be waited for is pulled by a task of
its own, which gives what it gets to the supply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from hush.runtime.remote.sent_item import SentItem
from hush.runtime.trail import Chain

if TYPE_CHECKING:
    from hush.runtime.remote.driver import RemoteMapRun

__all__ = ("Pulling",)


class Pulling:
    """Pulls the items of one map."""

    __slots__ = ("_asked", "_map")

    def __init__(self, map_run: RemoteMapRun) -> None:
        """Pull nothing yet.

        Args:
            map_run: for which map.
        """
        self._map = map_run
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Look again whether something is wanted."""
        self._asked.set()

    def now(self) -> SentItem | None:
        """Return the next item of a source that never waits; None at its end.

        Raises:
            MapSourceError: the source raised.
        """
        pulled = self._map.source.pull_now()
        return None if pulled is None else self._made(pulled)

    async def run(self) -> None:
        """Pull what has to be waited for, as far as there are lanes that have nothing to do."""
        on, way = self._map, self._map.way
        supply = on.supply
        while not on.stopping:
            wanted = on.idle * on.size.next(None) if on.takes_more else 0
            if len(supply.held) >= min(on.room, wanted):
                self._asked = anyio.Event()
                await self._asked.wait()
                continue
            asked, chain = on.clock(), Chain() if way.last is None else way.last.copy()
            try:
                pulled = await on.source.pull()
            except Exception as error:  # noqa: BLE001  # raised again when every item is over
                on.fail(error)
                return
            except anyio.get_cancelled_exc_class() as error:
                if on.run.caller.cancellation_requested():
                    way.cut_off_waiting(chain, asked, on.clock())
                    raise
                on.fail(on.source_cancelled(error))
                return
            chain = way.gave(chain, asked, on.clock())
            if pulled is None:
                supply.over = True
                on.verdict.dry(on.clock())
                way.last = chain
                on.notify()
                return
            item = self._made(pulled)
            item.chain = chain
            supply.hold(item, anyio.current_time())
            on.notify()

    def _made(self, pulled: tuple[int, dict[str, Any], float]) -> SentItem:
        on, (index, values, source_s) = self._map, pulled
        key, fault = (None, None) if on.request.key is None else on.key_of(values)
        body = on.ctx.node.body
        assert body is not None  # noqa: S101  # a map has a body
        item = SentItem(
            run=on.run,
            body=body,
            owner=on.ctx.path,
            name=on.ctx.node.name,
            index=index,
            key=key,
            total=on.source.total,
            values=values,
            lineage=on.lineage,
            policy=on.policy,
            handled_text=on.request.failed_when,
            limited=on.ctx.limited or on.policy.limited,
            depth=1,
            iteration=False,
            released_by=None,
            wait_slot_s=0.0,
            wait_source_s=source_s,
            budget=on.request.span_budget,
            fault=fault,
        )
        item.pack()
        return item
