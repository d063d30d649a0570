"""HTTP/1.1 for the scripted model server: connections, keep-alive, chunks, and leaving early.

Knows how a reply is sent, not which one: that is asked of ``begin`` for each request.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from hush.testing.scripted_replies import Answer, Disconnect, ErrorReply, Hang, Malformed
from hush.testing.scripted_wire import completion, encode, error_body, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hush.testing.scripted_replies import Reply

    Begin = Callable[[str, dict[str, str], bytes, int], "Exchange"]
    """Path with query, headers, body and the client's port become an exchange."""

__all__ = ("Exchange", "Listener")

_POLL_S = 0.02
"""How soon the accepting thread sees that it shall end."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what it is answered with."""

    number: int
    """Counts the server's requests from 1."""

    model: str
    """The model that was asked for."""

    body: dict[str, Any]
    """The request's body."""

    reply: Reply
    """What it is answered with."""

    done: Callable[[], None]
    """To be called before the last bytes are sent; may be called again."""


class Listener(ThreadingHTTPServer):
    """Accepts connections on loopback, each served by a thread, and can end them all."""

    daemon_threads = True
    # The default of five makes a burst of clients wait a second for their second SYN.
    request_queue_size = 1024

    def __init__(self, port: int, begin: Begin) -> None:
        """Bind; port 0 takes any that is free."""
        self.begin = begin
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        # Not socketserver's own list: that one is joined without a timeout, or not at all.
        self._serving: list[threading.Thread] = []
        super().__init__(("127.0.0.1", port), _Handler)
        self._acceptor = threading.Thread(
            target=self.serve_forever, args=(_POLL_S,), name="scripted-llm", daemon=True
        )

    @property
    def open_connections(self) -> int:
        """TCP connections that neither side has closed, as far as is known here."""
        with self._lock:
            return len(self._sockets)

    def start(self) -> None:
        """Accept connections from now on."""
        self._acceptor.start()

    def stop(self, timeout_s: float) -> None:
        """Close everything; threads that have not ended within the timeout are left behind."""
        deadline = time.monotonic() + timeout_s
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self._acceptor.join()
        with self._lock:
            # Whoever reads, writes or waits on a connection is woken by its end. The lock
            # keeps its thread from closing the socket meanwhile.
            for connection in self._sockets:
                _hang_up(connection)
        for thread in self._serving:
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- called by socketserver -----------------------------------------------------------

    def server_bind(self) -> None:
        """Bind without asking the resolver for the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that can be joined."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"scripted-llm-{client_address[1]}",
            daemon=True,
        )
        with self._lock:
            self._sockets.add(request)
        self._serving = [known for known in self._serving if known.is_alive()] + [thread]
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; it no longer counts before its client can know."""
        with self._lock:
            self._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away; print what is a fault of this server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Listener
    protocol_version = "HTTP/1.1"
    server_version = "scripted-llm"
    sys_version = ""
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - Its name there.
        """Tests want no access log."""

    def _serve(self) -> None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            if len(raw) < length:
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = self.server.begin(self.path, headers, raw, self.client_address[1])
            try:
                self._answer(exchange)
            finally:
                exchange.done()
        except OSError:
            # The client went away, or the server stops.
            self.close_connection = True

    def _answer(self, exchange: Exchange) -> None:
        reply = exchange.reply
        if isinstance(reply, Hang):
            self._wait(reply.seconds)
        if isinstance(reply, Hang | Disconnect):
            exchange.done()
            self.close_connection = True
            return
        self._wait(reply.delay_s)
        streamed = exchange.body.get("stream") is True
        if isinstance(reply, ErrorReply):
            self._send(exchange, encode(error_body(reply)), reply.status, _error_headers(reply))
        elif isinstance(reply, Malformed) and streamed:
            self._open_stream(exchange, {})
            exchange.done()
            self._send_chunks(b"data: " + reply.body + b"\n\n", b"")
        elif isinstance(reply, Malformed):
            self._send(exchange, reply.body)
        elif streamed:
            self._stream(exchange, reply)
        else:
            whole = encode(completion(reply, exchange.body, exchange.model, exchange.number))
            cut = None if reply.cut_after is None else len(whole) // 2
            self._send(exchange, whole, headers=reply.headers, cut=cut)

    def _stream(self, exchange: Exchange, answer: Answer) -> None:
        events = stream(answer, exchange.body, exchange.model, exchange.number)
        self._open_stream(exchange, answer.headers)
        for event in events.head:
            self._send_chunks(_sse(encode(event)))
        for index, event in enumerate(events.pieces[: answer.cut_after]):
            self._wait(answer.chunk_delay_s if index else 0.0)
            self._send_chunks(_sse(encode(event)))
        if answer.cut_after is not None:
            exchange.done()
            self.close_connection = True
            return
        for event in events.tail:
            self._send_chunks(_sse(encode(event)))
        exchange.done()
        # In one write with the body's end, so that who stops reading at [DONE] has it all.
        self._send_chunks(_sse(b"[DONE]"), b"")

    def _send(
        self,
        exchange: Exchange,
        body: bytes,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        cut: int | None = None,
    ) -> None:
        """Send a whole response, or the beginning of its body before hanging up."""
        exchange.done()
        self._send_head(
            exchange,
            status,
            {"Content-Type": "application/json", "Content-Length": str(len(body))},
            headers or {},
        )
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def _open_stream(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        fixed = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        self._send_head(exchange, 200, fixed, headers)

    def _send_head(
        self,
        exchange: Exchange,
        status: int,
        fixed: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> None:
        self.send_response(status)
        for name, value in {"x-request-id": f"req_{exchange.number}", **headers, **fixed}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_chunks(self, *chunks: bytes) -> None:
        """Send chunks of a body in one write; an empty one is its end."""
        self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks))

    def _wait(self, seconds: float) -> None:
        """Wait; raises ConnectionAbortedError once the client is gone or the server stops."""
        if seconds <= 0:
            return
        deadline = time.monotonic() + seconds
        self.connection.settimeout(seconds)
        try:
            here = self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)
        # Bytes: the client sends its next request already, and can no longer be watched.
        if not here or self.server.stopping.wait(max(0.0, deadline - time.monotonic())):
            raise ConnectionAbortedError("the client went away or the server stops")


def _sse(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _error_headers(reply: ErrorReply) -> dict[str, str]:
    headers = dict(reply.headers)
    if reply.retry_after_s is not None:
        headers["Retry-After"] = f"{reply.retry_after_s:g}"
    if reply.retry_after_ms is not None:
        headers["retry-after-ms"] = f"{reply.retry_after_ms:g}"
    return headers


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client was faster.
        return
