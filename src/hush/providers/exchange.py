"""Exchange: one HTTP call to a model, whole or in pieces, through the official client.

The stream's bytes are read here and not through the client's own iterator: that one
leaves generators behind that are not exhausted, which trio takes for a fault, and asyncio
closes in a task that outlives its scope.
"""

from __future__ import annotations

import json
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio

from hush.errors import LLMError, LLMResponseError, LLMStreamError
from hush.providers.answer import Assembly, ChatAnswer, pieces_of, read_body, said_in
from hush.providers.faults import fault_of, scrubbed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hush.providers.answer import Piece
    from hush.providers.request import ChatRequest
    from hush.providers.resources import Endpoint

__all__ = ("Exchange",)

LINE_LIMIT = 16 * 1024 * 1024
"""Longest line of a stream, in bytes: a server that sends no line break must not fill memory."""

TAIL_S = 0.5
"""How long the end of a body is waited for once its stream has said that it is done."""


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
        self._resource = endpoint.resource
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
            return read_body(json.loads(content))
        except (AttributeError, TypeError, ValueError) as error:
            said = f"{error}{self._shown(content)}"
        # Out here, lest the original with all that was sent become the context.
        raise self._unusable(said, transient=True)

    async def _stream(self) -> ChatAnswer:
        began = perf_counter()
        completions = self._endpoint.client.chat.completions
        opened = completions.with_streaming_response.create(stream=True, **self._arguments)
        async with opened as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                # A server that does not stream may still answer.
                answer = self._read(await response.read())
                self._tell(pieces_of(answer))
                return answer
            pieces = response.iter_bytes()
            try:
                await self._events(pieces, began)
            except LLMError:
                await _exhaust(pieces, 0.0)
                raise
            # Normally it is there already, and the connection can serve again.
            await _exhaust(pieces, TAIL_S)
        if not self.assembly.finished:
            raise self._broken("it ended without a finish reason")
        answer = self.assembly.answer()
        answer.first_chunk_s = self.first_chunk_s
        return answer

    async def _events(self, pieces: AsyncIterator[bytes], began: float) -> None:
        rest = b""
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_LIMIT:
                raise self._broken(f"a line has more than {LINE_LIMIT} bytes")
            for line in lines:
                if line.startswith(b"data:"):
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    self._event(data, began)

    def _event(self, data: bytes, began: float) -> None:
        if not data:
            return
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
        if data.lstrip()[:1] in {b"{", b"[", b'"'}:
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
