"""A chunk: some items, each tried once by our own scheduler, several at a time.

It knows nothing of the map that they are of: whether an item is tried again, in which order
results stand and how many failures are borne, is for the driver to say.
"""

from __future__ import annotations

import math
import random
import re
from contextlib import nullcontext
from contextvars import copy_context
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from hush import semconv
from hush.executors.local_placement import LocalPlacement
from hush.runtime.attempt import Place, Policy, Tally, interrupted, persist
from hush.runtime.failing import failed, trail_of
from hush.runtime.idempotency import keep_key
from hush.runtime.instrument import OK, Scope
from hush.runtime.isolation import isolated
from hush.runtime.lineage import Lineage
from hush.runtime.node_context import RuntimeContext
from hush.runtime.remote.call import Fault, ItemReport
from hush.runtime.remote.faults import INTERRUPT, fault_of, faults_of, pack_fault
from hush.runtime.remote.packing import pack_values, unpack_values
from hush.runtime.scheduler import run_graph
from hush.runtime.state import Frame, Run, RunState
from hush.runtime.trail import NO_TRAIL
from hush.runtime.watchdog import watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.observe.watching import Watching
    from hush.plan.plan import Plan
    from hush.providers.resources import Resources
    from hush.runtime.instrument import Ending
    from hush.runtime.remote.call import Call, CallItem

__all__ = ("Chunk",)

MAX_THREADS: Final = 256
"""Least number of threads that plain functions may use at the same time."""
NAMES: Final = 1_000
"""Most paths of one item that are told: of nodes that started, of those that were skipped."""
NOTED: Final = 100
"""Most failures of one item that are told although they did not fail it."""

_LAST_INDEX: Final = re.compile(r"\[(\d+)\][^\[\]]*\Z")


class Chunk:
    """Runs the items of one call.

    Attributes:
        reports: what became of items so far, by their place in the call.
        interrupted: whether an item raised what has to come out of the run.
    """

    def __init__(
        self, call: Call, plan: Plan, resources: Resources | None, watching: Watching
    ) -> None:
        """Prepare to run.

        Args:
            call: what is to be run.
            plan: its body, compiled.
            resources: what nodes name; None where none does.
            watching: watches it.
        """
        self._call = call
        self._plan = plan
        self._resources = resources
        self._watching = watching
        self._limited = call.timeout_s is not None or call.deadline_s is not None
        self._lineage = Lineage(None)
        self._random = random.Random()  # noqa: S311  # spreads retries
        self._warned: set[str] = set()
        self._broadcast: dict[str, Any] | None = None
        match = _LAST_INDEX.search(call.path)
        self._around = None if match is None else int(match[1])
        self.reports: dict[int, ItemReport] = {}
        self.interrupted = False

    async def run(self) -> None:
        """Run all items, or as many as the deadline lets through.

        Raises:
            BaseException: what is no Exception comes out, when all that was running is over.
        """
        call = self._call
        threads = max(MAX_THREADS, self._plan.widest, call.concurrency)
        self._placement = LocalPlacement(threads)
        self._caller = self._placement.caller()
        self._waiting = iter(enumerate(call.items))
        watch.wake()
        if self._resources is not None:
            self._resources.hold()
        try:
            await self._under_deadline()
        finally:
            if self._resources is not None:
                await self._resources.release()

    async def _under_deadline(self) -> None:
        call = self._call
        limit = math.inf if call.deadline_s is None else call.deadline_s
        with (
            anyio.CancelScope(deadline=anyio.current_time() + limit) as scope,
            self._lineage.limited(scope, call.path, None),
        ):
            workers = max(1, min(call.concurrency, len(call.items)))
            if workers == 1:
                await self._work()
                return
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(self._work)

    async def _work(self) -> None:
        for position, item in self._waiting:
            await anyio.lowlevel.checkpoint()
            await isolated(copy_context(), _Attempt(self, position, item).execute())

    def left_over(self) -> Iterator[ItemReport]:
        """Yield the reports in order; of items that had no turn, that they were cut off."""
        for position, item in enumerate(self._call.items):
            report = self.reports.get(position)
            if report is None:
                now = time_ns()
                report = ItemReport(item.index, item.attempt, now, now, cut_off=True)
            yield report

    # --- for attempts ---------------------------------------------------------------------------

    @property
    def call(self) -> Call:
        """The call."""
        return self._call

    def values_of(self, path: str, item: CallItem) -> dict[str, Any]:
        """Return an item's inputs.

        Raises:
            PayloadError: they cannot be unpickled here.
        """
        if self._broadcast is None:
            self._broadcast = unpack_values(path, self._call.broadcast)
        return {**self._broadcast, **unpack_values(path, item.values)}

    def new_run(self) -> Run:
        """Return what one item records itself in."""
        call = self._call
        ids = {"run_id": call.run_id, "request_id": None, "user_id": None, "session_id": None}
        return Run(
            self._plan,
            RunState(call.graph, ids),
            self._watching.instrument,
            self._placement,
            self._caller,
            None,
            RuntimeContext,
            # To seed one for each item would cost a tenth of a small one.
            self._random,
            resources=self._resources,
            engine=self,
            warned=self._warned,
        )

    def index_of(self, item: CallItem) -> int | None:
        """Return the index of the innermost item around the body."""
        return item.index if self._call.level == "item" else self._around


class _Attempt:
    """One attempt at one item."""

    def __init__(self, chunk: Chunk, position: int, item: CallItem) -> None:
        self._chunk = chunk
        self._position = position
        self._item = item
        call = chunk.call
        self._path = f"{call.path}[{item.index}]" if call.level == "item" else call.path
        self._run = chunk.new_run()
        self._lineage = Lineage(chunk._lineage)  # noqa: SLF001  # the same module
        self._tally = Tally()
        self._trail = NO_TRAIL
        self._faults: tuple[Fault, ...] = ()
        self._outputs: bytes | None = None
        self._cut_off = False
        self._began_ns = time_ns()

    async def execute(self) -> None:
        """Run the item once and keep the report.

        Raises:
            BaseException: only what is no Exception.
        """
        chunk = self._chunk
        keep_key(self._item.idempotency_key)
        watching = chunk._watching  # noqa: SLF001  # the same module
        gathered = watching.attempt(self._item)
        try:
            with gathered or nullcontext():
                await self._observed()
        except anyio.get_cancelled_exc_class():
            self._cut_off = True
            raise
        except BaseException as error:
            # It ends this call; what it has to end besides, is the driver's to say.
            chunk.interrupted = True
            self._faults = (fault_of(error, self._path, INTERRUPT),)
            raise
        finally:
            spans = None if gathered is None else gathered.packed()
            chunk.reports[self._position] = self._report(spans)

    async def _observed(self) -> None:
        call, item, tally = self._chunk.call, self._item, self._tally
        facts: dict[str, Any] = {
            semconv.ATTEMPT: item.attempt,
            semconv.IDEMPOTENCY_KEY: item.idempotency_key,
        }
        with self._run.instrument.observe(Scope("attempt", call.name, facts)) as seen:
            self._run.open_in(seen)
            index = self._chunk.index_of(item)
            place = Place(self._run, call.name, self._path, seen, self._lineage, tally, index)
            ending: Ending
            try:
                policy = Policy(None, call.timeout_s, None)
                outputs = await persist(lambda: self._once(place), policy, place)
                if call.reads is not None:
                    # What nobody reads need not be such that it can travel.
                    outputs = {name: outputs[name] for name in outputs if name in call.reads}
                self._outputs = pack_values(self._path, outputs, what="output")
                ending = OK
            except Exception as error:  # noqa: BLE001  # an item's failure is a result here; the driver decides
                ending = failed(error, self._path, recorded=tally.has_recorded(error))
                self._faults = faults_of(error, self._path, attempts=1)
                self._trail = trail_of(error, self._trail or self._lineage.cut)
            except anyio.get_cancelled_exc_class():
                ending = interrupted(place)
                self._trail = self._lineage.cut
                late = self._lineage.take_late()
                self._faults = tuple(map(pack_fault, late[:NOTED]))
                seen.end(ending)
                raise
            finally:
                if self._lineage.partial:
                    seen.annotate(semconv.PARTIAL_FAILURE, True)  # noqa: FBT003  # an attribute's value
                self._lineage.annotate(seen)
            seen.end(ending)

    async def _once(self, place: Place) -> dict[str, Any]:
        frame = Frame(
            self._run.plan,
            self._path,
            self._chunk.values_of(self._path, self._item),
            self._lineage,
            index=place.index,
            limited=self._chunk._limited,  # noqa: SLF001  # the same module
            depth=1,
        )
        self._trail = await run_graph(frame, self._run, place.seen)
        return frame.results()

    def _report(self, spans: bytes | None) -> ItemReport:
        run, ledger = self._run, self._lineage.ledger
        return ItemReport(
            index=self._item.index,
            attempt=self._item.attempt,
            began_ns=self._began_ns,
            ended_ns=time_ns(),
            outputs=self._outputs,
            faults=self._faults,
            cut_off=self._cut_off,
            trail=self._tally.trail(self._trail),
            started=run.started,
            skipped=tuple(run.skipped[:NAMES]),
            order=tuple(run.state.execution_order[:NAMES]),
            noted=tuple(map(pack_fault, run.failures[:NOTED])),
            noted_count=run.failure_count,
            partial=self._lineage.partial,
            usage={} if ledger is None else dict(ledger.by_model),
            waits={} if ledger is None else dict(ledger.waits),
            spans=spans,
        )
