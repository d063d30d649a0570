"""The application: what can be asked, and how a request becomes a run of a workflow."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import anyio
import structlog
from backends import Backends, models
from envelope import QUIET, Envelope
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from gate import Gate
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from problems import GONE, add_problems, problem, trace_id
from pydantic import BaseModel, ConfigDict, Field
from settings import Settings
from workflows import build_orders, build_pages, scripted_reply

from hush.core import Hush, HushError
from hush.observe.prometheus import metrics_app

log = structlog.get_logger("service")

Name = Annotated[str, Field(min_length=1, max_length=80)]
RequestId = Annotated[str | None, Header(max_length=128)]


class Order(BaseModel):
    """Who orders what."""

    model_config = ConfigDict(extra="forbid")
    customer: Name
    items: list[Name] = Field(min_length=1, max_length=50)


class Pages(BaseModel):
    """Which pages are read."""

    model_config = ConfigDict(extra="forbid")
    pages: list[int] = Field(min_length=1, max_length=200)


class Engines:
    """The workflows, compiled once; all requests share them, their clients and their limits."""

    def __init__(self, orders: Hush, pages: Hush) -> None:
        """Take them."""
        self.orders = orders
        self.pages = pages


def build_app(settings: Settings, gate: Gate) -> FastAPI:
    """Make the application.

    Args:
        settings: its limits.
        gate: what every run has to go through.

    Returns:
        The application; telemetry should have been configured before.
    """
    most_s = settings.deadline_s
    Deadline = Annotated[float, Query(gt=0, le=most_s)]  # noqa: N806  # a type

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        behind = Backends(settings.faults, settings.slow_s)
        async with AsyncExitStack() as open_until_the_end:
            resources = open_until_the_end.enter_context(models(scripted_reply, settings.faults))
            # Entered, so that clients and their connections are kept from run to run.
            orders = await open_until_the_end.enter_async_context(
                Hush(build_orders(behind), resources=resources)
            )
            pages = await open_until_the_end.enter_async_context(Hush(build_pages(behind)))
            app.state.ready = True
            yield {"engines": Engines(orders, pages)}
            app.state.ready = False

    app = FastAPI(title="Orders", lifespan=lifespan)
    app.state.ready = False

    @app.post("/orders")
    async def order(
        request: Request,
        order: Order,
        deadline_s: Deadline = most_s,
        x_request_id: RequestId = None,
    ) -> Response:
        """Enrich an order and write the letter that goes with the offer."""
        engine = request.state.engines.orders
        return await answer(
            request,
            gate,
            engine,
            order.model_dump(),
            deadline_s=deadline_s,
            request_id=x_request_id,
        )

    @app.post("/pages")
    async def pages(
        request: Request,
        pages: Pages,
        deadline_s: Deadline = most_s,
        x_request_id: RequestId = None,
    ) -> Response:
        """Read pages of the catalogue."""
        engine = request.state.engines.pages
        return await answer(
            request,
            gate,
            engine,
            pages.model_dump(),
            deadline_s=deadline_s,
            request_id=x_request_id,
        )

    @app.get("/healthz", include_in_schema=False)
    async def alive() -> Response:
        """Say that the event loop turns; nothing else makes a restart worth it."""
        return PlainTextResponse("alive\n")

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> Response:
        """Say whether requests are welcome. Whether the collector answers is not asked."""
        if app.state.ready and not gate.ending:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("ending\n" if gate.ending else "not ready\n", 503)

    app.add_route("/metrics", metrics_app(), include_in_schema=False)
    add_problems(app)
    app.add_middleware(Envelope, max_body_bytes=settings.max_body_bytes)
    # The caller's traceparent is taken up here: a span for each request, in the caller's trace.
    FastAPIInstrumentor.instrument_app(
        app,
        excluded_urls=",".join(f"{path}$" for path in sorted(QUIET)),
        exclude_spans=["receive", "send"],
    )
    return app


async def answer(
    request: Request, gate: Gate, engine: Hush, inputs: Mapping[str, Any], **options: Any
) -> Response:
    """Run a workflow for a request, as long as somebody waits for the answer.

    Raises:
        RunError: the run failed; :mod:`problems` says which status that is.
        TurnedAwayError: it was not begun.
        CutOffError: the service had to end.
    """
    result = await while_awaited(request, lambda: gate.do(lambda: engine.run(inputs, **options)))
    if result is None:
        return problem(GONE, "nobody waits for the answer")
    outputs = {name: value for name, value in result.items() if name != "$state"}
    ids = {"run_id": result.run_id, "trace_id": trace_id()}
    return JSONResponse({**outputs, **ids}, headers={"X-Run-Id": result.run_id})


async def while_awaited(request: Request, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do the work; cancel it when whoever asked has hung up.

    Returns:
        What the work returned; None where it was cancelled.
    """
    failure: Exception | None = None
    result = None

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(hang_up)
        try:
            result = await work()
        except Exception as error:  # not as a group of one, which a task group would make of it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        if isinstance(failure, HushError):
            log.warning("run failed", error=str(failure), run_id=getattr(failure, "run_id", None))
        raise failure
    return result
