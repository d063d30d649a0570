"""Nodes that run their body several times."""

from hush.core.nodes.iteration.for_loop_node import ForLoopNode
from hush.core.nodes.iteration.map_node import MapNode
from hush.core.nodes.iteration.while_loop_node import WhileLoopNode

__all__ = ("ForLoopNode", "MapNode", "WhileLoopNode")
