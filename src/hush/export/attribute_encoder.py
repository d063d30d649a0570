"""Attributes as protobuf, fast: names are encoded once, and so are values that come again.

Knows attributes and nothing of what they are of. What it remembers is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hush.export.wire import any_value, delimited, double, key_value, text, varint

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("AttributeEncoder",)

MOST_KEYS: Final = 256
"""How many names are remembered."""
MOST_TEXTS: Final = 64
"""How many values of one name."""
LONGEST: Final = 64
"""Characters of the longest value that is remembered."""
ONE_BYTE: Final = 128
"""Lengths below take one byte."""
_SIGN: Final = 1 << 63


class _Key:
    """What is remembered of one name.

    Attributes:
        doubles: a float's field up to its last eight bytes.
        values: fields by text, whole number or bool; each type has a dictionary of its own,
            since 1 and True are equal.
    """

    __slots__ = ("_key", "_name", "_numbers", "_tag", "bools", "doubles", "ints", "texts")

    def __init__(self, tag: bytes, key: str) -> None:
        self._tag = tag
        self._name = text(key)
        self.doubles = self.field(b"\x21" + double(0.0))[:-8]
        self._numbers: dict[int, bytes] = {}
        self._key = delimited(b"\x0a", self._name)
        self.texts: dict[str, bytes] = {}
        self.ints: dict[int, bytes] = {}
        self.bools = {flag: self.field(any_value(flag)) for flag in (False, True)}

    def field(self, value: bytes) -> bytes:
        """Return the whole field."""
        return delimited(self._tag, key_value(self._name, value))

    def text(self, value: str) -> bytes:
        """Return the field of a text that is not remembered."""
        data = text(value)
        size = len(data)
        whole = len(self._key) + size + 4
        if whole < ONE_BYTE:  # and so are the lengths inside
            key = self._key
            field = b"%b%c%b\x12%c\x0a%c%b" % (self._tag, whole, key, size + 2, size, data)
        else:
            field = self.field(delimited(b"\x0a", data))
        if len(value) <= LONGEST:
            if len(self.texts) >= MOST_TEXTS:
                self.texts.clear()
            self.texts[value] = field
        return field

    def number(self, value: int) -> bytes:
        """Return the field of a whole number that is not remembered."""
        if not 0 <= value < _SIGN:
            return self.field(any_value(value))
        said = varint(value)
        size = len(said)
        try:
            field = self._numbers[size] + said
        except KeyError:
            field = self.field(b"\x18" + said)
            self._numbers[size] = field[:-size]
        if len(self.ints) >= MOST_TEXTS:
            self.ints.clear()
        self.ints[value] = field
        return field


class AttributeEncoder:
    """Encodes attributes as fields of the message that they are of."""

    def __init__(self, tag: bytes) -> None:
        """Remember nothing yet.

        Args:
            tag: of the field of attributes in that message, which differs among them.
        """
        self._tag = tag
        self._keys: dict[str, _Key] = {}

    def encode(self, attributes: Mapping[str, Any], into: list[bytes]) -> None:
        """Append attributes.

        Args:
            attributes: those of one span, event, link, scope or resource.
            into: gets a piece for each.

        Raises:
            UnknownValueError: a value is nothing that the protocol knows.
        """
        keys = self._keys
        add = into.append
        for key, value in attributes.items():
            try:
                known = keys[key]
            except KeyError:
                known = self._learn(key)
            kind = type(value)
            if kind is str:
                texts = known.texts
                add(texts[value] if value in texts else known.text(value))
            elif kind is int:
                ints = known.ints
                add(ints[value] if value in ints else known.number(value))
            elif kind is float:
                add(known.doubles + double(value))
            elif kind is bool:
                add(known.bools[value])
            else:
                add(known.field(any_value(value)))

    def _learn(self, key: str) -> _Key:
        known = _Key(self._tag, key)
        if len(self._keys) >= MOST_KEYS:
            self._keys.clear()
        self._keys[key] = known
        return known
