"""Ledger: what the work inside one container used of models and waited for shared limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("NOTHING", "Ledger")

MODEL_LIMIT = 256
"""Most models that are told apart; names may come from data, and their number has no bound."""

OTHERS = "(others)"

NOTHING = Usage()


class Ledger:
    """Sums of one container: a run, a graph, a map, an item, a node.

    Attributes:
        usage: of all calls.
        by_model: the same for each model that was asked for.
        waits: seconds waited for each limit, by its name.
    """

    __slots__ = ("by_model", "usage", "waits")

    def __init__(self) -> None:
        """Start at nothing."""
        self.usage = NOTHING
        self.by_model: dict[str, Usage] = {}
        self.waits: dict[str, float] = {}

    def book(self, usage: Usage, model: str) -> None:
        """Add what a call used."""
        self.usage += usage
        if model not in self.by_model and len(self.by_model) >= MODEL_LIMIT:
            model = OTHERS
        self.by_model[model] = self.by_model.get(model, NOTHING) + usage

    def waited(self, limiter: str, seconds: float) -> None:
        """Add a wait."""
        self.waits[limiter] = self.waits.get(limiter, 0.0) + seconds

    @property
    def waited_s(self) -> float:
        """Seconds waited for limits; waits at the same time count one by one."""
        return sum(self.waits.values())

    def facts(self) -> Iterator[tuple[str, Any]]:
        """Yield what a container's span says of it, by names of :mod:`hush.semconv`."""
        usage = self.usage
        if usage.calls:
            # A sum of nothing but unknown numbers is not zero.
            if usage.complete or usage.total_tokens:
                yield semconv.TOKENS_INPUT, usage.input_tokens
                yield semconv.TOKENS_OUTPUT, usage.output_tokens
            yield semconv.TOKENS_COMPLETE, usage.complete
            if usage.wasted_tokens:
                yield semconv.TOKENS_WASTED, usage.wasted_tokens
            yield semconv.COST_USD, usage.cost_usd
            yield semconv.WASTED_USD, usage.wasted_usd
        if self.waits:
            yield semconv.WAIT_LIMITER_S, self.waited_s
            yield semconv.WAIT_LIMITER, max(self.waits, key=self.waits.__getitem__)
