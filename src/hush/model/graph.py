"""Graph: a node that contains nodes.

``with graph:`` collects the nodes made inside the block. The block is tracked in a
context variable, so graphs can be built in several tasks or threads at once.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, ClassVar

from hush.model.contract import Flaw, Parameters
from hush.model.node import Node
from hush.model.policies import executor_flaws

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self, Unpack

    from hush.model.edge import Edge
    from hush.model.executor import Executor
    from hush.model.options import NodeOptions

__all__ = ("Graph", "current_graph")

_open_graph: ContextVar[Graph | None] = ContextVar("hush_open_graph", default=None)


def current_graph() -> Graph | None:
    """Return the graph whose ``with`` block is open here, None outside of all."""
    return _open_graph.get()


class Graph(Node):
    """A node with a body of nodes and edges; base of graphs, maps and loops."""

    kind = "graph"
    sendable: ClassVar[bool] = False
    """Whether it may be given an executor."""

    def __init__(
        self,
        name: str | None = None,
        *,
        executor: Executor | None = None,
        **options: Unpack[NodeOptions],
    ) -> None:
        """Start an empty graph.

        Args:
            name: unique within the containing graph.
            executor: where the body runs; None leaves that to what is around it.
            **options: as for :class:`~hush.model.node.Node`.
        """
        self.executor = executor
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

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        if self.executor is None:
            return
        if not self.sendable:
            yield Flaw(
                "bad-executor",
                f"executor= on a {self.kind}, whose rounds wait for each other",
                "Give it to a map or a GraphNode in its body",
            )
        else:
            yield from executor_flaws(self.executor)

    def parameters(self) -> Parameters:
        """Take any input: what the body reads is checked with the body."""
        return Parameters(open=True)
