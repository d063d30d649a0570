"""What one examination found, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Check", "Level")

Level = Literal["ok", "note", "warning", "fault"]
"""``note``: worth knowing; ``warning``: something will be missing or misleading one day;
``fault``: telemetry does not arrive, or Hush does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    about: str
    """What was examined, in a word or two."""
    level: Level
    said: str
    """What was found; may hold foreign text, and is cleaned when it is printed."""
    remedy: str | None = None
    """What to do about it; None where nothing needs to be done."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs."""
