"""Idempotency: which item's work this is, so that who does it twice can know.

What an item does to the world outside may be done again: by a retry, or because a worker was
lost after it had done half. Whoever is told the same key twice can tell.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ("idempotency_key", "item_key", "keep_key")

_KEY: ContextVar[tuple[str, str] | str | None] = ContextVar("hush_item_key", default=None)

keep_key = _KEY.set
"""Sets the key of what runs in the current context: itself, or run id and path of the item."""


def item_key(run_id: str, path: str) -> str:
    """Return the key of an item.

    Args:
        run_id: the run's id.
        path: of the item, or of the graph that runs elsewhere.
    """
    return f"{run_id}/{path}"


def idempotency_key() -> str | None:
    """Return a key that names the item whose work is being done now.

    To be asked in a node of a map's item or a loop's round, on the event loop or in a thread
    (not with ``run_in="process"``, nor in a ``key=``).

    Returns:
        ``run id/path of the item``, the same for each attempt at it, in this process and in
        workers, and for all nodes of the item; likewise for a graph that runs in a worker.
        None outside of these.
    """
    key = _KEY.get()
    return item_key(*key) if isinstance(key, tuple) else key
