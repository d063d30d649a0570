"""What happens to every request: its trace's id in a header, one line in the log, a limit of size.

An ASGI application around another one. The span of the request is OpenTelemetry's business
and is current in here.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from problems import problem, trace_id

log = structlog.get_logger("service")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: no line, and no span either."""


class Envelope:
    """Wraps an application."""

    def __init__(self, app: Any, max_body_bytes: int) -> None:
        """Take the application and the size beyond which a request is not read."""
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answered: dict[str, Any] = {"status": None, "run_id": None}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                found = trace_id()
                if found is not None:
                    headers.append((b"x-trace-id", found.encode()))
                answered["status"] = message["status"]
                answered["run_id"] = dict(headers).get(b"x-run-id", b"").decode() or None
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._answer(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                duration_s=round(time.perf_counter() - began, 4),
                **answered,
            )

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Hand it on, unless its body is too large, whether or not it says so beforehand."""
        size = 0
        said = dict(scope["headers"]).get(b"content-length", b"0")
        more = True
        messages: list[Message] = []
        large = said.isdigit() and int(said) > self._max_body_bytes
        while more and not large:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            large = size > self._max_body_bytes
        if large:
            said = f"a request may have {self._max_body_bytes} bytes"
            # The rest of it is not read, so nothing else can come over this connection.
            await problem(413, said, {"Connection": "close"})(scope, receive, send)
            return

        async def receive_again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, receive_again, send)
