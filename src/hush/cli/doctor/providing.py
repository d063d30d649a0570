"""What an application that sets up OpenTelemetry by itself has set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace

from hush.cli.doctor.check import Check
from hush.cli.target import load_engine
from hush.insight.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("look_at_target",)

_SMALL_QUEUE: Final = 16_384
"""A map hands on up to some 9,000 spans when it ends."""


def look_at_target(target: str) -> Iterator[Check]:
    """Import a workflow as ``hush run`` does, and look at the providers that are set then.

    Args:
        target: as for ``hush run``.

    Raises:
        Refusal: it cannot be found or imported.
        GraphError: the graph has problems.
    """
    engine = load_engine(target)
    nodes = len(engine.plan.nodes)
    said = f"graph {engine.plan.name!r} compiles: {counted(nodes, 'node')} at the top"
    yield Check("workflow", "ok", said, facts={"graph": engine.plan.name, "nodes": nodes})
    yield from _look_at_spans()
    provider = metrics.get_meter_provider()
    if type(provider).__module__.startswith("opentelemetry.metrics"):
        yield Check("metrics", "note", "the application sets no meter provider: no metrics")
    else:
        yield Check("metrics", "ok", f"the application's own {type(provider).__name__}")


def _look_at_spans() -> Iterator[Check]:
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        yield Check(
            "provider",
            "note",
            "importing the module sets no tracer provider; hush run calls configure() itself, "
            "another program has to",
        )
        return
    kind = f"{type(provider).__module__}.{type(provider).__name__}"
    if isinstance(provider, trace.NoOpTracerProvider):
        yield Check("provider", "fault", f"{kind}: no spans", "unset OTEL_SDK_DISABLED")
        return
    processors = _processors(provider)
    names = [type(one).__name__ for one in processors]
    facts = {"provider": kind, "processors": names}
    if not type(provider).__module__.startswith("opentelemetry.sdk."):
        said = f"{kind} is not the SDK's: maps keep the spans of all items, whatever their budget"
        yield Check("provider", "note", said, facts=facts)
    if not processors:
        remedy = "add one, or call hush.observe.configure() instead"
        said = f"{kind} has no span processor that could be seen: spans go nowhere"
        yield Check("provider", "warning", said, remedy, facts)
        return
    yield Check("provider", "ok", f"{kind} with {', '.join(names)}", facts=facts)
    for one, name in zip(processors, names, strict=True):
        yield from _look_at_processor(one, name)


def _processors(provider: Any) -> list[Any]:
    inside = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    return list(inside)


def _look_at_processor(processor: Any, name: str) -> Iterator[Check]:
    if name == "SimpleSpanProcessor":
        yield Check(
            "provider",
            "warning",
            "SimpleSpanProcessor exports each span while the event loop waits",
            "use BatchSpanProcessor, or hush.observe.configure()",
        )
    if name != "BatchSpanProcessor":
        return
    size = getattr(getattr(processor, "_batch_processor", processor), "_max_queue_size", None)
    if isinstance(size, int) and size < _SMALL_QUEUE:
        yield Check(
            "provider",
            "warning",
            f"BatchSpanProcessor holds {size:,} spans and drops the rest: a large map has more, and "
            "a receiver that is away loses all",
            "use hush.export.span_spool.SpoolingSpanProcessor, or at least "
            "OTEL_BSP_MAX_QUEUE_SIZE=16384",
        )
