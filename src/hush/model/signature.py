"""Signatures: what a callable takes and gives, from its signature and annotations.

Source text is never read. Where Python cannot tell (some builtins), anything goes.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from hush.model.contract import Parameters

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = (
    "CallShape",
    "DeclaredKeys",
    "call_shape",
    "declared_keys",
    "is_async",
    "is_generator",
    "is_lambda",
)


@dataclass(frozen=True, slots=True)
class CallShape:
    """How to call a callable with inputs by name."""

    parameters: Parameters
    positional: tuple[str, ...]
    """Names that can only be passed by position, in order."""
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Defaults of those of them that have one."""

    def bind(self, inputs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split inputs into positional and keyword arguments.

        Args:
            inputs: values by name.

        Returns:
            Arguments for the call.
        """
        if not self.positional:
            return (), inputs
        named = dict(inputs)
        # Up to the last one that was given, a default fills each gap.
        given = [i for i, name in enumerate(self.positional) if name in named]
        args = [
            named.pop(name) if name in named else self.defaults[name]
            for name in self.positional[: max(given, default=-1) + 1]
        ]
        return tuple(args), named


def call_shape(function: Callable[..., Any]) -> CallShape:
    """Read a callable's signature.

    Args:
        function: any callable.

    Returns:
        Its parameters; open where the signature cannot be read.
    """
    if type(function) is FunctionType and not function.__dict__:
        return _shape_of(function)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return CallShape(Parameters(open=True), ())
    required: set[str] = set()
    optional: set[str] = set()
    positional: list[str] = []
    defaults: dict[str, Any] = {}
    takes_any = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            continue
        else:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(name)
                if parameter.default is not parameter.empty:
                    defaults[name] = parameter.default
            (required if parameter.default is parameter.empty else optional).add(name)
    return CallShape(
        Parameters(frozenset(required), frozenset(optional), takes_any),
        tuple(positional),
        defaults,
    )


def _shape_of(function: FunctionType) -> CallShape:
    """Read a function that nobody has written on, for a tenth of what ``inspect`` takes."""
    code = function.__code__
    names, count = code.co_varnames, code.co_argcount
    given = function.__defaults__ or ()
    by_name = function.__kwdefaults__ or {}
    first = count - len(given)
    by_keyword = names[count : count + code.co_kwonlyargcount]
    positional = names[: code.co_posonlyargcount]
    return CallShape(
        Parameters(
            frozenset((*names[:first], *(name for name in by_keyword if name not in by_name))),
            frozenset((*names[first:count], *(name for name in by_keyword if name in by_name))),
            bool(code.co_flags & inspect.CO_VARKEYWORDS),
        ),
        positional,
        {names[i]: given[i - first] for i in range(first, len(positional))},
    )


@dataclass(frozen=True, slots=True)
class DeclaredKeys:
    """The outputs that a return annotation declares."""

    names: frozenset[str]
    required: frozenset[str]
    """Those that must be there."""


def declared_keys(function: Callable[..., Any]) -> DeclaredKeys | None:
    """Return the keys that a callable's return annotation declares.

    Args:
        function: any callable.

    Returns:
        All keys of a TypedDict or fields of a dataclass, and those of them that must be
        there; None for any other annotation and for one that cannot be resolved.
    """
    target = innermost(function)
    try:
        if type(target) is FunctionType and not _declares(target):
            return None  # as nearly all: to look at every parameter takes twice as long
        annotation = typing.get_type_hints(target).get("return")
        if typing.is_typeddict(annotation):
            hints = typing.get_type_hints(annotation, include_extras=True)
            return DeclaredKeys(frozenset(hints), _required_keys(annotation, hints))
    except Exception:  # noqa: BLE001  # resolving an annotation runs user text and may raise anything; without one the keys are known at run time
        return None
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        fields = frozenset(field.name for field in dataclasses.fields(annotation))
        return DeclaredKeys(fields, fields)
    return None


def _declares(function: FunctionType) -> bool:
    """Say whether a function's return annotation, by itself, is one that declares keys."""
    if "return" not in function.__annotations__:
        return False
    alone = _Annotated()
    alone.__annotations__ = {"return": function.__annotations__["return"]}
    alone.__type_params__ = getattr(function, "__type_params__", ())
    around = function.__globals__
    annotation = typing.get_type_hints(alone, globalns=around, localns=around)["return"]
    return typing.is_typeddict(annotation) or (
        isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
    )


class _Annotated:
    """Something with annotations."""

    __type_params__: Any


def _required_keys(kind: Any, hints: dict[str, Any]) -> frozenset[str]:
    # The class itself cannot look into annotations that are strings; resolved ones say it.
    required = set(kind.__required_keys__)
    for name, hint in hints.items():
        origin = typing.get_origin(hint)
        if origin is typing.NotRequired:
            required.discard(name)
        elif origin is typing.Required:
            required.add(name)
    return frozenset(required)


def innermost(function: Callable[..., Any]) -> Any:
    """Look through ``functools.partial`` and bound calls of callable objects.

    Args:
        function: any callable.

    Returns:
        The function in which the code is.
    """
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if inspect.isroutine(target) or inspect.isclass(target):
        return target
    call = getattr(type(target), "__call__", None)  # noqa: B004  # the method itself is wanted
    return call if inspect.isfunction(call) else target


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(innermost(function))


def is_generator(function: Callable[..., Any]) -> bool:
    """Say whether calling it gives a generator, of either kind."""
    target = innermost(function)
    return inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target)


def is_lambda(function: Callable[..., Any]) -> bool:
    """Say whether it is a lambda expression."""
    return getattr(innermost(function), "__name__", "") == "<lambda>"
