"""MapNode: the body runs for every item, several at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.core.nodes.iteration.base import ItemsNode

if TYPE_CHECKING:
    from typing import Unpack

    from hush.model.executor import Executor
    from hush.model.options import ItemsOptions

__all__ = ("MapNode",)


class MapNode(ItemsNode):
    """Runs its body for every item of its ``Each`` inputs, at most so many at a time.

    Several ``Each`` are zipped and must have one length. Results are in the order of
    the items: an output that the body writes is the list of its values; any other name
    collects whole items (the bare value where the body writes exactly one output, else
    a dict). ``errors`` and ``iteration_metrics`` tell what went wrong and how long it
    took. Cancelling the run cancels the items that are running; no further one starts.
    """

    kind = "map"
    sendable = True

    def __init__(
        self,
        name: str | None = None,
        *,
        max_concurrency: int = 16,
        executor: Executor | None = None,
        **options: Unpack[ItemsOptions],
    ) -> None:
        """Declare a map.

        Args:
            name: unique within the graph.
            max_concurrency: most items that run at the same time; a positive integer.
            executor: where items run: one of :mod:`hush.executors`. None is where the
                engine says, for a map that is in no other one, and else here.
            **options: as for :class:`~hush.core.nodes.iteration.base.ItemsNode`.
        """
        self.max_concurrency = max_concurrency
        super().__init__(name, executor=executor, **options)
