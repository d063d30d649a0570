"""Metrics of model calls: the convention's names, labels and buckets; with and without spans."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from hush import semconv
from hush.observe import tracing
from hush.observe.tracing import current_instrument, override_meter_provider, override_provider
from hush.runtime.instrument import NULL_INSTRUMENT, Ending, Guard, Scope
from hush.testing import capture_spans

FACTS = {
    semconv.GEN_AI_OPERATION: "chat",
    semconv.GEN_AI_PROVIDER: "openai",
    semconv.GEN_AI_REQUEST_MODEL: "m",
    semconv.SERVER_ADDRESS: "localhost",
    semconv.SERVER_PORT: 8080,
    semconv.LLM_RESOURCE: "llm",
    semconv.ATTEMPT: 3,
}
COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "m",
    "server.address": "localhost",
    "server.port": 8080,
}
DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
COST = "hush.llm.cost"


class Measured:
    """What one meter provider has taken."""

    def __init__(self, reader):
        self._reader = reader
        self._found = None

    def _read(self):
        # A reader may be asked once here: without calls in between it gives nothing.
        if self._found is None:
            data = self._reader.get_metrics_data()
            scopes = [s for r in data.resource_metrics for s in r.scope_metrics] if data else []
            self._found = {m.name: m for scope in scopes for m in scope.metrics}
        return self._found

    @property
    def names(self):
        return set(self._read())

    def unit(self, name):
        return self._read()[name].unit

    def points(self, name):
        metric = self._read().get(name)
        return list(metric.data.data_points) if metric else []

    def labels(self, name):
        return [dict(point.attributes) for point in self.points(name)]


@contextmanager
def measured():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with override_meter_provider(provider):
        yield Measured(reader)
    provider.shutdown()


def chat(facts=FACTS, ending=None, **heard):
    """Do as the runtime does with one call to a model."""
    names = {
        "model": semconv.GEN_AI_RESPONSE_MODEL,
        "sent": semconv.GEN_AI_USAGE_INPUT,
        "said": semconv.GEN_AI_USAGE_OUTPUT,
        "first": semconv.GEN_AI_TIME_TO_FIRST_CHUNK,
        "cost": semconv.LLM_COST_USD,
    }
    with current_instrument().observe(Scope("chat", "m", facts)) as seen:
        for name, value in heard.items():
            seen.annotate(names[name], value)
        if ending is not None:
            seen.end(ending)


STREAMED = FACTS | {semconv.GEN_AI_STREAM: True}


def test_a_call_is_measured_as_the_convention_says():
    with measured() as found:
        chat(STREAMED, model="m-1", sent=120, said=30, first=0.25, cost=0.002)
        chat(STREAMED, model="m-1", sent=80, said=0, first=0.5, cost=0.001)
        assert found.names == {DURATION, TOKENS, FIRST_CHUNK, COST}
        assert [found.unit(n) for n in (DURATION, TOKENS, FIRST_CHUNK, COST)] == [
            "s",
            "{token}",
            "s",
            "{USD}",
        ]
        labels = COMMON | {"gen_ai.response.model": "m-1"}
        assert found.labels(DURATION) == [labels]
        assert found.labels(FIRST_CHUNK) == [labels]
        sums = {dict(p.attributes)["gen_ai.token.type"]: p for p in found.points(TOKENS)}
        assert {kind: (p.count, p.sum) for kind, p in sums.items()} == {
            "input": (2, 200),
            "output": (2, 30),
        }
        assert found.labels(TOKENS) == [
            labels | {"gen_ai.token.type": "input"},
            labels | {"gen_ai.token.type": "output"},
        ]
        (cost,) = found.points(COST)
        assert cost.value == pytest.approx(0.003)
        assert found.labels(COST) == [
            {"gen_ai.request.model": "m", "gen_ai.provider.name": "openai"}
        ]


def test_buckets_are_the_conventions():
    seconds = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
    seconds += (1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
    tokens = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
    tokens += (262144, 1048576, 4194304, 16777216, 67108864)
    with measured() as found:
        chat(STREAMED, sent=1, said=1, first=0.1)
        assert found.points(DURATION)[0].explicit_bounds == seconds
        assert found.points(FIRST_CHUNK)[0].explicit_bounds == seconds
        assert found.points(TOKENS)[0].explicit_bounds == tokens


def test_unknown_is_not_zero():
    with measured() as found:
        chat(sent=None, said=None, first=None, cost=None)
        chat(sent=float("nan"), said=-1, cost="much")
        chat(sent=10**400, said=float("inf"))
        assert found.names == {DURATION}
        assert found.points(DURATION)[0].count == 3


def test_the_first_chunk_is_of_streams_only():
    with measured() as found:
        chat(first=0.1)
        chat(FACTS | {semconv.GEN_AI_STREAM: False}, first=0.1)
        assert found.names == {DURATION}


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (Ending("ok"), None),
        (Ending("error", ValueError("x"), raised_here=True), "ValueError"),
        (Ending("error", ValueError("x"), raised_here=True, error_type="429"), "429"),
        (Ending("timeout", TimeoutError("x"), error_type="timeout"), "timeout"),
        (Ending("timeout"), "timeout"),
        (Ending("handled", message="x"), "handled"),
        (Ending("cancelled", reason="race_lost"), "cancelled"),
    ],
)
def test_the_kind_of_error_is_a_label_of_the_duration_alone(ending, kind):
    with measured() as found:
        chat(ending=ending, sent=1, said=1)
        (labels,) = found.labels(DURATION)
        assert labels.get("error.type") == kind
        assert len(labels) == len(COMMON) + (kind is not None)
        assert all("error.type" not in labels for labels in found.labels(TOKENS))


def test_what_comes_out_of_a_call_that_nobody_described_is_an_error():
    with measured() as found:
        for error in (KeyError("x"), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                with current_instrument().observe(Scope("chat", "m", FACTS)):
                    raise error
        kinds = [labels["error.type"] for labels in found.labels(DURATION)]
        assert kinds == ["KeyError", "cancelled"]


def test_values_from_outside_are_bounded():
    with measured() as found:
        for i in range(150):
            chat(model=f"m-{i}")
            chat(ending=Ending("error", ValueError("x"), error_type=f"e-{i}"))
        models = {labels.get("gen_ai.response.model") for labels in found.labels(DURATION)}
        kinds = {labels.get("error.type") for labels in found.labels(DURATION)}
        assert len(models - {None}) == 101
        assert "other" in models
        assert len(kinds - {None}) == 101
        assert "_OTHER" in kinds


def test_labels_are_redacted_and_short():
    with measured() as found:
        chat(model="api_key=SECRETSECRET " + "x" * 10_000)
        (labels,) = found.labels(DURATION)
        assert labels["gen_ai.response.model"].startswith("api_key=[redacted] xxx")
        assert len(labels["gen_ai.response.model"]) == 128


def test_of_models_nothing_but_calls_is_measured():
    with measured() as found:
        instrument = current_instrument()
        with instrument.observe(Scope("run", "g", {})) as run:
            with instrument.observe(Scope("node", "n", FACTS)) as node:
                node.annotate(semconv.GEN_AI_USAGE_INPUT, 1)
        assert found.names == {semconv.METRIC_RUN_DURATION, semconv.METRIC_NODE_DURATION}
        assert run.trace_id is None


# --- providers ----------------------------------------------------------------------------


def test_without_providers_nothing_is_watched():
    assert current_instrument() is NULL_INSTRUMENT
    with override_meter_provider(metrics.NoOpMeterProvider()):
        assert current_instrument() is NULL_INSTRUMENT


def test_a_meter_that_does_nothing_is_left_alone(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with measured():
        assert current_instrument() is NULL_INSTRUMENT


def test_spans_and_metrics_tell_of_the_same_call():
    with measured() as found, capture_spans() as captured:
        with current_instrument().observe(Scope("chat", "m", FACTS)) as seen:
            seen.annotate(semconv.GEN_AI_USAGE_INPUT, 5)
            seen.event("gen_ai.first_chunk", {})
            assert seen.trace_id is not None
            assert seen.token is not None
        (span,) = captured.spans
        assert span.attributes["gen_ai.usage.input_tokens"] == 5
        assert [event.name for event in span.events] == ["gen_ai.first_chunk"]
        assert found.points(TOKENS)[0].sum == 5
        assert found.points(DURATION)[0].sum == pytest.approx(span.duration_s, abs=0.05)


def test_exemplars_point_to_the_span():
    with measured() as found, capture_spans() as captured:
        chat()
        (span,) = captured.spans
        (exemplar,) = found.points(DURATION)[0].exemplars
        assert f"{exemplar.span_id:016x}" == span.span_id


# --- faults -------------------------------------------------------------------------------


class RaisingProcessor(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise ValueError("processor")

    def on_end(self, span):
        raise ValueError("processor")


def test_a_faulty_tracer_does_not_cost_the_metrics(caplog):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RaisingProcessor())
    with measured() as found, override_provider(provider):
        with caplog.at_level(logging.ERROR, "hush"):
            chat(sent=7)
        assert found.points(TOKENS)[0].sum == 7


class RaisingMeterProvider(metrics.MeterProvider):
    def __init__(self, at):
        super().__init__()
        self._at = at

    def get_meter(self, *args, **kwargs):
        if self._at == "meter":
            raise OSError("no meter")
        at = self._at

        class Raising(metrics.NoOpHistogram):
            def record(self, *args, **kwargs):
                raise OSError("no record")

        class Meter(metrics.Meter):
            def create_histogram(self, name, *args, **kwargs):
                if at == "instrument":
                    raise OSError("no instrument")
                return Raising(name)

            def create_counter(self, name, *args, **kwargs):
                return metrics.NoOpCounter(name)

            def _none(self, *args, **kwargs):
                raise NotImplementedError

            create_up_down_counter = create_observable_counter = _none
            create_observable_gauge = create_observable_up_down_counter = create_gauge = _none

        return Meter("hush")


@pytest.mark.parametrize("at", ["meter", "instrument", "record"])
def test_a_faulty_meter_does_not_cost_the_spans(at, caplog, monkeypatch):
    monkeypatch.setattr(tracing, "_listening", Guard(NULL_INSTRUMENT))
    names = []

    class Keeper(SpanProcessor):
        def on_end(self, span):
            names.append(span.name)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keeper())
    with override_meter_provider(RaisingMeterProvider(at)), override_provider(provider):
        with caplog.at_level(logging.ERROR, "hush"):
            chat()
            chat()
    assert names == ["chat m", "chat m"]
    assert len([r for r in caplog.records if "telemetry failed" in r.getMessage()]) == 1
    assert f"no {at}" in caplog.text
