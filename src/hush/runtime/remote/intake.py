"""Intake: what comes back from a worker, and what that means for each item.

An item has succeeded, has failed for good, or is tried again: after its own failure as its
retry policy says, and after the loss of its worker as often as :data:`LOST_ATTEMPTS` says.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from hush import semconv
from hush.errors import text_of, type_name
from hush.runtime.attempt import timed_out
from hush.runtime.failing import root_of
from hush.runtime.remote.chunking import longest_way
from hush.runtime.remote.exchange import LOST_ATTEMPTS
from hush.runtime.remote.faults import interrupt_of, unpack_fault
from hush.runtime.remote.loss import loss_error
from hush.runtime.remote.merging import error_of, merge, merge_skipped
from hush.runtime.remote.packing import unpack_values
from hush.runtime.trail import shared_of

if TYPE_CHECKING:
    from hush.errors import WorkerLostError
    from hush.runtime.remote.call import ItemReport
    from hush.runtime.remote.driver import RemoteMapRun
    from hush.runtime.remote.exchange import Answer
    from hush.runtime.remote.passage import Passage
    from hush.runtime.remote.sent_item import SentItem
    from hush.runtime.trail import Chain

__all__ = ("Intake",)

ENDS: Final = 64
"""Chunks of which it is remembered when they ended."""


class Intake:
    """Takes in what comes back, for one map."""

    __slots__ = ("_ends", "_map")

    def __init__(self, map_run: RemoteMapRun) -> None:
        """Take in for a map.

        Args:
            map_run: whose items these are.
        """
        self._map = map_run
        self._ends: deque[tuple[int, Chain]] = deque(maxlen=ENDS)
        """When chunks ended, in nanoseconds by the driver's clock, and what had led to that."""

    def take(self, chunk: list[SentItem], answer: Answer, chain: Chain) -> Chain:
        """Take in an answer.

        Args:
            chunk: what was sent.
            answer: what came back.
            chain: what the lane has done before.

        Returns:
            What has led to the end of the chunk.

        Raises:
            Exception: nothing of it was run.
            BaseException: what an item raised that has to come out of the run.
        """
        on, (report, passage, size_bytes) = self._map, answer
        if report.metrics is not None:
            on.run.instrument.absorb(report.metrics)
        if report.refused is not None:
            refused = unpack_fault(report.refused).exception
            assert refused is not None  # noqa: S101  # see unpack_fault: it was raised
            raise refused
        on.size.ended(len(chunk), report.cpu_s, size_bytes)
        chain = self._released_by(passage, chain)
        for one in longest_way(report.items):
            chain.add(one.index, max(0, one.ended_ns - one.began_ns) / 1e9, one.trail)
        on.way.last = chain
        self._ends.append((passage.by_driver(report.answered_ns), chain.copy()))
        items = {item.index: item for item in chunk}
        interrupt: BaseException | None = None
        for one in report.items:
            interrupt = interrupt or interrupt_of(one.faults)
        for one in sorted(report.items, key=lambda told: told.ended_ns):
            self._conclude(items[one.index], one, answer, chain, cut_short=interrupt is not None)
        if interrupt is not None:
            raise interrupt
        return chain

    def _released_by(self, passage: Passage, chain: Chain) -> Chain:
        """Return what a chunk's beginning in its worker had waited for.

        Args:
            passage: when it was sent, and when the worker got it.
            chain: what the lane had done before it was sent.
        """
        began_ns, since_ns = passage.by_driver(passage.received_ns), passage.sent_ns
        for ended_ns, other in self._ends:
            # It lay ready; the worker had another one of ours to do.
            if since_ns < ended_ns <= began_ns:
                since_ns, chain = ended_ns, other
        chain = chain.copy()
        chain.queue_s += max(0, began_ns - since_ns) / 1e9
        return chain

    def lost(self, chunk: list[SentItem], error: WorkerLostError, chain: Chain) -> None:
        """Take note that a worker was lost.

        Args:
            chunk: what it had been sent.
            error: what is known of it.
            chain: what the lane has done, this with it.
        """
        on = self._map
        on.way.last = chain
        said = text_of(error)
        for item in chunk:
            facts = {semconv.ATTEMPT: item.tally.attempts, semconv.EXCEPTION_MESSAGE: said}
            item.seen.event(semconv.EVENT_WORKER_LOST, facts)
            item.losses += 1
            if on.stopping:
                on.drop(item, chain, abandoned=False)
            elif on.target.idempotent and item.losses < LOST_ATTEMPTS:
                item.chain = chain.copy()
                on.supply.again(item, anyio.current_time())
            else:
                failure = loss_error(error, item.losses, idempotent=on.target.idempotent)
                self.failed(item, failure)

    def failed(self, item: SentItem, error: Exception) -> None:
        """End an item that has failed for good."""
        item.fail(error)
        self._count(item, error)

    def timed_out(self, item: SentItem) -> None:
        """End an item all of whose time is over."""
        assert item.place is not None  # noqa: S101  # it has begun
        limit_s = item.policy.deadline_s
        said = f"deadline_s={limit_s:g} was exceeded in attempt {item.tally.attempts}. "
        said += "Raise the deadline, or look at what it waited for in the trace"
        item.seen.event(semconv.EVENT_TIMEOUT, {semconv.LIMIT_S: limit_s})
        self.failed(item, timed_out(item.place.lineage, item.path, said))

    def _conclude(
        self, item: SentItem, report: ItemReport, answer: Answer, chain: Chain, *, cut_short: bool
    ) -> None:
        on, place = self._map, item.place
        assert place is not None  # noqa: S101  # it has begun
        merge(report, on.run, place.lineage, in_item=True)
        item.came_back(report, answer.passage)
        on.shared_s += shared_of(report.trail)
        interrupt = interrupt_of(report.faults)
        if interrupt is not None:
            item.interrupt(interrupt)
            on.under_way -= 1
            on.verdict.drop(on.clock())
        elif report.cut_off:
            place.lineage.add_late(map(unpack_fault, report.faults))
            if cut_short or item.policy.deadline_s is None:
                on.drop(item, chain, abandoned=False)
            else:
                self.timed_out(item)
        elif report.faults:
            error = error_of(report, item.path, item.tally.attempts, item.seen.token)
            self._attempt_failed(item, error, report, chain)
        else:
            self._succeeded(item, report, chain)

    def _succeeded(self, item: SentItem, report: ItemReport, chain: Chain) -> None:
        try:
            outputs = unpack_values(item.path, report.outputs or b"", what="output")
        except Exception as error:  # noqa: BLE001  # an item's failure is a result here; its map decides
            self._attempt_failed(item, error, report, chain)
            return
        self._merge_skipped(item, report)
        self._count(item, item.succeed(outputs))

    def _attempt_failed(
        self, item: SentItem, error: Exception, report: ItemReport, chain: Chain
    ) -> None:
        try:
            pause = self._pause_s(item, error)
        except Exception as raised:  # noqa: BLE001  # the user's own predicate; likewise
            pause, error = None, raised
        if pause is None:
            self._merge_skipped(item, report)
            self.failed(item, error)
            return
        tally = item.tally
        facts = {
            semconv.ATTEMPT: tally.attempts,
            semconv.ERROR_TYPE: type_name(root_of(error)),
            semconv.BACKOFF_S: pause,
        }
        item.seen.event(semconv.EVENT_RETRY, facts)
        tally.backoff_s += pause
        item.chain = chain.copy()
        item.chain.paused_s += pause
        self._map.supply.again(item, anyio.current_time() + pause)

    def _pause_s(self, item: SentItem, error: Exception) -> float | None:
        """Return the pause before the next attempt, None where there is none."""
        on, retry, root = self._map, item.policy.retry, root_of(error)
        if retry is None or on.stopping or not isinstance(root, Exception):
            return None
        # What was lost with a worker is no failure of the item.
        failures = item.tally.attempts - item.losses
        if failures >= retry.attempts or not retry.matches(root):
            return None
        return retry.pause_s(failures, on.run.random.random())

    def _merge_skipped(self, item: SentItem, report: ItemReport) -> None:
        merge_skipped(report, self._map.run, item.path, item.seen, in_item=True)

    def _count(self, item: SentItem, error: Exception | None) -> None:
        on, record = self._map, item.ended
        assert record is not None  # noqa: S101  # it has ended
        on.under_way -= 1
        on.verdict.end(on.clock(), record.index, record.run_s, record.wait_s)
        if on.run.events is not None:
            on.to_tell.append(item.told())
        on.outcomes.count(record, error, item.seen.token)
