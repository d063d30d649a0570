"""One request to the receiver, and what its answer means for the batch.

A batch is over only where the receiver has said that it has it, or that it never will
take it. Everything else is tried again: what is wrong with the address, the way or the
credentials can be mended, and is no fault of the batch. Knows neither files nor threads.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import time
import zlib
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import requests
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # made by protoc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.util._importlib_metadata import entry_points

from hush import __version__
from hush.errors import text_of
from hush.export.deadline import Deadline
from hush.export.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.export.batch_file import Encoding, Payload
    from hush.export.options import Signal
    from hush.export.route import Compression, Route

__all__ = ("Answer", "Receiver", "compressed", "plain", "retry_after_s")

# The status 400 and its like are about the batch. These are not: who may send, where the
# receiver is, whether it has time.
_MENDABLE: Final = frozenset((401, 402, 403, 404, 405, 407, 408, 421, 423, 425, 429, 451))
_FIRST_REDIRECT: Final = 300
_FIRST_REFUSAL: Final = 400
_FIRST_FAULT: Final = 500
_OK: Final = 200
_PROTOBUF: Final = "application/x-protobuf"
LONGEST_ASKED_S: Final = 3_600.0
"""A receiver that asks for more is asked again after so long."""
_LONGEST_ANSWER: Final = 64 * 1024
_LONGEST_TEXT: Final = 200

_RESPONSES: Final[dict[Signal, Any]] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
_REJECTED: Final[dict[Signal, tuple[str, str]]] = {
    "traces": ("rejected_spans", "rejectedSpans"),
    "metrics": ("rejected_data_points", "rejectedDataPoints"),
    "logs": ("rejected_log_records", "rejectedLogRecords"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    kind: Literal["delivered", "again", "refused"]
    """The receiver has it; it is to be sent again; it never will be taken."""
    error: str = ""
    """What went wrong, in a word that can be a label: a status, ``connection``, ``timeout``,
    ``redirect``, ``not_otlp``."""
    message: str = ""
    """The same for people."""
    retry_after_s: float | None = None
    """How long the receiver asks to wait, in seconds."""
    rejected: int = 0
    """How many of a delivered batch it did not take."""
    date_s: float | None = None
    """When it answered by its own clock, in seconds since the epoch; None where it does not say."""


class Receiver:
    """Sends to one receiver over connections that it keeps."""

    def __init__(self) -> None:
        """Connect to nothing yet."""
        self._sessions: dict[str, requests.Session] = {}
        self._deadline = Deadline()

    def send(self, route: Route, payload: Payload) -> Answer:
        """Send a batch once. Raises nothing.

        Args:
            route: where to and how.
            payload: what to send.
        """
        headers = {
            "User-Agent": f"hush/{__version__}",
            **route.headers,
            "Content-Type": _PROTOBUF,
        }
        if payload.encoding != "identity":
            headers["Content-Encoding"] = payload.encoding
        sent: dict[str, str | bytes] = {}

        def told(text: str) -> str:
            return _clean(masked(text, route.url, route.headers, sent))

        with self._deadline.within(route.timeout_s) as watch:
            try:
                with self._session(route).post(
                    route.url,
                    data=payload.data,
                    headers=headers,
                    timeout=route.timeout_s,
                    allow_redirects=False,
                    stream=True,
                    # Said here it goes before REQUESTS_CA_BUNDLE.
                    verify=None if route.verify is True else route.verify,
                ) as response:
                    sent.update(response.request.headers)
                    answer = _judge(route.signal, response, _body(response), told)
                    answer = replace(answer, date_s=_instant_s(response.headers.get("Date")))
            except Exception as error:  # noqa: BLE001  # an address or a certificate that cannot be used, too
                sent.update(getattr(getattr(error, "request", None), "headers", None) or {})
                answer = _failed(error, told)
        if watch.passed:  # whatever came of it: what was cut off may look whole
            return Answer("again", "timeout", f"no whole answer within {route.timeout_s:g} s")
        return answer

    def close(self) -> None:
        """Let go of the connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def forget(self) -> None:
        """Leave the connections to the parent, in a forked child."""
        self._sessions = {}

    def _session(self, route: Route) -> requests.Session:
        key = f"{route.signal} {route.url}"
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _new_session(route)
            self._deadline.cover(session)
        return session


def _new_session(route: Route) -> requests.Session:
    session = _session_of_provider(route.signal) or requests.Session()
    session.verify = route.verify
    if route.cert is not None:
        session.cert = route.cert
    return session


def _session_of_provider(signal: Signal) -> requests.Session | None:
    """Return what a provider of credentials gives, where the SDK's variables name one."""
    begin = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"
    name = os.environ.get(f"{begin}CREDENTIAL_PROVIDER") or os.environ.get(
        f"{begin}{signal.upper()}_CREDENTIAL_PROVIDER"
    )
    if not name:
        return None
    for entry in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        session = entry.load()()
        if isinstance(session, requests.Session):
            return session
    raise LookupError(f"no provider of credentials {name!r} is installed that gives a session")


def _body(response: requests.Response) -> bytes:
    """Read an answer, but not without end."""
    parts = []
    length = 0
    for part in response.iter_content(8_192):
        parts.append(part)
        length += len(part)
        if length > _LONGEST_ANSWER:
            break
    return b"".join(parts)


def _judge(
    signal: Signal, response: requests.Response, body: bytes, told: Callable[[str], str]
) -> Answer:
    status = response.status_code
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if _OK <= status < _FIRST_REDIRECT:
        if body.lstrip()[:1] == b"<":  # no OTLP, be it protobuf or JSON, begins so
            # A portal or a proxy answers so, and has kept nothing.
            return Answer("again", "not_otlp", f"{status} with a page, not OTLP")
        return _delivered(signal, kind, body, told)
    said = f"{status} {told(response.reason or '')}".strip()
    if status < _FIRST_REFUSAL:
        target = told(re.split(r"[?#]", response.headers.get("Location", "nowhere"))[0])
        return Answer("again", "redirect", f"{said} to {target}; redirects are not followed")
    more = told(_words(kind, body))
    said = f"{said}: {more}" if more else said
    if status >= _FIRST_FAULT or status in _MENDABLE:
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        return Answer("again", str(status), said, retry_after_s=wait_s)
    return Answer("refused", str(status), said)


def _failed(error: Exception, told: Callable[[str], str]) -> Answer:
    """Say what became of a request that has no answer."""
    if isinstance(error, requests.exceptions.InvalidHeader):
        # Its text is the value.
        said = "a header cannot be sent: its value begins with a blank, or has a line break in it"
        return Answer("again", "InvalidHeader", f"{said}; mend OTEL_EXPORTER_OTLP_HEADERS")
    if isinstance(error, requests.Timeout):
        kind = "timeout"
    elif isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        kind = "connection"
    else:
        kind = type(error).__name__
    # Libraries wrap it several times: what went wrong is at the bottom.
    inner: BaseException = error
    while (next_inner := inner.__cause__ or inner.__context__) is not None:
        inner = next_inner
    return Answer("again", kind, told(f"{type(inner).__name__}: {text_of(inner)}"))


def _delivered(signal: Signal, kind: str, body: bytes, told: Callable[[str], str]) -> Answer:
    """Find out whether all of it was taken."""
    proto, name = _REJECTED[signal]
    rejected, message = 0, ""
    try:
        if kind == "application/json" and body:
            partial = json.loads(body).get("partialSuccess") or {}
            rejected, message = int(partial.get(name) or 0), partial.get("errorMessage") or ""
        elif body:
            partial = _RESPONSES[signal].FromString(body).partial_success
            rejected, message = getattr(partial, proto), partial.error_message
    except Exception:  # noqa: BLE001  # an answer in words: the status says enough
        rejected, message = 0, ""
    return Answer("delivered", message=told(str(message)), rejected=max(rejected, 0))


def _words(kind: str, body: bytes) -> str:
    if kind == _PROTOBUF:
        try:
            return str(Status.FromString(body).message)
        except Exception:  # noqa: BLE001  # then it is no such message
            return ""
    return body.decode("utf-8", "replace")


def _clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_TEXT]


def retry_after_s(said: str | None) -> float | None:
    """Return for how many seconds a receiver asks to be left alone.

    Args:
        said: the header ``Retry-After``, whole seconds or a date, as RFC 9110 has it; None
            where there is none.

    Returns:
        An hour at most: one wrong answer must not end the export. None where nothing
        sensible is said.
    """
    if said is None:
        return None
    text = said.strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), LONGEST_ASKED_S)
    until_s = _instant_s(text)
    return None if until_s is None else min(max(until_s - time.time(), 0.0), LONGEST_ASKED_S)


def _instant_s(said: str | None) -> float | None:
    """Return a date of HTTP in seconds since the epoch; None where it is none."""
    try:
        return parsedate_to_datetime(said or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def compressed(data: bytes, compression: Compression) -> tuple[bytes, Encoding]:
    """Compress a payload as the variables ask, quickly rather than well.

    Args:
        data: an OTLP request.
        compression: how.
    """
    if compression == "gzip":
        return gzip.compress(data, 1, mtime=0), "gzip"
    if compression == "deflate":
        return zlib.compress(data, 1), "deflate"
    return data, "identity"


def plain(payload: Payload) -> bytes:
    """Return a payload's data as it was before it was compressed.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        if payload.encoding == "gzip":
            return gzip.decompress(payload.data)
        if payload.encoding == "deflate":
            return zlib.decompress(payload.data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"a batch cannot be decompressed: {text_of(error)}") from error
    return payload.data
