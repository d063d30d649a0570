"""References: where a value will come from, and what is done to it on the way.

``PARENT["x"]`` and ``node["y"]`` are references. Operations on one are recorded, not
executed: ``PARENT["score"] * 2``, ``node["rows"][0].name``, ``ref.apply(fn)``. They are
replayed by :mod:`hush.model.replay` once the value is there. A reference knows its owner
only as an opaque object; it knows nothing of graphs, plans or event loops.

Recorded operators follow Python's data model. Python itself forces a few exceptions:
``bool(ref)``, ``in`` and iteration must return at once, so they raise with the remedy,
and ``ref >> target`` connects instead of shifting.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from hush.model.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("MISSING", "Missing", "Op", "Ref", "RefOwner", "as_ref", "reads_in", "references_in")


class Missing:
    """The type of :data:`MISSING`; tells an absent value from a None that was written."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the constant's name."""
        return "MISSING"

    def __reduce__(self) -> str:
        """Stay a singleton across pickling."""
        return "MISSING"


MISSING: Final = Missing()


class RefOwner(Protocol):
    """What a reference needs of the node (or PARENT) that it points to."""

    @property
    def ref_name(self) -> str:
        """The name to show in messages."""

    def connect(self, source: Ref, target: Ref) -> None:
        """Record that ``source`` feeds ``target``."""


@dataclass(frozen=True, slots=True)
class Op:
    """One recorded operation."""

    symbol: str
    """How it is written, for messages: ``+``, ``[...]``, ``.name``, ``()``, ``apply``."""
    function: Callable[..., Any]
    """Called with the value so far, then ``args`` and ``kwargs``."""
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Reflected:
    """An operation whose recorded side stands on the right; a class, so that it pickles."""

    function: Callable[[Any, Any], Any]

    def __call__(self, value: Any, other: Any) -> Any:
        return self.function(other, value)


def _invert(value: Any) -> Any:
    # ~True is -2, which is true: on truth values "not" is what was meant.
    return not value if isinstance(value, bool) else ~value


def _call(value: Any, *args: Any, **kwargs: Any) -> Any:
    return value(*args, **kwargs)


def _apply(value: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(value, *args, **kwargs)


OR_DEFAULT: Final = ".or_default(...)"
"""Symbol of the operation that stands for an absent value."""


def _or_default(value: Any, default: Any) -> Any:
    return default if value is MISSING else value


class Ref:
    """A value that will exist when the graph runs; immutable.

    Use ``ref.or_default(x)`` where the source may be skipped or absent and
    ``ref.apply(fn)`` for anything that no operator says.
    """

    __slots__ = ("_key", "_ops", "_owner")

    def __init__(
        self,
        owner: RefOwner,
        key: str,
        ops: tuple[Op, ...] = (),
    ) -> None:
        """Point to ``key`` of ``owner``.

        Args:
            owner: a node, or PARENT.
            key: name of the output (of a node) or of the value (of PARENT).
            ops: operations recorded so far, first one first.
        """
        self._owner = owner
        self._key = key
        self._ops = ops

    # --- recording -------------------------------------------------------------------

    def _record(self, symbol: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Ref:
        op = Op(symbol, function, args, tuple(kwargs.items()))
        return Ref(self._owner, self._key, (*self._ops, op))

    def apply(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Ref:
        """Record ``function(value, *args, **kwargs)``.

        Args:
            function: a plain callable; it runs on the event loop, so keep it short.
            *args: further positional arguments; references among them are resolved.
            **kwargs: keyword arguments likewise.

        Returns:
            A new reference.
        """
        return self._record("apply", _apply, function, *args, **kwargs)

    def or_default(self, default: Any) -> Ref:
        """Give the value to use when the source was skipped or never written.

        It stands for all that was recorded before; what is recorded after applies to it.

        Args:
            default: any value; None is a value like any other.

        Returns:
            A new reference.
        """
        return self._record(OR_DEFAULT, _or_default, default)

    def __getitem__(self, item: Any) -> Ref:
        return self._record("[...]", operator.getitem, item)

    def __getattr__(self, name: str) -> Ref:
        # Dunders are asked for by copy, pickle, inspect and many others; answering
        # them with a reference would break each in its own way.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._record(f".{name}", getattr, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Ref:
        """Record a call of the value."""
        return self._record("()", _call, *args, **kwargs)

    def __rshift__(self, target: object) -> Ref:
        """Feed this value to ``PARENT[...]``, ``node[...]`` or a list of them."""
        targets = target if isinstance(target, (list, tuple)) else (target,)
        for one in targets:
            destination = as_ref(one, self._key)
            if destination is None:
                msg = (
                    f"{self!r} >> {shown(one)}: a value is fed to a reference such as "
                    f"PARENT['name'] or node['input']"
                )
                raise TypeError(msg)
            self._owner.connect(self, destination)
        return self

    # --- what Python does not let us record ---------------------------------------------

    def __bool__(self) -> NoReturn:
        msg = (
            f"{self!r} has no truth value while the graph is built. Use a BranchNode or "
            f"Branch(...).if_(...) to decide at run time, '&' and '|' to combine conditions, "
            f"and ref.apply(fn) for anything else"
        )
        raise TypeError(msg)

    def __iter__(self) -> NoReturn:
        msg = (
            f"{self!r} cannot be iterated while the graph is built. Map over it with "
            f"MapNode(inputs={{'item': Each({self!r})}}), or use ref.apply(list)"
        )
        raise TypeError(msg)

    def __contains__(self, item: object) -> NoReturn:
        msg = f"'in' cannot be recorded on {self!r}. Use ref.apply(lambda value: item in value)"
        raise TypeError(msg)

    def __hash__(self) -> int:
        # __eq__ records, so equality of references is identity.
        return id(self)

    def __repr__(self) -> str:
        """Return the reference as it was written, operations shortened."""
        text = f"{self._owner.ref_name}[{self._key!r}]"
        for op in self._ops:
            plain = op.symbol.startswith((".", "[", "("))
            text += op.symbol if plain else f".<{op.symbol}>"
        return text

    # --- operators ------------------------------------------------------------------------

    def __eq__(self, other: object) -> Ref:  # type: ignore[override]  # records, see the module
        return self._record("==", operator.eq, other)

    def __ne__(self, other: object) -> Ref:  # type: ignore[override]  # records, see the module
        return self._record("!=", operator.ne, other)

    def __lt__(self, other: Any) -> Ref:
        return self._record("<", operator.lt, other)

    def __le__(self, other: Any) -> Ref:
        return self._record("<=", operator.le, other)

    def __gt__(self, other: Any) -> Ref:
        return self._record(">", operator.gt, other)

    def __ge__(self, other: Any) -> Ref:
        return self._record(">=", operator.ge, other)

    def __add__(self, other: Any) -> Ref:
        return self._record("+", operator.add, other)

    def __radd__(self, other: Any) -> Ref:
        return self._record("+", _Reflected(operator.add), other)

    def __sub__(self, other: Any) -> Ref:
        return self._record("-", operator.sub, other)

    def __rsub__(self, other: Any) -> Ref:
        return self._record("-", _Reflected(operator.sub), other)

    def __mul__(self, other: Any) -> Ref:
        return self._record("*", operator.mul, other)

    def __rmul__(self, other: Any) -> Ref:
        return self._record("*", _Reflected(operator.mul), other)

    def __truediv__(self, other: Any) -> Ref:
        return self._record("/", operator.truediv, other)

    def __rtruediv__(self, other: Any) -> Ref:
        return self._record("/", _Reflected(operator.truediv), other)

    def __floordiv__(self, other: Any) -> Ref:
        return self._record("//", operator.floordiv, other)

    def __rfloordiv__(self, other: Any) -> Ref:
        return self._record("//", _Reflected(operator.floordiv), other)

    def __mod__(self, other: Any) -> Ref:
        return self._record("%", operator.mod, other)

    def __rmod__(self, other: Any) -> Ref:
        return self._record("%", _Reflected(operator.mod), other)

    def __pow__(self, other: Any) -> Ref:
        return self._record("**", operator.pow, other)

    def __rpow__(self, other: Any) -> Ref:
        return self._record("**", _Reflected(operator.pow), other)

    def __matmul__(self, other: Any) -> Ref:
        return self._record("@", operator.matmul, other)

    def __rmatmul__(self, other: Any) -> Ref:
        return self._record("@", _Reflected(operator.matmul), other)

    def __and__(self, other: Any) -> Ref:
        return self._record("&", operator.and_, other)

    def __rand__(self, other: Any) -> Ref:
        return self._record("&", _Reflected(operator.and_), other)

    def __or__(self, other: Any) -> Ref:
        return self._record("|", operator.or_, other)

    def __ror__(self, other: Any) -> Ref:
        return self._record("|", _Reflected(operator.or_), other)

    def __xor__(self, other: Any) -> Ref:
        return self._record("^", operator.xor, other)

    def __rxor__(self, other: Any) -> Ref:
        return self._record("^", _Reflected(operator.xor), other)

    def __neg__(self) -> Ref:
        return self._record("neg", operator.neg)

    def __pos__(self) -> Ref:
        return self._record("pos", operator.pos)

    def __abs__(self) -> Ref:
        return self._record("abs", abs)

    def __invert__(self) -> Ref:
        return self._record("~", _invert)


# Everything below reads a reference from outside. Public attributes on Ref itself would
# shadow the user's own: `ref.key` has to record an attribute access.


class RefParts(NamedTuple):  # it is made four times for each input of a graph
    """The inside of a reference."""

    owner: RefOwner
    key: str
    ops: tuple[Op, ...]

    @property
    def default(self) -> Any:
        """The last default that was given; MISSING where there is none."""
        return next((op.args[0] for op in reversed(self.ops) if op.symbol == OR_DEFAULT), MISSING)


def parts(ref: Ref) -> RefParts:
    """Return the inside of ``ref``.

    Args:
        ref: any reference.

    Returns:
        Owner, key and recorded operations.
    """
    read = object.__getattribute__
    return RefParts(read(ref, "_owner"), read(ref, "_key"), read(ref, "_ops"))


def as_ref(value: object, key: str) -> Ref | None:
    """Read a reference, or an owner standing for its value of the same name.

    Args:
        value: a reference, PARENT, a node, or anything else.
        key: the name to use where ``value`` is an owner.

    Returns:
        A reference, or None where ``value`` is neither.
    """
    if isinstance(value, Ref):
        return value
    if hasattr(type(value), "ref_name") and hasattr(type(value), "connect"):
        return Ref(value, key)  # type: ignore[arg-type]  # checked on the line above
    return None


def references_in(value: object) -> tuple[Ref, ...]:
    """Find the references in a value: itself, in plain containers, in operations' arguments.

    Args:
        value: an input as the user wrote it. Only exact dicts, lists and tuples are
            looked into; other containers are values.

    Returns:
        Every reference, outermost first.
    """
    return tuple(ref for ref, _ in reads_in(value))


def reads_in(value: object) -> tuple[tuple[Ref, bool], ...]:
    """Find the references in a value, and whether each has a default to stand for it.

    Args:
        value: as for :func:`references_in`.

    Returns:
        References, outermost first; a default covers all that was recorded before it,
        references among the arguments included.
    """
    if isinstance(value, Ref) and not parts(value).ops:
        return ((value, False),)  # as nearly all are
    found: list[tuple[Ref, bool]] = []
    pending: list[tuple[object, bool]] = [(value, False)]
    while pending:
        one, covered = pending.pop()
        if isinstance(one, Ref):
            ops = parts(one).ops
            last = max((i for i, op in enumerate(ops) if op.symbol == OR_DEFAULT), default=-1)
            found.append((one, covered or last >= 0))
            for i, op in enumerate(ops):
                inside = covered or i < last
                pending.extend((arg, inside) for arg in op.args)
                pending.extend((arg, inside) for _, arg in op.kwargs)
        elif type(one) is dict:
            pending.extend((item, covered) for item in one.values())
        elif type(one) in (list, tuple):
            pending.extend((item, covered) for item in one)  # type: ignore[attr-defined]  # exact list or tuple
    return tuple(found)
