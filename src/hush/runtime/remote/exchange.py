"""Exchange: one call to a worker and its answer, measured."""

from __future__ import annotations

import math
from time import time_ns
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import anyio

from hush.errors import ExecutorError, PayloadError, WorkerLostError, text_of
from hush.runtime.remote.packing import pack_call, unpack_report
from hush.runtime.remote.passage import Passage

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from hush.model.executor import Executor
    from hush.runtime.remote.call import Call, CallReport
    from hush.runtime.remote.target import Target

__all__ = ("LOST_ATTEMPTS", "PATIENCE_S", "Answer", "backend", "enter", "exchange")

LOST_ATTEMPTS: Final = 3
"""How many workers an item may lose before that is the item's failure."""
PATIENCE_S = 10.0
"""For how long after a time limit an answer is waited for, in seconds: a worker may have to be
started, and load what the items need. Who has not answered by then, is taken for lost."""


class Answer(NamedTuple):
    """What came back."""

    report: CallReport
    passage: Passage
    size_bytes: int


async def enter(stack: AsyncExitStack, executor: Executor) -> None:
    """Make an executor ready until a stack is left.

    Args:
        stack: leaves it.
        executor: is entered.

    Raises:
        ExecutorError: it cannot be used.
    """
    try:
        await stack.enter_async_context(executor)
    except ExecutorError:
        raise
    except Exception as error:
        msg = f"the executor {executor.name!r} cannot be used: {type(error).__name__}: "
        msg += f"{text_of(error)}. Mend what it connects to, or name another one"
        raise ExecutorError(msg) from error


async def exchange(target: Target, call: Call, limit_s: float | None) -> Answer:
    """Send a call and wait for what comes back.

    Args:
        target: whom to ask.
        call: what for.
        limit_s: within which time the worker ends it by itself, in seconds; None where it has
            all the time.

    Raises:
        WorkerLostError: the worker died, or has not answered although its time is over.
        ExecutorError: the engine failed.
    """
    executor = target.executor
    patience_s = math.inf if limit_s is None else limit_s + PATIENCE_S
    payload = pack_call(call)
    answer: bytes | None = None
    sent_ns = time_ns()
    try:
        with anyio.move_on_after(patience_s):
            answer = await executor.call(target.function, payload)
    except ExecutorError:
        raise
    except Exception as error:
        msg = f"the executor {executor.name!r} raised {type(error).__name__}: {text_of(error)}. "
        msg += "This is a fault of the executor, not of the workflow"
        raise ExecutorError(msg) from error
    returned_ns = time_ns()
    if answer is None:
        msg = f"no answer within {patience_s:g} s, though its items may take {limit_s:g} s: the "
        msg += "worker hangs, or waited too long for its turn"
        raise WorkerLostError(msg)
    try:
        report = unpack_report(answer)
    except PayloadError as error:
        raise ExecutorError(error.message) from error
    if not _answers(report, call):
        msg = f"the executor {executor.name!r} brought the answer to another call"
        raise ExecutorError(msg)
    passage = Passage(sent_ns, report.received_ns, report.answered_ns, returned_ns)
    return Answer(report, passage, len(answer))


def _answers(report: CallReport, call: Call) -> bool:
    """Say whether a report tells of each of a call's items, and of these attempts."""
    if report.refused is not None:
        return True
    told = sorted((one.index, one.attempt) for one in report.items)
    return told == sorted((one.index, one.attempt) for one in call.items)


def backend() -> Literal["asyncio", "trio"]:
    """Return which event loop is running here; workers run one of the same kind."""
    module = anyio.get_cancelled_exc_class().__module__
    return "trio" if module.partition(".")[0] == "trio" else "asyncio"
