"""What may be told of a request: everything but what was said to prove who is asking.

Receivers repeat in their answers what they got, and libraries name in their errors what
they were given. So of whatever a message is made, the values of headers, the logins and
the queries of addresses are taken out of it before anybody keeps it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("masked",)

MASK: Final = "[redacted]"
_OURS: Final = frozenset((
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
))  # fmt: skip
"""Headers that every request has, of which nobody makes a secret."""
_SCHEMES: Final = frozenset(("basic", "bearer", "digest", "token", "apikey"))
_LOGIN: Final = re.compile(r"//[^/?#\s]*@")
_SHORT: Final = 4
"""What is shorter is masked as a whole word only: it would be found everywhere."""
_LEAST_PART: Final = 6


def masked(
    text: str, url: str, headers: Mapping[str, str], sent: Mapping[str, str | bytes] | None = None
) -> str:
    """Return a text without what was secret in a request.

    Args:
        text: what a receiver or a library says.
        url: the receiver's address.
        headers: what the variables say is to go along.
        sent: all headers that went along; None where that is not known.
    """
    values = set(headers.values())
    for name, value in (sent or {}).items():
        if name.lower() not in _OURS:
            values.add(value.decode("latin-1") if isinstance(value, bytes) else value)
    for address in (url, *getproxies().values()):
        values.update(_of_address(address))
    forms = {form for value in values for part in _parts(value) for form in _forms(part)}
    secrets = sorted(forms - _SCHEMES - {""}, key=len, reverse=True)
    if secrets:
        text = re.sub("|".join(map(_pattern, secrets)), MASK, text)
    return _LOGIN.sub("//", text)


def _of_address(address: str) -> Iterator[str]:
    try:
        url = urlsplit(address)
    except ValueError:
        return
    login = url.netloc.rpartition("@")[0]
    if login:
        yield from login.split(":", 1)
        # As the header has it.
        yield base64.b64encode(unquote(login).encode()).decode()
    for part in url.query.split("&"):
        name, is_pair, value = part.partition("=")
        yield value if is_pair else name
    yield url.fragment


def _parts(value: str) -> Iterator[str]:
    """Return a value, what it is made of, and the login in it."""
    yield value
    for part in re.split(r"[\s,;]+", value):
        if len(part) >= _LEAST_PART and part.lower() not in _SCHEMES:
            yield part
    scheme, _, code = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            login = base64.b64decode(code, validate=True).decode()
        except (binascii.Error, ValueError):
            return
        yield from login.split(":", 1)


def _forms(part: str) -> Iterator[str]:
    """Return the ways in which something may be written."""
    for form in (part, part.strip(), " ".join(part.split()), unquote(part)):
        yield form
        yield quote(form)
        yield quote(form, safe="")
        yield repr(form)[1:-1]
        yield json.dumps(form)[1:-1]


def _pattern(secret: str) -> str:
    found = re.escape(secret)
    return found if len(secret) >= _SHORT else rf"(?<!\w){found}(?!\w)"
