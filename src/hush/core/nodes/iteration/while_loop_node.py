"""WhileLoopNode: the body runs until a condition ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.core.nodes.flow.condition import Condition
from hush.errors import ConditionError, LoopLimitError, text_of
from hush.model.contract import Flaw
from hush.model.edge import Parent
from hush.model.graph import Graph
from hush.model.policies import budget_flaws, one_of
from hush.model.ref import MISSING, parts, reads_in, references_in
from hush.model.replay import evaluate
from hush.model.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Unpack

    from hush.model.contract import BodyOutputs, NodeContext
    from hush.model.options import NodeOptions

__all__ = ("WhileLoopNode",)

GUARD = 1_000
"""Rounds after which a loop without ``max_iterations`` is taken for endless."""


class WhileLoopNode(Graph):
    """Repeats its body while ``condition`` holds, or until ``stop_condition`` does.

    What the body writes to PARENT is what the next round reads. ``condition`` is asked
    before every round, the first one included; ``stop_condition`` after every round, so
    that the body runs at least once. Outputs are the last round's values, ``iterations``
    (how many rounds) and ``exhausted`` (whether ``max_iterations`` ended the loop).
    """

    kind = "loop"

    def __init__(
        self,
        name: str | None = None,
        *,
        condition: Any = None,
        stop_condition: Any = None,
        max_iterations: int | None = None,
        on_max_iterations: str = "stop",
        span_budget: int | None = 1000,
        **options: Unpack[NodeOptions],
    ) -> None:
        """Declare a loop.

        Args:
            name: unique within the graph.
            condition: text, callable or reference over the loop's own values, where
                ``PARENT["x"]`` is the loop's x; exactly one of the two is given.
            stop_condition: likewise.
            max_iterations: most rounds; reaching it ends the loop normally. None sets
                a guard of 1,000 rounds that raises.
            on_max_iterations: ``stop``, or ``raise`` for a LoopLimitError.
            span_budget: how many rounds' spans are kept; None keeps all.
            **options: as for every node.
        """
        self.max_iterations = max_iterations
        self.on_max_iterations = on_max_iterations
        self.span_budget = span_budget
        self._given = (condition is not None, stop_condition is not None)
        self._until = stop_condition is not None
        source = stop_condition if self._until else condition
        self._condition = None if source is None else Condition(source)
        super().__init__(name, **options)

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        if sum(self._given) != 1:
            yield Flaw(
                "bad-condition",
                f"{self.name!r} has {'both' if all(self._given) else 'neither'} of condition= "
                f"and stop_condition=",
                "Give exactly one",
            )
        condition = self._condition
        if condition is not None:
            if condition.flaw is not None:
                yield condition.flaw
            elif condition.ref is not None:
                for ref in references_in(condition.ref):
                    if not isinstance(parts(ref).owner, Parent):
                        yield Flaw(
                            "bad-condition",
                            f"the condition reads {ref!r}",
                            "A loop's condition reads the loop's own values: PARENT['name']",
                        )
        limit = self.max_iterations
        if limit is not None and (
            not isinstance(limit, int) or isinstance(limit, bool) or limit < 1
        ):
            yield Flaw(
                "bad-policy", f"max_iterations={shown(limit)}", "Give a positive integer or None"
            )
        if not one_of(self.on_max_iterations, ("stop", "raise")):
            yield Flaw(
                "bad-policy",
                f"on_max_iterations={shown(self.on_max_iterations)}",
                "Give 'stop' or 'raise'",
            )
        yield from budget_flaws(self.span_budget)

    def carries(self) -> bool:
        """Say that rounds see what earlier ones wrote."""
        return True

    def body_reads(self, body: BodyOutputs) -> frozenset[str]:
        """Return the values that the condition needs from ``inputs=``."""
        condition = self._condition
        if condition is None:
            return frozenset()
        if condition.ref is not None:
            names = frozenset(
                parts(ref).key for ref, covered in reads_in(condition.ref) if not covered
            )
        else:
            names = condition.names
        if not self._until:
            return names
        return frozenset() if body.open else names - body.names

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return what the body writes, the loop's inputs, and how it ended."""
        if body.open or self.star_inputs:
            return None
        return body.names | frozenset(self.inputs) | {"iterations", "exhausted"}

    def own_outputs(self) -> Mapping[str, str]:
        """Return the outputs that tell how the loop ended, and what a node gives."""
        return {**super().own_outputs(), "iterations": "the loop", "exhausted": "the loop"}

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Repeat the body."""
        values = dict(inputs)
        limit = self.max_iterations or GUARD
        rounds = 0
        exhausted = False
        while self._until or self._holds(values, ctx):
            if rounds >= limit:
                exhausted = True
                break
            values.update(
                await ctx.run_iteration(
                    rounds, dict(values), at_most=limit, span_budget=self.span_budget
                )
            )
            rounds += 1
            if self._until and self._holds(values, ctx):
                break
        ctx.annotate(semconv.LOOP_ITERATIONS, rounds)
        ctx.annotate(semconv.LOOP_EXHAUSTED, exhausted)
        if exhausted:
            self._reached_limit(rounds, ctx)
        written = dict.fromkeys(ctx.body_outputs.names)
        return {**written, **values, "iterations": rounds, "exhausted": exhausted}

    def _reached_limit(self, rounds: int, ctx: NodeContext) -> None:
        assert self._condition is not None  # noqa: S101  # a loop without one does not compile
        how = "did not hold" if self._until else "still held"
        said = f"condition {self._condition.text!r} {how} after {rounds} rounds"
        if self.max_iterations is None:
            raise LoopLimitError(
                ctx.path, f"{said}. Give max_iterations= if more are meant, or mend the body"
            )
        if self.on_max_iterations == "raise":
            raise LoopLimitError(ctx.path, f"{said}, the limit that max_iterations= sets")
        ctx.warn("loop ended by max_iterations", rounds=rounds, condition=self._condition.text)

    def _holds(self, values: Mapping[str, Any], ctx: NodeContext) -> bool:
        condition = self._condition
        assert condition is not None  # noqa: S101  # a loop without one does not compile
        try:
            if condition.ref is None:
                return condition.evaluate(values)
            answer = evaluate(condition.ref, values)
            if answer is MISSING:
                known = ", ".join(sorted(values)) or "none"
                msg = f"a value it reads is missing; the loop has: {known}"
                raise LookupError(msg)  # noqa: TRY301  # reported as any fault of a condition
            return bool(answer)
        except Exception as error:
            raise ConditionError(
                ctx.path,
                f"condition {condition.text!r} raised {type(error).__name__}: {text_of(error)}. "
                f"Give its values a start in inputs=, or write them in the body",
            ) from error
