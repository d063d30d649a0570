"""Definition: the hash of what a body does, the same in every process that holds the same code.

Structure, options and functions count: what a function does, its defaults, what it closes over
and the functions of its module that it names. Addresses, file names and line numbers do not,
nor the state of objects of which nothing is known: two processes that imported the same files
must come to the same hash.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import operator
import pathlib
import re
import types
import uuid
from typing import TYPE_CHECKING, Any, Final

from hush.model.edge import Edge, Marker, Parent, Soft
from hush.model.graph import Graph
from hush.model.node import Node
from hush.model.ref import MISSING, Ref, parts
from hush.runtime.remote.pickling import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("definition_digest",)

NO_PART: Final = frozenset(
    ("_code_flaws", "_flaws", "_named", "_shape", "_tokens", "edges", "executor", "nodes", "parent")
)
"""What a node holds that is not said by its user, or is told otherwise."""

VALUES: Final = (
    bytearray,
    dt.date,
    dt.time,
    dt.timedelta,
    dt.timezone,
    decimal.Decimal,
    fractions.Fraction,
    pathlib.PurePath,
    range,
    slice,
    uuid.UUID,
)
"""Kinds of objects that their text says whole, the same in every process."""
GETTERS: Final = (operator.attrgetter, operator.itemgetter, operator.methodcaller)


def definition_digest(root: Graph) -> str:
    """Return the hash of a body.

    Args:
        root: the node whose body it is.

    Returns:
        SHA-256 as hex digits.
    """
    return _Reader(root).of(root)


class _Reader:
    """Reads what a body is made of; whatever comes again is named by its number."""

    def __init__(self, root: Graph) -> None:
        self._root = root
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []
        """So that no address is used twice."""

    def of(self, value: Any) -> str:
        """Return the hash of anything."""
        if isinstance(value, Ref):
            return self._ref(value)
        if value is None or value is MISSING or isinstance(value, (bool, int, float, complex)):
            return _hashed("plain", type(value).__name__, repr(value))
        if isinstance(value, (str, bytes)):
            return _hashed("text", type(value).__name__, repr(value))
        if isinstance(value, (Parent, Marker)):
            return _hashed("marker", repr(value))
        if isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType)):
            return _hashed("name", _name_of(value))
        if isinstance(value, types.FunctionType) and _is_ours(value.__module__):
            return _hashed("name", _name_of(value))
        # Whether equal constants are one object, differs from process to process.
        if isinstance(value, (tuple, frozenset, types.CodeType)):
            return self._compound(value)
        number = self._numbers.get(id(value))
        if number is not None:
            return _hashed("again", str(number))
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        return self._compound(value)

    def _compound(self, value: Any) -> str:
        if isinstance(value, Node):
            return self._node(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.MethodType):
            return _hashed("method", self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, functools.partial):
            return _hashed("partial", *map(self.of, (value.func, value.args, dict(value.keywords))))
        if isinstance(value, dict):
            return _hashed("dict", *(f"{self.of(k)}{self.of(v)}" for k, v in value.items()))
        if isinstance(value, (list, tuple)):
            return _hashed(type(value).__name__, *map(self.of, value))
        if isinstance(value, (set, frozenset)):
            return _hashed("set", *sorted(map(_member, value)))
        if isinstance(value, VALUES):
            return _hashed("value", _name_of(type(value)), repr(value))
        if isinstance(value, GETTERS):
            return _hashed("getter", self.of(value.__reduce__()))
        if isinstance(value, Soft):
            return _hashed("soft", self.of(value.node))
        if isinstance(value, Edge):
            return _hashed("edge", *map(self.of, (value.source, value.target, value.soft)))
        if isinstance(value, enum.Enum):
            return _hashed("enum", _name_of(type(value)), value.name)
        if isinstance(value, re.Pattern):
            return _hashed("pattern", repr(value.pattern), str(value.flags))
        if dataclasses.is_dataclass(value):
            names = [one.name for one in dataclasses.fields(value)]
            inside = (f"{name}{self.of(getattr(value, name, None))}" for name in names)
            return _hashed("data", _name_of(type(value)), *inside)
        if _is_ours(type(value).__module__):
            return _hashed("ours", _name_of(type(value)), self.of(getattr(value, "__dict__", None)))
        # Its state may be of this process; that it is there is all that is known.
        return _hashed("object", _name_of(type(value)), self._call_of(value))

    def _call_of(self, value: Any) -> str:
        # The first is what functools.cache and its like hold.
        kinds = type(value).__mro__
        called = next((one.__dict__["__call__"] for one in kinds if "__call__" in vars(one)), None)
        for call in (getattr(value, "__wrapped__", None), called):
            if isinstance(call, types.FunctionType):
                return self.of(call)
        return ""

    def _node(self, node: Node) -> str:
        state = state_of(node, root=node is self._root)
        said = (f"{k}={self.of(v)}" for k, v in sorted(state.items()) if k not in NO_PART)
        inside: Iterable[str] = ()
        if isinstance(node, Graph):
            inside = [*map(self.of, node.nodes), *map(self.of, node.edges)]
        return _hashed("node", _name_of(type(node)), *said, *inside)

    def _ref(self, ref: Ref) -> str:
        inside = parts(ref)
        ops = (
            _hashed(op.symbol, self.of(op.function), self.of(op.args), self.of(op.kwargs))
            for op in inside.ops
        )
        return _hashed("ref", self.of(inside.owner), inside.key, *ops)

    def _function(self, function: types.FunctionType) -> str:
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(self.of(cell.cell_contents))
            except ValueError:
                cells.append("empty")
        code = function.__code__
        named = [
            f"{name}{self.of(helper)}"
            for name in sorted(_names_of(code))
            if isinstance(helper := function.__globals__.get(name), types.FunctionType)
            and helper.__globals__ is function.__globals__
        ]
        return _hashed(
            "function",
            self.of(code),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            *cells,
            *named,
        )

    def _code(self, code: types.CodeType) -> str:
        return _hashed(
            "code",
            code.co_code.hex(),
            repr((code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount)),
            repr((code.co_flags, code.co_names, code.co_varnames, code.co_freevars)),
            *map(self.of, code.co_consts),
        )


def _member(value: Any) -> str:
    """Return the hash of a set's member; the order of those cannot be told, so nor what is inside."""
    # A function's text has its address in it.
    said = _name_of(value) if callable(value) else repr(value)
    return _hashed(type(value).__name__, said)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.split(".", maxsplit=1)[0] == "hush"


def _names_of(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _names_of(const)
    return names


def _name_of(value: Any) -> str:
    module = getattr(value, "__module__", None)
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', '?'))}"


def _hashed(*said: str) -> str:
    digest = hashlib.sha256()
    for one in said:
        data = one.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
