"""Request: what a node's inputs ask of a model, checked and in the API's shape.

Knows the parameters of chat completions and how a pydantic model becomes a response
format; knows nothing of resources, clients or retries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.errors import PromptError, text_of
from hush.providers.tokens import request_tokens

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ("PARAMETERS", "ChatRequest", "make_request")

PARAMETERS: Final = frozenset(
    (
        "audio",
        "extra_body",
        "extra_headers",
        "extra_query",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    )
)
"""Inputs of a node that are parameters of the call; a server's own ones go into extra_body."""

LIMITS: Final = ("max_completion_tokens", "max_tokens")

_FACTS: Final = {
    "temperature": semconv.GEN_AI_TEMPERATURE,
    "top_p": semconv.GEN_AI_TOP_P,
    "max_tokens": semconv.GEN_AI_MAX_TOKENS,
    "max_completion_tokens": semconv.GEN_AI_MAX_TOKENS,
    "seed": semconv.GEN_AI_SEED,
    "frequency_penalty": semconv.GEN_AI_FREQUENCY_PENALTY,
    "presence_penalty": semconv.GEN_AI_PRESENCE_PENALTY,
}


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """One request, the same for every resource that it may go to."""

    messages: list[dict[str, Any]]
    parameters: Mapping[str, Any]
    """What the client's ``create`` takes besides model, messages and streaming."""
    stream: bool
    schema: type[BaseModel] | None = None
    """What the content is validated against; None where it is left as text."""
    guessed_tokens: int = field(default=0)
    """A guess at the tokens of the prompt."""

    def with_defaults(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters, those of a resource filled in where none is given.

        Args:
            defaults: the resource's ``params``.
        """
        merged = {**defaults, **self.parameters}
        if any(name in self.parameters for name in LIMITS):
            # Two names for one limit, and servers refuse both at once.
            for name in LIMITS:
                if name not in self.parameters:
                    merged.pop(name, None)
        if not self.stream:
            merged.pop("stream_options", None)
        elif "stream_options" in defaults:
            # Some servers do not know what is asked for by default.
            merged["stream_options"] = defaults["stream_options"]
        return merged


def output_limit(parameters: Mapping[str, Any]) -> int | None:
    """Return how many tokens may be generated; None where no limit is given.

    Args:
        parameters: as sent.
    """
    limits = (parameters.get(name) for name in LIMITS)
    return next((limit for limit in limits if isinstance(limit, int)), None)


def make_request(inputs: Mapping[str, Any], *, stream: bool, path: str) -> ChatRequest:
    """Make a request of a node's inputs.

    Args:
        inputs: ``messages`` and parameters; a parameter that is None is left out.
        stream: whether the answer is to come in pieces.
        path: the node's path, for errors.

    Returns:
        The request; it shares nothing mutable with the inputs at the level of messages.

    Raises:
        PromptError: ``messages`` is no list of messages, or a parameter cannot be used.
    """
    messages = inputs.get("messages")
    if isinstance(messages, str) or not isinstance(messages, Sequence) or not messages:
        msg = (
            f"messages is {_said(messages)}, expected a list of messages such as "
            f'[{{"role": "user", "content": "..."}}]; a PromptNode makes one'
        )
        raise PromptError(path, msg)
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            msg = f"messages[{i}] is {_said(message)}, expected a mapping with 'role' and 'content'"
            raise PromptError(path, msg)
    parameters = {
        name: value for name, value in inputs.items() if name in PARAMETERS and value is not None
    }
    schema = _schema(parameters, path)
    if schema is not None:
        parameters["response_format"] = response_format(schema, path)
    if "tools" in parameters:
        parameters["tools"] = _tools(parameters["tools"], path)
    if stream:
        # Without it a stream says nothing of its tokens.
        parameters["stream_options"] = {"include_usage": True}
    copied = [dict(message) for message in messages]
    guessed = request_tokens(copied, parameters.get("tools"))
    return ChatRequest(copied, parameters, stream, schema, guessed)


def response_format(schema: type[BaseModel], path: str) -> dict[str, Any]:
    """Return the response format that makes a server keep to a pydantic model.

    Args:
        schema: the model.
        path: the node's path, for errors.

    Raises:
        PromptError: the model has no JSON schema.
    """
    # The client knows the subset of JSON schema that servers take in strict mode; its public
    # way to ask is by way of a tool.
    function = _function(schema, path)["function"]
    # Of a generic model the name has brackets, which servers refuse.
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", schema.__name__).strip("_")[:64] or "Answer"
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": function["parameters"]},
    }


def request_facts(parameters: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    """Return what a call's span says of its parameters, by names of semconv.

    Args:
        parameters: as sent.
        stream: whether the answer comes in pieces.
    """
    facts: dict[str, Any] = {semconv.GEN_AI_STREAM: stream}
    for name, fact in _FACTS.items():
        if isinstance(value := parameters.get(name), (int, float)):
            facts[fact] = value
    if parameters.get("n", 1) != 1:
        facts[semconv.GEN_AI_CHOICE_COUNT] = parameters["n"]
    stop = parameters.get("stop")
    if isinstance(stop, str):
        stop = [stop]
    if isinstance(stop, (list, tuple)) and stop:
        # What else it may be, the server says.
        facts[semconv.GEN_AI_STOP_SEQUENCES] = [str(one) for one in stop]
    form = parameters.get("response_format")
    if isinstance(form, Mapping):
        kind = form.get("type")
        facts[semconv.GEN_AI_OUTPUT_TYPE] = "text" if kind == "text" else "json"
    return facts


def _schema(parameters: Mapping[str, Any], path: str) -> type[BaseModel] | None:
    form = parameters.get("response_format")
    if form is None or isinstance(form, Mapping):
        return None
    if _is_model(form):
        return form  # type: ignore[no-any-return]  # checked to be a pydantic model's class
    msg = (
        f"response_format is {_said(form)}, expected a pydantic model's class or the API's "
        f'mapping, such as {{"type": "json_object"}}'
    )
    raise PromptError(path, msg)


def _is_model(value: object) -> bool:
    from pydantic import BaseModel  # noqa: PLC0415  # only where something was given that may be one

    return isinstance(value, type) and issubclass(value, BaseModel)


def _tools(tools: object, path: str) -> list[object]:
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable) or _is_model(tools):
        msg = (
            f"tools is {_said(tools)}, expected a list of the API's mappings or of pydantic "
            f"models' classes"
        )
        raise PromptError(path, msg)
    return [_function(tool, path) if _is_model(tool) else tool for tool in tools]


def _function(model: type[BaseModel], path: str) -> dict[str, Any]:
    import openai  # noqa: PLC0415  # only for what was given as a model

    try:
        return dict(openai.pydantic_function_tool(model))
    except Exception as error:  # pydantic's, the client's, or the model's own
        msg = (
            f"{model.__name__} has no JSON schema that a server takes: "
            f"{text_of(error).splitlines()[0]}. Use fields of plain types"
        )
        raise PromptError(path, msg) from error


def _said(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, (str, list, tuple)) and not value:
        return f"an empty {type(value).__name__}"
    return f"a {type(value).__name__}"
