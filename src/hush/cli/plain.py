"""Any value as JSON can hold it: what a workflow returns is the user's and may be anything."""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from pathlib import PurePath
from typing import Any, Final

from hush.model.shown import shown

__all__ = ("plain",)

_DEEPEST: Final = 64
"""Levels; what is deeper is given as text, and so is what contains itself."""


def plain(value: Any) -> Any:
    """Return a value made of what JSON knows.

    Mappings, sequences and sets, data classes and pydantic's models keep their structure;
    members of enumerations give their values, instants ISO 8601, paths their text, bytes
    base64. Numbers that JSON does not know (``nan``, ``inf``) become text. Everything
    else is given by its ``repr``, cut where it is long.

    Args:
        value: anything.
    """
    return _plain(value, _DEEPEST)


def _plain(value: Any, levels: int) -> Any:  # see plain
    if value is None or isinstance(value, bool | str):
        return value if type(value) in {bool, str, type(None)} else str(value)
    if isinstance(value, enum.Enum):
        return _plain(value.value, levels)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if levels <= 0:
        return shown(value)
    try:
        return _structure(value, levels - 1)
    except Exception:  # noqa: BLE001  # a container of the user's that fails is told by its repr
        return shown(value)


def _structure(value: Any, levels: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), levels) for name in names}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return _plain(dump(), levels)
    if isinstance(value, Mapping):
        return {_key(key): _plain(held, levels) for key, held in value.items()}
    if isinstance(value, Sequence | AbstractSet):
        return [_plain(held, levels) for held in value]
    return shown(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(_plain(key, 0))
