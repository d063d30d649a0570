"""How a program's process is traced: a provider with the SDK's own batch processor.

Knows no program. Everything here is what an application might set up; nothing but the
exporters is ours, and they count what reaches them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ("Sink", "trace_into")

QUEUE = 262_144
"""Larger than any case has spans: what is measured is no processor's way to lose them."""


class Sink:
    """Where a process's spans end up."""

    def flush(self) -> int:
        """Wait for all spans and return how many came since the last time."""
        return 0


def trace_into(kind: str, endpoint: str | None = None) -> Sink:
    """Set this process's global tracer provider.

    Args:
        kind: ``none``; ``kept``, every span into an exporter that counts it; ``sampled out``;
            ``encoded``, every span encoded by the SDK's OTLP encoder and written to a file;
            ``default``, what ``configure()`` sets up for ``endpoint``.
        endpoint: base URL of an OTLP receiver, for ``default``.
    """
    if kind == "none":
        return Sink()
    if kind == "default":
        return _Default(endpoint)
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    provider = TracerProvider(
        sampler=ALWAYS_OFF if kind == "sampled out" else ALWAYS_ON, shutdown_on_exit=False
    )
    sink = _Counted(provider, encoded=kind == "encoded")
    trace.set_tracer_provider(provider)
    return sink


class _Counted(Sink):
    """Spans go through the SDK's batch processor and are counted where they come out."""

    def __init__(self, provider: object, *, encoded: bool) -> None:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._count = 0
        self._processor = BatchSpanProcessor(
            _Encode(self) if encoded else _Count(self), max_queue_size=QUEUE
        )
        provider.add_span_processor(self._processor)  # type: ignore[attr-defined]

    def add(self, count: int) -> None:
        self._count += count

    def flush(self) -> int:
        self._processor.force_flush()
        count, self._count = self._count, 0
        return count


class _Count:
    """An exporter that counts."""

    def __init__(self, sink: _Counted) -> None:
        self._sink = sink

    def export(self, spans: Sequence[ReadableSpan]) -> object:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._sink.add(len(spans))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        del timeout_millis
        return True


class _Encode(_Count):
    """An exporter that encodes as the SDK does and appends to a file."""

    def __init__(self, sink: _Counted) -> None:
        super().__init__(sink)
        self._file, name = tempfile.mkstemp(prefix="bench-spool-")
        os.unlink(name)  # noqa: PTH108  # it lives as long as it is open

    def export(self, spans: Sequence[ReadableSpan]) -> object:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        os.write(self._file, encode_spans(spans).SerializeToString())
        return super().export(spans)


class _Default(Sink):
    """What ``hush.observe.configuration.configure`` sets up; the receiver counts."""

    def __init__(self, endpoint: str | None) -> None:
        from hush.observe.configuration import configure

        self._telemetry = configure(endpoint=endpoint, service_name="bench")

    def flush(self) -> int:
        if not self._telemetry.flush(60.0):
            raise RuntimeError("the receiver has not got all spans after a minute")
        return 0
