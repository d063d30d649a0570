"""Default parameters of a resource: which there are, and what each of them may hold.

What is wrong is found when the configuration is checked, all of it at once; the client would
raise a TypeError in the middle of a run, and a server refuse each call. Values are judged by
type and sign only: how far a range reaches is the server's to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hush.plan.telling import hint
from hush.providers.misfit import WIDEST, Wanted, kind_of, misfit
from hush.providers.request import PARAMETERS

__all__ = ("PARAM_NUMBERS", "PARAM_TRUTHS", "wrong_params")

_RESERVED: Final = {
    "api_key": "the resource's own field of this name",
    "extra_headers": "the resource's field headers",
    "messages": "the node's input of this name",
    "model": "the resource's own field of this name",
    "stream": "LLMNode(stream=True)",
    "timeout": "the resource's field timeout_s",
}
"""What is no default parameter, and what to use instead."""

_KNOWN: Final = (PARAMETERS | {"stream_options"}) - _RESERVED.keys()


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one parameter may hold."""

    expected: str
    fits: Callable[[Any], bool]
    wanted: Wanted = "other"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    # JSON has larger ones, but no server takes them, and Python does not even write the largest.
    return isinstance(value, int) and _is_number(value) and value.bit_length() <= WIDEST


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list_of(fits: Callable[[Any], bool], value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(fits, value))


_NUMBER: Final = _Rule("a number", _is_number, "number")
_COUNT: Final = _Rule("a whole number of at least 1", lambda v: _is_whole(v) and v >= 1, "number")
_TRUTH: Final = _Rule("true or false", lambda v: isinstance(v, bool))
_TEXT: Final = _Rule("text", _is_text, "text")
_MAPPING: Final = _Rule("a mapping", _is_mapping)

_RULES: Final = {
    "extra_body": _MAPPING,
    "extra_query": _MAPPING,
    "frequency_penalty": _NUMBER,
    "logit_bias": _Rule("a mapping of token numbers to numbers", _is_mapping),
    "logprobs": _TRUTH,
    "max_completion_tokens": _COUNT,
    "max_tokens": _COUNT,
    "metadata": _MAPPING,
    "modalities": _Rule("a list of text", lambda v: _is_list_of(_is_text, v)),
    "n": _COUNT,
    "parallel_tool_calls": _TRUTH,
    "prediction": _MAPPING,
    "presence_penalty": _NUMBER,
    "reasoning_effort": _TEXT,
    "response_format": _Rule(
        "a mapping with type, such as {type: json_object}",
        lambda v: _is_mapping(v) and _is_text(v.get("type")),
    ),
    "seed": _Rule("a whole number", _is_whole, "number"),
    "service_tier": _TEXT,
    "stop": _Rule(
        "text or a list of text", lambda v: _is_text(v) or _is_list_of(_is_text, v), "text"
    ),
    "store": _TRUTH,
    "stream_options": _MAPPING,
    "temperature": _Rule("a number, 0 or more", lambda v: _is_number(v) and v >= 0, "number"),
    "tool_choice": _Rule("text or a mapping", lambda v: _is_text(v) or _is_mapping(v), "text"),
    "tools": _Rule("a list of mappings", lambda v: _is_list_of(_is_mapping, v)),
    "top_logprobs": _Rule("a whole number, 0 or more", lambda v: _is_whole(v) and v >= 0, "number"),
    "top_p": _Rule("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1, "number"),
    "user": _TEXT,
    "verbosity": _TEXT,
}

_ANY: Final = _Rule("a value", lambda v: v is not None)

PARAM_NUMBERS: Final = frozenset(one for one, rule in _RULES.items() if rule.wanted == "number")
"""Those that are numbers, also where a variable gives them."""

PARAM_TRUTHS: Final = frozenset(one for one, rule in _RULES.items() if rule is _TRUTH)
"""Those that are true or false, also where a variable gives them."""


def wrong_params(
    params: Mapping[Any, Any], variables: Mapping[Any, str] | None = None
) -> list[tuple[str, str]]:
    """Find everything that is wrong with default parameters.

    Args:
        params: parameters by name; names that are no text are passed over.
        variables: the environment variable of each parameter whose value is that of one.

    Returns:
        Pairs of the parameter and what is wrong with it, remedy included; no text of a value.
    """
    found = []
    for name, value in params.items():
        fault = _fault(name, value, (variables or {}).get(name)) if _is_text(name) else None
        if fault is not None:
            found.append((name, fault))
    if params.keys() >= {"max_tokens", "max_completion_tokens"}:
        text = "given besides max_completion_tokens, which servers refuse; keep one of them"
        found.append(("max_tokens", text))
    return found


def _fault(name: str, value: object, variable: str | None) -> str | None:
    if name in _RESERVED:
        return f"is no default parameter; use {_RESERVED[name]}"
    if name not in _KNOWN:
        own = "Put what only this server takes below extra_body"
        return f"unknown parameter.{hint(name, _KNOWN)} {own}"
    rule = _RULES.get(name, _ANY)
    if not _is_finite(value):
        return "holds a number that is not finite, which JSON has not; change it"
    if rule.fits(value):
        return None
    if variable is not None:
        return (
            f"expected {rule.expected}, which ${{{variable}}} does not hold; correct the variable"
        )
    if isinstance(value, (list, tuple, Mapping)) and kind_of(value) in rule.expected:
        return f"expected {rule.expected}, but this one holds something else; correct it"
    return misfit(rule.expected, value, rule.wanted)


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return True
