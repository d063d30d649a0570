"""What users write on the command line, read: inputs, durations, instants, limits."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hush.cli.refusal import Refusal
from hush.errors import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("read_duration", "read_inputs", "read_limits", "read_since")

_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|[smhdw])?")
_MOST_DIGITS: Final = 9
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def read_inputs(pairs: Sequence[str], file: str | None) -> dict[str, Any]:
    """Read the inputs of a run.

    Args:
        pairs: each ``name=value``; a value that is JSON is taken as such, all others are text.
        file: path of a JSON object, or ``-`` for standard input; None for none. What
            ``pairs`` give goes before it.

    Raises:
        Refusal: something is not of that form.
    """
    inputs = {} if file is None else _read_file(file)
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise Refusal(f"--input {pair!r}: expected name=value, such as --input pages=10")
        try:
            inputs[name] = json.loads(text)
        except (ValueError, RecursionError):
            inputs[name] = text
    return inputs


def _read_file(file: str) -> dict[str, Any]:
    name = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        inputs = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refusal(
            f"--inputs {name}: no JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except OSError as error:
        raise Refusal(f"--inputs {name}: {error.strerror or text_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(f"--inputs {name}: {text_of(error)}") from error
    if not isinstance(inputs, dict):
        raise Refusal(f"--inputs {name}: expected a JSON object with an input for each name")
    return inputs


def read_duration(text: str, option: str) -> float:
    """Read a duration such as ``2s``, ``500ms``, ``1.5h`` or ``1m30s``; a bare number is seconds.

    Args:
        text: as written.
        option: for the message.

    Returns:
        Seconds.

    Raises:
        Refusal: it is none.
    """
    parts = _PART.findall(text)
    bare = any(not unit for _, unit in parts) and len(parts) > 1
    if not parts or bare or _PART.sub("", text).strip():
        raise Refusal(f"{option} {text!r}: expected a duration such as 2s, 500ms, 1h or 1m30s")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)


def read_since(text: str) -> datetime:
    """Read how far back, as a duration or as an instant in ISO 8601.

    Args:
        text: ``1h`` or ``2026-05-01T12:00``; local time where it names no zone.

    Raises:
        Refusal: it is neither.
    """
    with contextlib.suppress(ValueError):
        instant = datetime.fromisoformat(text)
        # Within what can be counted in nanoseconds; no trace is older or younger.
        if not _EARLIEST.year < instant.year < _LATEST.year:
            return _EARLIEST if instant.year <= _EARLIEST.year else _LATEST
        return instant.astimezone()
    try:
        seconds = read_duration(text, "--since")
    except Refusal:
        raise Refusal(
            f"--since {text!r}: expected a duration such as 1h or 2d, or a date such as "
            "2026-05-01 or 2026-05-01T12:00"
        ) from None
    now = datetime.now(UTC)
    return max(now - timedelta(seconds=min(seconds, now.timestamp())), _EARLIEST)


def read_limits(text: str) -> list[int]:
    """Read limits such as ``2,8,16``.

    Args:
        text: whole numbers from 1, separated by commas.

    Raises:
        Refusal: it is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and part.isascii() and _fits(part) for part in parts):
        raise Refusal(f"--max-concurrency {text!r}: expected whole numbers from 1, as in 2,8,16")
    return [int(part) for part in parts]


def _fits(digits: str) -> bool:
    return len(digits) <= _MOST_DIGITS and int(digits) > 0
