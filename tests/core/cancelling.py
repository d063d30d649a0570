"""Cancelling a run after so many steps of the event loop, and what has to hold then."""

from __future__ import annotations

import anyio

from hush.core import Hush
from hush.core.result import RunResult
from hush.testing import Capture, capture_spans


async def cancelled_after(steps: int, engine: Hush) -> tuple[Capture, RunResult | None]:
    """Return the spans of the run, and its result where it was over before.

    No span is open, and those that there are make a sound tree.
    """
    with capture_spans() as captured:
        result = None
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def canceller():
                    for _ in range(steps):
                        await anyio.sleep(0)
                    scope.cancel()  # of this round

                group.start_soon(canceller)
                result = await engine.run()
                group.cancel_scope.cancel()
    assert captured.open_spans == ()
    if captured.spans:
        captured.tree.assert_sound()
    return captured, result
