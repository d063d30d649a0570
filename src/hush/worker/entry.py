"""The entry to a worker: one function that takes a call and gives a report, both as bytes.

It may be called in a process's main thread or in another one, in several at once, and on
whichever engine. It raises nothing but what ends the process.
"""

from __future__ import annotations

import threading
from contextvars import Context
from time import process_time, time_ns
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hush.observe.watching import watching_of
from hush.runtime.failing import only_interrupt
from hush.runtime.remote.call import SCHEMA, CallReport
from hush.runtime.remote.faults import fault_of
from hush.runtime.remote.packing import pack_report, unpack_call
from hush.worker.bodies import plan_of
from hush.worker.chunk import Chunk
from hush.worker.identity import this_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.plan.plan import Plan
    from hush.providers.resources import Resources
    from hush.runtime.remote.call import Call

__all__ = ("run_call",)


def run_call(payload: bytes) -> bytes:
    """Run what a driver sent, in an event loop of its own.

    Args:
        payload: a :class:`~hush.runtime.remote.call.Call`, packed.

    Returns:
        A :class:`~hush.runtime.remote.call.CallReport`, packed. Whatever goes wrong is in it:
        errors of items, and why nothing was run.

    Raises:
        BaseException: only what nobody's code in the call raised: an interrupt from outside.
    """
    received_ns = time_ns()
    path = "hush"
    try:
        call = unpack_call(payload)
        path = call.path
        # What the thread that calls has in its context, is not the call's.
        report = _apart(lambda: Context().run(_run, call, received_ns))
    except Exception as error:  # noqa: BLE001  # told to the driver, which raises it
        report = _refused(error, path, received_ns)
    try:
        return pack_report(report)
    except Exception as error:  # noqa: BLE001  # likewise; memory may have run out
        return pack_report(_refused(error, path, received_ns))


def _refused(error: Exception, path: str, received_ns: int) -> CallReport:
    fault = fault_of(error, path)
    return CallReport(SCHEMA, this_worker(), received_ns, time_ns(), refused=fault)


def _run(call: Call, received_ns: int) -> CallReport:
    worker = this_worker()
    plan = plan_of(call.body, call.path)
    resources = _resources(call, plan)
    cpu_s = process_time()
    with watching_of(call, worker) as watching:
        chunk = Chunk(call, plan, resources, watching)
        try:
            anyio.run(chunk.run, backend=call.backend)
        except BaseException as error:
            # What a node raised is in its item's report, and the driver raises it again.
            if not chunk.interrupted:
                interrupt = None
                if isinstance(error, BaseExceptionGroup):
                    interrupt = only_interrupt(error)
                if interrupt is None:
                    raise
                raise interrupt from None
        reports = tuple(chunk.left_over())
        metrics = watching.metrics()
    cpu_s = process_time() - cpu_s
    return CallReport(SCHEMA, worker, received_ns, time_ns(), reports, metrics=metrics, cpu_s=cpu_s)


def _resources(call: Call, plan: Plan) -> Resources | None:
    """Return what the body's nodes name, resolved in this worker's environment."""
    if call.resources is None:
        return None
    from hush.providers.resources import Resources  # noqa: PLC0415  # it needs openai
    from hush.providers.travelling import hub_from  # noqa: PLC0415  # it needs pydantic and yaml

    return Resources(hub_from(call.resources), plan.resources)


def _in_a_loop() -> bool:
    try:
        anyio.lowlevel.current_token()
    except Exception:  # noqa: BLE001  # the class depends on anyio's version
        return False
    return True


def _apart(run: Callable[[], CallReport]) -> CallReport:
    """Call where no event loop is running."""
    # Not where the answer is handled: it would be the context of each exception of an item.
    if not _in_a_loop():
        return run()
    # The engine calls from a loop of its own, in which no other can run.
    done: list[Any] = []

    def work() -> None:
        try:
            done.append((run(), None))
        except BaseException as error:  # noqa: BLE001  # raised again by who waits
            done.append((None, error))

    thread = threading.Thread(target=work, name="hush call", daemon=True)
    thread.start()
    thread.join()
    report, error = done[0]
    if error is not None:
        raise error
    return report  # type: ignore[no-any-return]  # the one or the other
