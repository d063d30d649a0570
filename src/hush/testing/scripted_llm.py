"""ScriptedLLMServer: a real HTTP server on loopback that speaks OpenAI's chat completions.

What each model answers is scripted; what was asked is recorded. Being real, it also does
what models do on bad days: it is slow, cuts streams, sends rubbish, hangs and hangs up.
"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import ExitStack
from itertools import count, cycle
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from hush.testing.scripted_http import Exchange, Listener
from hush.testing.scripted_replies import (
    Answer,
    Disconnect,
    ErrorReply,
    Hang,
    Malformed,
    RecordedRequest,
    Reply,
)
from hush.testing.scripted_wire import echo_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = (
    "Answer",
    "Disconnect",
    "ErrorReply",
    "Hang",
    "Malformed",
    "RecordedRequest",
    "Reply",
    "ScriptedLLMServer",
)

_STOP_TIMEOUT_S = 0.8

_OPENAI_PATH = "/v1/chat/completions"
_AZURE_PATH = re.compile(r"/openai/deployments/([^/]+)/chat/completions")


class ScriptedLLMServer:
    """A server of scripted models, for the time of a ``with`` block.

    A request is answered with the next reply of its model's script, then with the model's
    default, and without one with an echo of the last user message. Requests that are
    refused, for a wrong key say, use up nothing. Methods may be called from any thread,
    also while requests are served.

    Attributes:
        requests: all requests in order of arrival, the refused ones too; the last ones where
            ``remember`` says how many.
        active: requests being answered now.
        peak_active: the most there were at once. A request ends before its client can know,
            so a client that keeps to a limit is never seen above it; only one that the
            client gave up counts until that is noticed.
    """

    def __init__(
        self,
        *,
        api_key: str | None = "test-key",
        strict_models: bool = False,
        remember: int | None = None,
    ) -> None:
        """Script a server; it listens from ``start()`` to ``stop()``.

        Args:
            api_key: the key that requests must carry, else they get 401; None lets all in.
            strict_models: answer 404 for models with neither script nor default.
            remember: how many of the last requests are kept; None keeps all, which a server
                that is asked for hours has no memory for.

        Raises:
            ValueError: ``remember`` is negative.
        """
        if remember is not None and remember < 0:
            raise ValueError(f"remember={remember!r}: expected a number of requests, or None")
        self._remember = remember
        self.requests: list[RecordedRequest] = []
        self.active = 0
        self.peak_active = 0
        self._api_key = api_key
        self._strict_models = strict_models
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._scripts: dict[str, Iterator[Reply]] = {}
        self._defaults: dict[str, Reply | Callable[[dict[str, Any]], Reply]] = {}
        self._listener: Listener | None = None
        self._port = 0

    # --- life ----------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen: at a free port, and after ``stop()`` at the same one again.

        Raises:
            RuntimeError: it listens already.
        """
        if self._listener is not None:
            raise RuntimeError("the scripted server has been started already")
        listener = Listener(self._port, self._begin)
        self._port = listener.server_port
        self._listener = listener
        listener.start()
        return self

    def stop(self) -> None:
        """Close all connections and end all threads, within a second.

        Replies that hang or wait are given up. Only a callable default that blocks can
        outlive this, in a daemon thread. A server that does not listen is left alone.
        """
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop(_STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # --- what it answers -----------------------------------------------------------------

    def script(self, model: str, *replies: Reply, repeat: bool = False) -> None:
        """Set what a model answers, in order of the requests' arrival.

        What is left of an earlier script of the model is dropped.

        Args:
            model: the model, or Azure's deployment.
            replies: one for each request.
            repeat: begin again after the last one.
        """
        with self._lock:
            self._scripts[model] = cycle(replies) if repeat else iter(replies)

    def default(self, model: str, reply: Reply | Callable[[dict[str, Any]], Reply]) -> None:
        """Set what a model answers when its script is used up.

        Args:
            model: the model, or Azure's deployment.
            reply: the reply, or a function of the request's body that returns it. The
                function is called in the connection's thread, at the same time for several
                requests; what it raises becomes the message of a reply with status 400.
        """
        with self._lock:
            self._defaults[model] = reply

    # --- what it says --------------------------------------------------------------------

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, Azure's endpoint.

        Raises:
            RuntimeError: the server has never been started.
        """
        if not self._port:
            raise RuntimeError("the scripted server has no address before start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT/v1``, OpenAI's base URL; raises as ``url`` does."""
        return f"{self.url}/v1"

    @property
    def open_connections(self) -> int:
        """TCP connections that are open now; one that a client closes is noticed soon after."""
        listener = self._listener
        return 0 if listener is None else listener.open_connections

    def requests_for(self, model: str) -> list[RecordedRequest]:
        """Return a model's requests in order of arrival, which is that of its replies."""
        return [request for request in self.requests if request.model == model]

    def resources(self, *models: str, **options: Any) -> dict[str, dict[str, Any]]:
        """Return a resource ``llm:MODEL`` for each model, all at this server.

        Args:
            models: the models, or Azure's deployments.
            options: more fields, or other values of the usual ones, for each resource. With
                ``api_type="azure"`` the base URL is Azure's endpoint.
        """
        azure = options.get("api_type") == "azure"
        usual = {
            "api_type": "openai",
            # Clients want some key even where any will do.
            "api_key": self._api_key or "any-key",
            "base_url": self.url if azure else self.base_url,
        }
        return {f"llm:{model}": {**usual, "model": model, **options} for model in models}

    # --- serving -------------------------------------------------------------------------

    def _begin(self, path: str, headers: dict[str, str], raw: bytes, port: int) -> Exchange:
        """Record a request and choose its reply; called by each connection's thread."""
        body = _json_object(raw)
        azure = _AZURE_PATH.fullmatch(urlsplit(path).path)
        named = unquote(azure[1]) if azure else (body or {}).get("model")
        model = named if isinstance(named, str) else ""
        refusal = self._refusal(path, headers, body, model)
        with self._lock:
            number = next(self._numbers)
            self.requests.append(
                RecordedRequest(model, body or {}, headers, path, time.monotonic(), port)
            )
            if self._remember is not None:
                del self.requests[: max(0, len(self.requests) - self._remember)]
            self.active += 1
            self.peak_active = max(self.peak_active, self.active)
            chosen = refusal or self._choose(model)
        reply = _called(chosen, body or {}, model) if callable(chosen) else chosen
        # Unlike a flag, a stack forgets what it has called.
        ended = ExitStack()
        ended.callback(self._end)
        return Exchange(number, model, body or {}, reply, ended.close)

    def _end(self) -> None:
        with self._lock:
            self.active -= 1

    def _choose(self, model: str) -> Reply | Callable[[dict[str, Any]], Reply]:
        known = model in self._scripts or model in self._defaults
        if self._strict_models and not known:
            return ErrorReply(404, f"The model `{model}` does not exist.")
        scripted = next(self._scripts.get(model, iter(())), None)
        return scripted or self._defaults.get(model, _echo)

    def _refusal(
        self, path: str, headers: dict[str, str], body: dict[str, Any] | None, model: str
    ) -> ErrorReply | None:
        """Return what is wrong with a request itself."""
        address = urlsplit(path)
        azure = _AZURE_PATH.fullmatch(address.path) is not None
        if not azure and address.path != _OPENAI_PATH:
            return ErrorReply(404, f"Invalid URL ({address.path})", code="unknown_url")
        if azure and "api-version" not in parse_qs(address.query):
            return ErrorReply(404, "Resource not found", code="404")
        keys = {headers.get("authorization", "").removeprefix("Bearer ")}
        if azure:
            keys.add(headers.get("api-key", ""))
        if self._api_key is not None and self._api_key not in keys:
            return ErrorReply(401)
        if body is None:
            return ErrorReply(400, "We could not parse the JSON body of your request.")
        if not model:
            return ErrorReply(400, "you must provide a model parameter", param="model")
        return None


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _echo(body: dict[str, Any]) -> Reply:
    return Answer(echo_text(body))


def _called(default: Callable[[dict[str, Any]], Reply], body: dict[str, Any], model: str) -> Reply:
    """Return what a test's own function replies, and an error that names what it raises."""
    try:
        reply = default(body)
    except Exception as error:  # noqa: BLE001 - Whatever it is, the test shall see it.
        # 400 is what no client tries again.
        return ErrorReply(400, f"the default of {model!r} raised {error!r}", code="bad_script")
    if not isinstance(reply, Reply):
        return ErrorReply(400, f"the default of {model!r} returned {reply!r}", code="bad_script")
    return reply
