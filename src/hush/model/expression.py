"""Expressions: conditions written as text, compiled to closures over a whitelist.

Python's own parser reads the text, and every piece of its syntax tree that is not known
here is refused; nothing is ever handed to ``eval``. What is known does what Python does,
with bounds: on the text's length and nesting, on integers (4,096 bits), and on what ``*``,
``**`` and ``%`` may be applied to (numbers, so that neither strings nor lists grow).
Parts without names are computed when the expression is compiled, so that most mistakes
show when the graph is built.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hush.model import bounded

__all__ = ("Expression", "ExpressionError", "compile_expression")

TEXT_LIMIT: Final = 4_096
"""Longest expression, in characters."""
DEPTH_LIMIT: Final = 50
"""Deepest nesting of parts; far below what Python's own parser bears."""

Values = Mapping[str, Any]
Evaluate = Callable[[Values], Any]

KNOWN = (
    "names, literals, lists and tuples, comparisons, in, is, and, or, not, + - * / // % **, "
    "subscripts, len(x), and .lower() .upper() .strip() .startswith() .endswith() of strings"
)


class ExpressionError(ValueError):
    """A text is no expression that a condition may hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A compiled condition."""

    source: str
    """The text."""
    names: frozenset[str]
    """The names that it reads."""
    evaluate: Evaluate
    """Takes the values by name, returns the result; raises what the operations raise."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the text, which is compiled again."""
        return compile_expression, (self.source,)


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled piece of an expression."""

    evaluate: Evaluate
    constant: bool


def compile_expression(source: str) -> Expression:
    """Compile a condition.

    Args:
        source: a Python expression within the whitelist of the module's docstring.

    Returns:
        The expression.

    Raises:
        ExpressionError: it is too long, is no Python, uses something that is not on the
            list, or a part without names cannot be computed.
    """
    if len(source) > TEXT_LIMIT:
        raise ExpressionError(f"it has {len(source)} characters; at most {TEXT_LIMIT} are read")
    try:
        with warnings.catch_warnings():
            # "x is 'a'" makes Python's compiler warn; here it is an ordinary question.
            warnings.simplefilter("ignore")
            tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        said = getattr(error, "msg", None) or type(error).__name__
        raise ExpressionError(f"it cannot be read as an expression ({said})") from None
    names: set[str] = set()
    part = _compile(tree.body, names, 0)
    return Expression(source, frozenset(names), part.evaluate)


def _compile(node: ast.expr, names: set[str], depth: int) -> _Part:
    if depth > DEPTH_LIMIT:
        raise ExpressionError(f"it is nested more than {DEPTH_LIMIT} deep")
    make = _MAKERS.get(type(node))
    if make is None:
        raise ExpressionError(f"{_said(node)} is not allowed; known are {KNOWN}")
    part = make(node, names, depth + 1)
    if not part.constant or isinstance(node, ast.Constant):
        return part
    try:
        value = part.evaluate({})
    except Exception as error:
        raise ExpressionError(
            f"{_said(node)} cannot be computed: {type(error).__name__}: {error}"
        ) from error
    if isinstance(value, list):
        # A fresh one each time: whoever gets it may change it.
        return part
    return _Part(lambda _values: value, constant=True)


def _said(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        text = type(node).__name__
    return repr(text if len(text) <= 60 else text[:59] + "…")  # noqa: PLR2004  # fits a line


# --- the kinds of parts ----------------------------------------------------------------


def _constant(node: ast.Constant, _names: set[str], _depth: int) -> _Part:
    value = node.value
    if value is not None and type(value) not in {bool, int, float, str}:
        raise ExpressionError(f"the literal {_said(node)} is not allowed; known are {KNOWN}")
    if isinstance(value, int) and value.bit_length() > bounded.BITS_LIMIT:
        raise ExpressionError(
            f"an integer has {value.bit_length()} bits; at most {bounded.BITS_LIMIT}"
        )
    return _Part(lambda _values: value, constant=True)


def _name(node: ast.Name, names: set[str], _depth: int) -> _Part:
    name = node.id
    if name.startswith("__"):
        raise ExpressionError(f"the name {name!r} is not allowed")
    names.add(name)

    def read(values: Values) -> Any:
        try:
            return values[name]
        except KeyError:
            raise NameError(f"there is no value {name!r}") from None

    return _Part(read, constant=False)


def _sequence(node: ast.List | ast.Tuple, names: set[str], depth: int) -> _Part:
    parts = [_compile(one, names, depth) for one in node.elts]
    reads = [part.evaluate for part in parts]
    kind: type = list if isinstance(node, ast.List) else tuple
    return _Part(
        lambda values: kind([read(values) for read in reads]),
        constant=all(part.constant for part in parts),
    )


def _bool(node: ast.BoolOp, names: set[str], depth: int) -> _Part:
    parts = [_compile(one, names, depth) for one in node.values]
    reads = [part.evaluate for part in parts]
    ends_on = isinstance(node.op, ast.Or)

    def evaluate(values: Values) -> Any:
        result: Any = None
        for read in reads:
            result = read(values)
            if bool(result) is ends_on:
                return result
        return result

    return _Part(evaluate, constant=all(part.constant for part in parts))


def _unary(node: ast.UnaryOp, names: set[str], depth: int) -> _Part:
    function = _UNARY.get(type(node.op))
    if function is None:
        raise ExpressionError(f"{_said(node)} is not allowed; known are {KNOWN}")
    part = _compile(node.operand, names, depth)
    read = part.evaluate
    return _Part(lambda values: function(read(values)), constant=part.constant)


def _binary(node: ast.BinOp, names: set[str], depth: int) -> _Part:
    function = _BINARY.get(type(node.op))
    if function is None:
        raise ExpressionError(f"{_said(node)} is not allowed; known are {KNOWN}")
    left, right = _compile(node.left, names, depth), _compile(node.right, names, depth)
    first, second = left.evaluate, right.evaluate
    return _Part(
        lambda values: function(first(values), second(values)),
        constant=left.constant and right.constant,
    )


def _compare(node: ast.Compare, names: set[str], depth: int) -> _Part:
    parts = [_compile(one, names, depth) for one in (node.left, *node.comparators)]
    first, *others = [part.evaluate for part in parts]
    steps = [(_COMPARE[type(op)], read) for op, read in zip(node.ops, others, strict=True)]

    def evaluate(values: Values) -> Any:
        left = first(values)
        result: Any = True
        for function, read in steps:
            right = read(values)
            result = function(left, right)
            if not result:
                return result
            left = right
        return result

    return _Part(evaluate, constant=all(part.constant for part in parts))


def _subscript(node: ast.Subscript, names: set[str], depth: int) -> _Part:
    if isinstance(node.slice, ast.Slice):
        raise ExpressionError(f"the slice {_said(node)} is not allowed; known are {KNOWN}")
    value, key = _compile(node.value, names, depth), _compile(node.slice, names, depth)
    read, at = value.evaluate, key.evaluate
    return _Part(lambda values: read(values)[at(values)], constant=value.constant and key.constant)


def _call(node: ast.Call, names: set[str], depth: int) -> _Part:
    if node.keywords:
        raise ExpressionError(f"{_said(node)}: arguments by name are not allowed")
    function = node.func
    if isinstance(function, ast.Name) and function.id == "len" and len(node.args) == 1:
        return _method(len, node.args, names, depth)
    if isinstance(function, ast.Attribute) and function.attr in _METHODS:
        most = _METHODS[function.attr]
        if len(node.args) <= most:
            name = function.attr
            return _method(
                lambda text, *args: bounded.on_text(name, text, args),
                [function.value, *node.args],
                names,
                depth,
            )
    raise ExpressionError(f"the call {_said(node)} is not allowed; known are {KNOWN}")


def _method(
    function: Callable[..., Any], arguments: list[ast.expr], names: set[str], depth: int
) -> _Part:
    parts = [_compile(one, names, depth) for one in arguments]
    reads = [part.evaluate for part in parts]
    return _Part(
        lambda values: function(*[read(values) for read in reads]),
        constant=all(part.constant for part in parts),
    )


def _in(left: Any, right: Any) -> bool:
    return left in right


def _not_in(left: Any, right: Any) -> bool:
    return left not in right


_UNARY: Final[Mapping[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: bounded.plus,
    ast.Sub: bounded.minus,
    ast.Mult: bounded.times,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: bounded.modulo,
    ast.Pow: bounded.power,
}
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: _in,
    ast.NotIn: _not_in,
}
_METHODS: Final[Mapping[str, int]] = {
    "lower": 0,
    "upper": 0,
    "strip": 1,
    "startswith": 1,
    "endswith": 1,
}
"""Method of str to its most arguments."""
_MAKERS: Final[Mapping[type[ast.expr], Callable[[Any, set[str], int], _Part]]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.List: _sequence,
    ast.Tuple: _sequence,
    ast.BoolOp: _bool,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.Subscript: _subscript,
    ast.Call: _call,
}
