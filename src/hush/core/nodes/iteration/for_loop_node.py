"""ForLoopNode: the body runs for one item after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.core.nodes.iteration.base import ItemsNode

if TYPE_CHECKING:
    from typing import Unpack

    from hush.model.options import ItemsOptions

__all__ = ("ForLoopNode",)


class ForLoopNode(ItemsNode):
    """The sequential map: an iteration sees what the iterations before it wrote.

    A value that the body both reads and writes needs one for the first iteration, from
    ``inputs=``. Outputs are columns and whole items as those of a map.
    """

    kind = "loop"
    _carry = True

    def __init__(self, name: str | None = None, **options: Unpack[ItemsOptions]) -> None:
        """Declare a loop.

        Args:
            name: unique within the graph.
            **options: as for :class:`~hush.core.nodes.iteration.base.ItemsNode`.
        """
        super().__init__(name, **options)

    def carries(self) -> bool:
        """Say that iterations see what earlier ones wrote."""
        return True
