"""Replaying: what was recorded on references, done to the values once they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.model.ref import MISSING, OR_DEFAULT, Ref, parts, references_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("compile_value", "evaluate")


def compile_value(value: object, lookup: Callable[[Ref], Callable[[Any], Any]]) -> Any:
    """Turn an input as written into a function of the frame, or find that it is constant.

    Args:
        value: a literal, a reference, or a plain container with references in it.
        lookup: gives for a reference the function that reads its bare source from a
            frame and returns MISSING where there is none.

    Returns:
        A function of one frame that returns the value, or MISSING where a source is
        absent and has no default.
    """
    if isinstance(value, Ref):
        return _compile_ref(value, lookup)
    if not references_in(value):
        return lambda _frame: value
    if type(value) is dict:
        fields = [(key, compile_value(item, lookup)) for key, item in value.items()]

        def mapping(frame: Any) -> Any:
            result = {key: read(frame) for key, read in fields}
            return MISSING if any(item is MISSING for item in result.values()) else result

        return mapping
    items = [compile_value(item, lookup) for item in value]  # type: ignore[attr-defined]  # list or tuple: it holds references
    kind: type = type(value)

    def sequence(frame: Any) -> Any:
        result = [read(frame) for read in items]
        return MISSING if any(item is MISSING for item in result) else kind(result)

    return sequence


def _compile_ref(ref: Ref, lookup: Callable[[Ref], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    source = lookup(ref)
    ops = parts(ref).ops
    if not ops:
        return source
    steps = [
        (
            op.function,
            op.symbol == OR_DEFAULT,
            [compile_value(arg, lookup) for arg in op.args],
            [(name, compile_value(arg, lookup)) for name, arg in op.kwargs],
        )
        for op in ops
    ]

    def operated(frame: Any) -> Any:
        value = source(frame)
        for function, stands_in, args, kwargs in steps:
            if stands_in:
                if value is MISSING:
                    value = args[0](frame)
                continue
            if value is MISSING:
                continue
            arguments = [read(frame) for read in args]
            named = {name: read(frame) for name, read in kwargs}
            if any(item is MISSING for item in (*arguments, *named.values())):
                value = MISSING
            else:
                value = function(value, *arguments, **named)
        return value

    return operated


def evaluate(value: object, values: Mapping[str, Any]) -> Any:
    """Evaluate references to PARENT against plain values.

    Args:
        value: a reference whose sources are all PARENT, or a container of such.
        values: PARENT's values.

    Returns:
        The value, or MISSING.
    """

    def lookup(ref: Ref) -> Callable[[Any], Any]:
        key = parts(ref).key
        return lambda frame: frame.get(key, MISSING)

    return compile_value(value, lookup)(values)
