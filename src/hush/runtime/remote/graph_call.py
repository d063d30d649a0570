"""A graph that runs in a worker as a whole: one item, under its node's own policies."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio

from hush import semconv
from hush.errors import WorkerLostError, text_of
from hush.runtime.idempotency import idempotency_key, item_key
from hush.runtime.remote.call import SCHEMA, Call, CallItem
from hush.runtime.remote.exchange import LOST_ATTEMPTS, backend, enter, exchange
from hush.runtime.remote.faults import interrupt_of, unpack_fault
from hush.runtime.remote.gate import gate_to
from hush.runtime.remote.loss import loss_error
from hush.runtime.remote.merging import error_of, merge, merge_skipped
from hush.runtime.remote.packing import pack_telemetry, pack_values, unpack_values
from hush.runtime.trail import WORTH_A_STEP, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.runtime.node_context import RuntimeContext
    from hush.runtime.remote.exchange import Answer
    from hush.runtime.remote.target import Target

__all__ = ("run_graph_elsewhere",)


async def run_graph_elsewhere(
    ctx: RuntimeContext, values: Mapping[str, Any], target: Target
) -> dict[str, Any]:
    """Run a graph's body once in a worker; again only where that was lost.

    Args:
        ctx: the graph's context.
        values: what the body reads as PARENT.
        target: where it runs.

    Returns:
        What the body wrote.

    Raises:
        ExecutorError: the engine failed.
        Exception: what the body failed with.
    """
    packed, losses = pack_values(ctx.path, values), 0
    async with AsyncExitStack() as engine:
        await enter(engine, target.executor)
        gate, slots = engine.enter_context(gate_to(target.executor)), target.executor.slots
        while True:
            call = _call(ctx, packed, target, losses)
            await gate.enter(max(1, slots))
            try:
                answer = await exchange(target, call, None)
            except WorkerLostError as error:
                losses += 1
                facts = {
                    semconv.ATTEMPT: call.items[0].attempt,
                    semconv.EXCEPTION_MESSAGE: text_of(error),
                }
                ctx.place.seen.event(semconv.EVENT_WORKER_LOST, facts)
                if target.idempotent and losses < LOST_ATTEMPTS:
                    continue
                raise loss_error(error, losses, idempotent=target.idempotent) from error
            except anyio.get_cancelled_exc_class():
                if not target.executor.capabilities.stops_running_work:
                    ctx.abandoned()
                raise
            finally:
                gate.leave()
            return _taken(ctx, answer)


def _call(ctx: RuntimeContext, packed: bytes, target: Target, losses: int) -> Call:
    place = ctx.place
    run, seen = place.run, place.tally.seen or place.seen
    item = CallItem(
        index=0,
        key=None,
        attempt=place.tally.attempts + losses,
        values=packed,
        carrier=seen.carrier(),
        idempotency_key=idempotency_key() or item_key(run.state.run_id, ctx.path),
    )
    return Call(
        schema=SCHEMA,
        run_id=run.state.run_id,
        graph=run.plan.name,
        path=ctx.path,
        name=ctx.node.name,
        level="graph",
        body=target.body,
        broadcast=pack_values(ctx.path, {}),
        items=(item,),
        concurrency=1,
        backend=backend(),
        timeout_s=None,
        deadline_s=None,
        resources=target.resources,
        telemetry=pack_telemetry(run.instrument),
    )


def _taken(ctx: RuntimeContext, answer: Answer) -> dict[str, Any]:
    """Take in an answer; return what the body wrote."""
    (report, passage, _), place = answer, ctx.place
    run, seen, in_item = place.run, place.tally.seen or place.seen, ctx.frame.index is not None
    if report.metrics is not None:
        run.instrument.absorb(report.metrics)
    if report.refused is not None:
        refused = unpack_fault(report.refused).exception
        assert refused is not None  # noqa: S101  # see unpack_fault: it was raised
        raise refused
    (one,) = report.items
    merge(one, run, place.lineage, in_item=in_item)
    if one.spans is not None:
        seen.adopt(one.spans, passage)
    ctx.annotate(semconv.WAIT_QUEUE_S, passage.queue_s)
    trail = one.trail
    if passage.queue_s > WORTH_A_STEP * (sum(step.seconds for step in trail) + passage.queue_s):
        trail = (Step(" (queue)", passage.queue_s), *trail)
    interrupt = interrupt_of(one.faults)
    if interrupt is not None:
        raise interrupt
    merge_skipped(one, run, ctx.path, place.seen, in_item=in_item)
    if one.faults:
        error = error_of(one, ctx.path, place.tally.attempts, place.seen.token)
        error.trail = trail
        raise error
    ctx.trail = trail
    return unpack_values(ctx.path, one.outputs or b"", what="output")
