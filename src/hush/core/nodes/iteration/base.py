"""What maps and for loops share: ``Each`` inputs, policies of items, handled failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from hush.core.nodes.iteration.results import ERRORS, METRICS, ItemFailure, Results
from hush.model.contract import FanOut, Flaw
from hush.model.each import Each
from hush.model.graph import Graph
from hush.model.policies import budget_flaws, one_of, policy_flaws
from hush.model.retry import is_finite
from hush.model.shown import as_text, shown

if TYPE_CHECKING:
    from typing import Unpack

    from hush.model.contract import BodyOutputs, NodeContext
    from hush.model.executor import Executor
    from hush.model.options import Wiring
    from hush.model.retry import Retry

__all__ = ("Each", "ItemFailure", "ItemsNode")

CAPTURED = {"type", "message", "path"}
"""What the output ``error`` of a node with ``on_error="capture"`` tells."""


class ItemsNode(Graph):
    """A node whose body runs once for every item of its ``Each`` inputs."""

    max_concurrency: int = 1
    _carry = False

    def __init__(
        self,
        name: str | None = None,
        *,
        on_error: str = "raise",
        max_failures: float | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        key: Callable[[dict[str, Any]], Any] | None = None,
        failed_when: str | Callable[[Mapping[str, Any]], Any] | None = "error",
        span_budget: int | None = 1000,
        executor: Executor | None = None,
        **options: Unpack[Wiring],
    ) -> None:
        """Declare how items are run.

        Args:
            name: unique within the graph.
            on_error: ``raise`` cancels the rest and fails the node; ``collect`` goes on
                and lists the failures in the output ``errors``; ``capture`` fails the
                node as ``raise`` does and turns that into its output ``error``.
            max_failures: with ``collect``, how many failures (an integer) or which share
                of the items (a float from 0 to 1) is tolerated; None tolerates all. A
                share of an endless or unsized source is taken of the items seen, once
                20 were.
            retry: how a failed item is run again.
            timeout_s: limit of one attempt at one item, in seconds.
            deadline_s: limit of all attempts at one item together, in seconds.
            key: gives an item a name for spans and errors, from its inputs.
            failed_when: which item that raised nothing failed all the same: the name of
                an output that then is neither None nor False, or a callable on the
                outputs that returns a text or True; None for none.
            span_budget: how many items' spans are kept; None keeps all.
            executor: where items run; only of maps.
            **options: ``inputs``, ``outputs`` and ``join``, as for every node.
        """
        self.item_retry = retry
        self.item_timeout_s = timeout_s
        self.item_deadline_s = deadline_s
        self.max_failures = max_failures
        self.key = key
        self.failed_when = failed_when
        self.span_budget = span_budget
        super().__init__(name, executor=executor, on_error=on_error, **options)

    @property
    def collects(self) -> bool:
        """Whether failing items leave the others running."""
        return self.on_error == "collect"

    def _on_error_choices(self) -> tuple[str, ...]:
        return ("raise", "collect", "capture")

    def each_inputs(self) -> Mapping[str, Each]:
        """Return the inputs that are iterated."""
        return {name: value for name, value in self.inputs.items() if isinstance(value, Each)}

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Accept any name: a column where the body writes it, else whole items."""
        if body.names or body.open:
            return None
        return frozenset((ERRORS, METRICS))

    def star_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return the columns and ``iteration_metrics``."""
        return None if body.open else body.names | {METRICS}

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        yield from self._item_flaws()
        each = self.each_inputs()
        if not each:
            yield Flaw(
                "bad-source",
                f"{self.name!r} has no Each input",
                "Mark what to iterate: inputs={'item': Each(PARENT['items'])}",
            )
        for name, one in each.items():
            source = one.source
            if not one_of(one.run_in, ("loop", "thread")):
                said = f"Each(run_in={shown(one.run_in)})"
                yield Flaw("bad-source", said, "Give 'loop' or 'thread'")
            if isinstance(source, (Iterator,)) or hasattr(type(source), "__anext__"):
                yield Flaw(
                    "bad-source",
                    f"input {name!r} iterates over a {type(source).__name__}, which can be "
                    f"iterated only once while a graph runs many times",
                    "Give a list, or pass the iterator as an input of each run",
                )

    def _item_flaws(self) -> Iterator[Flaw]:
        limit = self.max_concurrency
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            yield Flaw("bad-policy", f"max_concurrency={shown(limit)}", "Give a positive integer")
        yield from policy_flaws(self.item_retry, self.item_timeout_s, self.item_deadline_s)
        if not _is_tolerance(self.max_failures):
            yield Flaw(
                "bad-policy",
                f"max_failures={shown(self.max_failures)}",
                "Give a number of items, a share from 0.0 to 1.0, or None",
            )
        if self.failed_when is not None and not (
            isinstance(self.failed_when, str) or callable(self.failed_when)
        ):
            yield Flaw(
                "bad-policy",
                f"failed_when={shown(self.failed_when)}",
                "Give an output's name, a callable, or None",
            )
        if self.key is not None and not callable(self.key):
            yield Flaw("bad-policy", f"key={shown(self.key)}", "Give a callable, or None")
        yield from budget_flaws(self.span_budget)

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Run the body for every item and gather what is read."""
        each = self.each_inputs()
        # What "capture" gives is the runtime's business, and no name for whole items.
        reads = ctx.reads - {"error"} if self.captures else ctx.reads
        results = Results(reads, ctx.body_outputs)
        await ctx.fan_out(
            FanOut(
                each={name: inputs[name] for name in each},
                each_in_thread=frozenset(n for n, one in each.items() if one.run_in == "thread"),
                broadcast={name: value for name, value in inputs.items() if name not in each},
                max_concurrency=self.max_concurrency,
                on_item=results.add,
                collect=self.collects,
                max_failures=self.max_failures,
                retry=self.item_retry,
                timeout_s=self.item_timeout_s,
                deadline_s=self.item_deadline_s,
                key=self.key,
                failed_when=self._handled_text(ctx.body_outputs),
                carry=self._carry,
                iterations=self._carry,
                span_budget=self.span_budget,
                reads=self._read_of(results.keeps),
            )
        )
        return results.outputs()

    def _read_of(self, kept: frozenset[str] | None) -> frozenset[str] | None:
        """Return which outputs of an item anything looks at; None where that may be any."""
        if kept is None or callable(self.failed_when):
            return None
        return kept if self.failed_when is None else kept | {self.failed_when}

    def _handled_text(self, body: BodyOutputs) -> Callable[[Mapping[str, Any]], str | None] | None:
        rule = self.failed_when
        if rule is None:
            return None
        if isinstance(rule, str) and rule not in body.names and not body.open:
            # Where nothing has the name, nothing has to be looked at.
            return None

        def text(outputs: Mapping[str, Any]) -> str | None:
            if not callable(rule):
                return _text_of_error(outputs.get(rule))
            said = rule(outputs)
            if isinstance(said, str):
                return said
            if said is None or said is False:
                return None
            return _text_of_error(outputs.get("error")) or "handled"

        return text


def _text_of_error(error: object) -> str | None:
    """Return the text of an item's ``error``; None where it is none."""
    if error is None or error is False:
        return None
    if isinstance(error, dict) and error.keys() == CAPTURED:
        # A node of the body captured its failure and the body writes that.
        return f"{as_text(error['type'])}: {as_text(error['message'])}"
    return as_text(error)


def _is_tolerance(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    if isinstance(value, int):
        return value >= 0
    return is_finite(value) and 0.0 <= float(value) <= 1.0
