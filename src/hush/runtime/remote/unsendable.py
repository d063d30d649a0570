"""Unsendable: what of a body cannot be sent to a worker, each with the node that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hush.errors import Problem
from hush.model.graph import Graph
from hush.runtime.remote.pickling import dumps_part, nodes_in, state_of
from hush.runtime.remote.unpicklable import why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.model.node import Node

__all__ = ("REMEDY", "unsendable")

REMEDY: Final = (
    "Make it inside of the function, or once for each worker in a function under functools.cache; "
    "or let the workers import the graph: body='module:attribute'"
)
ASPECTS: Final = {
    "code_fn": "its function",
    "key": "its key=",
    "failed_when": "its failed_when=",
    "retry": "its retry=",
    "_condition": "its condition",
    "_cases": "its conditions",
    "_on_chunk": "its on_chunk=",
}
NO_PART: Final = frozenset(("_shape", "edges", "nodes", "parent"))
"""What a node holds that is told elsewhere, or says no more than its function does."""


def unsendable(graph: Graph, path: str) -> Iterator[Problem]:
    """Yield a problem for each thing that a body's nodes hold and that cannot be pickled.

    Args:
        graph: the node whose body it is.
        path: its path.
    """
    paths = _paths(graph, path)
    for node in nodes_in(graph):
        for aspect, value in _parts_of(node, root=node is graph):
            reason = why_not(value, lambda one: dumps_part(graph, one))
            if reason is not None:
                said = f"{aspect} {reason}, which cannot be sent to a worker"
                yield Problem("unpicklable", paths[id(node)], said, REMEDY)


def _parts_of(node: Node, *, root: bool) -> Iterator[tuple[str, Any]]:
    """Yield what travels of a node, each with what it is called."""
    for name, value in state_of(node, root=root).items():
        if name == "inputs":
            for one, source in value.items():
                yield f"its input {one!r}", source
        elif name not in NO_PART:
            yield ASPECTS.get(name, f"its {name.lstrip('_')}"), value


def _paths(graph: Graph, path: str) -> dict[int, str]:
    found = {id(graph): path}
    for node in nodes_in(graph):
        if isinstance(node, Graph):
            found |= {id(one): f"{found[id(node)]}.{one.name}" for one in node.nodes}
    return found
