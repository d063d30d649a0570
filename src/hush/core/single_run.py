"""One run from its beginning to its end: watched, limited, and told how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from hush import semconv
from hush.core.result import RunResult
from hush.errors import InputError
from hush.export.pressure import wait_for_room
from hush.model.node import is_duration
from hush.observe.tracing import current_instrument
from hush.runtime.attempt import timed_out
from hush.runtime.cpu import CpuClock
from hush.runtime.events import RunEnded, RunStarted
from hush.runtime.failing import cancelled, failed, failure_of, run_error, trail_of
from hush.runtime.instrument import OK, Scope
from hush.runtime.lineage import Lineage
from hush.runtime.node_context import RuntimeContext
from hush.runtime.scheduler import run_graph
from hush.runtime.state import Frame, Run, RunState, new_id
from hush.runtime.trail import told
from hush.runtime.watchdog import watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.errors import Failure
    from hush.executors.local_placement import LocalPlacement
    from hush.plan.plan import Plan
    from hush.providers.resources import Resources
    from hush.runtime.events import EventSink
    from hush.runtime.instrument import Observation
    from hush.runtime.remote.target import Target

__all__ = ("SingleRun",)


class SingleRun:
    """Runs a plan, as often as it is asked to and as many times at once."""

    def __init__(
        self,
        plan: Plan,
        placement: LocalPlacement,
        resources: Resources | None,
        targets: Mapping[int, Target],
    ) -> None:
        """Know what all runs share.

        Args:
            plan: what is run.
            placement: where plain functions are called.
            resources: what nodes name; None where none does.
            targets: where bodies run that do not run here.
        """
        self._plan = plan
        self._targets = targets
        self._placement = placement
        self._resources = resources

    async def execute(
        self,
        engine: object,
        values: Mapping[str, Any],
        ids: Mapping[str, str | None],
        deadline_s: float | None,
        sink: EventSink | None,
    ) -> RunResult:
        """Run once.

        Args:
            engine: whose run it is; opaque here.
            values: the graph's inputs, checked.
            ids: ``request_id``, ``user_id``, ``session_id``.
            deadline_s: limit of the whole run in seconds; None has none.
            sink: takes events; None where nobody listens.

        Returns:
            The outputs. Everything that the run started is over.

        Raises:
            InputError: the deadline is none; nothing was started.
            RunError: a node failed, or the deadline passed; everything is over.
            BaseException: cancellation comes out as it came in, once everything is over.
        """
        plan = self._plan
        if deadline_s is not None and not is_duration(deadline_s):
            msg = f"{plan.name}: deadline_s={deadline_s!r}, expected a positive number of seconds"
            raise InputError(msg)
        await wait_for_room(deadline_s)
        state = RunState(plan.name, {"run_id": new_id(), **ids})
        run = Run(
            plan,
            state,
            current_instrument(),
            self._placement,
            self._placement.caller(),
            sink,
            RuntimeContext,
            resources=self._resources,
            engine=engine,
            targets=self._targets,
        )
        run.began, cpu = run.clock(), CpuClock()
        watch.wake()
        facts = {
            semconv.RUN_ID: state.run_id,
            semconv.GRAPH_NAME: plan.name,
            semconv.REQUEST_ID: state.request_id,
            semconv.USER_ID: state.user_id,
            semconv.SESSION_ID: state.session_id,
        }
        known = {name: value for name, value in facts.items() if value is not None}
        began = run.clock()
        outputs: dict[str, Any] = {}
        failures: tuple[Failure, ...] = ()
        try:
            with run.instrument.observe(Scope("run", plan.name, known)) as seen:
                state.trace_id = seen.trace_id
                run.open_in(seen)
                if sink is not None:
                    await sink.emit(RunStarted(plan.name, state.run_id, state.trace_id))
                lineage = Lineage(None)
                lineage.ledger = state.ledger
                try:
                    outputs = await self._with_resources(run, values, lineage, deadline_s, seen)
                    ending = OK
                except Exception as error:  # noqa: BLE001  # raised again as a RunError, once it has been told
                    ending = failed(error, plan.name, recorded=False)
                    seen.annotate(semconv.FAILED_NODE, ending.failed_path)
                    failures = failure_of(error, plan.name, index=None)
                    state.critical_path = trail_of(error, state.critical_path or lineage.cut)
                except anyio.get_cancelled_exc_class():
                    state.critical_path = lineage.cut
                    seen.annotate(semconv.RUN_OUTCOME, semconv.OUTCOME_CANCELLED)
                    seen.end(cancelled(lineage.why()))
                    raise
                finally:
                    seen.annotate(semconv.NODE_COUNT, run.started)
                    for name, value in cpu.facts():
                        seen.annotate(name, value)
                    lineage.annotate(seen)
                    if state.critical_path:
                        path = told(state.critical_path, run.clock() - began)
                        seen.annotate(semconv.CRITICAL_PATH, path)
                    if run.failure_count:
                        seen.annotate(semconv.PARTIAL_FAILURE, True)  # noqa: FBT003  # an attribute's value
                seen.annotate(semconv.RUN_OUTCOME, ending.outcome)
                seen.end(ending)
        except anyio.get_cancelled_exc_class():
            if sink is not None:
                await sink.emit_cancelled(self._ended(run, semconv.OUTCOME_CANCELLED, began))
            raise
        if sink is not None:
            await sink.emit(self._ended(run, ending.outcome, began))
        if ending is not OK or run.caller.cancelled():
            # A cancellation of the caller goes before a failure that came with it, and before
            # the result of nodes that caught what asyncio delivers only once.
            await run.caller.give_way()
        if ending is not OK:
            failure = run_error(failures, state.run_id, state.trace_id)
            failure.usage = state.usage
            raise failure from failures[0].exception
        return RunResult(outputs, run)

    async def _with_resources(
        self,
        run: Run,
        values: Mapping[str, Any],
        lineage: Lineage,
        deadline_s: float | None,
        seen: Observation,
    ) -> dict[str, Any]:
        if self._resources is None:
            return await self._under_deadline(run, values, lineage, deadline_s, seen)
        self._resources.hold()
        try:
            return await self._under_deadline(run, values, lineage, deadline_s, seen)
        finally:
            await self._resources.release()

    async def _under_deadline(
        self,
        run: Run,
        values: Mapping[str, Any],
        lineage: Lineage,
        deadline_s: float | None,
        seen: Observation,
    ) -> dict[str, Any]:
        plan = self._plan
        frame = Frame(
            plan,
            plan.name,
            dict(values),
            lineage,
            index=None,
            limited=deadline_s is not None,
            depth=0,
        )
        if deadline_s is None:
            run.state.critical_path = await run_graph(frame, run, seen)
            return plan.graph_outputs(frame.results())
        with (
            anyio.CancelScope(deadline=anyio.current_time() + deadline_s) as scope,
            lineage.limited(scope, plan.name, seen.token),
        ):
            run.state.critical_path = await run_graph(frame, run, seen)
            return plan.graph_outputs(frame.results())
        seen.event(semconv.EVENT_TIMEOUT, {semconv.LIMIT_S: deadline_s})
        said = f"the run's deadline_s={deadline_s:g} was exceeded. Raise it, or look at "
        said += "what it waited for in the trace"
        raise timed_out(lineage, plan.name, said)

    def _ended(self, run: Run, outcome: str, began: float) -> RunEnded:
        return RunEnded(self._plan.name, run.state.run_id, outcome, run.clock() - began)
