"""One language-model resource: where a model is called, with which key, limits and prices.

Plain frozen data, checked when it is made. It knows neither files nor variables (those are
the business of :mod:`hush.providers.resource_files`) nor the client that calls the model. The
API key is shown nowhere: not in reprs, dumps, errors and pickles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hush.providers.default_params import wrong_params
from hush.providers.resource_key import PREFIX

if TYPE_CHECKING:
    from typing import SupportsIndex

__all__ = ("OPENAI_BASE_URL", "LLMResource", "conflicts")

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
"""The official address, where a resource names none."""

MASK: Final = "**********"
"""What a dump shows instead of a secret; pydantic's own mask."""

TELLING: Final = 3
"""Secrets up to this length are not searched for in texts: they would be found everywhere."""

_PROVIDERS: Final = {"openai": "openai", "azure": "azure.ai.openai"}
_PORTS: Final = {"http": 80, "https": 443}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST: Final = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
# With a character before it: a host may be called openai, and the path be /v1.
_AZURE_PATH: Final = re.compile(
    r"[^/](?:/openai/(?:deployments|v1)(?:[/?#]|$)|\.azure\.com(?::[0-9]+)?/openai/?$)",
    re.IGNORECASE,
)


def _refusal(text: str) -> PydanticCustomError:
    # In the context, because braces in the template itself would be filled in.
    return PydanticCustomError("hush", "{text}", {"text": text})


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise _refusal("is empty; write the key, or a ${VARIABLE} that holds it")
    # An HTTP library that refuses such a header shows it, key and all, in its error.
    if not all("!" <= one <= "~" for one in text):
        raise _refusal(
            "holds a space, a line end or another character that no key has; remove it, also "
            "from the end of the variable or file that the key comes from"
        )
    return value


def _line(text: str) -> str:
    if not text or text != text.strip() or not text.isprintable():
        raise _refusal("expected text on one line, without spaces around it; write it so")
    return text


def _ascii_line(text: str) -> str:
    if not text.isascii():
        raise _refusal("expected ASCII only, because it is sent as an HTTP header; write it so")
    return _line(text)


def _address(text: str) -> str:
    shape = "expected an address such as https://host/v1"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = parts = None
    if parts is None or parts.scheme not in _PORTS or not host or not _HOST.fullmatch(host):
        raise _refusal(f"{shape}, with http or https and a host; correct it")
    if not text.isprintable() or " " in text:
        raise _refusal(f"{shape}, without spaces; remove them")
    if "@" in parts.netloc:
        raise _refusal(f"{shape}, without user and password; give them as headers")
    if "?" in text or "#" in text:
        raise _refusal(f"{shape}, without ? and #; remove what begins there")
    if parts.path.rstrip("/").endswith("/completions"):
        raise _refusal(f"{shape}; remove /chat/completions, the client adds it")
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise _refusal("holds a name that no HTTP header has; use letters, digits and dashes")
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise _refusal(
                f"the value of {name} is not one line of ASCII without spaces around it; write it so"
            )
    return headers


def _params(params: dict[str, Any]) -> dict[str, Any]:
    found = wrong_params(params)
    if found:
        raise _refusal("; ".join(f"{name}: {text}" for name, text in found))
    return params


Line = Annotated[str, AfterValidator(_line)]
HeaderLine = Annotated[str, AfterValidator(_ascii_line)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class LLMResource(BaseModel):
    """Where and how one language model is called.

    Made by :class:`hush.providers.hub.ResourceHub`, which says what is wrong in terms of file
    and key. Nodes share it: what its mappings hold is not to be changed.

    Raises:
        pydantic.ValidationError: a field is unknown, missing or wrong; its text shows no value.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    name: Line
    """What stands behind ``llm:``; given by the loader, not a key of the configuration."""
    api_type: Literal["openai", "azure"] = "openai"
    """Whose dialect the server speaks: OpenAI's, or Azure OpenAI's."""
    api_key: Annotated[SecretStr, AfterValidator(_key)]
    """The key; any text for a server that asks for none."""
    base_url: Annotated[str, AfterValidator(_address)] | None = None
    """Address of the server; for azure, of the endpoint. None is OpenAI's official one."""
    model: Line
    """The model to ask for; for azure, the deployment."""
    api_version: Line | None = None
    """Version of Azure's interface, such as ``2024-10-21``; None for openai."""
    timeout_s: Positive = 60.0
    """Most seconds for one call; of a stream, for each of its silences."""
    connect_timeout_s: Positive = 5.0
    """Most seconds until the connection stands."""
    input_usd_per_million: NotNegative | None = None
    """Price of a million input tokens in US dollars; None where prices are not known."""
    cached_usd_per_million: NotNegative | None = None
    """Price of a million input tokens from the server's cache; None is the price of input."""
    output_usd_per_million: NotNegative | None = None
    """Price of a million output tokens in US dollars; None where prices are not known."""
    max_concurrency: Count | None = None
    """Most calls at a time, over all runs of the process; None sets no limit."""
    requests_per_minute: Positive | None = None
    """Most calls in a minute; None sets no limit."""
    tokens_per_minute: Positive | None = None
    """Most tokens in a minute, input and output; None sets no limit."""
    organization: HeaderLine | None = None
    """OpenAI's organisation; None is the key's default."""
    project: HeaderLine | None = None
    """OpenAI's project; None is the key's default."""
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict, repr=False
    )
    """More HTTP headers of each request. Their values count as secret."""
    params: Annotated[dict[str, Any], AfterValidator(_params)] = Field(
        default_factory=dict, repr=False
    )
    """Default generation parameters, such as ``temperature``; a node's inputs come first."""
    provider: Line | None = None
    """Overrides the ``gen_ai.provider.name`` of spans; None follows ``api_type``."""
    max_retry_after_s: NotNegative = 60.0
    """Longest Retry-After that is waited for, in seconds; a longer one fails the call."""
    circuit_failures: Count | None = 5
    """After how many failures in a row calls are held back; None never does."""
    circuit_cooldown_s: Positive = 30.0
    """For how many seconds they are held back, until one call tries again."""

    @property
    def key(self) -> str:
        """The resource's key in the configuration, ``llm:NAME``."""
        return f"{PREFIX}{self.name}"

    @property
    def provider_name(self) -> str:
        """What spans say of the provider, in the words of OpenTelemetry's GenAI conventions."""
        return self.provider or _PROVIDERS[self.api_type]

    @property
    def server(self) -> tuple[str, int]:
        """Host and port that calls go to."""
        parts = urlsplit(self.base_url or OPENAI_BASE_URL)
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        return parts.hostname or "", port

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be scrubbed from texts, the longest first.

        The key, the headers' values and the words of those (the token behind ``Bearer``); none
        of three characters or fewer, which would be found in every text.
        """
        texts = {self.api_key.get_secret_value()}
        for value in self.headers.values():
            texts.update((value, *value.split()[1:]))
        return tuple(
            sorted((one for one in texts if len(one) > TELLING), key=lambda t: (-len(t), t))
        )

    def with_headers(self, more: object) -> LLMResource:
        """Return the resource with further headers, so that their values count as secret.

        Args:
            more: names and values; what is no text is left out.
        """
        if not isinstance(more, Mapping):
            return self
        added = {
            name: value
            for name, value in more.items()
            if isinstance(name, str) and isinstance(value, str)
        }
        return self.model_copy(update={"headers": {**self.headers, **added}}) if added else self

    def cost_usd(
        self, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> float | None:
        """Return what a call has cost.

        Args:
            input_tokens: tokens of the input, those from the server's cache included.
            output_tokens: tokens of the output, those of the reasoning included.
            cached_tokens: how many of the input's tokens came from the server's cache.

        Returns:
            US dollars; None where the resource has no prices.
        """
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return None
        cached_price = self.cached_usd_per_million
        if cached_price is None:
            cached_price = self.input_usd_per_million
        cached = min(max(cached_tokens, 0), input_tokens)
        millionths = (
            (input_tokens - cached) * self.input_usd_per_million
            + cached * cached_price
            + output_tokens * self.output_usd_per_million
        )
        return millionths / 1_000_000

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        found = conflicts(self.__dict__)
        if found:
            raise _refusal("; ".join(f"{field}: {text}" for field, text in found))
        return self

    @field_serializer("headers")
    def _masked(self, headers: dict[str, str]) -> dict[str, str]:
        return dict.fromkeys(headers, MASK)

    def __hash__(self) -> int:
        """Hash what tells resources apart; the mappings have no hash."""
        return hash((self.name, self.api_type, self.base_url, self.model))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: a pickle is a file or a message, and would hold the API key in clear."""
        raise TypeError(
            f"the resource {self.key} cannot be pickled, because it holds an API key; "
            "load the configuration in the other process instead"
        )


def conflicts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Find fields that do not go together.

    Args:
        values: fields of a resource, not necessarily checked; what is absent counts as None.

    Returns:
        Pairs of the field at fault and what is wrong with it, remedy included.
    """
    found = []
    api_type = values.get("api_type", "openai")
    if api_type == "azure":
        if values.get("base_url") is None:
            text = (
                "missing, which api_type azure needs; add base_url: https://NAME.openai.azure.com"
            )
            found.append(("base_url", text))
        elif _has_azure_path(values["base_url"]):
            # The client would add the same path once more, and each call be a 404.
            text = (
                "api_type azure takes the endpoint alone, and the client adds /openai; remove what "
                "begins there, or use api_type openai for an address that ends in /openai/v1"
            )
            found.append(("base_url", text))
        if values.get("api_version") is None:
            text = "missing, which api_type azure needs; add api_version, such as 2024-10-21"
            found.append(("api_version", text))
    elif api_type == "openai" and values.get("api_version") is not None:
        text = "is for api_type azure only; remove the line, or add api_type: azure"
        found.append(("api_version", text))
    prices = ("input_usd_per_million", "output_usd_per_million", "cached_usd_per_million")
    given = [one for one in prices if values.get(one) is not None]
    found += [
        (price, f"missing, although {given[0]} is given; add it, or remove the other price")
        for price in prices[:2]
        if given and price not in given
    ]
    return found


def _has_azure_path(base_url: object) -> bool:
    return isinstance(base_url, str) and _AZURE_PATH.search(base_url) is not None
