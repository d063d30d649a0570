"""A real OTLP/HTTP receiver on loopback that answers as it is told and counts every span.

It takes the protobuf apart and remembers, for each span id, how often it has stored it.
What it stores is what a collector would: all of an accepted request, nothing of a refused one.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

NOBODY = "http://127.0.0.1:9"
PROTOBUF = "application/x-protobuf"


@dataclass
class Request:
    """One request that came in whole."""

    path: str
    headers: dict[str, str]
    spans: list[str]
    """Ids of the spans in it."""
    message: object
    at: float = field(default_factory=time.monotonic)


@dataclass
class Reply:
    """How a request is answered."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    store: bool | int = True
    """Whether its spans are stored, or how many of them."""
    delay_s: float = 0.0
    reset: str = ""
    """Break the connection: ``body`` in the middle of reading, ``answer`` after storing."""
    drip: str = ""
    """Answer a byte at a time, for ever: ``head``, ``body``, ``last body`` of a connection."""


def partial(rejected: int, message: str = "", *, store: int) -> Reply:
    said = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    )
    return Reply(200, {"Content-Type": PROTOBUF}, said.SerializeToString(), store=store)


Script = Callable[[Request, int], Reply]
"""Says how a request, and which of all, is answered."""


class Collector:
    """The receiver; it can be stopped and started again at the same address."""

    def __init__(
        self, script: Script | None = None, *, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.certificate = certificate
        self.script: Script = script or (lambda request, number: Reply())
        self.requests: list[Request] = []
        self.stored: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.broken = 0
        self._lock = threading.Lock()
        self._server: http.server.ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                collector.broken += 1

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Go away: no new connections, and the open ones break."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self._open.add(handler.connection)
        length = int(handler.headers["Content-Length"])
        with self._lock:
            number = len(self.requests)
        if self._peek(number) == "body":
            handler.rfile.read(length // 2)
            self.requests.append(Request(handler.path, {}, [], None))
            _reset(handler)
            return
        data = handler.rfile.read(length)
        if len(data) < length:
            return
        encoding = handler.headers.get("Content-Encoding")
        if encoding == "gzip":
            data = gzip.decompress(data)
        elif encoding == "deflate":
            data = zlib.decompress(data)
        request = Request(handler.path, dict(handler.headers), [], None)
        if handler.path.partition("?")[0].endswith("/v1/traces"):
            message = ExportTraceServiceRequest.FromString(data)
            found = [
                span
                for resource in message.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            request.spans = [span.span_id.hex() for span in found]
            names = [span.name for span in found]
        else:
            kind = (
                ExportLogsServiceRequest
                if handler.path.endswith("logs")
                else ExportMetricsServiceRequest
            )
            message, names = kind.FromString(data), []
        request.message = message
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
        reply = self.script(request, number)
        if reply.delay_s:
            time.sleep(reply.delay_s)
        if reply.store is not False:
            kept = len(request.spans) if reply.store is True else reply.store
            with self._lock:
                self.stored.update(request.spans[:kept])
                self.names.update(names[:kept])
        if reply.reset == "answer":
            _reset(handler)
            return
        if reply.drip:
            _drip(handler, reply.drip)
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _peek(self, number: int) -> str:
        """Ask the script about a request that is not read yet."""
        return self.script(Request("", {}, [], None), number).reset

    @property
    def twice(self) -> int:
        """How many spans were stored more than once."""
        return sum(1 for count in self.stored.values() if count > 1)


def _drip(handler: http.server.BaseHTTPRequestHandler, what: str) -> None:
    """Answer with a byte now and then, until the other side has enough of it."""
    begin = "HTTP/1.1 200 OK\r\n"
    if what != "head":
        begin += f"Content-Length: {10**6}\r\n"
        begin += "Connection: close\r\n\r\n" if what == "last body" else "\r\n"
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.sendall(begin.encode())
        while True:
            handler.connection.sendall(b"x")
            time.sleep(0.05)


def _reset(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Break a connection so that the other side gets a reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.rfile.close()
    with contextlib.suppress(OSError):
        handler.wfile.close()
    handler.connection.close()


@contextlib.contextmanager
def collecting(script: Script | None = None) -> Iterator[Collector]:
    collector = Collector(script)
    collector.start()
    try:
        yield collector
    finally:
        collector.stop()


def always(reply: Reply) -> Script:
    return lambda request, number: reply


def first(count: int, reply: Reply) -> Script:
    """Answer so for the first requests, and well from then on."""
    return lambda request, number: reply if number < count else Reply()
