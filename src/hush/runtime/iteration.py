"""One round of a while loop: the body once, with a span and a path of its own."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from hush.runtime.attempt import Policy
from hush.runtime.failing import BodyFailedError
from hush.runtime.isolation import isolated
from hush.runtime.item_run import ItemRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.runtime.node_context import RuntimeContext

__all__ = ("run_iteration",)

ONCE = Policy(None, None, None)


async def run_iteration(
    ctx: RuntimeContext,
    index: int,
    values: Mapping[str, Any],
    *,
    at_most: int,
    span_budget: int | None,
) -> dict[str, Any]:
    """Run the body of a loop once.

    Args:
        ctx: the loop's context.
        index: number of the round, from 0.
        values: the loop's values.
        at_most: how many rounds there can be.
        span_budget: how many of them need to be told of; None for all.

    Returns:
        What the body wrote.

    Raises:
        Exception: what the body failed with.
    """
    # What is known to stay within its budget need not wait for a choice.
    few = span_budget is not None and at_most <= span_budget
    body = ctx.node.body
    assert body is not None  # noqa: S101  # a loop has a body
    item = ItemRun(
        run=ctx.place.run,
        body=body,
        owner=ctx.path,
        name=ctx.node.name,
        index=index,
        key=None,
        total=None,
        values=values,
        lineage=ctx.place.lineage,
        policy=ONCE,
        handled_text=None,
        limited=ctx.limited,
        depth=ctx.depth + 1,
        iteration=True,
        released_by=ctx.previous_round,
        wait_slot_s=0.0,
        wait_source_s=0.0,
        budget=span_budget,
        at_most=at_most if few else None,
    )
    clock = ctx.place.run.clock
    began = clock()
    try:
        # Rounds of several loops take turns, also where none of their nodes waits.
        await anyio.lowlevel.checkpoint()
        outcome = await isolated(copy_context(), item.execute())
    except BaseException:
        ctx.ended_round(index, clock() - began, item.trail)
        ctx.place.lineage.cut = ctx.trail
        raise
    ctx.previous_round = outcome.token
    ctx.ended_round(index, clock() - began, outcome.trail)
    if outcome.error is not None:
        if isinstance(outcome.error, BodyFailedError):
            outcome.error.trail = ctx.trail
        raise outcome.error
    return dict(outcome.record.outputs or {})
