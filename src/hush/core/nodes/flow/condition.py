"""Conditions of branches and loops: strings, references and callables, made alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.model.contract import Flaw
from hush.model.expression import Expression, ExpressionError, compile_expression
from hush.model.ref import Ref
from hush.model.shown import shown
from hush.model.signature import CallShape, call_shape, is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("Condition",)

REMEDY = "Use what an expression may hold, or give a callable or a reference"


class Condition:
    """One condition.

    Attributes:
        text: how it is shown.
        names: values that it reads by name; empty for references.
        ref: the reference, where it is one.
        flaw: what is wrong with it, None where it is fine.
    """

    def __init__(self, source: Any) -> None:
        """Understand a condition.

        Args:
            source: an expression as text, a reference, or a callable whose parameters
                are names of values.
        """
        self.flaw: Flaw | None = None
        self.ref: Ref | None = None
        self.names: frozenset[str] = frozenset()
        self._expression: Expression | None = None
        self._function: Callable[..., Any] | None = None
        self._shape: CallShape | None = None
        self.text = source if isinstance(source, str) else shown(source)
        if isinstance(source, Ref):
            self.ref = source
        elif isinstance(source, str):
            try:
                self._expression = compile_expression(source)
            except ExpressionError as error:
                self.flaw = Flaw("bad-condition", f"condition {source[:80]!r}: {error}", REMEDY)
            else:
                self.names = self._expression.names
        elif callable(source):
            self._take_function(source)
        else:
            self.flaw = Flaw(
                "bad-condition",
                f"condition {self.text} is {type(source).__name__}",
                "Give an expression as text, a reference, or a callable",
            )

    def _take_function(self, function: Callable[..., Any]) -> None:
        if is_async(function):
            self.flaw = Flaw(
                "bad-condition",
                f"condition {shown(function)} is async",
                "Compute the value in a node and compare it here",
            )
        self.text = str(getattr(function, "__name__", self.text))
        self._function = function
        self._shape = call_shape(function)
        self.names = self._shape.parameters.required

    def evaluate(self, values: Mapping[str, Any]) -> bool:
        """Decide, for expressions and callables.

        Args:
            values: values by name.

        Returns:
            The truth value of the result.
        """
        if self._expression is not None:
            return bool(self._expression.evaluate(values))
        assert self._function is not None  # noqa: S101  # references are evaluated by the node
        assert self._shape is not None  # noqa: S101  # likewise
        parameters = self._shape.parameters
        taken = {name: value for name, value in values.items() if parameters.takes(name)}
        args, kwargs = self._shape.bind(taken)
        return bool(self._function(*args, **kwargs))
