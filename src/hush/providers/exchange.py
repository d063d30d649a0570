"""Exchange: one HTTP call to a model, whole or in pieces, through the official client.

The stream's bytes are read here and not through the client's own iterator: that one
leaves generators behind that are not exhausted, which trio takes for a fault, and asyncio
closes in a task that outlives its scope.

How long a stream may be silent is watched here, too: the client's limit is one of bytes, and
a server that sends headers one by one, or comments only, would keep it waiting for ever.
"""

from __future__ import annotations

import json
import math
from contextlib import AsyncExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from hush.errors import LLMError, LLMResponseError, LLMStreamError, LLMTimeoutError
from hush.providers.answer import Assembly, ChatAnswer, pieces_of, read_body, said_in
from hush.providers.faults import fault_of, scrubbed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hush.providers.answer import Piece
    from hush.providers.request import ChatRequest
    from hush.providers.resources import Endpoint

__all__ = ("Exchange",)

LINE_LIMIT = 16 * 1024 * 1024
"""Longest line of a stream, in bytes: a server that sends no line break must not fill memory."""

TAIL_S = 0.5
"""How long the end of a body is waited for once its stream has said that it is done."""

SHOWN_LIMIT = 64 * 1024
"""Most bytes that are kept of a body without events, for its error to show how it begins."""

_T = TypeVar("_T")

_BLANK: Final = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"
"""What may stand before the first character that says what a body is, byte order marks included."""
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")
"""How lines of a stream begin."""


class Exchange:
    """One call, and what of its answer has arrived."""

    def __init__(
        self,
        endpoint: Endpoint,
        request: ChatRequest,
        parameters: dict[str, Any],
        path: str,
        on_piece: Callable[[Piece], None] | None,
        on_first: Callable[[], None] | None = None,
    ) -> None:
        """Prepare the call.

        Args:
            endpoint: what is called.
            request: what is asked.
            parameters: the request's, with the resource's defaults.
            path: the node's path, for errors.
            on_piece: told of each piece as it arrives; must not block, may be None.
            on_first: told when a stream begins to arrive; likewise.
        """
        self._endpoint = endpoint
        # Headers that the node adds may be secrets as well as the resource's own.
        self._resource = endpoint.resource.with_headers(parameters.get("extra_headers"))
        self._request = request
        self._arguments: dict[str, Any] = {
            "model": endpoint.resource.model,
            "messages": request.messages,
            **parameters,
        }
        self._path = path
        self._on_piece = on_piece
        self._on_first = on_first
        self.assembly = Assembly()
        self.first_chunk_s: float | None = None
        self._silent_until = math.inf
        """When the stream will have been silent for too long, by the clock of the event loop."""

    async def call(self) -> ChatAnswer:
        """Make the call.

        Returns:
            The answer, with at least one choice.

        Raises:
            LLMError: there is none; says why.
        """
        try:
            answer = await (self._stream() if self._request.stream else self._whole())
        except LLMError:
            raise
        except Exception as error:  # noqa: BLE001  # raised again below, described
            streaming = self._request.stream and self.first_chunk_s is not None
            fault = fault_of(error, self._resource, self._path, streaming=streaming)
        else:
            if not answer.choices:
                raise self._unusable("it holds no choice", transient=True)
            return answer
        # Out here, lest the original with its secrets become the context.
        raise fault

    async def _whole(self) -> ChatAnswer:
        completions = self._endpoint.client.chat.completions
        response = await completions.with_raw_response.create(**self._arguments)
        return self._read(response.http_response.content)

    def _read(self, content: bytes) -> ChatAnswer:
        try:
            answer = read_body(json.loads(content))
            pieces = pieces_of(answer) if self._request.stream else []
        except (AttributeError, TypeError, ValueError) as error:
            said = f"{error}{self._shown(content)}"
        else:
            self._tell(pieces)
            return answer
        # Out here, lest the original with all that was sent become the context.
        raise self._unusable(said, transient=True)

    async def _stream(self) -> ChatAnswer:
        began = perf_counter()
        self._heard()
        completions = self._endpoint.client.chat.completions
        opened = completions.with_streaming_response.create(stream=True, **self._arguments)
        async with AsyncExitStack() as stack:
            response = await self._in_time(stack.enter_async_context(opened))
            pieces = response.iter_bytes()
            try:
                body = await self._events(pieces, began)
            except BaseException:
                # Whatever it was, between two pieces the iterator would be left half-way.
                await _exhaust(pieces, 0.0)
                raise
            # Normally it is there already, and the connection can serve again.
            await _exhaust(pieces, TAIL_S)
        if body is not None:
            # A server that does not stream may still answer.
            return self._read(body)
        if not self.assembly.finished:
            raise self._broken("it ended without a finish reason")
        answer = self.assembly.answer()
        answer.first_chunk_s = self.first_chunk_s
        return answer

    async def _events(self, pieces: AsyncIterator[bytes], began: float) -> bytes | None:
        """Take in the events of a stream.

        The body itself says whether it is one: proxies name types of their own, or none.

        Returns:
            The body where it is no stream; None where it is one.
        """
        piece: bytes | None = b""
        while piece == b"":
            piece = await self._next(pieces)
            piece = piece and piece.lstrip(_BLANK)
        rest = kept = b""
        if piece is not None and piece.startswith(b"{"):
            body = [piece]
            while (piece := await self._next(pieces)) is not None:
                body.append(piece)
            return b"".join(body)
        while piece is not None:
            if self.first_chunk_s is None and len(kept) <= SHOWN_LIMIT:
                kept += piece
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_LIMIT:
                raise self._broken(f"a line has more than {LINE_LIMIT} bytes")
            for line in lines:
                if line.startswith(b"data:"):
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return None
                    self._event(data, began)
            piece = await self._next(pieces)
        if self.first_chunk_s is not None or _may_be_stream(kept):
            return None
        if len(kept) > SHOWN_LIMIT:
            # Cut it would perhaps show a part of a secret.
            raise self._unusable("it is neither JSON nor a stream", transient=True)
        return kept

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """Return the next bytes; None where there are none any more."""
        try:
            return await self._in_time(anext(pieces))
        except StopAsyncIteration:
            return None

    def _heard(self) -> None:
        """Let the time that the server may be silent begin anew."""
        self._silent_until = anyio.current_time() + self._resource.timeout_s

    async def _in_time(self, coming: Awaitable[_T]) -> _T:
        """Wait for something of a stream, until the server has been silent for too long.

        Each wait has a scope of its own. What has come is then used even where the event
        loop was held up beyond the limit, by a listener that blocks it, say. And it is
        always a read that is cancelled, which ends all generators that take part in it.
        """
        with anyio.CancelScope(deadline=self._silent_until):
            return await coming
        resource = self._resource
        more = "no event" if self.first_chunk_s is None else "no further event"
        raise LLMTimeoutError(
            self._path,
            f"{resource.key} sent nothing for timeout_s={resource.timeout_s:g} that counts: {more} "
            f"of its stream. Raise the resource's timeout_s, or look at the server",
            resource=resource.name,
            model=resource.model,
        )

    def _event(self, data: bytes, began: float) -> None:
        if not data:
            return
        self._heard()
        if self.first_chunk_s is None:
            self.first_chunk_s = perf_counter() - began
            if self._on_first is not None:
                self._on_first()
        said = fault = None
        added: list[Piece] = []
        try:
            event = json.loads(data)
            fault = event.get("error")
            if not fault:
                added = self.assembly.add(event)
        except (AttributeError, TypeError, ValueError) as error:
            said = f"{error}{self._shown(data)}"
        if said is not None:
            # As in _read.
            raise self._unusable(said, transient=True)
        if fault:
            raise self._broken(f"the server says: {said_in(fault)}")
        self._tell(added)

    def _tell(self, pieces: list[Piece]) -> None:
        if self._on_piece is not None:
            for piece in pieces:
                self._on_piece(piece)

    def _shown(self, data: bytes) -> str:
        """Return the beginning of what is no answer at all; a broken answer may hold what was said."""
        if data.lstrip(_BLANK)[:1] in {b"{", b"[", b'"'}:
            return ""
        if any(line.lstrip(_BLANK).startswith(b"data:") for line in data.splitlines()):
            # A stream, where none was asked for.
            return ""
        # Scrubbed before it is cut: a part of a secret would not be known for one.
        text = scrubbed(data.decode("utf-8", "replace"), self._resource)
        return f"; it begins with {text[:200]!r}"

    def _unusable(self, said: str, *, transient: bool) -> LLMResponseError:
        resource = self._resource
        return LLMResponseError(
            self._path,
            f"the answer of {resource.key} cannot be used: {scrubbed(said, resource)}",
            resource=resource.name,
            model=resource.model,
            transient=transient,
        )

    def _broken(self, said: str) -> LLMStreamError:
        resource = self._resource
        return LLMStreamError(
            self._path,
            f"the stream from {resource.key} broke off before its end: "
            f"{scrubbed(said, resource)}. What had arrived is not used",
            resource=resource.name,
            model=resource.model,
        )


def _may_be_stream(body: bytes) -> bool:
    """Say whether a body without events holds nothing that a stream could not hold."""
    lines = (line for line in body.split(b"\n") if line.strip())
    return all(line.startswith(_FIELDS) for line in lines)


async def _exhaust(pieces: AsyncIterator[bytes], within_s: float) -> None:
    """Make an iterator over a response end, whatever it still holds.

    A generator that is left alone would be closed some time later, by whoever collects the
    garbage. One that is cancelled while it reads ends, and all those that it reads from.

    Args:
        pieces: the iterator.
        within_s: how long it may go on by itself, in seconds.
    """
    with anyio.move_on_after(within_s):
        try:
            async for _ in pieces:
                pass
        except Exception:  # noqa: BLE001, S110  # what the call gives is known already
            pass
