"""One item that runs in a worker, as its driver sees it: opened when it is sent, ended once.

What becomes of an item is the same as of any (:mod:`hush.runtime.item_run`); how often it is
sent, is for the driver to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.runtime.attempt import Place, Tally, interrupted
from hush.runtime.events import ItemStarted
from hush.runtime.failing import failed
from hush.runtime.idempotency import item_key
from hush.runtime.instrument import NULL_OBSERVATION, OK, begin, finish
from hush.runtime.item_run import ItemRun
from hush.runtime.lineage import Lineage
from hush.runtime.remote.call import CallItem
from hush.runtime.remote.packing import pack_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from contextvars import Context

    from hush.model.contract import ItemRecord
    from hush.runtime.events import ItemEnded
    from hush.runtime.instrument import Ending, Observation
    from hush.runtime.remote.call import ItemReport
    from hush.runtime.remote.passage import Passage
    from hush.runtime.trail import Chain

__all__ = ("SentItem",)


@dataclass(slots=True, kw_only=True)
class SentItem(ItemRun):
    """An item of a map that runs elsewhere."""

    packed: bytes = b""
    """Its own inputs."""
    chain: Chain | None = None
    """What led to its being there: the source, or the attempt that failed."""
    opened: bool = False
    began: float = 0.0
    """When it was first sent."""
    deadline: float = math.inf
    """When all its time is over, by the event loop's clock."""
    losses: int = 0
    """How many workers it has lost."""
    worked_s: float = 0.0
    """For how long its attempts ran in workers."""
    queue_s: float = 0.0
    """For how long they were on the way to one."""
    place: Place | None = None
    ending: Ending = OK
    ended: ItemRecord | None = None
    """What became of it; None before its end, and where it was cancelled."""
    closed: bool = False
    _context: Context | None = None
    _manager: AbstractContextManager[Observation] | None = None

    @property
    def path(self) -> str:
        """The item's path."""
        return f"{self.owner}[{self.index}]"

    @property
    def seen(self) -> Observation:
        """Its observation; nothing before it is open."""
        return NULL_OBSERVATION if self.place is None else self.place.seen

    @property
    def tally(self) -> Tally:
        """What its attempts came to."""
        assert self.place is not None  # noqa: S101  # it has been opened
        return self.place.tally

    def pack(self) -> None:
        """Pack its inputs; what goes wrong is why it cannot run."""
        if self.fault is not None:
            return
        try:
            self.packed = pack_values(self.path, self.values)
        except Exception as error:  # noqa: BLE001  # fails the item, and nothing else
            self.fault = error
        # They are not needed here any more.
        self.values = {}

    def open(self, context: Context, released_by: object) -> ItemStarted:
        """Begin.

        Args:
            context: of the map; the item gets a copy of it.
            released_by: token of what released it.

        Returns:
            What there is to tell of that.
        """
        run = self.run
        self.opened, self.began, self.released_by = True, run.clock(), released_by
        seen: Observation = NULL_OBSERVATION
        self._context = context.copy()
        if run.watched:
            self._manager, seen = self._context.run(begin, run.instrument, self._scope())
        lineage = Lineage(self.lineage)
        self.place = Place(run, self.name, self.path, seen, lineage, Tally(), self.index)
        return ItemStarted(self.path, self.owner, self.index, self.key, self.total)

    def as_sent(self) -> CallItem:
        """Return what goes to the worker for another attempt."""
        self.tally.attempts += 1
        path = self.path
        return CallItem(
            index=self.index,
            key=self.key,
            attempt=self.tally.attempts,
            values=self.packed,
            carrier=self.seen.carrier(),
            idempotency_key=item_key(self.run.state.run_id, path),
        )

    def came_back(self, report: ItemReport, passage: Passage) -> None:
        """Take note of an attempt that a worker has told of."""
        self.worked_s += max(0, report.ended_ns - report.began_ns) / 1e9
        self.queue_s += passage.queue_s
        if report.spans is not None:
            self.seen.adopt(report.spans, passage)

    def succeed(self, outputs: Mapping[str, Any]) -> Exception | None:
        """End as the outputs say.

        Returns:
            What the user's own look at them raised, if it did: then it has failed.
        """
        assert self._context is not None  # noqa: S101  # it has been opened
        try:
            ending = self._context.copy().run(self._judge, outputs)
        except Exception as error:  # noqa: BLE001  # an item's failure is a result here; its map decides
            self.fail(error)
            return error
        self._end(ending, outputs)
        return None

    def fail(self, error: Exception) -> None:
        """End as failed."""
        self._end(failed(error, self.path, recorded=False), None)

    def cancel(self, *, abandoned: bool) -> None:
        """End as cancelled.

        Args:
            abandoned: whether its work may go on in a worker all the same.
        """
        assert self.place is not None  # noqa: S101  # it has been opened
        self.ending = interrupted(self.place)
        self.lineage.add_late(self.place.lineage.take_late())
        if abandoned:
            self.seen.annotate(semconv.ABANDONED, True)  # noqa: FBT003  # an attribute's value
        self.worked_s = max(0.0, self.run.clock() - self.began - self.tally.backoff_s)
        self._close(self.ending)

    def interrupt(self, error: BaseException) -> None:
        """End because of what has to come out of the run."""
        self._describe()
        self._leave(error)

    def told(self) -> ItemEnded:
        """Return what there is to tell of its end."""
        return self._ended(self.path, self.ending, self.worked_s)

    def _end(self, ending: Ending, outputs: Mapping[str, Any] | None) -> None:
        self.ending = ending
        self._close(ending)
        attempts = max(1, self.tally.attempts)
        self.ended = self._record(ending, outputs, attempts, self.worked_s)

    def _close(self, ending: Ending) -> None:
        self._describe()
        self.seen.end(ending)
        self._leave(None)

    def _describe(self) -> None:
        assert self.place is not None  # noqa: S101  # it has been opened
        seen, tally = self.place.seen, self.place.tally
        self._annotate(self.place, self.worked_s)
        seen.annotate(semconv.WAIT_QUEUE_S, self.queue_s)
        if self.policy.retry is None and tally.attempts > 1:
            seen.annotate(semconv.ATTEMPTS, tally.attempts)

    def _leave(self, error: BaseException | None) -> None:
        self.closed = True
        if self._manager is not None:
            assert self._context is not None  # noqa: S101  # it was begun in it
            finish(self._manager, self._context, error)
            self._manager = None
