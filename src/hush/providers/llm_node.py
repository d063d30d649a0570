"""LLMNode: a call to a language model as a node."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio

from hush.errors import LLMError
from hush.model.contract import ChunkReceived, Flaw, Parameters
from hush.model.node import Node
from hush.model.policies import is_duration, policy_flaws
from hush.model.retry import Retry
from hush.model.shown import shown
from hush.providers.answer import REASONING_FIELDS
from hush.providers.request import PARAMETERS, make_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable
    from typing import Unpack

    from hush.model.contract import BodyOutputs, NodeContext
    from hush.model.options import Wiring
    from hush.providers.answer import Piece
    from hush.providers.chat_call import ChatCall
    from hush.providers.dispatch import Answered, Dispatch
    from hush.providers.resources import Endpoint

__all__ = ("DEFAULT_RETRY", "LLMNode")

DEFAULT_RETRY: Final = Retry(attempts=3, initial_s=0.5, factor=2.0, max_s=8.0, jitter=0.5)
"""What the official client does by default, with pauses of 1.5 s at most in all."""

OUTPUTS: Final = frozenset(
    (
        "choices",
        "content",
        "cost_usd",
        "finish_reason",
        "logprobs",
        "model_used",
        "parsed",
        "reasoning",
        "refusal",
        "resource_used",
        "response_id",
        "role",
        "tokens_used",
        "tool_calls",
    )
)


class LLMNode(Node):
    """Asks a language model.

    Inputs are ``messages`` and the parameters of chat completions: ``temperature``,
    ``max_tokens``, ``tools``, ``response_format`` and so on; what a server takes beyond them
    goes into ``extra_body``. Outputs:

    ==================  =====================================================================
    ``content``         the text; None where the model only calls tools
    ``role``            ``assistant``
    ``model_used``      the model as the server names it
    ``tokens_used``     ``prompt_tokens``, ``completion_tokens``, ``total_tokens``; None each
                        where the server does not say
    ``tool_calls``      plain dictionaries in the API's shape; empty where there are none
    ``finish_reason``   ``stop``, ``length``, ``tool_calls``, ``content_filter``
    ``parsed``          the instance, where ``response_format`` is a pydantic model
    ``reasoning``       text of the model's reasoning, where the server sends it
    ``refusal``         text of a refusal
    ``logprobs``        as the API gives them
    ``choices``         all choices in the API's shape, where ``n`` asks for several
    ``response_id``     the server's id
    ``resource_used``   name of the resource that answered
    ``cost_usd``        what the answer cost; None where the resource has no prices
    ==================  =====================================================================

    Cancelling the node cancels the call and closes its connection; what it took until then
    counts as wasted.
    """

    kind = "llm"

    def __init__(
        self,
        name: str | None = None,
        resource_key: str | Sequence[str] | None = None,
        *,
        ratios: Sequence[float] | None = None,
        balance_seed: int | None = None,
        fallback: str | Sequence[str] | None = None,
        stream: bool = False,
        on_chunk: Callable[[ChunkReceived], Any] | None = None,
        hedge_after_s: float | None = None,
        on_error: str = "raise",
        retry: Retry | None = None,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        **wiring: Unpack[Wiring],
    ) -> None:
        """Describe the call.

        Args:
            name: unique within the graph.
            resource_key: the resource, such as ``"gpt-4o"`` for ``llm:gpt-4o``; of several,
                one is chosen at random for each run of the node.
            ratios: how often each of several is chosen, relative to the others; None
                chooses each as often.
            balance_seed: makes that choice the same sequence for every engine; None does
                not.
            fallback: resources to go on to, in this order, when the chosen one failed for
                whatever reason. None goes on to the others of ``resource_key``; an empty
                list to none.
            stream: whether the answer comes in pieces, which ``on_chunk``,
                ``Hush.stream()`` and ``on_event`` are told of.
            on_chunk: called with each piece, in order; sync or async.
            hedge_after_s: when a second call starts because the first is slow, in seconds
                after it was sent; who answers first wins. None starts none.
            on_error: ``raise``, or ``capture`` for an output ``error`` instead.
            retry: how a call to one resource is repeated. None makes 3 attempts at what is
                transient: 429, 5xx, timeouts, broken connections. With ``on=`` of your
                own, that alone decides.
            timeout_s: limit of one call in seconds, besides the resource's own.
            deadline_s: limit of everything, waits for rate limits included, in seconds.
            **wiring: inputs, outputs and join, as for every node.
        """
        self._keys = _names(resource_key)
        self._given = resource_key
        self._ratios = ratios
        self._given_fallback = fallback
        self._fallback = _names(fallback)
        self._call_retry = DEFAULT_RETRY if retry is None else retry
        self._call_timeout_s = timeout_s
        self._hedge_after_s = hedge_after_s
        self._on_chunk = on_chunk
        self.stream = stream
        self._balance_seed = balance_seed
        # Retries and the limit of one try are this node's own: each call is a span already.
        super().__init__(name, on_error=on_error, deadline_s=deadline_s, **wiring)

    # --- what the compiler asks --------------------------------------------------------

    def parameters(self) -> Parameters:
        """Return the inputs: messages, and the parameters of chat completions."""
        return Parameters(required=frozenset(("messages",)), optional=PARAMETERS)

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return the names of the outputs."""
        del body
        return OUTPUTS

    def resource_keys(self) -> tuple[str, ...]:
        """Return the names of the resources that the node may call."""
        return tuple(dict.fromkeys((*(self._keys or ()), *(self._fallback or ()))))

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        yield from policy_flaws(self._call_retry, self._call_timeout_s, None)
        if self._hedge_after_s is not None and not is_duration(self._hedge_after_s):
            yield Flaw(
                "bad-policy",
                f"hedge_after_s={shown(self._hedge_after_s)}",
                "Give a positive number of seconds, or None",
            )
        if not self._keys:
            yield Flaw(
                "bad-resource",
                f"resource_key={self._given!r}",
                "Give the name of a resource, such as 'gpt-4o', or a list of names",
            )
        elif len(set(self._keys)) != len(self._keys):
            yield Flaw(
                "bad-resource", f"resource_key={self._given!r} names one twice", "Use ratios"
            )
        if self._given_fallback is not None and self._fallback is None:
            yield Flaw(
                "bad-resource",
                f"fallback={self._given_fallback!r}",
                "Give names of resources, an empty list for none, or None",
            )
        seed = self._balance_seed
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            yield Flaw("bad-policy", f"balance_seed={seed!r}", "Give an integer or None")
        yield from self._ratio_flaws()
        if self._on_chunk is not None and not callable(self._on_chunk):
            yield Flaw("bad-policy", f"on_chunk={self._on_chunk!r}", "Give a callable or None")
        elif self._on_chunk is not None and not self.stream:
            yield Flaw("bad-policy", "on_chunk without stream=True", "Give stream=True as well")

    def _ratio_flaws(self) -> Iterable[Flaw]:
        ratios, keys = self._ratios, self._keys or ()
        if ratios is None:
            return
        numbers = (
            isinstance(ratios, Sequence)
            and all(
                isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one < math.inf
                for one in ratios
            )
            and sum(ratios) > 0
        )
        if not numbers or len(ratios) != len(keys):
            yield Flaw(
                "bad-policy",
                f"ratios={ratios!r} for {len(keys)} resources",
                "Give a number of 0 or more for each resource of resource_key, not all 0",
            )

    # --- running -----------------------------------------------------------------------

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Ask for an answer."""
        return await self.ask(inputs, ctx)

    async def ask(self, inputs: Mapping[str, Any], ctx: NodeContext) -> dict[str, Any]:
        """Ask for an answer to messages.

        Args:
            inputs: ``messages`` and parameters.
            ctx: of the node.

        Returns:
            The outputs.

        Raises:
            LLMError: no resource gave a usable answer.
            PromptError: the inputs make no request.
        """
        from hush.providers.dispatch import Dispatch, Terms  # noqa: PLC0415  # needs openai, which the graph's resources load

        request = make_request(inputs, stream=self.stream, path=ctx.path)
        terms = Terms(self._call_retry, self._call_timeout_s, self._hedge_after_s)
        order = [ctx.resources.endpoint(name) for name in self._order(ctx)]
        listener = ctx.chunk_listener(self._on_chunk) if self.stream else None
        if listener is None:
            return _outputs(await Dispatch(ctx, request, terms, None).answer(order))

        def ask(put: Callable[[ChatCall, Piece], None]) -> Dispatch:
            return Dispatch(ctx, request, terms, put)

        return _outputs(await self._delivering(ctx, ask, order, listener))

    def _order(self, ctx: NodeContext) -> Sequence[str]:
        """Return whom to call first and to whom to go on."""
        keys = list(self._keys or ())
        weights = list(self._ratios or [1.0] * len(keys))
        seed = self._balance_seed
        draw = ctx.random if seed is None else ctx.resources.draws(self, seed).random
        order: list[str] = []
        while keys:
            i = _pick(weights, draw())
            order.append(keys.pop(i))
            weights.pop(i)
            if self._fallback is not None:
                return [*order, *(name for name in self._fallback if name != order[0])]
        return order

    async def _delivering(
        self,
        ctx: NodeContext,
        dispatch: Callable[[Callable[[ChatCall, Piece], None]], Dispatch],
        order: Sequence[Endpoint],
        listener: Callable[[ChunkReceived], Awaitable[None]],
    ) -> Answered:
        """Ask, and tell of the pieces from a task of their own.

        Reading a stream never waits for whoever listens, nor is it ever left half-way
        between two pieces: an answer fits into memory, and a connection is dear.
        """
        send, receive = anyio.create_memory_object_stream[ChunkReceived](math.inf)

        def put(call: ChatCall, piece: Piece) -> None:
            model = call.endpoint.resource.model
            chunk = ChunkReceived(
                ctx.path, self.name, piece.text, piece.part, piece.choice, call.number, model
            )
            # While all is being cancelled, whoever listens may be gone before the reading is.
            with suppress(anyio.BrokenResourceError):
                send.send_nowait(chunk)

        async def deliver() -> None:
            async with receive:
                async for chunk in receive:
                    await listener(chunk)

        failure: LLMError | None = None
        answered: Answered | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(deliver)
            with send:
                try:
                    answered = await dispatch(put).answer(order)
                except LLMError as error:
                    # Raised outside, lest the task group wrap it.
                    failure = error
        if answered is None:
            assert failure is not None  # noqa: S101  # one of the two
            raise failure
        return answered


def _names(given: object) -> tuple[str, ...] | None:
    """Return names of resources; None where what was given is something else."""
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, (list, tuple)) or not all(
        isinstance(name, str) and name.removeprefix("llm:") for name in given
    ):
        return None
    return tuple(name.removeprefix("llm:") for name in given)


def _pick(weights: Sequence[float], drawn: float) -> int:
    """Return an index, drawn by weight; where none has any weight, the first."""
    left = drawn * sum(weights)
    for i, weight in enumerate(weights):
        if left < weight:
            return i
        left -= weight
    return next((i for i in reversed(range(len(weights))) if weights[i] > 0), 0)


def _outputs(answered: Answered) -> dict[str, Any]:
    answer, resource = answered.answer, answered.endpoint.resource
    message, counts = answer.message, answer.counts
    first = answer.choices[0]
    reasoning = (message.get(name) for name in REASONING_FIELDS)
    return {
        "content": message.get("content"),
        "role": message.get("role") or "assistant",
        "model_used": answer.model or resource.model,
        "tokens_used": {
            "prompt_tokens": counts and counts.input_tokens,
            "completion_tokens": counts and counts.output_tokens,
            "total_tokens": counts and counts.total,
        },
        "tool_calls": list(message.get("tool_calls") or ()),
        "finish_reason": first.get("finish_reason"),
        "parsed": answer.parsed,
        "reasoning": next((text for text in reasoning if text), None),
        "refusal": message.get("refusal"),
        "logprobs": first.get("logprobs"),
        "choices": answer.choices,
        "response_id": answer.id,
        "resource_used": resource.name,
        "cost_usd": counts
        and resource.cost_usd(counts.input_tokens, counts.output_tokens, counts.cached_tokens),
    }
