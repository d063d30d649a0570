r"""A service that runs a workflow for each request, in the request's trace.

    pip install 'hush-runtime[prometheus]' -r examples/service/requirements.txt
    python examples/service/service.py
    curl -i localhost:8080/orders -H 'content-type: application/json' \
        -d '{"customer": "ann", "items": ["cup", "pot"]}'

settings.py has what may be set, each by a variable; where telemetry goes, the standard ones
say (OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, HUSH_SPOOL). On SIGTERM it says at
/readyz that it is ending, turns new requests away, lets runs end, cancels those that take too
long, sends its telemetry, and leaves. A second signal cancels at once. load.py makes requests.
"""

import logging
import os
from collections.abc import Sequence
from types import FrameType

import anyio
import structlog
import uvicorn
from app import build_app
from gate import Gate
from opentelemetry.sdk.trace import SpanProcessor
from settings import Settings

from hush.observe import configure

log = structlog.get_logger("service")


class Server(uvicorn.Server):
    """uvicorn, but a signal begins the end instead of being it."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Take the configuration."""
        super().__init__(config)
        self.signalled = anyio.Event()
        self.patience = anyio.CancelScope()
        """What waits for runs to end."""
        self._loop = None

    async def serve(self, sockets: list | None = None) -> None:
        """Serve until ``should_exit`` is set."""
        import asyncio  # uvicorn's loop, which signals must wake

        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; called between any two instructions, so the loop does the rest."""
        del sig, frame
        self._loop.call_soon_threadsafe(self._begin_to_end)

    def _begin_to_end(self) -> None:
        if self.signalled.is_set():
            self.patience.cancel()
        self.signalled.set()


async def end_when_told(server: Server, gate: Gate, settings: Settings) -> None:
    """Wait for a signal, then see to it that the last run ends, and the server with it."""
    await server.signalled.wait()
    gate.ending = True
    log.info("ending", runs=gate.inside, most_s=settings.linger_s + settings.drain_s)
    with server.patience:
        await anyio.sleep(settings.linger_s)
        gate.close()
        with anyio.move_on_after(settings.drain_s):
            await gate.wait_until_empty()
    gate.close()
    if gate.inside:
        log.warning("runs are cancelled", runs=gate.inside)
        gate.cut_off()
        await gate.wait_until_empty()
    server.should_exit = True


async def serve(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        SystemExit: the address is taken, or the application could not be started.
    """
    gate = Gate(settings.max_runs, settings.max_waiting, settings.max_wait_s)
    config = uvicorn.Config(
        build_app(settings, gate),
        host=settings.host,
        port=settings.port,
        # Lines go where all others go, and the application writes its own for each request.
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        # For responses that are on their way when the last run has ended.
        timeout_graceful_shutdown=5,
    )
    server = Server(config)
    socket = config.bind_socket()
    log.info("listening", port=socket.getsockname()[1])
    failed: SystemExit | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(end_when_told, server, gate, settings)
        try:
            await server.serve([socket])
        except SystemExit as exit_:  # the application did not start, which the log tells of
            failed = exit_
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed  # as it was, and not in a group


def quieten() -> None:
    """Leave out what others log for terminals, and what a trace tells better."""
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # uvicorn gives each line a second time, in colours.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: record.__dict__.pop("color_message", None) is None or True
    )


def main(processors: Sequence[SpanProcessor] = ()) -> None:
    """Run the service.

    Args:
        processors: span processors to add.

    Raises:
        SystemExit: it could not be started.
    """
    # The names of HTTP metrics and attributes that are stable, not those of years ago.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    settings = Settings.read()
    telemetry = configure(
        service_name=os.environ.get("OTEL_SERVICE_NAME", "example"),
        logs=True,
        processors=processors,
    )
    quieten()
    try:
        anyio.run(serve, settings)
    finally:
        # After the last span has ended: what cannot be sent in a second stays in the spool.
        telemetry.shutdown()


if __name__ == "__main__":
    main()
