"""An example of a service that is watched: it runs workflows all the time, and some of them fail.

    python deploy/example/service.py

What it runs is made up so that every panel of the dashboards moves: orders with a fan-in whose
last one is not always the same, a map that is at its limit, items that fail, are handled and are
tried again, calls to a scripted language model that are now and then refused, a node that holds
up the event loop, runs that are too late. Nothing leaves the machine but telemetry.

| variable | default | |
|---|---|---|
| RUNS_PER_SECOND | 2 | how many runs are started |
| RUNS | 0 | end after so many; 0 for never |
| METRICS_HOST, METRICS_PORT | 127.0.0.1, 9464 | /metrics for Prometheus |
| HEALTH_HOST, HEALTH_PORT | 127.0.0.1, 8080 | /healthz: it is alive; /readyz: it takes work |
| OTEL_EXPORTER_OTLP_ENDPOINT | - | where traces go; else into the local store |
| HUSH_SPOOL | - | the folder in which telemetry waits for the collector |

On SIGTERM it becomes unready, lets the runs in progress end, sends its telemetry, and leaves.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from hush.core import (
    END,
    PARENT,
    START,
    Each,
    First,
    GraphNode,
    Hush,
    HushError,
    MapNode,
    Retry,
    code_node,
)
from hush.observe import configure
from hush.providers import LLMChainNode, ResourceHub
from hush.testing import Answer, ErrorReply, ScriptedLLMServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = structlog.get_logger("example")

CHANCE = random.Random()  # noqa: S311  # which run fails is no secret
DRAIN_S = 20.0
"""How long runs may go on after SIGTERM; Kubernetes and systemd wait for 30 s."""
DEADLINE_S = 3.0
MODEL = "scripted-mini"


def at_random(share: float) -> bool:
    """Say yes to about this share of all questions."""
    return CHANCE.random() < share


# --- orders: a fan-in, a race, a model, now and then an error -------------------------------


@code_node
async def stock(order: int) -> dict[str, Any]:
    """Look up what is there; usually the last of the three."""
    await anyio.sleep(CHANCE.uniform(0.05, 0.25))
    if at_random(0.04):
        raise ConnectionError("stock: connection reset by peer")
    return {"stock": order % 7}


@code_node(retry=Retry(3, on=TimeoutError, initial_s=0.02))
async def price(order: int) -> dict[str, Any]:
    """Ask for the price, which takes several tries now and then."""
    await anyio.sleep(CHANCE.uniform(0.02, 0.08))
    if at_random(0.15):
        raise TimeoutError("price: no answer")
    return {"price": 10 + order % 90}


@code_node
async def history(order: int) -> dict[str, Any]:
    """Fetch what was bought before; one in thirty takes longer than the run may."""
    await anyio.sleep(DEADLINE_S * 2 if at_random(1 / 30) else CHANCE.uniform(0.01, 0.4))
    return {"history": order % 3}


@code_node
async def nearby(order: int) -> dict[str, Any]:
    """Ask the replica that is near."""
    await anyio.sleep(CHANCE.uniform(0.02, 0.06))
    return {"route": f"near {order}"}


@code_node
async def far_away(order: int) -> dict[str, Any]:
    """Ask the replica that is far; the race below cancels whoever is late."""
    await anyio.sleep(CHANCE.uniform(0.03, 0.09))
    return {"route": f"far {order}"}


@code_node
async def deliver(route: str) -> dict[str, Any]:
    """Go on with whichever answered first."""
    return {"delivery": route}


@code_node
async def offer(stock: int, price: int, history: int) -> dict[str, Any]:
    """Put together what the three have found. Computes on the loop, which it should not."""
    if at_random(0.1):
        time.sleep(0.15)  # noqa: ASYNC251  # what hush.loop_blocked_s is there to show
    return {"offer": f"{stock} at {price - history}"}


def build_orders() -> GraphNode:
    """Return the workflow of an order."""
    with GraphNode(name="orders") as orders:
        asked = {"order": PARENT["order"]}
        in_stock = stock(inputs=asked)
        priced = price(inputs=asked)
        known = history(inputs=asked)
        near = nearby(inputs=asked, outputs={"route": PARENT["route"]})
        far = far_away(inputs=asked, outputs={"route": PARENT["route"]})
        delivery = deliver(inputs={"route": PARENT["route"]}, join=First(cancel_rest=True))
        offered = offer(
            inputs={
                "stock": in_stock["stock"],
                "price": priced["price"],
                "history": known["history"],
            }
        )
        # Side by side with the rest: what it has said is wasted when the order fails.
        greeting = LLMChainNode(
            name="greeting",
            resource_key=MODEL,
            stream=True,
            on_error="capture",
            inputs={"prompt": "Greet the customer of order {order}", "order": PARENT["order"]},
        )
        letter = LLMChainNode(
            name="letter",
            resource_key=MODEL,
            stream=True,
            on_error="capture",
            inputs={"prompt": "Write a friendly offer: {offer}", "offer": offered["offer"]},
        )
        START >> [in_stock, priced, known] >> offered
        START >> greeting >> END
        offered >> letter >> END
        START >> [near, far] >> delivery >> END
    return orders


# --- pages: a map at its limit, some of whose items fail -----------------------------------


@code_node(retry=Retry(2, on=ConnectionError, initial_s=0.01))
async def fetch(page: int) -> dict[str, Any]:
    """Fetch a page: some are slow or hang, some fail at first, some are handled, some are not."""
    await anyio.sleep(CHANCE.uniform(0.2, 0.6) if at_random(0.05) else CHANCE.uniform(0.01, 0.05))
    if at_random(1 / 400):
        await anyio.sleep(DEADLINE_S * 2)
    if at_random(0.05):
        raise ConnectionError("reset by peer")
    if at_random(0.02):
        raise ValueError(f"page {page} is no HTML")
    if at_random(0.03):
        return {"words": None, "error": "503 Service Unavailable"}
    return {"words": 100 + page, "error": None}


@code_node
def total(words: list[int | None]) -> dict[str, Any]:
    """Add up, in a thread."""
    return {"words": sum(word or 0 for word in words)}


def build_pages() -> GraphNode:
    """Return the workflow that reads pages."""
    with GraphNode(name="pages") as pages:
        with MapNode(
            name="fetch_all",
            inputs={"page": Each(PARENT["pages"])},
            max_concurrency=4,
            on_error="collect",
            max_failures=0.2,
        ) as each:
            got = fetch(inputs={"page": PARENT["page"]}, outputs={"words": PARENT, "error": PARENT})
            START >> got >> END
        added = total(inputs={"words": each["words"]}, outputs={"*": PARENT})
        START >> each >> added >> END
    return pages


# --- the scripted model ---------------------------------------------------------------------


@contextmanager
def scripted_model() -> Iterator[ResourceHub]:
    """Serve a model on loopback that is refused now and then, as real ones are."""
    numbers = count(1)

    def reply(_request: Mapping[str, Any]) -> Answer | ErrorReply:
        number = next(numbers)
        if number % 9 == 0:
            return ErrorReply(429, "Rate limit reached", retry_after_s=0.05)
        if number % 31 == 0:
            return ErrorReply(401, "Incorrect API key")
        return Answer(
            "Dear customer, here is what we can do for you.", delay_s=0.05, chunk_delay_s=0.01
        )

    with ScriptedLLMServer(api_key="example") as server:
        server.default(MODEL, reply)
        yield ResourceHub.from_mapping(
            {
                f"llm:{MODEL}": {
                    "api_type": "openai",
                    "api_key": "example",
                    "base_url": server.base_url,
                    "model": MODEL,
                    # A limit that all runs share, and that makes some of them wait.
                    "max_concurrency": 3,
                    "input_usd_per_million": 150.0,
                    "output_usd_per_million": 600.0,
                }
            }
        )


# --- the service ---------------------------------------------------------------------------


class Health:
    """What the probes ask: is it alive, does it take work?"""

    def __init__(self) -> None:
        """Be alive and not ready."""
        self.ready = False

    def serve(self, host: str, port: int) -> ThreadingHTTPServer:
        """Answer probes from a thread of its own: also while the event loop is held up."""
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = {"/healthz": True, "/readyz": health.ready}
                status = 404 if self.path not in known else 200 if known[self.path] else 503
                body = f"{status}\n".encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its base's
                """Say nothing: probes come every few seconds."""

        server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True, name="health").start()
        return server


async def run_one(engine: Hush, inputs: Mapping[str, Any]) -> None:
    """Run a workflow; what fails is in its trace and in the metrics, and ends nothing here."""
    try:
        await engine.run(dict(inputs), deadline_s=DEADLINE_S)
    except HushError as error:
        log.warning("run failed", error=str(error))


async def work(resources: ResourceHub, health: Health) -> None:
    """Start runs at an even pace until told to stop, then let them end."""
    pace_s = 1 / float(os.environ.get("RUNS_PER_SECOND", "2"))
    most = int(os.environ.get("RUNS", "0")) or sys.maxsize
    orders = Hush(build_orders(), resources=resources)
    pages = Hush(build_pages())
    async with anyio.create_task_group() as watching:
        watching.start_soon(drain_on_signal, health, watching.cancel_scope)
        async with anyio.create_task_group() as runs:
            health.ready = True
            for number in range(most):
                if not health.ready:
                    break
                if number % 3:
                    runs.start_soon(run_one, orders, {"order": number})
                else:
                    runs.start_soon(run_one, pages, {"pages": range(40)})
                await anyio.sleep(pace_s)
        watching.cancel_scope.cancel()


async def drain_on_signal(health: Health, everything: anyio.CancelScope) -> None:
    """Wait for SIGTERM or SIGINT, then stop taking work, and cancel what is late."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            health.ready = False
            everything.deadline = anyio.current_time() + DRAIN_S


def main() -> int:
    """Run the service; returns its exit code."""
    telemetry = configure(
        service_name=os.environ.get("OTEL_SERVICE_NAME", "example"),
        prometheus_host=os.environ.get("METRICS_HOST", "127.0.0.1"),
        prometheus_port=int(os.environ.get("METRICS_PORT", "9464")),
    )
    health = Health()
    probes = health.serve(
        os.environ.get("HEALTH_HOST", "127.0.0.1"), int(os.environ.get("HEALTH_PORT", "8080"))
    )
    try:
        with scripted_model() as resources:
            anyio.run(work, resources, health)
    finally:
        probes.shutdown()
        probes.server_close()
        telemetry.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
