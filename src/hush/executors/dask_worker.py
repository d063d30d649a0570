"""What runs in Dask's workers: the call, if nobody has made it before.

Dask runs again what was on a worker that is gone, also what had been done and whose result
was lost. Each call is claimed at the scheduler before it is made (see
:mod:`hush.executors.dask_fence`); the second to come does nothing. Imported by workers.
"""

from __future__ import annotations

from typing import Final

from distributed import get_worker
from distributed.utils import sync

from hush.executors.dask_fence import CLAIM
from hush.executors.entry import LOST, answer

__all__ = ("perform",)

CLAIM_S: Final = 60.0
"""How long a busy scheduler may take to say whether a call may be made."""


def perform(key: str, reference: str, payload: bytes) -> bytes:
    """Make a call, once.

    Args:
        key: of Dask's task.
        reference: of the function.
        payload: what it gets.

    Returns:
        The answer.
    """
    worker = get_worker()
    try:
        claim = getattr(worker.scheduler, CLAIM)
        claimed = sync(worker.loop, claim, callback_timeout=CLAIM_S, key=key)
    except Exception as error:  # noqa: BLE001  # told to whoever waits
        return LOST + f"the scheduler could not be asked: {error!r}".encode()
    if not claimed:
        return LOST + b"a worker that had begun is gone, or the call was cancelled"
    return answer(reference, payload)
