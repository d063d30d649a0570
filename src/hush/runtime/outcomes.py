"""What became of the items of a map: counts, failures, and how many of those it bears."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.errors import Failure, ToleranceError, text_of
from hush.runtime.failing import culprit_of, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.model.contract import FanOut, ItemRecord
    from hush.runtime.lineage import Lineage
    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.source import Source

__all__ = ("Outcomes",)

EARLY_ITEMS = 20
"""Items of an unsized source before a share of failures is judged."""


class Outcomes:
    """What became of the items of one map so far.

    Attributes:
        begun: how many items there were.
        ok: how many went well.
        failed: how many raised.
        handled: how many failed and said so themselves.
        retried: how many took several attempts.
        failures: why the map fails; empty where it does not.
        culprit: token of what failed first.
        carried: what the items of a loop have written, for the next one.
    """

    __slots__ = (
        "_ctx",
        "_lineage",
        "_request",
        "_source",
        "_stop",
        "begun",
        "carried",
        "culprit",
        "failed",
        "failures",
        "handled",
        "ok",
        "retried",
    )

    def __init__(
        self,
        ctx: RuntimeContext,
        request: FanOut,
        source: Source,
        lineage: Lineage,
        stop: Callable[[str, str, object], None],
    ) -> None:
        """Start with none.

        Args:
            ctx: the map's context.
            request: what it asks for.
            source: knows how many items there are, if anybody does.
            lineage: what contains the items.
            stop: stops those that are running: reason, path and token of what is to blame.
        """
        self._ctx = ctx
        self._request = request
        self._source = source
        self._lineage = lineage
        self._stop = stop
        self.begun = self.ok = self.failed = self.handled = self.retried = 0
        self.failures: list[Failure] = []
        self.culprit: object = ctx.place.seen.token
        self.carried: dict[str, Any] = {}

    @property
    def ended(self) -> int:
        """How many came to an end of their own."""
        return self.ok + self.failed + self.handled

    @property
    def complete(self) -> bool:
        """Whether every item has come to an end."""
        total = self._source.total
        all_begun = self._source.over if total is None else self.begun >= total
        return all_begun and self.begun == self.ended

    def facts(self) -> dict[str, Any]:
        """Return the counts, by names of :mod:`hush.semconv`."""
        total = self._source.total
        return {
            semconv.MAP_ITEMS: self.begun if total is None else total,
            semconv.MAP_OK: self.ok,
            semconv.MAP_FAILED: self.failed,
            semconv.MAP_HANDLED: self.handled,
            semconv.MAP_CANCELLED: self.begun - self.ended,
            semconv.MAP_RETRIED: self.retried,
        }

    def count(self, record: ItemRecord, error: Exception | None, token: object) -> None:
        """Count an item that has ended.

        Args:
            record: what became of it.
            error: what it failed with; None where it did not.
            token: of its observation.
        """
        if record.attempts > 1:
            self.retried += 1
        if error is not None:
            self._note_failed(record, error, token)
        else:
            if record.outcome == semconv.OUTCOME_HANDLED:
                self._note_handled(record)
            else:
                self.ok += 1
            if self._request.carry and record.outputs is not None:
                self.carried.update(record.outputs)
        self._request.on_item(record)

    def tolerate(self, *, at_end: bool) -> None:
        """Fail the map where more items failed than it tolerates.

        Args:
            at_end: whether there are no more items.
        """
        ctx, limit = self._ctx, self._request.max_failures
        if limit is None or self.failures or not self._request.collect:
            return
        if isinstance(limit, float):
            of = self._source.total
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
            ctx.path,
            f"{self.failed} items failed, more than max_failures tolerates ({said}). "
            f"Raise it, or look at the failed items",
        )
        self.failures.extend(failure_of(error, ctx.path, index=ctx.frame.index))
        inner = f"{ctx.path}["
        behind = [f for f in ctx.place.run.failures if f.path.startswith(inner)]
        # Which of two items failed first may be chance; what is read shall not be.
        behind.sort(key=lambda failure: int(failure.path[len(inner) :].partition("]")[0]))
        self.failures.extend(behind)
        self._stop(semconv.REASON_TOLERANCE_EXCEEDED, ctx.path, ctx.place.seen.token)

    def _note_handled(self, record: ItemRecord) -> None:
        self.handled += 1
        self._lineage.mark_partial()
        message = record.message or ""
        self._first_failure(record.index, message)
        kind = semconv.ERROR_TYPE_HANDLED
        path = f"{self._ctx.path}[{record.index}]"
        failure = Failure(path, "handled", kind, message, record.index, record.attempts)
        self._ctx.place.run.note(failure)

    def _note_failed(self, record: ItemRecord, error: Exception, token: object) -> None:
        self.failed += 1
        self._first_failure(record.index, record.message or text_of(error))
        path = f"{self._ctx.path}[{record.index}]"
        failures = failure_of(error, path, index=record.index, attempts=record.attempts)
        if self._request.collect:
            self._lineage.mark_partial()
            self._ctx.place.run.note(replace(failures[0], kind="collected"))
            self.tolerate(at_end=False)
            return
        first = not self.failures
        self.failures.extend(failures)
        if first:
            self.culprit = culprit_of(error, token)
            self._stop(semconv.REASON_FAIL_FAST, failures[0].path, self.culprit)

    def _first_failure(self, index: int, message: str) -> None:
        if self.failed + self.handled == 1:
            facts = {semconv.ITEM_INDEX: index, semconv.EXCEPTION_MESSAGE: message}
            self._ctx.place.seen.event(semconv.EVENT_FIRST_FAILURE, facts)
