"""Pickling: how a definition, a value and an error become bytes, and what each leaves behind.

cloudpickle does the work: functions of scripts, notebooks, lambdas and closures travel by
value, those of modules that can be imported by name. Pickles are code: whoever unpickles what
came from elsewhere runs what is in it.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import operator
import pickle
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

import cloudpickle  # type: ignore[import-untyped]  # it has no types

from hush.model.edge import PARENT
from hush.model.graph import Graph
from hush.model.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = (
    "PROTOCOL",
    "BodyPickler",
    "Pickler",
    "dumps",
    "dumps_body",
    "dumps_part",
    "loads",
    "nodes_in",
)

PROTOCOL: Final = pickle.HIGHEST_PROTOCOL

OUTSIDE: Final[dict[str, Any]] = {
    "failed_when": None,
    "item_deadline_s": None,
    "item_retry": None,
    "item_timeout_s": None,
    "join": None,
    "key": None,
    "on_error": "raise",
    "parent": None,
    "retry": None,
    "timeout_s": None,
    "deadline_s": None,
    "output_maps": [],
    "star_output": False,
}
"""What the node around a body says of its surroundings and of its items: the driver's business."""


class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
    """Pickles as cloudpickle does, and decorated functions of modules by name."""

    def reducer_override(self, obj: Any) -> Any:
        """Say how an object is pickled, where that is not as usual."""
        if type(obj) is FunctionType:
            name = _wrapped_name(obj)
            if name is not None:
                return _unwrapped, name
        elif isinstance(obj, BaseException) and _by_tblib(type(obj)):
            # Importing distributed installs that for the whole process. It leaves out what an
            # exception's constructor was given, such as the code of a SystemExit.
            return obj.__reduce_ex__(PROTOCOL)
        return super().reducer_override(obj)


class BodyPickler(Pickler):
    """Pickles a body without what is around it.

    Its nodes know the node that contains them, that one its surroundings, and so all the
    workflow; and nodes in it may name engines.
    """

    def __init__(self, file: io.BytesIO, root: Graph, *, apart: bool = False) -> None:
        """Prepare to pickle.

        Args:
            file: takes the bytes.
            root: the node whose body travels.
            apart: whether nodes are left out, to see whether what they hold travels.
        """
        super().__init__(file, protocol=PROTOCOL)
        self._apart = apart
        self._root = root
        self._inside = {id(node) for node in nodes_in(root)}
        self._top = _top_of(root)

    def reducer_override(self, obj: Any) -> Any:
        """Say how an object is pickled, where that is not as usual."""
        if not isinstance(obj, Node):
            return super().reducer_override(obj)
        if self._apart:
            return str, (obj.name,)
        if id(obj) not in self._inside and _top_of(obj) is self._top:
            msg = f"node {obj.name!r}, which is not in the body"
            raise pickle.PicklingError(msg)
        state = state_of(obj, root=obj is self._root)
        return copyreg.__newobj__, (type(obj),), state  # type: ignore[attr-defined]  # it is there, and pickle's own


def state_of(node: Node, *, root: bool) -> dict[str, Any]:
    """Return what travels of a node.

    Args:
        node: of a body, or the node that contains it.
        root: whether it is the latter.
    """
    state = dict(vars(node))
    if "executor" in state:
        # In a worker there is none: all that is in a body runs there.
        state["executor"] = None
    if isinstance(node, Graph):
        state["_tokens"] = []
    if root:
        state |= {name: value for name, value in OUTSIDE.items() if name in state}
        # Names are what its body is compiled with; where they come from is known outside.
        state["inputs"] = dict.fromkeys(node.inputs)
        state["star_inputs"] = [PARENT] if node.star_inputs else []
    return state


def nodes_in(graph: Graph) -> Iterator[Node]:
    """Yield a graph and all nodes in it, however deep."""
    pending: list[Node] = [graph]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Graph):
            pending.extend(reversed(node.nodes))


def _top_of(node: Node) -> Node:
    while node.parent is not None:
        node = node.parent
    return node


def dumps(value: object) -> bytes:
    """Pickle a value.

    Args:
        value: anything.

    Raises:
        Exception: it cannot be pickled; whatever its own methods raise.
    """
    file = io.BytesIO()
    Pickler(file, protocol=PROTOCOL).dump(value)
    return file.getvalue()


def dumps_body(root: Graph) -> bytes:
    """Pickle a body.

    Args:
        root: the node whose body it is.

    Raises:
        Exception: it cannot be pickled.
    """
    file = io.BytesIO()
    BodyPickler(file, root).dump(root)
    return file.getvalue()


def dumps_part(root: Graph, part: object) -> bytes:
    """Pickle something that a node of a body holds, other nodes left out.

    Args:
        root: the node whose body it is.
        part: anything.

    Raises:
        Exception: it cannot be pickled.
    """
    file = io.BytesIO()
    BodyPickler(file, root, apart=True).dump(part)
    return file.getvalue()


def loads(data: bytes) -> Any:
    """Unpickle; runs what is in it."""
    return pickle.loads(data)  # noqa: S301  # between a driver and its workers, see SECURITY.md


def _by_tblib(kind: type) -> bool:
    how = copyreg.dispatch_table.get(kind)
    return how is not None and str(getattr(how, "__module__", "")).startswith("tblib")


def _wrapped_name(function: FunctionType) -> tuple[str, str] | None:
    """Return module and name of a function that its module holds in a decorator's result only."""
    module, name = function.__module__, function.__qualname__
    if not module or module == "__main__" or "<" in name or module not in sys.modules:
        return None
    by_value = cloudpickle.list_registry_pickle_by_value()
    if any(module == one or module.startswith(f"{one}.") for one in by_value):
        return None
    try:
        holder = operator.attrgetter(name)(sys.modules[module])
    except AttributeError:
        return None
    if holder is function or getattr(holder, "__wrapped__", None) is not function:
        return None
    return module, name


def _unwrapped(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module)).__wrapped__
