"""Graph: a node that contains nodes.

``with graph:`` collects the nodes made inside the block. The block is tracked in a
context variable, so graphs can be built in several tasks or threads at once.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from hush.model.contract import Parameters
from hush.model.node import Node

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, Unpack

    from hush.model.edge import Edge
    from hush.model.options import NodeOptions

__all__ = ("Graph", "current_graph")

_open_graph: ContextVar[Graph | None] = ContextVar("hush_open_graph", default=None)


def current_graph() -> Graph | None:
    """Return the graph whose ``with`` block is open here, None outside of all."""
    return _open_graph.get()


class Graph(Node):
    """A node with a body of nodes and edges; base of graphs, maps and loops."""

    kind = "graph"

    def __init__(self, name: str | None = None, **options: Unpack[NodeOptions]) -> None:
        """Start an empty graph.

        Args:
            name: unique within the containing graph.
            **options: as for :class:`~hush.model.node.Node`.
        """
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self._tokens: list[Token[Graph | None]] = []
        super().__init__(name, **options)

    def add_node(self, node: Node) -> None:
        """Add a node; called by the node's constructor."""
        self.nodes.append(node)

    def add_edge(self, edge: Edge) -> None:
        """Add an edge; called by ``>>``."""
        self.edges.append(edge)

    def __enter__(self) -> Self:
        """Open the block whose nodes belong to this graph."""
        self._tokens.append(_open_graph.set(self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the block."""
        _open_graph.reset(self._tokens.pop())

    def parameters(self) -> Parameters:
        """Take any input: what the body reads is checked with the body."""
        return Parameters(open=True)
