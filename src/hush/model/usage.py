"""Usage: what calls to language models used, as plain numbers that add up."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Usage",)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of any number of calls.

    What served a result stands apart from what was wasted: calls that were cut off,
    cancelled, lost against a hedge, or answered something unusable.
    """

    calls: int = 0
    """HTTP calls, failed and cancelled ones included."""
    input_tokens: int = 0
    """Tokens of prompts, those that the server had cached included."""
    output_tokens: int = 0
    """Tokens that were generated, reasoning included."""
    cached_tokens: int = 0
    """Those of ``input_tokens`` that came from the server's cache."""
    reasoning_tokens: int = 0
    """Those of ``output_tokens`` that were reasoning."""
    wasted_tokens: int = 0
    """Tokens of calls that served nothing; not in the counts above."""
    cost_usd: float | None = None
    """What the calls cost, wasted ones left out; None where no price is known."""
    wasted_usd: float | None = None
    """What the wasted tokens cost."""
    complete: bool = True
    """Whether every number is the server's own; False where a call broke off or the
    server reported none, so that something is estimated or left out."""

    @property
    def total_tokens(self) -> int:
        """Input and output, what was wasted left out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Return the sum."""
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.wasted_tokens + other.wasted_tokens,
            _sum(self.cost_usd, other.cost_usd),
            _sum(self.wasted_usd, other.wasted_usd),
            self.complete and other.complete,
        )


def _sum(one: float | None, other: float | None) -> float | None:
    if one is None:
        return other
    return one if other is None else one + other
