"""Servers for the benchmarks, each in a process of its own, so that they cost the client nothing.

    python -m benchmarks.servers otlp|models

``otlp`` receives spans over OTLP/HTTP and counts them; a GET of ``/count`` says how many.
``models`` answers chat completions. The URL is printed when it listens; the end of stdin
ends it.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from benchmarks.environment import ROOT, environment

__all__ = ("count_of", "server")


class Receiver(BaseHTTPRequestHandler):
    """Takes what exporters send."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[set[bytes]] = set()
    """Span ids; one that is sent again, after a time-out say, counts once."""
    lock = threading.Lock()

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.endswith("/v1/traces"):
            # Metrics and log records come here too; an empty answer is theirs as well.
            self._answer(b"", "application/x-protobuf")
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        found = {
            span.trace_id + span.span_id
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        }
        with self.lock:
            self.seen |= found
        self._answer(ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf")

    def do_GET(self) -> None:
        self._answer(str(len(self.seen)).encode(), "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Say nothing."""


@contextmanager
def server(kind: str) -> Iterator[str]:
    """Run a server as long as the block lasts.

    Args:
        kind: ``otlp`` or ``models``.

    Yields:
        Its base URL.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.servers", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    try:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the server of {kind} did not start")
        yield url
    finally:
        process.communicate()


def count_of(url: str) -> int:
    """Ask a receiver of spans how many came."""
    with urllib.request.urlopen(f"{url}/count", timeout=10) as answer:  # noqa: S310  # ours, on loopback
        return int(answer.read())


def main(kind: str) -> None:
    if kind == "models":
        from hush.testing import Answer, ScriptedLLMServer

        with ScriptedLLMServer() as models:
            models.default("m", Answer("yes"))
            print(models.base_url, flush=True)
            sys.stdin.read()
        return
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{receiver.server_port}", flush=True)
    sys.stdin.read()
    receiver.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
