"""Dispatch: which resource is called, how often, and what happens when it fails or is slow.

Inside out: a hedge races two calls for one answer; retries repeat that after a pause;
fallback goes on to the next resource. Every call is a span; what lies between them are
events on the node's.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import anyio

from hush import semconv
from hush.errors import LLMCircuitError, LLMError
from hush.providers.chat_call import ChatCall
from hush.providers.race import Race

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hush.model.contract import CallObservation, NodeContext
    from hush.model.retry import Retry
    from hush.providers.answer import ChatAnswer, Piece
    from hush.providers.request import ChatRequest
    from hush.providers.resources import Endpoint

__all__ = ("Answered", "Dispatch", "Terms")

PATIENCE_S = 15.0
"""Longest wait that a server may ask for while another resource could be called instead."""

SPREAD = 0.1
"""What a wait that the server asked for is lengthened by at most, at random: clients that
were turned away together must not come back together."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a node wants to be served."""

    retry: Retry
    timeout_s: float | None
    hedge_after_s: float | None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and how it came about."""

    answer: ChatAnswer
    endpoint: Endpoint
    calls: int
    """Calls that were made, the one that answered included."""


class Dispatch:
    """Gets one answer."""

    def __init__(
        self,
        ctx: NodeContext,
        request: ChatRequest,
        terms: Terms,
        on_piece: Callable[[ChatCall, Piece], None] | None,
    ) -> None:
        """Prepare.

        Args:
            ctx: of the node that asks.
            request: what it asks.
            terms: how it wants to be served.
            on_piece: told of each piece of a stream, with the call that it came from, as
                it arrives; must not block.
        """
        self._ctx = ctx
        self._request = request
        self._terms = terms
        self._on_piece = on_piece
        self._calls = 0
        self._last: CallObservation | None = None
        self._history: list[str] = []

    async def answer(self, order: Sequence[Endpoint]) -> Answered:
        """Ask one resource after the other until one answers.

        Args:
            order: the resources, at least one.

        Raises:
            LLMError: none answered; the last one's error, with all that were made.
        """
        try:
            for endpoint, following in zip(order, (*order[1:], None), strict=True):
                try:
                    answer = await self._persist(endpoint, is_last=following is None)
                except LLMError as error:
                    if following is None:
                        whole = self._whole(error)
                        if whole is error:
                            raise
                        raise whole from error
                    self._ctx.event(
                        semconv.EVENT_FALLBACK,
                        {
                            semconv.LLM_RESOURCE: endpoint.resource.name,
                            semconv.ERROR_TYPE: error.error_type,
                            semconv.FALLBACK_TO: following.resource.name,
                        },
                    )
                else:
                    return Answered(answer, endpoint, self._calls)
        finally:
            self._ctx.annotate(semconv.ATTEMPTS, self._calls)
        raise AssertionError("order is empty")  # a node has one resource at least

    def _whole(self, error: LLMError) -> LLMError:
        """Return the last error, telling of the calls before it where there were any."""
        if len(self._history) <= 1:
            return error
        told = "; ".join(self._history)
        return type(error)(
            error.path,
            f"{error.message}. All of {len(self._history)} tries failed: {told}",
            resource=error.resource,
            model=error.model,
            status=error.status,
            code=error.code,
            request_id=error.request_id,
            retry_after_s=error.retry_after_s,
            transient=error.transient,
            history=self._history,
        )

    # --- retries ---------------------------------------------------------------------------

    async def _persist(self, endpoint: Endpoint, *, is_last: bool) -> ChatAnswer:
        tries = 0
        while True:
            tries += 1
            try:
                return await self._once(endpoint)
            except LLMError as error:
                pause_s = self._pause_s(error, tries, endpoint, is_last=is_last)
                if pause_s is None:
                    raise
                facts = {
                    semconv.ATTEMPT: self._calls,
                    semconv.ERROR_TYPE: error.error_type,
                    semconv.BACKOFF_S: pause_s,
                    semconv.LLM_RESOURCE: endpoint.resource.name,
                }
            self._ctx.event(semconv.EVENT_RETRY, facts)
            began = perf_counter()
            try:
                await anyio.sleep(pause_s)
            finally:
                self._ctx.paused(perf_counter() - began)

    def _pause_s(
        self, error: LLMError, tries: int, endpoint: Endpoint, *, is_last: bool
    ) -> float | None:
        """Return the pause before the next try at the same resource; None for no more."""
        retry = self._terms.retry
        if tries >= retry.attempts or isinstance(error, LLMCircuitError):
            return None
        # A predicate or classes of the user's own may want more or less than what is transient.
        wanted = error.transient if retry.on is Exception else retry.matches(error)
        if not wanted:
            return None
        pause_s = retry.pause_s(tries, self._ctx.random())
        asked_s = error.retry_after_s
        if asked_s is None:
            return pause_s
        longest_s = endpoint.resource.max_retry_after_s
        if not is_last:
            longest_s = min(longest_s, PATIENCE_S)
        if asked_s > longest_s:
            return None
        return max(pause_s, asked_s * (1.0 + SPREAD * self._ctx.random()))

    # --- calls -----------------------------------------------------------------------------

    async def _once(self, endpoint: Endpoint) -> ChatAnswer:
        after_s = self._terms.hedge_after_s
        first = self._call(endpoint)
        race: Race | None = None
        try:
            if after_s is None:
                return await first.run()
            race = Race(lambda: self._hedge(endpoint, after_s), streams=self._request.stream)
            return await race.run(first, after_s)
        except LLMError as error:
            name = endpoint.resource.name
            self._history += (
                f"{name}: {type(one).__name__} {one.error_type}"
                for one in ([error] if race is None else race.errors)
            )
            raise
        finally:
            self._last = first.seen or self._last

    def _call(self, endpoint: Endpoint, *, hedge: bool = False) -> ChatCall:
        call = ChatCall(
            self._ctx,
            endpoint,
            self._request,
            count=self._count,
            timeout_s=self._terms.timeout_s,
            hedge=hedge,
            after=None if hedge else self._last,
        )
        if self._on_piece is not None:
            listen = self._on_piece
            call.on_piece = lambda piece: listen(call, piece)
        return call

    def _count(self) -> int:
        self._calls += 1
        return self._calls

    def _hedge(self, endpoint: Endpoint, after_s: float) -> ChatCall:
        self._ctx.event(
            semconv.EVENT_HEDGE,
            {semconv.LLM_RESOURCE: endpoint.resource.name, semconv.LIMIT_S: after_s},
        )
        return self._call(endpoint, hedge=True)
