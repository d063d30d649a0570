"""What a run gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.errors import Failure
    from hush.model.usage import Usage
    from hush.runtime.state import Run, RunState

__all__ = ("RunResult",)

STATE = "$state"


class RunResult(dict[str, Any]):
    """The graph's outputs by name, plus ``"$state"``.

    Attributes:
        state: what the run recorded, also ``result["$state"]``.
        outcome: ``ok``; a run that failed raises instead.
        skipped: paths of the nodes that a branch or a lost race left out.
        failures: what failed without failing the run: captured, collected, handled and
            tolerated failures, in order; at most 10,000.
        failure_count: how many there were.
        usage: tokens and cost of all calls to language models.
        usage_by_model: the same for each model that was asked for.
    """

    __slots__ = ("failure_count", "failures", "outcome", "skipped", "state")

    def __init__(self, outputs: Mapping[str, Any], run: Run) -> None:
        """Take outputs and records.

        Args:
            outputs: the graph's outputs.
            run: the finished run.
        """
        super().__init__(outputs)
        self[STATE] = run.state
        self.state: RunState = run.state
        self.outcome = semconv.OUTCOME_OK
        self.skipped: tuple[str, ...] = tuple(run.skipped)
        self.failures: tuple[Failure, ...] = tuple(run.failures)
        self.failure_count = run.failure_count

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.state.run_id

    @property
    def trace_id(self) -> str | None:
        """The trace's id as 32 hex digits; None where the run was not traced."""
        return self.state.trace_id

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all calls to language models."""
        return self.state.usage

    @property
    def usage_by_model(self) -> dict[str, Usage]:
        """The same for each model that was asked for."""
        return self.state.usage_by_model

    def _repr_html_(self) -> str:
        """Return outputs and waterfall, which notebooks show."""
        from hush.core.notebook import html_of_result  # noqa: PLC0415  # only notebooks ask

        return html_of_result(self)

    @property
    def partial_failure(self) -> bool:
        """Whether anything failed without failing the run."""
        return self.failure_count > 0
