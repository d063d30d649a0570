"""Unpicklable: finds what in an object cannot be pickled, and says it so that it can be found.

Looks only where pickling has failed: into closures, globals, containers and attributes, from
the outside in, to the innermost thing that fails by itself.
"""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hush.errors import text_of
from hush.model.ref import Ref, parts
from hush.runtime.remote.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("Dump", "why_not")

Dump = "Callable[[object], bytes]"

DEPTH: Final = 16
"""How far is looked inside."""
ENTRIES: Final = 1_000
"""How many entries of one container are looked at."""
TEXT: Final = 160


@dataclass(frozen=True, slots=True)
class _Part:
    """Something inside of an object."""

    said: str
    """How one gets there: ``.name``, ``['key']``, or a phrase for what is in a function."""
    value: Any


def why_not(value: object, dump: Callable[[object], bytes] = dumps) -> str | None:
    """Say what in a value cannot be pickled.

    Args:
        value: anything.
        dump: pickles, or raises.

    Returns:
        A phrase such as ``closes over 'lock', a _thread.lock``, or ``['a'].conn is a
        sqlite3.Connection``; None where it can be pickled.
    """
    error = _refused(value, dump)
    if error is None:
        return None
    steps: list[str] = []
    at, seen = value, {id(value)}
    while len(steps) < DEPTH:
        found = _culprit(at, seen, dump)
        if found is None:
            break
        part, error = found
        steps.append(part.said)
        at = part.value
        seen.add(id(at))
    return _told(steps, at, error)


def _culprit(
    value: object, seen: set[int], dump: Callable[[object], bytes]
) -> tuple[_Part, Exception] | None:
    for part in _parts(value):
        if id(part.value) in seen:
            continue
        error = _refused(part.value, dump)
        if error is not None:
            return part, error
    return None


def _refused(value: object, dump: Callable[[object], bytes]) -> Exception | None:
    try:
        dump(value)
    except Exception as error:  # noqa: BLE001  # whatever its own methods raise
        return error
    return None


def _told(steps: list[str], value: object, error: Exception) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    what = f"{article} {kind}"
    reason = text_of(error)
    # Where the class says it all, the reason does so again.
    if type(value).__name__ not in reason:
        what += f" ({reason[:TEXT]})"
    phrases = [i for i, step in enumerate(steps) if not step.startswith((".", "["))]
    if not steps:
        return f"is {what}"
    if not phrases:
        return f"{''.join(steps)} is {what}"
    last = phrases[-1]
    said = ", which ".join(
        "".join(steps[i:j]) if i != last else steps[i]
        for i, j in zip(phrases, [*phrases[1:], len(steps)], strict=True)
    )
    inside = "".join(steps[last + 1 :])
    head = "".join(steps[: phrases[0]])
    said = f"{head} {said}".strip()
    return f"{said}, {what}" if not inside else f"{said}, whose {inside} is {what}"


def _parts(value: Any) -> Iterator[_Part]:
    """Yield what is inside of an object, as far as pickling looks at it."""
    if isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, types.MethodType):
        yield _Part("is a method", value.__self__)
        yield _Part("calls the function", value.__func__)
    elif isinstance(value, functools.partial):
        yield _Part("is a partial of a function", value.func)
        for i, one in enumerate(value.args):
            yield _Part(f"is a partial with the argument {i}", one)
        for name, one in value.keywords.items():
            yield _Part(f"is a partial with the argument {name!r}", one)
    elif isinstance(value, Ref):
        # It answers to any attribute.
        for op in parts(value).ops:
            for one in (op.function, *op.args, *(arg for _, arg in op.kwargs)):
                yield _Part(f"has the operation {op.symbol}", one)
    elif isinstance(value, dict):
        for key, one in list(value.items())[:ENTRIES]:
            yield _Part("[a key]", key)
            yield _Part(f"[{_key(key)}]", one)
    elif isinstance(value, (list, tuple)):
        for i, one in enumerate(value[:ENTRIES]):
            yield _Part(f"[{i}]", one)
    elif isinstance(value, (set, frozenset)):
        for one in list(value)[:ENTRIES]:
            yield _Part("[a member]", one)
    elif not isinstance(value, (type, types.ModuleType)):
        yield from _of_object(value)


def _of_function(function: types.FunctionType) -> Iterator[_Part]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield _Part(f"closes over {name!r}", cell.cell_contents)
        except ValueError:
            continue  # an empty cell
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for name, one in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield _Part(f"has the default of {name!r}", one)
    for name, one in (function.__kwdefaults__ or {}).items():
        yield _Part(f"has the default of {name!r}", one)
    for name in _globals_of(function.__code__):
        if name in function.__globals__:
            yield _Part(f"reads the global {name!r}", function.__globals__[name])
    for name, one in vars(function).items():
        yield _Part(f"has the attribute {name!r}", one)


def _globals_of(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _globals_of(const)


def _of_object(value: Any) -> Iterator[_Part]:
    if isinstance(value, BaseException):
        for i, one in enumerate(value.args):
            yield _Part(f".args[{i}]", one)
    try:
        state = dict(vars(value))
    except TypeError:
        state = {}
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    for name in slots:
        try:
            state.setdefault(name, getattr(value, name))
        except Exception:  # noqa: BLE001, S112  # not set, or anybody's property
            continue
    for name, one in state.items():
        yield _Part(f".{name}", one)


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in {"__dict__", "__weakref__"})


def _key(key: object) -> str:
    try:
        return repr(key)[:TEXT]
    except Exception:  # noqa: BLE001  # a key may do as it likes
        return f"<{type(key).__name__}>"
