"""What metrics of runs come to: a meter provider for a block, and what it has taken."""

from __future__ import annotations

from contextlib import contextmanager

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from hush.observe import metrics
from hush.observe.labels import Names
from hush.observe.tracing import override_meter_provider

SHORT = {
    "graph": "hush.graph.name",
    "node": "hush.node.name",
    "kind": "hush.node.kind",
    "outcome": "hush.outcome",
    "error": "error.type",
    "reason": "hush.cancel.reason",
    "last": "hush.fan_in.last",
    "bound_by": "hush.map.bound_by",
}


class Metrics:
    """Reads a provider's metrics, each time anew."""

    def __init__(self, reader):
        self._reader = reader

    def read(self):
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else []
        return {m.name: m for r in resources for s in r.scope_metrics for m in s.metrics}

    def points(self, name):
        metric = self.read().get(name)
        return list(metric.data.data_points) if metric else []

    def numbers(self, name, *labels, of=None):
        """Return counts of a histogram, values of others, by the values of labels.

        Args:
            name: the metric's.
            labels: short names of those to tell apart; over all others it is summed.
            of: labels that a point must have.
        """
        sums = {}
        for point in self.points(name):
            have = dict(point.attributes)
            if any(have.get(SHORT[key]) != value for key, value in (of or {}).items()):
                continue
            key = tuple(have.get(SHORT[label]) for label in labels)
            key = key[0] if len(key) == 1 else key
            sums[key] = sums.get(key, 0) + getattr(point, "count", getattr(point, "value", None))
        return sums

    def total(self, name, **of):
        return sum(self.numbers(name, of=of).values())

    def seconds(self, name, **of):
        """Return the sum of a histogram."""
        return sum(
            point.sum
            for point in self.points(name)
            if all(point.attributes.get(SHORT[key]) == value for key, value in of.items())
        )


@contextmanager
def measuring(*, gauges=False):
    """Measure the runs that are started in the block."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    # Those of the process are bounded, and other tests may have used them up.
    before = metrics._names, metrics._idle
    metrics._names, metrics._idle = Names(), {}
    if gauges:
        metrics.create_gauges(provider.get_meter("test"))
    try:
        with override_meter_provider(provider):
            yield Metrics(reader)
    finally:
        provider.shutdown()
        metrics._names, metrics._idle = before
