"""Faults: what goes wrong in a call, as errors that name it and never show a key.

The client's exceptions hold the request with its headers, and texts of servers may repeat
what they were sent. So texts are scrubbed, and the original stays as the cause only where
it holds no secret any more.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import openai

from hush.errors import (
    LLMConnectionError,
    LLMError,
    LLMResponseError,
    LLMStatusError,
    LLMStreamError,
    LLMTimeoutError,
    text_of,
)

if TYPE_CHECKING:
    from hush.providers.resource import LLMResource

__all__ = ("fault_of", "scrubbed")

MASK: Final = "[redacted]"
TEXT_LIMIT: Final = 500

SECRET_HEADERS: Final = ("authorization", "api-key", "x-api-key", "cookie")
TRANSIENT_STATUS: Final = frozenset((408, 409, 425, 429))
"""Besides 5xx; what the official client tries again, and "too early"."""
FINAL_CODES: Final = frozenset(("insufficient_quota", "billing_hard_limit_reached"))
"""They come with 429 and mean that waiting will not help."""
UNSENT: Final = frozenset(("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"))
"""Causes of a broken call that never reached the server."""

_REMEDIES: Final = {
    400: "Look at the messages and parameters",
    401: "Check the resource's api_key",
    403: "Check what the api_key may do",
    404: "Check the resource's model and base_url",
    408: "Raise timeout_s, or try later",
    413: "Send less",
    422: "Look at the messages and parameters",
    429: "Lower requests_per_minute, tokens_per_minute or max_concurrency of the resource",
}


def fault_of(
    error: Exception, resource: LLMResource, path: str, *, streaming: bool = False
) -> LLMError:
    """Describe what went wrong in a call.

    Args:
        error: what came out of the client.
        resource: what was called.
        path: the node's path.
        streaming: whether the answer had begun to arrive.

    Returns:
        An error with the original as its cause, where that holds no secret.
    """
    fault = _described(error, resource, path, streaming=streaming)
    fault.__cause__ = _harmless(error, resource)
    fault.__suppress_context__ = True
    return fault


def _described(error: Exception, resource: LLMResource, path: str, *, streaming: bool) -> LLMError:
    about: dict[str, Any] = {"resource": resource.name, "model": resource.model}
    at = f"{resource.key} ({_address(resource)})"
    if isinstance(error, openai.APIStatusError):
        return _status(error, resource, path, about)
    if isinstance(error, openai.APITimeoutError) or _is_timeout(error):
        return LLMTimeoutError(
            path,
            f"{at} sent nothing for timeout_s={resource.timeout_s:g}. Raise the resource's "
            f"timeout_s, or look at the server",
            **about,
        )
    if streaming:
        said = scrubbed(_cause_text(error), resource)
        return LLMStreamError(
            path,
            f"the stream from {at} broke off before its end: {said}. What had arrived is not used",
            **about,
        )
    if isinstance(error, openai.APIConnectionError):
        said = scrubbed(_cause_text(error), resource)
        return LLMConnectionError(
            path, f"no answer from {at}: {said}. Check its base_url and the server", **about
        )
    said = scrubbed(f"{type(error).__name__}: {text_of(error)}", resource)
    return LLMResponseError(path, f"the call to {at} failed: {said}", **about)


def _status(
    error: openai.APIStatusError, resource: LLMResource, path: str, about: dict[str, Any]
) -> LLMStatusError:
    status, body = error.status_code, error.body
    # Whatever the server sent: a number, say, or what it had been sent itself.
    code = None if error.code is None else scrubbed(str(error.code), resource)
    told = body.get("message") if isinstance(body, Mapping) else None
    said = scrubbed(str(told or error.message), resource)
    transient = (status in TRANSIENT_STATUS or status >= 500) and code not in FINAL_CODES  # noqa: PLR2004  # HTTP's server errors
    remedy = _REMEDIES.get(status, "Try later" if transient else "Look at what the server says")
    if code == "content_filter":
        remedy = "The server's content filter refused the prompt; change it"
    elif code in FINAL_CODES:
        remedy = "The account's quota is used up; waiting will not help"
    asked_s = retry_after_s(error.response.headers)
    if transient and asked_s is not None and asked_s > resource.max_retry_after_s:
        remedy = (
            f"It asks to wait {asked_s:g} s, longer than max_retry_after_s="
            f"{resource.max_retry_after_s:g} allows. Raise that, or give a fallback"
        )
    return LLMStatusError(
        path,
        f"{resource.key} answered {status}{f' {code}' if code else ''}: {said.rstrip('.')}. {remedy}",
        status=status,
        code=code,
        request_id=error.request_id and scrubbed(error.request_id, resource),
        retry_after_s=asked_s,
        transient=transient,
        **about,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to wait, in seconds; None where it does not.

    Args:
        headers: of the response. ``retry-after-ms`` is OpenAI's own and goes first;
            ``Retry-After`` is a number of seconds or a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            seconds = _until(text)
        # Also turns away what is no number.
        if 0 <= seconds < 1e9:  # noqa: PLR2004  # beyond any date that is meant
            return seconds
    return None


def _until(text: str) -> float:
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        # No date, or one in a year that no clock will see.
        return -1.0
    return max(at - time.time(), 0.0)


def never_sent(error: BaseException) -> bool:
    """Say whether a fault's call cannot have cost anything: it never reached the server."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in UNSENT:
            return True
        seen = seen.__cause__
    return False


def scrubbed(text: str, resource: LLMResource) -> str:
    """Return a text without the resource's secrets, cut to a length that reads well.

    Args:
        text: from wherever.
        resource: whose secrets may be in it.
    """
    for secret in resource.secrets:
        text = text.replace(secret, MASK)
    short = " ".join(text.split())
    return short if len(short) <= TEXT_LIMIT else f"{short[:TEXT_LIMIT]}…"


def _address(resource: LLMResource) -> str:
    host, port = resource.server
    return f"{host}:{port}"


def _is_timeout(error: BaseException) -> bool:
    # Not by class: which HTTP library the client uses is its own business.
    return type(error).__name__.endswith("Timeout")


def _cause_text(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else None
    real = cause or error
    return f"{type(real).__name__}: {text_of(real)}" if text_of(real) else type(real).__name__


def _harmless(error: Exception, resource: LLMResource) -> Exception | None:
    """Return the exception with its request's secrets removed; None where some are left."""
    seen: BaseException | None = error
    while seen is not None:
        shown = _shown(seen)
        if any(secret in shown for secret in resource.secrets):
            return None
        seen.__context__ = None
        headers = getattr(getattr(seen, "request", None), "headers", None)
        for name in (*SECRET_HEADERS, *resource.headers):
            if headers is not None and name in headers:
                del headers[name]
        seen = seen.__cause__
    return error


def _shown(error: BaseException) -> str:
    """Return all that an exception of the client shows, its response included."""
    shown = f"{text_of(error)}{error!r}{error.__dict__!r}"
    response = getattr(error, "response", None)
    if response is not None:
        told = (response, *response.history)
        shown += "".join(f"{one.url}{list(one.headers.items())}" for one in told)
        with suppress(RuntimeError):  # not read, then nobody can
            shown += response.text
        # What was sent first, where the server redirected, still has all headers.
        shown += "".join(f"{list(one.request.headers.items())}" for one in response.history)
    return shown
