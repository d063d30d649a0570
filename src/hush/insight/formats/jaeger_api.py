"""A trace from a running Jaeger, through its query API.

First the newer API (``/api/v3``), which answers in OTLP JSON and so keeps nanoseconds and
types; where a Jaeger does not have it, the one that its UI uses. Every wait is bounded.
"""

from __future__ import annotations

import base64
import http.client
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hush.errors import text_of
from hush.insight.formats.detection import read_document
from hush.insight.formats.json_reading import parse_json
from hush.insight.source_errors import (
    TraceBackendError,
    TraceFormatError,
    TraceNotFoundError,
)
from hush.insight.tree import TraceTree, group_traces

if TYPE_CHECKING:
    from hush.insight.record import SpanRecord

__all__ = ("TIMEOUT_S", "fetch_trace", "split_trace_url")

TIMEOUT_S: Final = 10.0
_LARGEST: Final = 1024 * 1024 * 1024
_SHOWN: Final = 200
_OK: Final = 200
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = (401, 403)
_PATHS: Final = ("/api/v3/traces/", "/api/traces/")
_TRACE_PATH: Final = re.compile(
    r"(?P<base>.*?)/(?:trace|api/traces|api/v3/traces)/(?P<id>[0-9a-fA-F]{1,32})/?"
)
_LOOPBACK: Final = re.compile(r"localhost|127\.[0-9.]+|::1")


def split_trace_url(url: str) -> tuple[str, str] | None:
    """Part the address of a trace, as copied from Jaeger's UI or of its API.

    Args:
        url: such as ``http://localhost:16686/trace/ID``.

    Returns:
        Jaeger's base URL and the trace id; None where it is no such address.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return None
    found = _TRACE_PATH.fullmatch(parts.path)
    if parts.scheme not in {"http", "https"} or found is None:
        return None
    return f"{parts.scheme}://{parts.netloc}{found['base']}", found["id"].lower()


def fetch_trace(base_url: str, trace_id: str, *, timeout_s: float = TIMEOUT_S) -> TraceTree:
    """Ask Jaeger for a trace.

    Args:
        base_url: of its query service, such as ``http://localhost:16686``; a user and a
            password in it are sent by basic authentication.
        trace_id: the whole id, 32 hex digits or, where the first 16 are zeros, the rest:
            Jaeger knows no abbreviations.
        timeout_s: how long the whole may take, in seconds.

    Returns:
        What Jaeger has of the trace now.

    Raises:
        TraceNotFoundError: Jaeger has no such trace.
        TraceBackendError: it cannot be reached, did not answer in time, or is no Jaeger.
        TraceFormatError: its answer is damaged.
    """
    server = _server(base_url)
    wanted = trace_id.strip().lower()
    if not wanted or wanted.strip("0123456789abcdef") or len(wanted) > 32:  # noqa: PLR2004  # digits of an id
        raise TraceNotFoundError(f"{trace_id!r} is no trace id: expected 32 hex digits")
    problem: Exception | None = None
    give_up = time.monotonic() + timeout_s
    for path in _PATHS:
        answer = _bounded(server, f"{path}{wanted}", max(give_up - time.monotonic(), 0.001))
        if answer.status == _NOT_FOUND:
            continue
        if answer.status in _FORBIDDEN:
            raise TraceBackendError(
                f"{server.shown}: refused (HTTP {answer.status}): put user and password into the "
                "address, as in http://user:password@host:16686"
            )
        try:
            records = [_in_order(one) for one in _read(answer, f"{server.shown}{path}{wanted}")]
        except (TraceFormatError, TraceBackendError) as error:
            problem = error  # the other API may do better
            continue
        tree = group_traces(records).get(wanted.zfill(32))
        if tree is not None:
            return tree
    if problem is not None:
        raise problem
    raise TraceNotFoundError(
        f"{server.shown} has no trace {wanted}: it may not have arrived yet, or the id is cut "
        "(Jaeger needs all 32 digits)"
    )


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    """Without user and password."""
    shown: str
    """For messages."""
    authorisation: str | None
    is_local: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


def _server(base_url: str) -> _Server:
    try:
        parts = urllib.parse.urlsplit(base_url.strip())
        port = parts.port
    except ValueError as error:
        raise TraceBackendError(f"{_without_secret(base_url)}: no address: {error}") from None
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host:
        raise TraceBackendError(
            f"{_without_secret(base_url)}: no address of a Jaeger; expected one such as "
            "http://localhost:16686"
        )
    place = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    authorisation = None
    if parts.username is not None:
        pair = (
            f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        )
        authorisation = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
    return _Server(url, url, authorisation, _LOOPBACK.fullmatch(host) is not None)


def _without_secret(url: str) -> str:
    return re.sub(r"[^/]*@", "", url)


def _bounded(server: _Server, path: str, timeout_s: float) -> _Answer:
    """Ask in a thread that can be left: a name server or a trickle keeps to no limit."""
    outcome: list[_Answer | Exception] = []

    def ask() -> None:
        try:
            outcome.append(_ask(server, path, timeout_s))
        except Exception as error:  # noqa: BLE001  # raised again by whoever waits
            outcome.append(error)

    thread = threading.Thread(target=ask, name="hush jaeger", daemon=True)
    thread.start()
    thread.join(timeout_s)
    result = outcome[0] if outcome else TimeoutError(f"no answer within {timeout_s:g} s")
    if isinstance(result, _Answer):
        return result
    if isinstance(result, TraceBackendError):
        raise result
    reason = getattr(result, "reason", None) or result
    said = text_of(reason) if isinstance(reason, BaseException) else str(reason)
    if isinstance(result, (OSError, http.client.HTTPException, ValueError)):
        raise TraceBackendError(
            f"{server.shown}: cannot be asked: {said or type(result).__name__}: is Jaeger running "
            "there? Its query service listens on port 16686 by default"
        ) from result
    raise result


def _ask(server: _Server, path: str, timeout_s: float) -> _Answer:
    request = urllib.request.Request(f"{server.url}{path}", headers={"Accept": "application/json"})  # noqa: S310  # _server() lets only http and https pass
    if server.authorisation is not None:
        request.add_unredirected_header("Authorization", server.authorisation)
    # A proxy that the environment names is not for loopback.
    handlers = [urllib.request.ProxyHandler({})] if server.is_local else []
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(request, timeout=timeout_s) as response:
            body = response.read(_LARGEST + 1)
            if len(body) > _LARGEST:
                raise TraceBackendError(f"{server.shown}: the answer is larger than 1 GiB")
            return _Answer(response.status, body)
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, error.read(4096))


def _in_order(record: SpanRecord) -> SpanRecord:
    """Put a span's events in order again: Jaeger's newer API sorts them by name."""
    events = tuple(sorted(record.events, key=lambda event: event.time_ns))
    return record if events == record.events else replace(record, events=events)


def _read(answer: _Answer, source: str) -> list[SpanRecord]:
    text = answer.body.strip()
    if answer.status != _OK:
        said = " ".join(text.decode("utf-8", "replace")[:_SHOWN].split())
        raise TraceBackendError(f"{source}: HTTP {answer.status}: {said}")
    if not text.startswith((b"{", b"[")):
        raise TraceBackendError(f"{source}: the answer is no JSON: is this Jaeger's query service?")
    # A long trace comes in parts, one object a line.
    lines = text.splitlines() if text.startswith(b'{"result"') else [text]
    return [record for line in lines if line for record in read_document(parse_json(line, source))]
