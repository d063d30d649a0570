"""A real Jaeger server for the tests: started on loopback, read through its query API.

``JaegerServer`` is one process with a memory store and ports of its own. ``JaegerClient`` reads
traces back; what it returns is what Jaeger's UI gets to see: whole microseconds, references,
tags.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.programs import POLL_S, Program, StartError, fetch, find_program, free_ports

VERSION = "v1.76.0"
_NOT_FOUND = 404


def find_binary() -> Path | None:
    """Return the Jaeger 2 server: ``HUSH_JAEGER``, else on PATH, else what was compiled."""
    return find_program("HUSH_JAEGER", command="jaeger", compiled=f"jaeger-{VERSION}/jaeger")


class JaegerServer(Program):
    """One Jaeger process with a memory store."""

    # It may wait for idle connections; what it would save is in memory only.
    stop_timeout_s = 2.0

    def __init__(self, binary: Path) -> None:
        super().__init__("jaeger")
        self.binary = binary
        self.otlp_http = ""
        """Base URL for OTEL_EXPORTER_OTLP_ENDPOINT with http/protobuf."""
        self.otlp_grpc = ""
        """URL for OTEL_EXPORTER_OTLP_ENDPOINT with grpc."""
        self.query = ""
        """Base URL of the query API and the UI."""
        self._ports: list[int] = []

    @property
    def client(self) -> JaegerClient:
        return JaegerClient(self.query)

    def begin(self) -> None:
        # Between choosing a free port and its use another process may take it.
        for attempts_left in (2, 1, 0):
            self._ports = free_ports(5)
            try:
                self.start_again()
            except StartError:
                if not attempts_left:
                    raise
            else:
                break

    def start_again(self) -> None:
        """Start a new process where the one that was stopped had been."""
        at = [f"127.0.0.1:{port}" for port in self._ports]
        otlp_http, otlp_grpc, query_http, _, health = at
        self.otlp_http = f"http://{otlp_http}"
        self.otlp_grpc = f"http://{otlp_grpc}"
        self.query = f"http://{query_http}"
        config = self.folder / "config.yaml"
        config.write_text(json.dumps(_config(*at), indent=2))
        command = [str(self.binary), "--config", f"file:{config}"]
        self.start(command, {}, f"http://{health}/status")


@dataclass(frozen=True, slots=True)
class JaegerReference:
    kind: str
    """CHILD_OF for the parent, FOLLOWS_FROM for a link."""
    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class JaegerLog:
    timestamp_us: int
    fields: Mapping[str, Any]
    """The name of the span event is under ``event``."""


@dataclass(frozen=True, slots=True)
class JaegerSpan:
    trace_id: str
    span_id: str
    name: str
    service: str
    start_us: int
    duration_us: int
    references: tuple[JaegerReference, ...]
    tags: Mapping[str, Any]
    logs: tuple[JaegerLog, ...]
    warnings: tuple[str, ...]

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us

    @property
    def parent_id(self) -> str | None:
        """The span under which the UI draws this one: the first reference into its trace.

        A link into the own trace makes a child of a span that has no parent; that is how the
        UI reads it, and why a root must not carry one.
        """
        inside = [ref for ref in self.references if ref.trace_id == self.trace_id]
        inside.sort(key=lambda ref: ref.kind != "CHILD_OF")
        return inside[0].span_id if inside else None

    @property
    def links(self) -> tuple[JaegerReference, ...]:
        return tuple(ref for ref in self.references if ref.kind == "FOLLOWS_FROM")

    @property
    def is_red(self) -> bool:
        return self.tags.get("error") is True

    @property
    def status_text(self) -> str | None:
        return self.tags.get("otel.status_description")


@dataclass(frozen=True, slots=True)
class JaegerTrace:
    trace_id: str
    spans: tuple[JaegerSpan, ...]
    """In the order of their starts."""
    by_id: Mapping[str, JaegerSpan] = field(repr=False)

    @property
    def roots(self) -> tuple[JaegerSpan, ...]:
        return tuple(span for span in self.spans if span.parent_id not in self.by_id)

    def named(self, name: str) -> tuple[JaegerSpan, ...]:
        return tuple(span for span in self.spans if span.name == name)

    def one(self, name: str) -> JaegerSpan:
        """Return the only span of that name."""
        found = self.named(name)
        names = sorted({span.name for span in self.spans})
        assert len(found) == 1, f"{len(found)} spans named {name!r}; there are: {names}"
        return found[0]

    def parent(self, span: JaegerSpan) -> JaegerSpan | None:
        return self.by_id.get(span.parent_id or "")

    def children(self, span: JaegerSpan) -> tuple[JaegerSpan, ...]:
        return tuple(child for child in self.spans if child.parent_id == span.span_id)

    @property
    def red_leaves(self) -> tuple[JaegerSpan, ...]:
        """Red spans without a red child: where something failed in the first place."""
        with_red_child = {span.parent_id for span in self.spans if span.is_red}
        return tuple(
            span for span in self.spans if span.is_red and span.span_id not in with_red_child
        )


def peak_overlap(spans: tuple[JaegerSpan, ...]) -> int:
    """Return how many of the spans were open at once at most; ends come before starts."""
    changes = sorted([(span.start_us, 1) for span in spans] + [(span.end_us, -1) for span in spans])
    now = peak = 0
    for _, change in changes:
        now += change
        peak = max(peak, now)
    return peak


class JaegerClient:
    """Reads traces through the API that Jaeger's own UI uses; every wait is bounded."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def trace(self, trace_id: str, *, spans: int, timeout_s: float = 15.0) -> JaegerTrace:
        """Wait until a trace has arrived, then return it.

        Args:
            trace_id: 32 hexadecimal digits.
            spans: how many spans it must have. Fewer are waited for; more are a failure.
            timeout_s: how long to wait.

        Returns:
            The trace, its spans in the order of their starts.

        Raises:
            AssertionError: the trace has more spans, or has not got so many in time.
        """
        give_up = time.monotonic() + timeout_s
        while True:
            trace = self.find_trace(trace_id)
            found = 0 if trace is None else len(trace.spans)
            if trace is not None and found == spans:
                return trace
            names = [] if trace is None else [span.name for span in trace.spans][:100]
            assert found < spans, f"{found} spans instead of {spans}: {names}"
            assert time.monotonic() < give_up, (
                f"{found} of {spans} spans in Jaeger after {timeout_s:g} s: {names}"
            )
            time.sleep(POLL_S)

    def find_trace(self, trace_id: str) -> JaegerTrace | None:
        """Return what Jaeger has of a trace now, or None."""
        try:
            answer = self._get(f"/api/traces/{trace_id}")
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _NOT_FOUND:
                    return None
            raise
        found = answer["data"]
        return _trace(found[0]) if found else None

    def search(self, service: str, *, limit: int = 100, **tags: str) -> list[JaegerTrace]:
        """Return the traces of a service in which some span has all these tags.

        Args:
            service: the service's name.
            limit: how many traces at most.
            **tags: values as text; dots are written as two underscores.

        Returns:
            What the UI's search would list.
        """
        query = {
            "service": service,
            "limit": str(limit),
            "lookback": "1h",
            "tags": json.dumps({key.replace("__", "."): value for key, value in tags.items()}),
        }
        answer = self._get("/api/traces?" + urllib.parse.urlencode(query))
        return [_trace(found) for found in answer["data"]]

    def services(self) -> list[str]:
        return sorted(self._get("/api/services")["data"] or [])

    def _get(self, path: str) -> Any:
        return json.loads(fetch(self.base_url + path))


def _trace(found: Mapping[str, Any]) -> JaegerTrace:
    services = {key: process["serviceName"] for key, process in found["processes"].items()}
    spans = sorted(
        (_span(span, services) for span in found["spans"]),
        key=lambda span: (span.start_us, -span.duration_us),
    )
    return JaegerTrace(found["traceID"], tuple(spans), {span.span_id: span for span in spans})


def _span(span: Mapping[str, Any], services: Mapping[str, str]) -> JaegerSpan:
    return JaegerSpan(
        trace_id=span["traceID"],
        span_id=span["spanID"],
        name=span["operationName"],
        service=services[span["processID"]],
        start_us=span["startTime"],
        duration_us=span["duration"],
        references=tuple(
            JaegerReference(ref["refType"], ref["traceID"], ref["spanID"])
            for ref in span.get("references") or ()
        ),
        tags={tag["key"]: tag["value"] for tag in span.get("tags") or ()},
        logs=tuple(
            JaegerLog(log["timestamp"], {item["key"]: item["value"] for item in log["fields"]})
            for log in span.get("logs") or ()
        ),
        warnings=tuple(span.get("warnings") or ()),
    )


def _config(
    otlp_http: str, otlp_grpc: str, query_http: str, query_grpc: str, health: str
) -> dict[str, Any]:
    """Describe the smallest Jaeger: OTLP in, memory, query API out, no batching."""
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
            },
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
        },
        "extensions": {
            "healthcheckv2": {"use_v2": True, "http": {"endpoint": health}},
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 10_000}}}},
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "http": {"endpoint": query_http},
                "grpc": {"endpoint": query_grpc},
            },
        },
        "receivers": {
            "otlp": {
                "protocols": {"http": {"endpoint": otlp_http}, "grpc": {"endpoint": otlp_grpc}}
            }
        },
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }
