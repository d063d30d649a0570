"""Reading JSON that somebody else wrote: every mistake in it is named by its place.

Whatever a file holds, what comes out is a value of the type that was asked for, or one
:class:`~hush.insight.source_errors.TraceFormatError`.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hush.insight.source_errors import TraceFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("MAX_NS", "Place", "parse_json", "reading")

MAX_NS = 2**63 - 1
"""Latest instant that is read, in nanoseconds since the epoch: in the year 2262."""
_SHOWN = 60


def parse_json(text: str | bytes, source: str) -> Place:
    """Parse a JSON document.

    Args:
        text: the document; bytes are UTF-8, with or without a byte order mark.
        source: what it came from, for messages.

    Returns:
        The place of the document's top.

    Raises:
        TraceFormatError: it is no JSON.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return Place(json.loads(text), source)
    except UnicodeDecodeError as error:
        raise TraceFormatError(f"{source}: no text in UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise TraceFormatError(
            f"{source}: no JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise TraceFormatError(f"{source}: nested too deeply to be a trace") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise TraceFormatError(f"{source}: no JSON: {error}") from None


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn what only a hostile document can cause into the error that readers raise.

    Args:
        source: what is read, for messages.
    """
    try:
        yield
    except RecursionError:
        raise TraceFormatError(f"{source}: nested too deeply to be a trace") from None


class Place:
    """A value in a JSON document that knows where it stands.

    Attributes:
        value: what ``json.loads`` made of it; None also where it is absent.
    """

    __slots__ = ("_key", "_outer", "value")

    def __init__(self, value: Any, key: str | int, outer: Place | None = None) -> None:
        """Stand somewhere.

        Args:
            value: as parsed.
            key: name or index within ``outer``; the document's source at the top.
            outer: what contains it.
        """
        self.value = value
        self._key = key
        self._outer = outer

    def __str__(self) -> str:
        """Return, for example, ``a.json: spans[3].name``."""
        steps: list[str] = []
        place: Place = self
        while place._outer is not None:
            key = place._key
            steps.append(f"[{key}]" if isinstance(key, int) else f".{key}")
            place = place._outer
        path = "".join(reversed(steps)).removeprefix(".")
        source = place._key  # noqa: SLF001  # same class
        return f"{source}: {path}" if path else str(source)

    def wrong(self, expected: str) -> TraceFormatError:
        """Return the error that says that something else stands here than was expected.

        Args:
            expected: what should stand here.
        """
        if self.value is None:
            return TraceFormatError(f"{self}: missing; expected {expected}")
        try:
            shown = repr(self.value)
        except (RecursionError, ValueError):  # nested or long beyond what Python prints
            shown = type(self.value).__name__
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}…"
        return TraceFormatError(f"{self}: expected {expected}, found {shown}")

    def member(self, name: str) -> Place:
        """Return what an object holds under a name; an absent one has the value None."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return Place(self.value.get(name), name, self)

    def has(self, *names: str) -> bool:
        """Return whether this is an object with one of these names."""
        return isinstance(self.value, dict) and any(name in self.value for name in names)

    def members(self) -> Iterator[Place]:
        """Yield the values of a list; an absent one is empty."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        for index, value in enumerate(self.value):
            yield Place(value, index, self)

    def text(self, default: str | None = None) -> str:
        """Return a text; ``default`` where it is absent, unless that is None."""
        if isinstance(self.value, str):
            return self.value
        if self.value is None and default is not None:
            return default
        raise self.wrong("a text")

    def whole(self, default: int | None = None) -> int:
        """Return a whole number, also one that is written as text.

        Args:
            default: stands for an absent one; None makes that an error.
        """
        value = self.value
        if value is None and default is not None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str):
            try:
                return int(value)
            except ValueError:
                pass
        raise self.wrong("a whole number")

    def instant(self, unit_ns: int = 1, default: int | None = None) -> int:
        """Return an instant in nanoseconds since the epoch.

        Args:
            unit_ns: how many nanoseconds the number here counts.
            default: stands for an absent one; None makes that an error.
        """
        time_ns = self.whole(default) * unit_ns
        if not 0 <= time_ns <= MAX_NS:
            raise self.wrong("an instant between 1970 and 2262")
        return time_ns

    def hex_id(self, digits: int) -> str:
        """Return an id of so many hex digits in lower case; leading zeros may be missing."""
        value = self.value
        if isinstance(value, str) and 0 < len(value) <= digits:
            # Not int(): that takes underscores, signs and spaces.
            folded = value.lower()
            if not folded.strip("0123456789abcdef"):
                return folded.zfill(digits)
        raise self.wrong(f"an id of {digits} hex digits")
