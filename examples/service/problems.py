"""How what went wrong is told over HTTP: a status, and ids by which it is found again.

RFC 9457's ``application/problem+json``. Texts of exceptions stay in the trace and in the log:
whoever calls the service gets the ids, and whoever runs it looks there.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from gate import CutOffError, TurnedAwayError
from opentelemetry import trace
from starlette.exceptions import HTTPException

from hush.core import InputError, LLMError, RunError

GONE = 499
"""What nginx calls it: whoever asked has not waited for the answer. Nobody gets to see it."""


def trace_id() -> str | None:
    """Return the id of the request's trace; None where nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def problem(status: int, detail: str, headers: Any = None, **more: Any) -> JSONResponse:
    """Make the response of something that went wrong.

    Args:
        status: of HTTP.
        detail: for people, without anything that is nobody's business.
        headers: further ones.
        **more: further members; those that are None are left out.
    """
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Client Closed Request"
    members = {"title": title, "status": status, "detail": detail, "trace_id": trace_id(), **more}
    return JSONResponse(
        {name: value for name, value in members.items() if value is not None},
        status,
        headers,
        media_type="application/problem+json",
    )


def status_of(error: RunError) -> int:
    """Choose a status: was it late, was it what we asked, or was it us?"""
    if error.outcome == "timeout":
        return 504
    # ConnectionError and TimeoutError are OSErrors.
    return 502 if isinstance(error.__cause__, OSError | LLMError) else 500


def of_run(error: RunError) -> JSONResponse:
    """Tell of a run that failed."""
    status = status_of(error)
    said = {
        504: "it took longer than it may",
        502: "something that the service asks has failed",
        500: "the service has failed",
    }
    return problem(
        status,
        f"{said[status]}, at {error.path}",
        {"X-Run-Id": error.run_id or ""},
        run_id=error.run_id,
        node=error.path,
    )


def add_problems(app: FastAPI) -> None:
    """Let an application tell of everything that goes wrong in the same way."""

    @app.exception_handler(RunError)
    async def _run(_: Request, error: RunError) -> JSONResponse:
        return of_run(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the values: they may be secret, and whoever sent them has them.
        wrong = [{"where": each["loc"], "what": each["msg"]} for each in error.errors()]
        return problem(422, "the request does not fit", errors=wrong)

    @app.exception_handler(InputError)
    async def _inputs(_: Request, error: InputError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(TurnedAwayError)
    async def _turned_away(_: Request, error: TurnedAwayError) -> JSONResponse:
        # The next request may go to another replica, over another connection.
        return problem(503, str(error), {"Retry-After": "1", "Connection": "close"})

    @app.exception_handler(CutOffError)
    async def _cut_off(_: Request, error: CutOffError) -> JSONResponse:
        return problem(503, str(error), {"Retry-After": "1", "Connection": "close"})

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def _ours(_: Request, error: Exception) -> JSONResponse:
        del error  # it is raised again afterwards, and so recorded and logged
        return problem(500, "the service has failed")
