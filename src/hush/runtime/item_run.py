"""One item's run: observe, run the body under the item's policies, say what became of it.

An iteration of a loop is an item too, with another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hush import semconv
from hush.errors import text_of, type_name
from hush.model.contract import ItemRecord
from hush.runtime.attempt import Place, Policy, Tally, interrupted, persist
from hush.runtime.events import ItemEnded, ItemStarted
from hush.runtime.failing import failed, root_of, trail_of
from hush.runtime.idempotency import keep_key
from hush.runtime.instrument import OK, Ending, Scope
from hush.runtime.lineage import Lineage
from hush.runtime.scheduler import run_graph
from hush.runtime.state import Frame
from hush.runtime.trail import NO_TRAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hush.plan.plan import Plan
    from hush.runtime.instrument import Level
    from hush.runtime.state import Run
    from hush.runtime.trail import Trail

__all__ = ("ItemOutcome", "ItemRun")


@dataclass(slots=True)
class ItemOutcome:
    """What became of one item."""

    record: ItemRecord
    token: object
    error: Exception | None = None
    """What it failed with; None where it did not."""
    trail: Trail = NO_TRAIL
    """Critical path of its body."""


@dataclass(slots=True)
class ItemRun:
    """An item that is about to run."""

    run: Run
    body: Plan
    owner: str
    """Path of the map or loop."""
    name: str
    index: int
    key: str | None
    total: int | None
    values: Mapping[str, Any]
    lineage: Lineage
    policy: Policy
    handled_text: Callable[[Mapping[str, Any]], str | None] | None
    limited: bool
    depth: int
    iteration: bool
    released_by: object
    wait_slot_s: float
    wait_source_s: float
    budget: int | None = None
    """How many of the map's items need to be told of; None for all."""
    at_most: int | None = None
    """How many items there can be, where their number is not known."""
    fault: Exception | None = None
    """Why it cannot run: its key could not be made."""
    trail: Trail = NO_TRAIL
    """Critical path of its body, once that is over."""

    async def execute(self) -> ItemOutcome:
        """Run the item once, in a context of its own.

        Returns:
            What became of it.

        Raises:
            BaseException: only cancellation and what else is no Exception.
        """
        run, path = self.run, f"{self.owner}[{self.index}]"
        keep_key((run.state.run_id, path))
        lineage = Lineage(self.lineage)
        tally = Tally()
        events = run.events
        began = run.clock()
        outputs: Mapping[str, Any] | None = None
        error: Exception | None = None
        ending = OK
        run_s = 0.0
        try:
            with run.instrument.observe(self._scope()) as seen:
                place = Place(run, self.name, path, seen, lineage, tally, self.index)
                try:
                    if events is not None:
                        await events.emit(
                            ItemStarted(path, self.owner, self.index, self.key, self.total)
                        )
                    outputs = await persist(lambda: self._once(path, place), self.policy, place)
                    ending = self._judge(outputs)
                except Exception as raised:  # noqa: BLE001  # an item's failure is a result here; its map decides
                    error = raised
                    ending = failed(raised, path, recorded=tally.has_recorded(raised))
                except anyio.get_cancelled_exc_class():
                    ending = interrupted(place)
                    self.trail = tally.trail(lineage.cut)
                    self.lineage.add_late(lineage.take_late())
                    seen.end(ending)
                    raise
                finally:
                    run_s = run.clock() - began - tally.backoff_s
                    self._annotate(place, run_s)
                seen.end(ending)
        except anyio.get_cancelled_exc_class():
            if events is not None:
                await events.emit_cancelled(self._ended(path, ending, run_s))
            raise
        record = self._record(ending, outputs if error is None else None, tally.attempts, run_s)
        if events is not None:
            await events.emit(self._ended(path, ending, run_s))
        trail = tally.trail(trail_of(error, self.trail if error is None else lineage.cut))
        return ItemOutcome(record, seen.token, error, trail=trail)

    async def _once(self, path: str, place: Place) -> dict[str, Any]:
        if self.fault is not None:
            await anyio.lowlevel.checkpoint()
            raise self.fault
        frame = Frame(
            self.body,
            path,
            dict(self.values),
            place.lineage,
            index=self.index,
            limited=self.limited,
            depth=self.depth,
        )
        self.trail = await run_graph(frame, self.run, place.seen)
        return frame.results()

    def _judge(self, outputs: Mapping[str, Any]) -> Ending:
        text = None if self.handled_text is None else self.handled_text(outputs)
        if text is None:
            return OK
        return Ending(semconv.OUTCOME_HANDLED, message=text)

    def _scope(self) -> Scope:
        if self.iteration:
            facts: dict[str, Any] = {semconv.ITERATION_INDEX: self.index}
        else:
            facts = {
                semconv.ITEM_INDEX: self.index,
                semconv.WAIT_SLOT_S: self.wait_slot_s,
                semconv.WAIT_SOURCE_S: self.wait_source_s,
            }
        if self.key is not None:
            facts[semconv.ITEM_KEY] = self.key
        level: Level = "iteration" if self.iteration else "item"
        total = self.at_most if self.total is None else self.total
        return Scope(level, self.name, facts, self.released_by, budget=self.budget, total=total)

    def _annotate(self, place: Place, run_s: float) -> None:
        seen, tally = place.seen, place.tally
        seen.annotate(semconv.RUN_S, run_s)
        if self.policy.retry is not None:
            seen.annotate(semconv.ATTEMPTS, tally.attempts)
            seen.annotate(semconv.BACKOFF_S, tally.backoff_s)
        if place.lineage.partial:
            seen.annotate(semconv.PARTIAL_FAILURE, True)  # noqa: FBT003  # an attribute's value
        place.lineage.annotate(seen)

    def _record(
        self, ending: Ending, outputs: Mapping[str, Any] | None, attempts: int, run_s: float
    ) -> ItemRecord:
        error_type, message = (None, None) if ending is OK else _told(ending)
        return ItemRecord(
            self.index,
            self.key,
            ending.outcome,
            outputs,
            error_type,
            message,
            attempts,
            run_s,
            self.wait_slot_s + self.wait_source_s,
        )

    def _ended(self, path: str, ending: Ending, run_s: float) -> ItemEnded:
        error_type, message = _told(ending)
        return ItemEnded(
            path,
            self.owner,
            self.index,
            self.key,
            self.total,
            ending.outcome,
            run_s,
            None if message is None else f"{error_type}: {message}",
        )


def _told(ending: Ending) -> tuple[str | None, str | None]:
    """Return type and text of a failure, handled ones included; None twice where there is none."""
    if ending.outcome == semconv.OUTCOME_HANDLED:
        return semconv.ERROR_TYPE_HANDLED, ending.message
    if ending.error is None:
        return None, ending.message
    root = root_of(ending.error)
    return type_name(root), text_of(root)
