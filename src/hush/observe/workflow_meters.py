"""Workflow meters: the instruments for runs, nodes, items and joins, and their label sets.

Uses the metrics API only, and says how something is recorded; when, is up to
:mod:`hush.observe.metering`. What is running now is not counted here: see
:mod:`hush.observe.metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.observe.labels import Names, Series, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import Counter, Histogram, Meter

__all__ = ("SECONDS", "Measure", "WorkflowMeters")

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
"""Buckets of durations: 1 ms to 10 min."""

GRAPH: Final = semconv.GRAPH_NAME
NODE: Final = (semconv.GRAPH_NAME, semconv.NODE_NAME)


class Measure:
    """One instrument with the label sets that it has had.

    Attributes:
        record: takes an amount and a label set.
    """

    __slots__ = ("_labels", "_series", "record")

    def __init__(self, instrument: Histogram | Counter, *labels: str) -> None:
        """Keep the instrument.

        Args:
            instrument: of any provider.
            *labels: names of its labels.
        """
        # By what the API promises, not by class: providers need not derive from it.
        record = getattr(instrument, "record", None)
        self.record: Callable[..., None] = instrument.add if record is None else record  # type: ignore[union-attr]  # has one of the two
        self._series = Series(*labels)
        self._labels = labels

    def replay(self, labels: Mapping[str, str], amounts: Iterable[float]) -> None:
        """Record amounts that were recorded elsewhere.

        Args:
            labels: the label set there.
            amounts: one after the other.
        """
        key = tuple(labels.get(name) for name in self._labels)
        for amount in amounts:
            self.take(amount, *key)

    def take(self, amount: float, *key: str | None) -> None:
        """Record an amount.

        Args:
            amount: not negative; what is, comes of a clock and counts as nothing.
            *key: values of the labels, None for one that does not apply.
        """
        self.record(max(amount, 0.0), self._series.of(*key))

    def labels(self, *key: str | None) -> dict[str, str]:
        """Return the label set of a key, for who records often; it must not be changed."""
        return self._series.of(*key)


class WorkflowMeters:
    """The metrics of workflows for one meter provider."""

    def __init__(self, meter: Meter) -> None:
        """Make the instruments.

        Args:
            meter: of any provider.
        """
        self.names = Names()
        self.errors = Values(semconv.OTHER_ERROR)
        self._by_name: dict[str, Measure] = {}

        def seconds(name: str, description: str, *labels: str) -> Measure:
            histogram = meter.create_histogram(
                name,
                unit="s",
                description=description,
                explicit_bucket_boundaries_advisory=SECONDS,
            )
            measure = self._by_name[name] = Measure(histogram, *labels)
            return measure

        def total(name: str, unit: str, description: str, *labels: str) -> Measure:
            counter = meter.create_counter(name, unit=unit, description=description)
            measure = self._by_name[name] = Measure(counter, *labels)
            return measure

        self.run = seconds(
            semconv.METRIC_RUN_DURATION,
            "How long runs took",
            GRAPH,
            semconv.OUTCOME,
            semconv.ERROR_TYPE,
        )
        self.partial = total(
            semconv.METRIC_RUN_PARTIAL_FAILURES,
            "{run}",
            "Runs in which something failed without failing the run",
            GRAPH,
            semconv.OUTCOME,
        )
        self.node = seconds(
            semconv.METRIC_NODE_DURATION,
            "How long nodes took, from the moment they were ready",
            *NODE,
            semconv.NODE_KIND,
            semconv.OUTCOME,
            semconv.ERROR_TYPE,
        )
        self.item = seconds(
            semconv.METRIC_ITEM_DURATION,
            "How long items of maps and rounds of loops held their slot",
            *NODE,
            semconv.OUTCOME,
        )
        self.item_wait = seconds(
            semconv.METRIC_ITEM_WAIT,
            "How long items waited for a slot and for their source",
            *NODE,
            semconv.OUTCOME,
        )
        self.maps = total(
            semconv.METRIC_MAPS,
            "{map}",
            "Maps that ended, by what held them back",
            *NODE,
            semconv.MAP_BOUND_BY,
        )
        self.spread = seconds(
            semconv.METRIC_FAN_IN_SPREAD,
            "How long after the first predecessor of a join the last one arrived",
            *NODE,
            semconv.OUTCOME,
        )
        self.releases = total(
            semconv.METRIC_FAN_IN_RELEASES,
            "{release}",
            "Joins that started, by the predecessor that arrived last",
            *NODE,
            semconv.FAN_IN_LAST,
        )
        self.lead = total(
            semconv.METRIC_FAN_IN_LEAD,
            "s",
            "How much earlier joins could have started without the predecessor that came last",
            *NODE,
            semconv.FAN_IN_LAST,
        )
        self.retries = total(
            semconv.METRIC_RETRIES,
            "{retry}",
            "Attempts that were made again",
            *NODE,
            semconv.NODE_KIND,
            semconv.ERROR_TYPE,
        )
        self.cancellations = total(
            semconv.METRIC_CANCELLATIONS,
            "{cancellation}",
            "Nodes, items and rounds that were cancelled",
            *NODE,
            semconv.NODE_KIND,
            semconv.CANCEL_REASON,
        )
        self.blocked = total(
            semconv.METRIC_LOOP_BLOCKED, "s", "How long nodes held up the event loop", *NODE
        )
        self.limiter_wait = total(
            semconv.METRIC_LIMITER_WAIT, "s", "How long nodes waited for shared limits", *NODE
        )
        self.tokens_wasted = total(
            semconv.METRIC_LLM_TOKENS_WASTED,
            "{token}",
            "Tokens of calls to models whose answers were not used",
            GRAPH,
        )
        self.cost_wasted = total(
            semconv.METRIC_LLM_COST_WASTED,
            "{USD}",
            "What calls to models cost whose answers were not used",
            GRAPH,
        )

    def replay(self, name: str, labels: Mapping[str, str], amounts: Iterable[float]) -> None:
        """Record what was recorded elsewhere; of metrics that are not known here, nothing.

        Args:
            name: the metric's.
            labels: the label set there.
            amounts: one after the other.
        """
        measure = self._by_name.get(name)
        if measure is not None:
            measure.replay(labels, amounts)
