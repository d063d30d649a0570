"""Whether the receiver of spans takes one: its address, its clock, its answer."""

from __future__ import annotations

import os
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from hush.cli.doctor.check import Check
from hush.cli.doctor.finding import look_for
from hush.export.batch_file import Payload
from hush.export.place import shown
from hush.export.receiver import Answer, Receiver, compressed
from hush.export.route import route_of, speaks_http
from hush.insight.wording import format_duration
from hush.observe.exporters import check_endpoint, exporter_names
from hush.observe.resource import resource_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from hush.export.route import Route

__all__ = ("look_at_receiver",)

SPAN: Final = "hush doctor"
"""Name of the span that is sent, and all that it says."""
_GRPC_PORT: Final = 4_317
_SKEW_S: Final = 2.0
_DATE_TIMEOUT_S: Final = 3.0

_REMEDIES: Final = {
    "connection": "start the receiver (deploy/docker-compose.yml has one), or mend "
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "timeout": "see what it is busy with, or raise OTEL_EXPORTER_OTLP_TIMEOUT",
    "redirect": "name the address that it leads to; redirects are not followed",
    "not_otlp": "name an OTLP receiver; this is a proxy's or a portal's page",
    "401": "mend OTEL_EXPORTER_OTLP_HEADERS: who sends is not known there",
    "403": "mend OTEL_EXPORTER_OTLP_HEADERS: who sends may not",
    "404": "name the receiver's base address, such as http://localhost:4318; /v1/traces is added",
    "405": "name an OTLP receiver; this one takes no POST",
    "429": "the receiver has too much to do: spans wait on the disk until it has time",
    "SSLError": "name its certificate in OTEL_EXPORTER_OTLP_CERTIFICATE, or use http://",
}


def look_at_receiver(
    endpoint: str | None, jaeger: str | None, *, send: bool, wait_s: float
) -> Iterator[Check]:
    """Send a span where spans go, and look for it where it should be then.

    Args:
        endpoint: the receiver's address; None as the environment says.
        jaeger: base URL of a Jaeger to look in; None tries the receiver's host.
        send: whether to send anything.
        wait_s: for how long to look for the span, in seconds.
    """
    try:
        names = exporter_names(endpoint, None)
        check_endpoint(endpoint)
    except ValueError as error:
        yield Check("receiver", "fault", str(error), "mend the address or the variable")
        return
    if "otlp" not in names:
        yield Check("receiver", "ok", "no receiver is named: spans stay on this machine")
        return
    if endpoint is None and not speaks_http("traces"):
        yield from _by_grpc(send=send)
        return
    route = route_of("traces", endpoint)
    yield from _look_at_clock(route)
    if not send:
        yield Check("receiver", "note", f"{shown(route.url)}: nothing was sent")
        return
    span, trace_id = _ended_span()
    answer = _sent(route, span)
    yield _judged(route, answer)
    if answer.kind == "delivered" and not answer.rejected:
        yield from look_for(trace_id, route.url, jaeger, wait_s)


def _ended_span() -> tuple[ReadableSpan, str]:
    """Return a span to send, and its trace's id."""
    ended = InMemorySpanExporter()
    provider = TracerProvider(
        sampler=sampling.ALWAYS_ON, resource=resource_of(None), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(ended))
    span = provider.get_tracer("hush.doctor").start_span(SPAN)
    span.end()
    return ended.get_finished_spans()[0], format_trace_id(span.get_span_context().trace_id)


def _sent(route: Route, span: ReadableSpan) -> Answer:
    data = encode_spans([span]).SerializeToString()
    receiver = Receiver()
    try:
        return receiver.send(route, Payload("traces", 1, *compressed(data, route.compression)))
    finally:
        receiver.close()


def _judged(route: Route, answer: Answer) -> Check:
    address = shown(route.url)
    facts: dict[str, Any] = {"url": address, "answer": answer.kind, "error": answer.error or None}
    if answer.kind == "delivered":
        if answer.rejected:
            said = f"{address} answered, and did not take the span: {answer.message}"
            return Check("receiver", "fault", said, "see the receiver's own log", facts)
        return Check("receiver", "ok", f"{address} has taken a span", facts=facts)
    remedy = _REMEDIES.get(answer.error, "see the receiver's own log")
    if "certificate" in answer.message.lower():
        remedy = _REMEDIES["SSLError"]
    elif urlsplit(route.url).port == _GRPC_PORT:
        remedy += "; 4317 is the port of OTLP over gRPC, 4318 that of OTLP over HTTP"
    return Check(
        "receiver",
        "fault",
        f"{address} has not taken a span: {answer.message or answer.error}",
        remedy,
        facts,
    )


def _by_grpc(*, send: bool) -> Iterator[Check]:
    address = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or "localhost:4317"
    )
    yield Check(
        "receiver",
        "warning",
        f"spans go to {shown(address)} over gRPC, without the spool: what is away, slow or full "
        "there loses them",
        "unset OTEL_EXPORTER_OTLP_PROTOCOL and name the port of OTLP over HTTP, 4318",
    )
    if not send:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # grpc takes long to load, and need not work everywhere

    exporter = OTLPSpanExporter()
    try:
        taken = exporter.export([_ended_span()[0]]) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
    if taken:
        yield Check("receiver", "ok", f"{shown(address)} has taken a span")
    else:
        remedy = "see the receiver's own log, and that it speaks gRPC there"
        yield Check("receiver", "fault", f"{shown(address)} has not taken a span", remedy)


def _look_at_clock(route: Route) -> Iterator[Check]:
    """Compare this machine's clock with the receiver's, by the date of any answer."""
    try:
        asked = time.time()
        with requests.get(
            route.base or route.url, timeout=_DATE_TIMEOUT_S, allow_redirects=False, stream=True
        ) as response:
            answered = time.time()
            date = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (requests.RequestException, KeyError, ValueError, TypeError):
        return  # told elsewhere, or it does not say
    # The header has whole seconds.
    skew_s = max(asked - date - 1.0, date - answered, 0.0)
    facts = {"skew_s": round(skew_s, 3)}
    if skew_s > _SKEW_S:
        said = f"the receiver's clock differs from this machine's by {format_duration(skew_s)}"
        remedy = "set both by NTP: spans of different machines will not fit each other"
        yield Check("clock", "warning", said, remedy, facts)
    else:
        yield Check("clock", "ok", "the receiver's clock agrees with this machine's", facts=facts)
