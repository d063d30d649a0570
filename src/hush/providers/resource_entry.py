"""One entry of a configuration becomes a resource: variables filled in, fields checked.

What is wrong is collected, never raised, and told in our own words: pydantic's would show
values, and a value may be a key. Knows no files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from hush.plan.telling import hint, listing
from hush.providers.default_params import PARAM_NUMBERS, PARAM_TRUTHS, wrong_params
from hush.providers.misfit import NUMBER, Wanted, kind_of, misfit
from hush.providers.plain_yaml import DEPTH_LIMIT, shown
from hush.providers.request import PARAMETERS
from hush.providers.resource import LLMResource, conflicts
from hush.providers.resource_key import PREFIX

__all__ = ("Built", "build")

_PART: Final = re.compile(r"(\$\$\{)|\$\{([^{}]*)\}|\$\{")
_VARIABLE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,40}")
_BARE: Final = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
"""A variable as shells write it, without braces."""
_TRUTHS: Final = {"true": True, "false": False}
_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})

_SECRET: Final = frozenset({"api_key", "headers"})
_REQUIRED: Final = {"api_key": "api_key: ${OPENAI_API_KEY}", "model": "model: and the model's name"}
_TEXT: Final = "text"
_SECONDS: Final = "a number of seconds above 0"
_PRICE: Final = "a price in US dollars, 0 or more"
_RATE: Final = "a number above 0"
_COUNT: Final = "a whole number of at least 1"
EXPECTED: Final = {
    "api_type": "openai or azure",
    "api_key": "the key as text",
    "base_url": "an address such as https://host/v1 as text",
    "model": "the model's name as text",
    "api_version": "a version such as 2024-10-21 as text",
    "timeout_s": _SECONDS,
    "connect_timeout_s": _SECONDS,
    "input_usd_per_million": _PRICE,
    "cached_usd_per_million": _PRICE,
    "output_usd_per_million": _PRICE,
    "max_concurrency": _COUNT,
    "requests_per_minute": _RATE,
    "tokens_per_minute": _RATE,
    "organization": _TEXT,
    "project": _TEXT,
    "headers": "a mapping of header names to text",
    "params": "a mapping of parameter names to values",
    "provider": _TEXT,
    "max_retry_after_s": "a number of seconds, 0 or more",
    "circuit_failures": f"{_COUNT}, or null",
    "circuit_cooldown_s": _SECONDS,
}
"""What each field is, as messages say it."""

_NUMBERS: Final = frozenset(
    name for name, text in EXPECTED.items() if "number" in text or "price" in text
)
_TEXTS: Final = frozenset(
    name for name, text in EXPECTED.items() if text.endswith(_TEXT) and name != "headers"
)

_MEANT: Final = {
    "api_base": "base_url",
    "azure_deployment": "model",
    "azure_endpoint": "base_url",
    "deployment": "model",
    "endpoint": "base_url",
    "extra_headers": "headers",
    "key": "api_key",
    "model_name": "model",
    "parameters": "params",
    "rpm": "requests_per_minute",
    "timeout": "timeout_s",
    "token": "api_key",
    "tpm": "tokens_per_minute",
    "type": "api_type",
    "url": "base_url",
}
"""What other tools call our fields, where it does not look alike."""

_Loc = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """What became of one entry."""

    resource: LLMResource | None
    """None where there are problems."""
    problems: tuple[tuple[str, str], ...]
    """Pairs of the key, such as ``llm:gpt-4o.api_key``, and what is wrong with it."""
    variables: Mapping[str, str | None] = field(repr=False)
    """What was read from the environment; None where it was not set."""


def build(name: str, entry: object, environ: Mapping[str, str]) -> Built:
    """Make a resource of an entry.

    Args:
        name: what stands behind ``llm:``.
        entry: the entry as it was written, of any type; it is not changed.
        environ: the environment that ``${NAME}`` is taken from.

    Returns:
        The resource, or everything that is wrong with the entry.
    """
    top = f"{PREFIX}{shown(name)}"
    if entry is None:
        text = "has no fields; write api_key and model below it, indented"
        return Built(None, ((top, text),), {})
    if not isinstance(entry, Mapping):
        text = (
            f"expected a mapping of fields, not {kind_of(entry)}; write api_key and model below it"
        )
        return Built(None, ((top, text),), {})
    filling = _Filling(environ)
    values = filling.fields(entry)
    found = list(filling.problems)
    # A field that has its problem already takes no part; what it would say is not known.
    known = {**values, **dict.fromkeys(filling.failed)}
    told = set(filling.failed)
    for one, text in conflicts(known):
        if one not in filling.failed:
            found.append(((one,), text))
            told.add(one)
    found += [(("params", one), text) for one, text in filling.wrong_params()]
    resource = None
    try:
        resource = LLMResource.model_validate({**values, "name": name})
    except ValidationError as error:
        # The empty place is that of the conflicts, which are told already.
        found += [
            (_place(one["loc"]), _told(one, values, filling.sources))
            for one in error.errors(include_url=False)
            if one["loc"] and one["loc"][0] not in told and not _is_of_params(one)
        ]
    if found:
        resource = None
    problems = tuple((".".join((top, *map(shown, loc))), text) for loc, text in found)
    return Built(resource, problems, filling.variables)


class _Filling:
    """Copies an entry with its variables filled in, and notes what went wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[tuple[_Loc, str]] = []
        self.failed: set[Any] = set()
        """Fields with problems, which are left out of the copy."""
        self.variables: dict[str, str | None] = {}
        """All that were read."""
        self.sources: dict[_Loc, str] = {}
        """The variable at each place that consists of one wholly."""
        self._params: Mapping[Any, Any] = {}
        """Default parameters that have no problem yet, also where others of them have one."""

    def fields(self, entry: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the fields that have no problem yet."""
        copy = {}
        for name, value in entry.items():
            if not isinstance(name, str):
                self._problem((name,), "expected a field's name; put it in quotes, or remove it")
            elif name == "name":
                self._problem((name,), "the name is what stands behind llm: in the key; remove it")
            else:
                copy[name] = self._filled(value, (name,))
        params = copy.get("params")
        if isinstance(params, Mapping):
            copy["params"] = self._params = {
                name: value for name, value in params.items() if not self._is_empty(name, value)
            }
        optional = {
            one
            for (one, *rest), _ in self.sources.items()
            if not rest and one not in _REQUIRED and copy[one] == ""
        }
        # An empty variable is as good as no line.
        return {k: v for k, v in copy.items() if k not in self.failed and k not in optional}

    def wrong_params(self) -> list[tuple[str, str]]:
        """Return what is wrong with default parameters, besides what is told already."""
        told = {loc[:2] for loc, _ in self.problems}
        if ("params",) in told:
            return []
        params = {k: v for k, v in self._params.items() if ("params", k) not in told}
        variables = {loc[1]: one for loc, one in self.sources.items() if _is_param(loc)}
        return wrong_params(params, variables)

    def _is_empty(self, param: Any, value: Any) -> bool:
        return ("params", param) in self.sources and value == ""

    def _problem(self, loc: _Loc, text: str) -> None:
        self.problems.append((loc, text))
        self.failed.add(loc[0])

    def _filled(self, value: Any, loc: _Loc) -> Any:
        if isinstance(value, str):
            return self._text(value, loc)
        if not isinstance(value, (Mapping, list, tuple)):
            return value
        if len(loc) > DEPTH_LIMIT:
            self._problem(loc[:1], f"nested deeper than {DEPTH_LIMIT} levels; make it flatter")
            return None
        if isinstance(value, Mapping):
            return {name: self._filled(one, (*loc, name)) for name, one in value.items()}
        return [self._filled(one, (*loc, index)) for index, one in enumerate(value)]

    def _text(self, text: str, loc: _Loc) -> Any:
        # A parameter may be such text, a word to stop at for one.
        if _BARE.fullmatch(text) and (loc[0] != "params" or _numeric(loc)):
            self._problem(loc, "a $ without braces stands for no variable; write ${NAME}")
        whole = _PART.fullmatch(text)
        parts = []
        end = 0
        for part in _PART.finditer(text):
            if part[0] == "${":
                remedy = "write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
                self._problem(loc, f"${{ without its }}; {remedy}")
                break
            parts += [text[end : part.start()], self._part(part, loc)]
            end = part.end()
        filled = "".join((*parts, text[end:]))
        if whole is None or whole[2] is None:
            return filled
        self.sources[loc] = whole[2].partition(":")[0]
        if _is_param(loc) and loc[1] in PARAM_TRUTHS:
            return _TRUTHS.get(filled.lower(), filled)
        return _number(filled) if _numeric(loc) else filled

    def _part(self, part: re.Match[str], loc: _Loc) -> str:
        if part[1]:
            return "${"
        match = _VARIABLE.fullmatch(part[2])
        if match is None:
            # Not shown: whoever misreads the notation may have put the key itself there.
            text = "${...} holds no variable's name; write ${NAME} or ${NAME:-default}"
            self._problem(loc, text)
            return ""
        name, default = match.groups()
        value = self._environ.get(name)
        self.variables[name] = value
        if value:
            return value
        if default is None:
            state = "not set" if value is None else "empty"
            remedy = "set it" if loc[0] in _SECRET else f"set it, or write ${{{name}:-default}}"
            self._problem(loc, f"the environment variable {name} is {state}; {remedy}")
        return default or ""


def _is_param(loc: _Loc) -> bool:
    match loc:
        case ("params", _):
            return True
    return False


def _numeric(loc: _Loc) -> bool:
    match loc:
        case (one,):
            return one in _NUMBERS
        case ("params", one):
            return one in PARAM_NUMBERS
    return False


def _number(text: str) -> int | float | str | None:
    """Read a variable's text as YAML would; what is no number stays text, to be refused."""
    if text in _NOTHING:
        return None if text else ""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _place(loc: _Loc) -> _Loc:
    return loc[:1] if _is_name(loc) else loc


def _is_of_params(error: Any) -> bool:
    """Say whether it is our own about the parameters, which are told one by one."""
    return (error["type"], error["loc"]) == ("hush", ("params",))


def _is_name(loc: _Loc) -> bool:
    """Say whether pydantic means the name of a mapping's value, not the value."""
    match loc:
        case (_, _, "[key]"):
            return True
    return False


def _told(error: Any, values: Mapping[str, Any], sources: Mapping[_Loc, str]) -> str:
    """Say in our own words what pydantic found, without a value that may be secret."""
    kind, loc = error["type"], error["loc"]
    if kind == "hush":
        return str(error["ctx"]["text"])
    if kind == "missing":
        return f"missing; add {_REQUIRED[loc[0]]}"
    if kind == "extra_forbidden":
        return _unknown(loc[0])
    if _is_name(loc):
        return "expected names that are text; put them in quotes"
    if len(loc) > 1:
        return "expected text; put the value in quotes"
    expected = EXPECTED[loc[0]]
    if loc in sources:
        return f"expected {expected}, which ${{{sources[loc]}}} does not hold; correct the variable"
    value = values[loc[0]]
    if loc == ("api_type",) and isinstance(value, str):
        return f"expected {expected}, not text like this; correct it.{hint(value, ('openai', 'azure'))}"
    wanted: Wanted = "other"
    if loc[0] in _NUMBERS:
        wanted = "number"
    elif loc[0] in _TEXTS:
        wanted = "text"
    return misfit(expected, value, wanted, secret=loc[0] in _SECRET)


def _unknown(name: str) -> str:
    known = sorted(EXPECTED)
    meant = _MEANT.get(name.lower())
    if meant is None and name in PARAMETERS:
        return "unknown field; generation parameters stand below params, move it there"
    guess = f" Did you mean {meant!r}?" if meant else hint(name, known)
    return f"unknown field.{guess or f' Remove it; there are: {listing(known)}'}"
