"""Reference: a graph, and a node in it, by a name under which it can be imported."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hush.model.graph import Graph

if TYPE_CHECKING:
    from hush.model.node import Node

__all__ = ("find_graph",)


def find_graph(reference: str, path: str) -> Graph:
    """Return the node at a path of the graph that a reference names.

    Args:
        reference: ``module:attribute`` of the top graph, or of its Hush.
        path: of a map or graph in it.

    Raises:
        Exception: whatever importing the module raises.
        ValueError: it is no reference.
        TypeError: it leads to something else than a graph.
        LookupError: it leads to another graph, or that has no such node.
    """
    module, separator, attribute = reference.partition(":")
    if not (module and separator and attribute):
        msg = f"{reference!r} is no 'module:attribute'"
        raise ValueError(msg)
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    # An engine stands for its graph.
    at: Node = getattr(getattr(found, "plan", None), "graph", found)
    if not isinstance(at, Graph):
        msg = f"{reference!r} is {type(found).__name__}, expected a GraphNode or a Hush"
        raise TypeError(msg)
    top, *names = path.split(".")
    if at.name != top:
        msg = f"{reference!r} is the graph {at.name!r}, expected {top!r}"
        raise LookupError(msg)
    for name in names:
        inside = at.nodes if isinstance(at, Graph) else []
        one = next((node for node in inside if node.name == name), None)
        if one is None:
            msg = f"{reference!r} has no node {path!r}"
            raise LookupError(msg)
        at = one
    if not isinstance(at, Graph):
        msg = f"{path!r} in {reference!r} has no body"
        raise TypeError(msg)
    return at
