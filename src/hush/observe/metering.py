"""Metering: durations, tokens and costs of calls to models, as OpenTelemetry metrics.

Uses the metrics API only, and needs no tracer. Names, units, labels and buckets are those
of the conventions for generative AI; what is measured of workflows stands in
:mod:`hush.observe.workflows`. Labels are low in cardinality: what comes from
outside (the model that a server says it is, the kinds of errors) is bounded, and there is
never an id or an index among them.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.observe.chats import ChatInstrument
from hush.observe.counted_elsewhere import COUNTED, unpack_points
from hush.observe.describing import error_type_of, value_of
from hush.observe.labels import Values
from hush.observe.settings import REDACTOR, settings
from hush.observe.workflow_meters import WorkflowMeters
from hush.observe.workflows import RunMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.metrics import Meter

    from hush.observe.chats import Listener
    from hush.runtime.instrument import Ending, Instrument, Observation, Scope

__all__ = ("MeteringInstrument", "Meters")

# From the conventions: docs/gen-ai/gen-ai-metrics.md of semantic-conventions-genai.
SECONDS: Final = tuple(0.01 * 2**i for i in range(14))
"""Buckets of durations: 0.01 to 81.92 s."""
TOKENS: Final = tuple(4**i for i in range(14))
"""Buckets of tokens: 1 to 67,108,864."""

MOST: Final = 2**53
"""Largest amount that is recorded; no call takes so long or uses so much."""
TOKEN_TYPES: Final = (
    (semconv.GEN_AI_USAGE_INPUT, "input"),
    (semconv.GEN_AI_USAGE_OUTPUT, "output"),
)

_LABELS: Final = (
    semconv.GEN_AI_OPERATION,
    semconv.GEN_AI_PROVIDER,
    semconv.GEN_AI_REQUEST_MODEL,
    semconv.SERVER_ADDRESS,
    semconv.SERVER_PORT,
)
_COST_LABELS: Final = (semconv.GEN_AI_PROVIDER, semconv.GEN_AI_REQUEST_MODEL)
_HEARD: Final = frozenset(
    (
        semconv.GEN_AI_RESPONSE_MODEL,
        semconv.GEN_AI_TIME_TO_FIRST_CHUNK,
        semconv.GEN_AI_USAGE_INPUT,
        semconv.GEN_AI_USAGE_OUTPUT,
        semconv.LLM_COST_USD,
    )
)


class Meters:
    """The metrics of one meter provider."""

    def __init__(self, meter: Meter) -> None:
        """Make the instruments.

        Args:
            meter: of any provider.
        """
        self.duration = meter.create_histogram(
            semconv.METRIC_GEN_AI_DURATION,
            unit="s",
            description="How long calls to models took",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.first_chunk = meter.create_histogram(
            semconv.METRIC_GEN_AI_TIME_TO_FIRST_CHUNK,
            unit="s",
            description="How long streamed calls to models took to the first chunk",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.tokens = meter.create_histogram(
            semconv.METRIC_GEN_AI_TOKENS,
            unit="{token}",
            description="Tokens that calls to models used",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self.cost = meter.create_counter(
            semconv.METRIC_LLM_COST,
            unit="{USD}",
            description="What calls to models cost, where prices are known",
        )
        self.models = Values(semconv.OTHER)
        self.workflows = WorkflowMeters(meter)
        self.errors = self.workflows.errors
        self._calls = {
            semconv.METRIC_GEN_AI_DURATION: self.duration.record,
            semconv.METRIC_GEN_AI_TIME_TO_FIRST_CHUNK: self.first_chunk.record,
            semconv.METRIC_GEN_AI_TOKENS: self.tokens.record,
            semconv.METRIC_LLM_COST: self.cost.add,
        }

    def replay(self, name: str, labels: Mapping[str, Any], amounts: Iterable[float]) -> None:
        """Count what was counted elsewhere by the same metric.

        Args:
            name: the metric's; what is not known here is left out.
            labels: as they were there; they are bounded here too.
            amounts: one after the other.
        """
        record = self._calls.get(name)
        if record is None:
            self.workflows.replay(name, labels, amounts)
            return
        bounded = dict(labels)
        if semconv.GEN_AI_RESPONSE_MODEL in bounded:
            model = bounded[semconv.GEN_AI_RESPONSE_MODEL]
            bounded[semconv.GEN_AI_RESPONSE_MODEL] = self.models.bounded(model)
        if semconv.ERROR_TYPE in bounded:
            bounded[semconv.ERROR_TYPE] = self.errors.bounded(bounded[semconv.ERROR_TYPE])
        for amount in amounts:
            record(amount, bounded)


class MeteringInstrument(ChatInstrument):
    """Measures one run, and the calls to models in it."""

    def __init__(
        self, inner: Instrument, meters: Meters, on_fault: Callable[[Exception], None]
    ) -> None:
        """Wrap an instrument.

        Args:
            inner: is told everything; must not raise.
            meters: take what is measured.
            on_fault: gets what goes wrong here.
        """
        super().__init__(inner, on_fault)
        self._meters = meters
        self._run = RunMetrics(meters.workflows, on_fault)

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Watch ``scope`` as the instrument inside does, and measure it."""
        manager = super().observe(scope)
        if scope.level == "chat":
            return manager
        try:
            return self._run.watch(manager, scope)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
            return manager

    def elsewhere(self) -> Mapping[str, Any]:
        """Return what the instrument inside does, and that workers are to count."""
        return {**self._inner.elsewhere(), REDACTOR: settings.redactor, COUNTED: True}

    def absorb(self, counted_elsewhere: bytes) -> None:
        """Count what was counted elsewhere."""
        try:
            for name, labels, amounts in unpack_points(counted_elsewhere):
                self._meters.replay(name, labels, amounts)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)

    def of_graph(self, name: str) -> None:
        """Take over the name of the graph of a run that goes on elsewhere.

        Args:
            name: the graph's.
        """
        self._run.of_graph(name)

    def _listener(self, scope: Scope) -> Listener:
        return _Measured(self._meters, scope.facts)


class _Measured:
    """The measurements of one call."""

    __slots__ = ("_began", "_facts", "_heard", "_meters")

    def __init__(self, meters: Meters, facts: Mapping[str, Any]) -> None:
        self._meters = meters
        self._facts = facts
        self._heard: dict[str, Any] = {}
        self._began = perf_counter()

    def hear(self, name: str, value: Any) -> Any:
        if name in _HEARD:
            self._heard[name] = value
        return value

    def close(self, ending: Ending) -> None:
        # While the span is current, so that exemplars point to it.
        took = perf_counter() - self._began
        meters = self._meters
        labels = self._labels(_LABELS)
        if semconv.GEN_AI_RESPONSE_MODEL in self._heard:
            model = self._heard[semconv.GEN_AI_RESPONSE_MODEL]
            labels[semconv.GEN_AI_RESPONSE_MODEL] = meters.models.bounded(model)
        error = error_type_of(ending)
        if ending.outcome == semconv.OUTCOME_CANCELLED:
            # No error on the span, but here a success would be the alternative: a hedge
            # that lost its race would count as an answer, and as a fast one.
            error = semconv.OUTCOME_CANCELLED
        failed = {} if error is None else {semconv.ERROR_TYPE: meters.errors.bounded(error)}
        meters.duration.record(took, labels | failed)
        first = self._amount(semconv.GEN_AI_TIME_TO_FIRST_CHUNK)
        if first is not None and self._facts.get(semconv.GEN_AI_STREAM):
            meters.first_chunk.record(first, labels)
        for name, kind in TOKEN_TYPES:
            count = self._amount(name)
            # Unknown is not zero: a call that was cut or cancelled has no count.
            if count is not None:
                meters.tokens.record(count, labels | {semconv.GEN_AI_TOKEN_TYPE: kind})
        cost = self._amount(semconv.LLM_COST_USD)
        if cost is not None:
            meters.cost.add(cost, self._labels(_COST_LABELS))

    def _labels(self, names: tuple[str, ...]) -> dict[str, Any]:
        facts = self._facts
        return {name: value_of(facts[name]) for name in names if facts.get(name) is not None}

    def _amount(self, name: str) -> float | None:
        """Return a number that can be recorded; None where there is none."""
        value = self._heard.get(name)
        # Neither NaN nor a number that makes every sum after it senseless.
        return value if isinstance(value, (int, float)) and 0 <= value <= MOST else None
