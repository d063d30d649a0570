"""The straight way of items whose body is a line and that have no policies.

What becomes of an item is the same as of any (:mod:`hush.runtime.item_run`). But each worker
of a map needs only one of these, for one item after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hush import semconv
from hush.model.contract import ItemRecord
from hush.runtime.attempt import Place, Tally, answer, interrupted
from hush.runtime.failing import failed, trail_of
from hush.runtime.idempotency import keep_key
from hush.runtime.instrument import NULL_OBSERVATION, OK, begin, finish
from hush.runtime.item_run import ItemRun
from hush.runtime.line_run import LineRun
from hush.runtime.lineage import Lineage
from hush.runtime.state import Frame
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from contextvars import Context

    from hush.runtime.instrument import Ending, Observation
    from hush.runtime.lookout import Lookout, Sight
    from hush.runtime.presence import NodeNow
    from hush.runtime.trail import Trail

__all__ = ("DirectItem",)

_new_tuple = tuple.__new__


class DirectItem(ItemRun):
    """Runs items of one map, one at a time."""

    __slots__ = ("_frame", "_line", "_lookout", "error", "token")

    def __init__(self, *, lookout: Lookout | None, **fields: Any) -> None:
        """Prepare to run items.

        Args:
            lookout: watches where they begin; None where the instrument has to be asked.
            **fields: those of :class:`ItemRun` in which the items of a map do not differ.
        """
        super().__init__(
            index=-1,
            key=None,
            values={},
            released_by=None,
            wait_slot_s=0.0,
            wait_source_s=0.0,
            **fields,
        )
        self._line: LineRun | None = None
        self._lookout = lookout
        self.token: object = None
        """Of the last item's observation."""
        self.error: Exception | None = None
        """What the last item failed with; None where it did not."""

    def nodes_now(self, now: float) -> Iterator[NodeNow]:
        """Yield the node that is running; asked from any thread."""
        return iter(()) if self._line is None else self._line.nodes_now(now)

    async def call(
        self,
        index: int,
        key: str | None,
        values: dict[str, Any],
        released_by: object,
        wait_slot_s: float,
        wait_source_s: float,
        fault: Exception | None,
        context: Context,
        began: float,
    ) -> ItemRecord:
        """Run one item once, now that the one before is over.

        Args:
            index: as for :class:`ItemRun`, and so those after it.
            key: -
            values: the frame's own from now on.
            released_by: -
            wait_slot_s: -
            wait_source_s: -
            fault: -
            context: of the worker alone, whose items come one after the other.
            began: when it got its slot, by the run's clock.

        Returns:
            What became of it; ``token`` and ``error`` tell the rest.

        Raises:
            BaseException: as :meth:`ItemRun.execute`.
        """
        run, line, path = self.run, self._line, f"{self.owner}[{index}]"
        context.run(keep_key, (run.state.run_id, path))
        self.index, self.key, self.fault = index, key, fault
        self.wait_slot_s, self.wait_source_s = wait_slot_s, wait_source_s
        if line is None:
            line = self._line = self._begin(path, values)
        else:
            self._frame.renew(path, index, values)
        manager: AbstractContextManager[Observation] | None = None
        sight: Sight | None = None
        seen: Observation = NULL_OBSERVATION
        if run.watched:
            self.released_by = released_by
            if self._lookout is not None:
                # Its nodes find it without it being current anywhere, see below.
                seen = sight = self._watch(self._lookout, context)
            else:
                context = context.copy()
                manager, seen = context.run(begin, run.instrument, self._scope())
        outputs: Mapping[str, Any] | None = None
        failure: Exception | None = None
        ending = OK
        try:
            try:
                if self.fault is not None:
                    # However many such items there are, the loop has its turn.
                    await anyio.lowlevel.checkpoint()
                    raise self.fault  # noqa: TRY301  # goes the way of all that fails
                ended = await line.drive(context, sight, began)
                outputs = self._frame.results()
                if self.handled_text is not None:
                    inside = context.copy()
                    if sight is not None:
                        inside.run(sight.enter)
                    ending = inside.run(self._judge, outputs)
                    ended = run.clock()
            except BaseException as error:  # noqa: BLE001  # raised again unless it is a failure
                ended = run.clock()
                failure, ending = await self._unusual(error, path, seen)
            run_s = ended - began
            if sight is not None and ending is OK:
                sight.end_well(run_s)
            else:
                seen.annotate(semconv.RUN_S, run_s)
                seen.end(ending)
        except BaseException as error:
            seen.annotate(semconv.RUN_S, run.clock() - began)
            if sight is not None:
                sight.end_outside(error)
            elif manager is not None:
                finish(manager, context, error)
            raise
        if sight is not None:
            sight.end_outside(None)
        elif manager is not None:
            finish(manager, context)
        self.token, self.error = seen.token, failure
        if ending is OK:
            # As _record and the class make it, for a third of the time.
            wait_s = wait_slot_s + wait_source_s
            record = (index, key, semconv.OUTCOME_OK, outputs, None, None, 1, run_s, wait_s)
            return _new_tuple(ItemRecord, record)
        return self._record(ending, outputs if failure is None else None, 1, run_s)

    def _watch(self, lookout: Lookout, context: Context) -> Sight:
        if self.iteration:
            numbers: dict[str, Any] = {semconv.ITERATION_INDEX: self.index}
        else:
            numbers = {
                semconv.ITEM_INDEX: self.index,
                semconv.WAIT_SLOT_S: self.wait_slot_s,
                semconv.WAIT_SOURCE_S: self.wait_source_s,
            }
        return lookout.item(
            context,
            "iteration" if self.iteration else "item",
            self.name,
            numbers,
            self.key,
            self.released_by,
            self.budget,
            self.at_most if self.total is None else self.total,
        )

    def trail_now(self) -> Trail | Callable[[], Trail]:
        """Return the critical path of the item that was run last, or what will give it."""
        assert self._line is not None  # noqa: S101  # one was
        return self._line.trail_later() if self.error is None else trail_of(self.error, NO_TRAIL)

    def _begin(self, path: str, values: dict[str, Any]) -> LineRun:
        self._frame = Frame(
            self.body,
            path,
            values,
            self.lineage,
            index=self.index,
            limited=self.limited,
            depth=self.depth,
        )
        return LineRun(self.run, self._frame, self._lookout)

    async def _unusual(
        self, raised: BaseException, path: str, seen: Observation
    ) -> tuple[Exception, Ending]:
        """Say what becomes of what came out of the item."""
        run, tally, lineage = self.run, Tally(attempts=1), Lineage(self.lineage)
        place = Place(run, self.name, path, seen, lineage, tally, self.index)
        try:
            await answer(raised, place)
            raise raised  # noqa: TRY301  # unless something stands in its place
        except Exception as error:  # noqa: BLE001  # an item's failure is a result here; its map decides
            return error, failed(error, path, recorded=tally.has_recorded(error))
        except anyio.get_cancelled_exc_class():
            self.lineage.add_late(lineage.take_late())
            if self._line is not None:
                self.trail = self._line.trail()
            seen.end(interrupted(place))
            raise
