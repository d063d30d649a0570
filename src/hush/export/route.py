"""Where batches of a signal go and what goes along: the standard variables, read once.

Nothing of this is ever written to disk. Knows neither spools nor HTTP.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from hush.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.export.options import Signal

__all__ = ("Route", "base_of", "route_of", "speaks_http")

DEFAULT_ENDPOINT: Final = "http://localhost:4318"
DEFAULT_TIMEOUT_S: Final = 10.0
_MILLISECONDS: Final = 1_000.0
_TOKEN: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_COMPRESSIONS: Final = ("none", "gzip", "deflate")

Compression = Literal["none", "gzip", "deflate"]


@dataclass(frozen=True, slots=True)
class Route:
    """How batches of one signal are sent."""

    signal: Signal
    """Whose."""
    url: str
    """Where to."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What goes along with each request; often secret."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    """For how long a request may take in all, in seconds."""
    compression: Compression = "none"
    """How new batches are compressed."""
    verify: bool | str = True
    """The file of certificates to trust; True for the usual ones."""
    cert: str | tuple[str, str] | None = None
    """The client's own certificate, and its key."""

    @property
    def base(self) -> str:
        """The receiver's address without the path of this signal."""
        return base_of(self.url, self.signal)


def base_of(url: str, signal: Signal) -> str:
    """Return an address without the path of a signal, where it ends with the standard's."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix(f"/v1/{signal}")
    return parts._replace(path=path).geturl()


def speaks_http(signal: Signal) -> bool:
    """Say whether the variables ask for OTLP over HTTP, which is what they do unless set."""
    return (_said("PROTOCOL", signal) or "http/protobuf").lower() == "http/protobuf"


def route_of(signal: Signal, endpoint: str | None = None) -> Route:
    """Read the standard variables for a signal.

    Args:
        signal: whose.
        endpoint: the receiver's address, with or without the path of any signal; None
            reads the variables.
    """
    certificate = _said("CLIENT_CERTIFICATE", signal)
    key = _said("CLIENT_KEY", signal)
    return Route(
        signal=signal,
        url=_url(signal, endpoint),
        headers=_headers(signal),
        timeout_s=_timeout_s(signal),
        compression=_compression(signal),
        verify=_said("CERTIFICATE", signal) or True,
        cert=(certificate, key) if certificate and key else certificate or None,
    )


def _said(name: str, signal: Signal) -> str:
    """Return what a signal's own variable says, else the one for all signals."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        value = os.environ.get(variable, "").strip()
        if value:
            return value
    return ""


def _url(signal: Signal, endpoint: str | None) -> str:
    if endpoint is None:
        own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
        if own:
            return own  # as it is: the standard says so
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or DEFAULT_ENDPOINT
    base = endpoint
    others: tuple[Signal, ...] = ("traces", "metrics", "logs")
    for other in others:
        base = base_of(base, other)
    parts = urlsplit(base)
    return parts._replace(path=f"{parts.path}/v1/{signal}").geturl()


def _headers(signal: Signal) -> dict[str, str]:
    """Read ``name=value,name=value``, values quoted as in addresses.

    Not by the SDK's function: that one logs what it cannot read, and with it the secret.
    """
    headers: dict[str, str] = {}
    for pair in _said("HEADERS", signal).split(","):
        name, is_pair, value = (part.strip() for part in pair.partition("="))
        name = unquote(name).strip().lower()
        if is_pair and _TOKEN.fullmatch(name):
            # Where there are blanks, it was not quoted; others take that too.
            headers[name] = value if " " in value else unquote(value).strip()
        elif pair.strip():
            get_logger("hush.export").warning(
                "OTEL_EXPORTER_OTLP_HEADERS has something that is no name=value; it is left out"
            )
    return headers


def _timeout_s(signal: Signal) -> float:
    text = _said("TIMEOUT", signal)
    if not text:
        return DEFAULT_TIMEOUT_S
    try:
        # The standard says milliseconds, Python's SDK reads seconds; nobody waits 1,000 of these.
        seconds = float(text)
        seconds = seconds / 1_000 if seconds >= _MILLISECONDS else seconds
    except ValueError:
        seconds = 0.0
    if 0 < seconds < float("inf"):
        return seconds
    _warn("TIMEOUT", text, f"{DEFAULT_TIMEOUT_S:g} s")
    return DEFAULT_TIMEOUT_S


def _compression(signal: Signal) -> Compression:
    text = _said("COMPRESSION", signal).lower()
    for known in _COMPRESSIONS:
        if text == known:
            return known
    if text:
        _warn("COMPRESSION", text, "none")
    return "none"


def _warn(name: str, value: str, default: str) -> None:
    get_logger("hush.export").warning(
        f"OTEL_EXPORTER_OTLP_{name} cannot be used; the default is", value=value, default=default
    )
