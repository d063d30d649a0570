"""Reading: any value as plain data that may leave: redacted, cut, encodable and bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hush.observe.redaction import FAILED, MASK, READ_LIMIT, clean, safe_text

if TYPE_CHECKING:
    from hush.observe.redaction import Redactor

__all__ = ("Reader",)

LEFT_OUT: Final = "[left out]"
DEPTH: Final = 16
"""Deeper than this nothing is read; what contains itself ends here too."""
PLACE: Final = 32
"""What a value costs besides its text, in bytes: quotes, separators, a part's fixed words."""
PROBE: Final = 64
"""Characters of a text that show whether its name makes it a secret."""
BIGGEST: Final = 2**63 - 1
"""A whole number beyond this does not travel as one."""


class Reader:
    """Reads values until a number of bytes is full."""

    __slots__ = ("_left", "_redactor")

    def __init__(self, redactor: Redactor, limit: int) -> None:
        """Start with nothing read.

        Args:
            redactor: what the application wants taken out; every text passes it.
            limit: most bytes of JSON; the text that crosses the line still is read.
        """
        self._redactor = redactor
        self._left = limit

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._left <= 0

    def charge(self, size: int = PLACE) -> None:
        """Count what is not a text.

        Args:
            size: in bytes.
        """
        self._left -= size

    def text(self, value: object) -> str:
        """Read a text.

        Args:
            value: anything; its ``str`` counts.

        Returns:
            The redacted text, cut; once the limit is reached, a note in its place.
        """
        if self.full:
            return LEFT_OUT
        if isinstance(value, (bytes, bytearray, memoryview)):
            text = f"[{len(value)} bytes]"
        else:
            # Twice: a redactor may return what cannot be encoded.
            text = safe_text(clean(value, self._redactor))
        self._left -= PLACE + len(json.dumps(text, ensure_ascii=False).encode())
        return text

    def decoded(self, value: object) -> Any:
        """Read what may be an object in JSON, such as the arguments of a tool call.

        Args:
            value: usually a text. One that is no object, or too long to be kept whole, is
                read as text.

        Returns:
            The object, each of its values redacted with its name in mind, or a text.
        """
        if isinstance(value, str) and len(value) <= READ_LIMIT and value.lstrip()[:1] == "{":
            try:
                found = json.loads(value)
            except (ValueError, RecursionError):
                return self.text(value)
            return self.plain(found)
        return self.plain(value)

    def schema(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        """Read the description of a tool.

        Args:
            value: names of parameters stand above their types there, and not above values.

        Returns:
            Plain data.
        """
        return self._mapping(value, None, 0)

    def plain(self, value: object, name: str = "") -> Any:
        """Read any value.

        Args:
            value: lists and mappings are read to a depth of 16; of what JSON does not
                know, the ``str``.
            name: what the value is called; ``password`` makes a secret of it.

        Returns:
            Plain data.
        """
        return self._plain(value, name, 0)

    def _plain(self, value: object, name: str | None, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if self.full or (depth >= DEPTH and isinstance(value, (Mapping, list, tuple))):
            return LEFT_OUT
        if isinstance(value, Mapping):
            return self._mapping(value, name, depth)
        if isinstance(value, (list, tuple)):
            return self._list(value, name, depth)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.text(value)
        if name and (hidden := self._hidden(value, name)) is not None:
            return hidden
        if _travels(value):
            self.charge()
            return value
        return self.text(value)

    def _mapping(self, value: Mapping[Any, Any], name: str | None, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, one in value.items():
            if self.full:
                found["…"] = LEFT_OUT
                break
            # An empty name is no attribute's name in OpenTelemetry.
            label = self.text(key) or "_"
            # Of a value: all names above it, as "secret" may stand above "value".
            below = None if name is None else f"{name}.{label}" if name else label
            found[label] = self._plain(one, below, depth + 1)
        return found

    def _list(self, value: list[Any] | tuple[Any, ...], name: str | None, depth: int) -> list[Any]:
        found: list[Any] = []
        # Headers and the like are told as pairs: of two, the first may name the second.
        pair = len(value) == 2 and name is not None and isinstance(value[0], str)  # noqa: PLR2004  # see above
        for number, one in enumerate(value):
            if self.full:
                found.append(LEFT_OUT)
                break
            self.charge()
            below = f"{name}.{value[0]}" if pair and number else name
            found.append(self._plain(one, below, depth + 1))
        return found

    def _hidden(self, value: object, name: str) -> str | None:
        """Return what stands in the place of a value that its name makes a secret.

        The redactor knows texts, not names; so it is shown both ways, and where the name
        makes a difference to the value, the value is a secret.
        """
        alone = f'"{safe_text(value)[:PROBE]}"'
        try:
            named = self._redactor(f'"{name}": {alone}')
            return None if named.endswith(self._redactor(alone)) else MASK
        except Exception:  # noqa: BLE001  # what could not be redacted must not leave
            return FAILED


def _travels(value: object) -> bool:
    """Say whether a value is a number in JSON and in OpenTelemetry."""
    if isinstance(value, int):
        return abs(value) <= BIGGEST
    return isinstance(value, float) and math.isfinite(value)
