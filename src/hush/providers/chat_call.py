"""ChatCall: one call to a model with all that surrounds it: circuit, limits, span, tokens.

Each call is a span of its own, opened when the limits have let it in, and books what it
used whatever became of it: an answer, an error, or a cancellation half-way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from hush import semconv
from hush.errors import (
    LLMCircuitError,
    LLMConnectionError,
    LLMError,
    LLMResponseError,
    LLMStatusError,
    LLMTimeoutError,
)
from hush.model.usage import Usage
from hush.providers.circuit import Refusal
from hush.providers.exchange import Exchange
from hush.providers.faults import never_sent
from hush.providers.request import output_limit, request_facts
from hush.providers.tokens import CHARACTERS
from hush.providers.validation import validated

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.model.contract import CallObservation, NodeContext
    from hush.providers.answer import ChatAnswer, Piece, TokenCounts
    from hush.providers.circuit import Pass
    from hush.providers.limiter import Permit
    from hush.providers.request import ChatRequest
    from hush.providers.resources import Endpoint

__all__ = ("ChatCall",)

TOO_MANY = 429


class ChatCall:
    """One call; :meth:`run` makes it."""

    def __init__(
        self,
        ctx: NodeContext,
        endpoint: Endpoint,
        request: ChatRequest,
        *,
        count: Callable[[], int],
        timeout_s: float | None,
        hedge: bool = False,
        after: CallObservation | None = None,
    ) -> None:
        """Prepare.

        Args:
            ctx: of the node that calls.
            endpoint: what is called.
            request: what is asked.
            count: gives the call's number within the node's run when it is made.
            timeout_s: limit of the call that the node sets; None has none besides the
                resource's own.
            hedge: whether another call for the same answer is under way.
            after: the call before this one, if any.
        """
        self.endpoint = endpoint
        self.number = 0
        """Number within the node's run, from 1; 0 before the call is made."""
        self.seen: CallObservation | None = None
        """The call's observation, once it is on its way."""
        self.on_piece: Callable[[Piece], None] | None = None
        """Told of each piece of a stream as it arrives; must not block."""
        self.on_open: Callable[[], None] | None = None
        """Told when the limits have let the call in."""
        self.claim: Callable[[], bool] | None = None
        """Asked whether the answer is wanted, before what it took is booked."""
        self._entry: Pass
        self._count = count
        self._ctx = ctx
        self._request = request
        self._timeout_s = timeout_s
        self._hedge = hedge
        self._after = after
        self._counts: TokenCounts | None = None
        self._unbilled = False
        self._prompt_tokens: int | None = None
        """Tokens of the same prompt as the same resource counted them, where that is known."""

    async def run(self) -> ChatAnswer:
        """Wait for the limits, then call.

        Returns:
            The answer, validated where the request says against what.

        Raises:
            LLMError: there is none that can be used.
        """
        resource = self.endpoint.resource
        self._entry = self._enter()
        try:
            answer = await self._limited()
        except LLMError as error:
            if not _counts_as_failure(error):
                self._entry.dropped()
            elif self._entry.failed():
                self._ctx.event(
                    semconv.EVENT_CIRCUIT_OPEN,
                    {
                        semconv.LLM_RESOURCE: resource.name,
                        semconv.ERROR_TYPE: error.error_type,
                        semconv.LIMIT_S: resource.circuit_cooldown_s,
                    },
                )
                self._ctx.warn(
                    "a resource failed too often; it is not called for a while",
                    resource=resource.name,
                    cooldown_s=resource.circuit_cooldown_s,
                )
            raise
        except BaseException:
            self._entry.dropped()
            raise
        self._entry.succeeded()
        return answer

    def lose_to(self, winner: ChatCall) -> None:
        """Say that a cancellation from now on means: lost a race against ``winner``."""
        counts = winner._counts
        if counts is not None and winner.endpoint.shared is self.endpoint.shared:
            self._prompt_tokens = counts.input_tokens
        if self.seen is not None and winner.seen is not None:
            self.seen.lost_to(winner.seen)

    def _enter(self) -> Pass:
        entry = self.endpoint.shared.circuit.try_enter()
        if isinstance(entry, Refusal):
            raise self._refused(entry)
        return entry

    async def _limited(self) -> ChatAnswer:
        shared = self.endpoint.shared
        parameters = self._request.with_defaults(self.endpoint.resource.params)
        guessed = shared.calibration.input_tokens(self._request.guessed_tokens)
        charged = guessed + shared.calibration.output_tokens(output_limit(parameters))
        await self.endpoint.prepare()
        # Cut short, what it waited for is what it was held up by all the same.
        permit = await shared.limiter.acquire(charged, on_cut=self._waited)
        try:
            if permit.waited_s:
                self._waited(permit.blocked_by, permit.waited_s)
                self._enter_again(permit)
            try:
                return await self._observed(permit.waited_s)
            finally:
                # What a call that was refused or broke off took is not known better than guessed.
                if self._counts is not None:
                    permit.correct(self._counts.total)
                elif self._unbilled:
                    permit.correct(0)
        finally:
            permit.release()

    def _waited(self, limit: str | None, seconds: float) -> None:
        self._ctx.waited(f"{self.endpoint.resource.key}/{limit}", seconds)

    def _enter_again(self, permit: Permit) -> None:
        """Ask the circuit once more: while a call waits for its limits, much may happen."""
        if self._entry.probe:
            return
        self._entry.dropped()
        try:
            self._entry = self._enter()
        except LLMCircuitError:
            permit.correct(0)
            raise

    async def _observed(self, waited_s: float) -> ChatAnswer:
        resource = self.endpoint.resource
        parameters = self._request.with_defaults(resource.params)
        self.number = self._count()
        with self._ctx.observe_call(
            resource.model, self._facts(parameters, waited_s), after=self._after
        ) as seen:
            self.seen = seen
            if self.on_open is not None:
                self.on_open()
            seen.annotate(semconv.GEN_AI_INPUT_MESSAGES, self._request.messages)
            if tools := parameters.get("tools"):
                seen.annotate(semconv.GEN_AI_TOOL_DEFINITIONS, tools)
            exchange = Exchange(
                self.endpoint,
                self._request,
                parameters,
                self._ctx.path,
                self._take,
                lambda: seen.event(semconv.EVENT_FIRST_CHUNK, {}),
            )
            try:
                answer = await self._timed(exchange)
                self._describe(seen, answer)
                answer.parsed = validated(answer, self._request.schema, resource, self._ctx.path)
            except LLMError as error:
                self._book_failed(seen, exchange, error)
                raise
            except BaseException:
                self._book_broken(seen, exchange)
                raise
            if self.claim is None or self.claim():
                usage = self._usage(answer.counts)
                seen.annotate(semconv.LLM_COST_USD, usage.cost_usd)
                self._ctx.book(usage, resource.model)
            else:
                self._book_broken(seen, exchange)
            return answer

    def _take(self, piece: Piece) -> None:
        if self.on_piece is not None:
            self.on_piece(piece)

    async def _timed(self, exchange: Exchange) -> ChatAnswer:
        """Make the call within its time limits.

        The node's limit is for the whole call. The resource's is, too, where the answer
        comes as one; a stream may take as long as it goes on, and the exchange watches over
        its silences.
        """
        resource = self.endpoint.resource
        limits = [("timeout_s", self._timeout_s)]
        if not self._request.stream:
            limits.append((f"{resource.key}.timeout_s", resource.timeout_s))
        name, limit_s = min(
            ((name, limit) for name, limit in limits if limit is not None),
            key=lambda pair: pair[1],
            default=("", None),
        )
        if limit_s is None:
            return await exchange.call()
        with anyio.CancelScope(deadline=anyio.current_time() + limit_s):
            return await exchange.call()
        raise LLMTimeoutError(
            self._ctx.path,
            f"{resource.key} did not answer within {name}={limit_s:g}. Raise it, or look at "
            f"the server",
            resource=resource.name,
            model=resource.model,
        )

    # --- what it says ----------------------------------------------------------------------

    def _facts(self, parameters: dict[str, Any], waited_s: float) -> dict[str, Any]:
        resource = self.endpoint.resource
        host, port = resource.server
        facts = {
            semconv.GEN_AI_OPERATION: semconv.GEN_AI_OPERATION_CHAT,
            semconv.GEN_AI_PROVIDER: resource.provider_name,
            semconv.GEN_AI_REQUEST_MODEL: resource.model,
            semconv.SERVER_ADDRESS: host,
            semconv.SERVER_PORT: port,
            semconv.LLM_RESOURCE: resource.name,
            semconv.ATTEMPT: self.number,
            **request_facts(parameters, stream=self._request.stream),
        }
        if waited_s:
            facts[semconv.WAIT_LIMITER_S] = waited_s
        if self._hedge:
            facts[semconv.LLM_HEDGE] = True
        return facts

    def _describe(self, seen: CallObservation, answer: ChatAnswer) -> None:
        self._counts = answer.counts
        seen.annotate(semconv.GEN_AI_RESPONSE_ID, answer.id)
        seen.annotate(semconv.GEN_AI_RESPONSE_MODEL, answer.model)
        seen.annotate(semconv.GEN_AI_FINISH_REASONS, answer.finish_reasons)
        seen.annotate(semconv.GEN_AI_TIME_TO_FIRST_CHUNK, answer.first_chunk_s)
        seen.annotate(semconv.GEN_AI_OUTPUT_MESSAGES, answer.choices)
        counts = answer.counts
        if counts is None:
            seen.annotate(semconv.TOKENS_COMPLETE, False)  # noqa: FBT003  # an attribute's value
            return
        self.endpoint.shared.calibration.learn(
            self._request.guessed_tokens, counts.input_tokens, counts.output_tokens
        )
        seen.annotate(semconv.GEN_AI_USAGE_INPUT, counts.input_tokens)
        seen.annotate(semconv.GEN_AI_USAGE_OUTPUT, counts.output_tokens)
        if counts.cached_tokens:
            seen.annotate(semconv.GEN_AI_USAGE_CACHED, counts.cached_tokens)
        if counts.reasoning_tokens:
            seen.annotate(semconv.GEN_AI_USAGE_REASONING, counts.reasoning_tokens)

    # --- what it used ----------------------------------------------------------------------

    def _usage(self, counts: TokenCounts | None) -> Usage:
        """Return what a call that served its purpose used."""
        if counts is None:
            return Usage(calls=1, complete=False)
        return Usage(
            calls=1,
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens,
            cached_tokens=counts.cached_tokens,
            reasoning_tokens=counts.reasoning_tokens,
            cost_usd=self._cost_usd(counts),
        )

    def _cost_usd(self, counts: TokenCounts) -> float | None:
        return self.endpoint.resource.cost_usd(
            counts.input_tokens, counts.output_tokens, counts.cached_tokens
        )

    def _book_failed(self, seen: CallObservation, exchange: Exchange, error: LLMError) -> None:
        if isinstance(error, LLMStatusError) or (
            isinstance(error, LLMConnectionError) and never_sent(error)
        ):
            # Nothing was generated, and nothing is billed. Only of a call that was turned away
            # for its rate is it likely that the server has counted what it asked for.
            self._unbilled = not (isinstance(error, LLMStatusError) and error.status == TOO_MANY)
            self._ctx.book(Usage(calls=1), self.endpoint.resource.model)
            return
        self._book_broken(seen, exchange)

    def _book_broken(self, seen: CallObservation, exchange: Exchange) -> None:
        """Book as wasted what a call used that serves nothing."""
        resource = self.endpoint.resource
        assembly = exchange.assembly
        # Before the end, counts of a server that counts along are not the last ones.
        counts = self._counts or (assembly.counts if assembly.finished else None)
        if counts is not None:
            wasted, cost, complete = counts.total, self._cost_usd(counts), True
        else:
            sent = self._prompt_tokens
            if assembly.counts is not None:
                sent = assembly.counts.input_tokens
            if sent is None:
                sent = self.endpoint.shared.calibration.input_tokens(self._request.guessed_tokens)
            said = -(-assembly.characters // CHARACTERS)
            wasted, cost, complete = sent + said, resource.cost_usd(sent, said, 0), False
            seen.annotate(semconv.TOKENS_ESTIMATED, True)  # noqa: FBT003  # an attribute's value
        seen.annotate(semconv.GEN_AI_TIME_TO_FIRST_CHUNK, exchange.first_chunk_s)
        seen.annotate(semconv.TOKENS_WASTED, wasted)
        seen.annotate(semconv.TOKENS_COMPLETE, complete)
        seen.annotate(semconv.WASTED_USD, cost)
        usage = Usage(calls=1, wasted_tokens=wasted, wasted_usd=cost, complete=complete)
        self._ctx.book(usage, resource.model)

    def _refused(self, refusal: Refusal) -> LLMCircuitError:
        resource = self.endpoint.resource
        when = (
            f"in {refusal.retry_in_s:.1f} s"
            if refusal.retry_in_s
            else "when a call that is under way has shown how it does"
        )
        return LLMCircuitError(
            self._ctx.path,
            f"{resource.key} was not called: {resource.circuit_failures} calls in a row had "
            f"failed. It is tried again {when}; give a fallback, or see to the server",
            resource=resource.name,
            model=resource.model,
        )


def _counts_as_failure(error: LLMError) -> bool:
    """Say whether an error means that the resource is ill.

    Being told to slow down does not, nor is the resource to blame for a wrong key, a bad
    request, or an answer that is well-formed and not what was asked for.
    """
    if isinstance(error, LLMStatusError):
        return error.status is not None and error.status >= 500  # noqa: PLR2004  # HTTP's server errors
    if isinstance(error, LLMResponseError):
        return error.transient
    return True
