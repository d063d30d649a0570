"""Prometheus: the metrics of this process as text, for whoever comes to scrape them.

Either on a port of its own, from a thread that goes on where a node holds the event loop, or
as an ASGI application inside of a service. Needs the extra ``prometheus``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from anyio.lowlevel import RunVar

from hush.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from opentelemetry.sdk.metrics.export import MetricReader

__all__ = ("MetricsServer", "is_reader", "make_reader", "metrics_app")

REMEDY: Final = (
    "Prometheus needs packages that are not installed: pip install 'hush-runtime[prometheus]'"
)

AsgiApp = Any
"""A callable of scope, receive and send; typed by no package that everybody has."""

FORKED: Final = (
    "a process was forked from one that serves its metrics; what it measures is on no page until "
    "it calls configure(prometheus_port=...) itself, with a port of its own"
)

_collecting = threading.Lock()
"""The exporter mixes up the answers where two ask at once, and a pair of servers does."""
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("hush.metrics")
"""Threads for pages alone: those that everybody shares are busy when the page is needed most."""
_serving: weakref.WeakSet[MetricsServer] = weakref.WeakSet()
_said_forked = False


def make_reader() -> MetricReader:
    """Make what puts a provider's metrics into the registry of ``prometheus_client``.

    Returns:
        A reader, for a meter provider.

    Raises:
        ImportError: the extra is not installed.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ImportError(REMEDY) from error
    return PrometheusMetricReader()


def is_reader(reader: object) -> bool:
    """Say whether a reader serves Prometheus."""
    return type(reader).__module__.startswith("opentelemetry.exporter.prometheus")


def _rendered(accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its type."""
    from prometheus_client import REGISTRY  # noqa: PLC0415  # an extra
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415  # likewise

    encode, kind = choose_encoder(accept)
    with _collecting:
        return encode(REGISTRY), kind


def metrics_app() -> AsgiApp:
    """Make an ASGI application that answers every path with the metrics of this process.

    ``app.add_route("/metrics", metrics_app())`` in Starlette and FastAPI, or a server of its
    own. (``app.mount`` works as well, but sends whoever asks for ``/metrics`` on to
    ``/metrics/``.)
    Where no meter provider has been set, one is made and set; one that is there, also the
    application's own, is read from now on. The text is made in a thread: many metrics do not
    hold up the event loop.

    Returns:
        The application; it can be cancelled at any time.

    Raises:
        ImportError: the extra ``prometheus`` is not installed.
    """
    from hush.observe.meter_provider import set_up_metrics  # noqa: PLC0415  # imports this module

    set_up_metrics(names=("prometheus",), serve=None)
    return _MetricsApp()


class _MetricsApp:
    """An object, because Starlette takes a function for one that returns a response."""

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        del receive
        await _answer(scope, send)


async def _answer(
    scope: Mapping[str, Any], send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        # How an application says that it does not take part: lifespan and web sockets.
        raise NotImplementedError(f"metrics are asked for by http, not by {scope['type']}")
    if scope["method"] not in {"GET", "HEAD"}:
        await _send(send, 405, b"metrics are read with GET\n", "text/plain; charset=utf-8")
        return
    accept = ",".join(
        value.decode("latin-1")
        for name, value in scope.get("headers", ())
        if name.lower() == b"accept"
    )
    body, kind = await anyio.to_thread.run_sync(_rendered, accept, limiter=_threads())
    await _send(send, 200, b"" if scope["method"] == "HEAD" else body, kind, len(body))


def _threads() -> anyio.CapacityLimiter:
    """Return the limiter of this event loop."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(2)
        _limiter.set(limiter)
        return limiter


async def _send(
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    status: int,
    body: bytes,
    kind: str,
    length: int | None = None,
) -> None:
    size = len(body) if length is None else length
    headers = [
        (b"content-type", kind.encode("latin-1")),
        (b"content-length", str(size).encode("latin-1")),
        *([(b"allow", b"GET, HEAD")] if status == 405 else []),  # noqa: PLR2004  # see above
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Handler(BaseHTTPRequestHandler):
    timeout = 10
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.partition("?")[0] not in {"/", "/metrics"}:
            self.send_error(404, "the metrics are at /metrics")
            return
        body, kind = _rendered(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Say nothing: a line for every scrape helps nobody."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a scraper that hangs up is none of the application's business."""

    def forget(self) -> None:
        """Let go of what a forked child has inherited: the parent goes on without it."""
        for one in (self.socket, *list(self._connections)):
            descriptor = one.detach()
            if descriptor >= 0:
                os.close(descriptor)


class MetricsServer:
    """Serves ``/metrics`` on a port until it is closed.

    A forked process does not inherit it: it would hold the port without serving it.

    Attributes:
        host: where it listens.
        port: the port, chosen by the system where 0 was asked for.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen from now on, in a thread that keeps no process from ending.

        Args:
            host: address to listen on.
            port: the port; 0 for any.

        Raises:
            OSError: it is taken, or the address is not this machine's.
        """
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            # The number stays, so that callers can tell "in use" from "not allowed".
            said = f"no metrics can be served on {host}:{port}: {error.strerror or error}"
            raise OSError(error.errno, f"{said}. Choose another prometheus_port") from error
        self.host = host
        self.port: int = self._server.server_address[1]
        self._closed = False
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="hush metrics", daemon=True
        )
        thread.start()
        _serving.add(self)

    @property
    def closed(self) -> bool:
        """Whether it serves no more; so it is in a forked process."""
        return self._closed

    def close(self) -> None:
        """Stop listening."""
        if self._closed:
            return
        self._closed = True
        self._server.shutdown()
        self._server.server_close()

    def _after_fork(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.forget()


def _after_fork_in_parent() -> None:
    global _said_forked  # noqa: PLW0603  # once is enough
    with contextlib.suppress(Exception):
        if not _said_forked and any(not one.closed for one in list(_serving)):
            _said_forked = True
            get_logger("hush.telemetry").warning(FORKED)


def _after_fork_in_child() -> None:
    global _collecting  # noqa: PLW0603  # the parent may have held it
    _collecting = threading.Lock()
    for one in list(_serving):
        with contextlib.suppress(Exception):
            one._after_fork()  # noqa: SLF001  # same module


if hasattr(os, "register_at_fork"):  # not on Windows, which knows no fork
    os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
