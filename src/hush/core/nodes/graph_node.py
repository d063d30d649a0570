"""GraphNode: a graph as users write it, at the top or inside another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.model.graph import Graph
from hush.plan.compile import compile_graph
from hush.plan.explain import explain
from hush.plan.mermaid import to_mermaid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.model.contract import BodyOutputs, NodeContext

__all__ = ("GraphNode",)


class GraphNode(Graph):
    """A graph of nodes.

    Nodes made inside ``with GraphNode(name=...) as graph:`` belong to it. A nested
    graph sees only its ``inputs``; what its nodes write to PARENT are its outputs.
    """

    kind = "graph"
    sendable = True

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return what the nodes of the graph write to PARENT."""
        return None if body.open else body.names

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Run the graph's nodes once."""
        return await ctx.run_body(inputs)

    def explain(self) -> str:
        """Return the compiled plan as text.

        Returns:
            One line a node, in the order in which nodes can start.

        Raises:
            GraphError: the graph has problems.
        """
        return explain(compile_graph(self))

    def to_mermaid(self) -> str:
        """Return the graph as a Mermaid flowchart.

        Returns:
            Mermaid source.

        Raises:
            GraphError: the graph has problems.
        """
        return to_mermaid(compile_graph(self))
