"""Edges and the markers START, END and PARENT.

``a >> b`` records that b waits for a; ``a >> ~b`` that b waits for a or another of its
soft predecessors. What stands on either side is only recorded here: whether it is a
node of the right graph is checked when the graph is compiled, so that all problems are
reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from hush.model.ref import Ref, as_ref, parts
from hush.model.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hush.model.node import Node

__all__ = ("END", "PARENT", "START", "Edge", "Marker", "NodeGroup", "Parent", "Soft", "link")


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """``target`` waits for ``source``."""

    source: Any
    """A node or START; anything else is reported when the graph is compiled."""
    target: Any
    """A node or END; anything else likewise."""
    soft: bool
    """Whether any one soft predecessor is enough."""


class Linkable:
    """What can stand on either side of ``>>``."""

    __slots__ = ()

    def __rshift__(self, target: Any) -> Any:
        """Let ``target`` wait for this."""
        return link(self, target)

    def __rrshift__(self, source: Any) -> Any:
        """Let this wait for ``source``, such as a list of nodes."""
        return link(source, self)


class Soft(Linkable):
    """``~node``: a target that any one of its soft predecessors releases."""

    __slots__ = ("node",)

    def __init__(self, node: Any) -> None:
        """Wrap a node or END.

        Args:
            node: what waits.
        """
        self.node = node

    def __repr__(self) -> str:
        """Return the wrapped node with its tilde."""
        return f"~{shown(self.node)}"


class NodeGroup(tuple[Any, ...], Linkable):  # noqa: SLOT001  # a tuple subclass with a slotted mixin cannot have slots
    """Several nodes on one side of ``>>``: a fan-out or a fan-in."""


class Marker(Linkable):
    """START or END of whichever graph it is used in."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        """Name the marker.

        Args:
            name: ``START`` or ``END``.
        """
        self._name = name

    def __invert__(self) -> Soft:
        """Return ``~END``; END waits for everything either way."""
        return Soft(self)

    def __repr__(self) -> str:
        """Return the marker's name."""
        return self._name

    def __reduce__(self) -> str:
        """Stay a singleton across pickling."""
        return self._name


class Parent:
    """PARENT: the values of the graph that contains the node which mentions it."""

    __slots__ = ()

    ref_name = "PARENT"

    def __getitem__(self, key: str) -> Ref:
        """Return a reference to one of the containing graph's values."""
        return Ref(self, require_key("PARENT", key))

    def connect(self, source: Ref, target: Ref) -> None:
        """Record ``PARENT["x"] >> node["y"]``.

        Args:
            source: a reference to PARENT.
            target: a reference to a node's input.

        Raises:
            TypeError: the target is PARENT itself, or has operations on it.
        """
        destination = require_plain(target)
        if isinstance(destination.owner, Parent):
            msg = f"{source!r} >> {target!r}: PARENT cannot feed PARENT; let a node do it"
            raise TypeError(msg)
        destination.owner.feed(destination.key, source)

    def __iter__(self) -> NoReturn:
        msg = "PARENT cannot be iterated; name the value: PARENT['name']"
        raise TypeError(msg)

    def __contains__(self, item: object) -> NoReturn:
        msg = "'in PARENT' cannot be recorded; use PARENT['name'].or_default(...)"
        raise TypeError(msg)

    def __repr__(self) -> str:
        """Return the marker's name."""
        return "PARENT"

    def __reduce__(self) -> str:
        """Stay a singleton across pickling."""
        return "PARENT"


START: Final = Marker("START")
END: Final = Marker("END")
PARENT: Final = Parent()


def require_key(owner: str, key: object) -> str:
    """Check the key of a reference.

    Args:
        owner: name of what is subscripted, for the message.
        key: what stands in the brackets.

    Returns:
        The key.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(key, str):
        msg = f"{owner}[{shown(key)}]: expected the name of a value, a string"
        raise TypeError(msg)
    return key


def require_plain(target: Ref) -> Any:
    """Check that a reference can be written to.

    Args:
        target: right-hand side of a ``>>``.

    Returns:
        The reference's parts.

    Raises:
        TypeError: operations were recorded on it.
    """
    inside = parts(target)
    if inside.ops:
        msg = f"cannot write to {target!r}: put the operations on the left of '>>'"
        raise TypeError(msg)
    return inside


def _each(side: Any) -> Iterable[Any]:
    return side if isinstance(side, (list, tuple)) else (side,)


def link(sources: Any, targets: Any) -> Any:
    """Record an edge from every source to every target.

    Args:
        sources: a node, START, or a list of such.
        targets: a node, END, a soft target ``~node``, or a list of such.

    Returns:
        The targets, so that ``a >> b >> c`` reads on.
    """
    from hush.model.graph import current_graph  # noqa: PLC0415  # graph.py builds on this module

    origins = [one.node if isinstance(one, Soft) else one for one in _each(sources)]
    ends = list(_each(targets))
    bare = [one.node if isinstance(one, Soft) else one for one in ends]
    owner = next(
        (parent for one in (*origins, *bare) if (parent := _parent(one)) is not None),
        current_graph(),
    )
    if owner is None:
        msg = (
            f"{shown(sources)} >> {shown(targets)}: neither side belongs to a graph. "
            f"Write it inside 'with GraphNode(...):'"
        )
        raise TypeError(msg)
    for origin in origins:
        for end, node in zip(ends, bare, strict=True):
            owner.add_edge(Edge(origin, node, soft=isinstance(end, Soft)))
    if isinstance(targets, (list, tuple)):
        return NodeGroup(ends)
    return targets


def _parent(one: Any) -> Any:
    # A reference answers to any attribute name, so it must not be asked.
    if isinstance(one, (Ref, Marker, Parent)) or as_ref(one, "") is None:
        return None
    node: Node = one
    return node.parent
