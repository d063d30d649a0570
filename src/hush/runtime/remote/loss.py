"""Loss: what it means for an item that its worker was lost, in words that say what to do."""

from __future__ import annotations

from hush.errors import WorkerLostError, text_of

__all__ = ("loss_error",)


def loss_error(error: WorkerLostError, losses: int, *, idempotent: bool) -> WorkerLostError:
    """Return what an item fails with that is not tried again.

    Args:
        error: what is known of the last loss.
        losses: how many workers it has lost.
        idempotent: whether it might have been tried again.
    """
    said = text_of(error).rstrip(".")
    if idempotent:
        text = f"{said}. It has lost {losses} workers, and is not tried again. Look for what "
        text += "ends the process: memory, code that is not Python"
    else:
        text = f"{said}. What it was doing may have been done, and is not done again: a node of "
        text += "the body has idempotent=False"
    made = WorkerLostError(text)
    made.__cause__ = error
    return made
