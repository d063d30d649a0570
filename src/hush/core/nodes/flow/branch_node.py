"""BranchNode and Branch: which successors go on, decided while running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hush.core.nodes.flow.condition import Condition
from hush.errors import ConditionError, text_of
from hush.model.contract import Flaw, Parameters, Selection
from hush.model.edge import PARENT
from hush.model.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from hush.model.contract import BodyOutputs, NodeContext
    from hush.model.options import NodeOptions

__all__ = ("Branch", "BranchNode")

ANCHOR = "anchor"
"""Name of the input that overrides the conditions."""


class BranchNode(Node):
    """Selects one of its targets; the others are skipped.

    The first condition that holds wins. Without a match the default is selected, and
    without a default all targets are skipped. Successors that are no targets always
    run. The output ``selected`` is the target's name, or None.
    """

    kind = "branch"

    def __init__(
        self,
        name: str | None = None,
        cases: Mapping[Any, Any] | None = None,
        default: Any = None,
        **options: Unpack[NodeOptions],
    ) -> None:
        """Declare the cases.

        Args:
            name: unique within the graph.
            cases: condition to target, tried in order. A condition is an expression as
                text over the inputs, or a callable; a target is a node or its name.
            default: target where no condition holds; None for none.
            **options: as for every node. Names in conditions are inputs; without
                ``inputs=`` they are read from PARENT. An input ``anchor`` that names a
                target overrides the conditions.
        """
        self._cases: list[tuple[Condition, Any]] = []
        self._default = default
        self._names_inputs = options.get("inputs") is not None
        self._case_flaws: list[Flaw] = []
        if cases is not None and not isinstance(cases, Mapping):
            self._case_flaws.append(
                Flaw(
                    "bad-condition",
                    f"cases= is {type(cases).__name__}",
                    "Give a mapping from condition to target",
                )
            )
            cases = None
        super().__init__(name, **options)
        for condition, target in (cases or {}).items():
            self.add_case(condition, target)

    def add_case(self, condition: Any, target: Any) -> None:
        """Add a case behind the others.

        Args:
            condition: text, reference or callable.
            target: a node or its name.
        """
        compiled = Condition(condition)
        if compiled.flaw is not None:
            self._case_flaws.append(compiled.flaw)
        self._cases.append((compiled, target))
        for name in sorted(compiled.names):
            if name in self.inputs or self.star_inputs:
                continue
            if self._names_inputs:
                known = ", ".join(sorted(self.inputs)) or "none"
                self._case_flaws.append(
                    Flaw(
                        "bad-condition",
                        f"condition {compiled.text!r} uses {name!r}, which is no input; "
                        f"inputs: {known}",
                        f"Add inputs={{{name!r}: PARENT}} or mend the name",
                    )
                )
            else:
                self.inputs[name] = PARENT[name]

    def set_default(self, target: Any) -> None:
        """Set the target for when no condition holds."""
        self._default = target

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        yield from self._case_flaws
        if not self._cases and self._default is None:
            yield Flaw("bad-condition", "the branch has no cases", "Give cases= or .if_(...)")

    def parameters(self) -> Parameters:
        """Take whatever the conditions name, and ``anchor``."""
        return Parameters(open=True, optional=frozenset((ANCHOR,)))

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return ``selected``."""
        del body
        return frozenset(("selected",))

    def targets(self) -> tuple[Any, ...]:
        """Return the targets of all cases and the default."""
        targets = [target for _, target in self._cases]
        if self._default is not None:
            targets.append(self._default)
        return tuple(targets)

    def conditions(self) -> tuple[Any, ...]:
        """Return the references among the conditions."""
        return tuple(case.ref for case, _ in self._cases if case.ref is not None)

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Try the cases in order."""
        selected = self._anchored(inputs)
        if selected is None:
            selected = self._first_match(inputs, ctx)
        chosen = () if selected is None else (selected,)
        return Selection({"selected": selected}, chosen)

    def _anchored(self, inputs: Mapping[str, Any]) -> str | None:
        anchor = inputs.get(ANCHOR)
        names = {_name(target) for target in self.targets()}
        return anchor if isinstance(anchor, str) and anchor in names else None

    def _first_match(self, inputs: Mapping[str, Any], ctx: NodeContext) -> str | None:
        position = 0
        for condition, target in self._cases:
            try:
                if condition.ref is not None:
                    holds = bool(ctx.evaluate(position))
                    position += 1
                else:
                    holds = condition.evaluate(inputs)
            except Exception as error:
                raise ConditionError(
                    ctx.path,
                    f"condition {condition.text!r} raised {type(error).__name__}: "
                    f"{text_of(error)}. A condition must answer for every input; no later case was tried",
                ) from error
            if holds:
                return _name(target)
        return None if self._default is None else _name(self._default)


def _name(target: Any) -> str:
    return target if isinstance(target, str) else str(target.name)


class Branch(BranchNode):
    """A branch written fluently: ``Branch("router").if_(ref >= 90, a).otherwise(b)``."""

    def __init__(self, name: str | None = None, **options: Unpack[NodeOptions]) -> None:
        """Start without cases.

        Args:
            name: unique within the graph.
            **options: as for :class:`BranchNode`.
        """
        super().__init__(name, **options)

    def if_(self, condition: Any, target: Any) -> Branch:
        """Add a case.

        Args:
            condition: a reference such as ``PARENT["score"] >= 90``, an expression as
                text, or a callable whose parameters are names of PARENT's values.
            target: a node or its name.

        Returns:
            The branch itself.
        """
        self.add_case(condition, target)
        return self

    def otherwise(self, target: Any) -> Branch:
        """Set the target for when no condition holds.

        Args:
            target: a node or its name.

        Returns:
            The branch itself.
        """
        self.set_default(target)
        return self
