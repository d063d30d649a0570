"""Protobuf as it is on the wire: numbers, texts and values of attributes, as bytes.

Knows the rules of the format and the message ``AnyValue`` of OpenTelemetry's protocol, and no
other message. https://protobuf.dev/programming-guides/encoding/ has the format,
``opentelemetry/proto/common/v1/common.proto`` the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

__all__ = ("UnknownValueError", "any_value", "delimited", "double", "text", "varint")

_MORE: Final = 128
"""The bit that says that more bytes of a number follow."""
_LOW: Final = tuple(bytes((number,)) for number in range(_MORE))
_SIGN: Final = 1 << 63
_RING: Final = 1 << 64
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
DEEPEST: Final = 28
"""How deep lists and mappings may be in one another. Readers of protobuf give up at 100 messages,
and with them the whole request; a mapping takes three, and what is around the value up to seven."""
TOO_DEEP: Final = f"[nested deeper than {DEEPEST}]"
"""Stands for what is deeper."""
LONGEST_BITS: Final = 4_096
"""Python refuses to say numbers of many digits, as that takes long."""

double = Struct("<d").pack
"""Encode a float, without its tag."""


class UnknownValueError(TypeError):
    """A value of an attribute is nothing that the protocol knows."""


def varint(number: int) -> bytes:
    """Encode a whole number from 0 on, seven bits a byte, the lowest first."""
    if number < _MORE:
        return _LOW[number]
    out = bytearray()
    while number >= _MORE:
        out.append(number & 127 | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(tag: bytes, data: bytes) -> bytes:
    """Encode a field of bytes, with its tag and length."""
    size = len(data)
    return tag + (_LOW[size] if size < _MORE else varint(size)) + data


def text(string: str) -> bytes:
    """Encode a text as UTF-8.

    Half of a surrogate pair is not a character and cannot be said in UTF-8; the character
    that stands for such takes its place, so that the rest arrives.
    """
    try:
        return str.encode(string)
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", string).encode()


def any_value(value: Any, depth: int = 0) -> bytes:
    """Encode the value of an attribute as the message ``AnyValue``, without tag and length.

    A whole number that 64 bits cannot hold is said as a text, as OpenTelemetry's specification
    has it.

    Args:
        value: None, a bool, a number, a text, bytes, or a sequence or mapping of such.
        depth: how many sequences and mappings are around it.

    Raises:
        UnknownValueError: it is something else.
    """
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return delimited(b"\x0a", text(value))
    if isinstance(value, int):
        number = int.__index__(value)
        if -_SIGN <= number < _SIGN:
            return b"\x18" + varint(number if number >= 0 else number + _RING)
        said = str(number) if number.bit_length() <= LONGEST_BITS else hex(number)
        return delimited(b"\x0a", said.encode())
    if isinstance(value, float):
        return b"\x21" + double(value)
    if isinstance(value, bytes):
        return delimited(b"\x3a", value)
    if isinstance(value, Sequence):
        if depth >= DEEPEST:
            return any_value(TOO_DEEP)
        items = [delimited(b"\x0a", any_value(one, depth + 1)) for one in value]
        return delimited(b"\x2a", b"".join(items))
    if isinstance(value, Mapping):
        if depth >= DEEPEST:
            return any_value(TOO_DEEP)
        pairs = [
            delimited(b"\x0a", key_value(text(str(key)), any_value(one, depth + 1)))
            for key, one in value.items()
        ]
        return delimited(b"\x32", b"".join(pairs))
    raise UnknownValueError(f"{type(value).__name__} is no value of an attribute")


def key_value(key: bytes, value: bytes) -> bytes:
    """Encode the message ``KeyValue``, without tag and length.

    Args:
        key: as UTF-8.
        value: the message ``AnyValue``.
    """
    return delimited(b"\x0a", key) + delimited(b"\x12", value)
