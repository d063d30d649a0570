"""``Each``: marks the input of a map or a for loop that is iterated, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ("Each",)


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """One value of ``source`` per item; every other input is the same for all items.

    A source is any iterable or async iterable, also an endless one. It is pulled in
    index order and never ahead of the workers.
    """

    source: Any
    """A reference such as ``PARENT["items"]``, or a literal collection."""
    run_in: Literal["loop", "thread"] = "loop"
    """Where a sync iterator's ``next`` runs; ``thread`` for iterators that block."""
