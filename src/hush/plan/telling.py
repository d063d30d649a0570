"""What the rules' messages have in common: paths, lists of names, guesses at what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hush.plan.draft import Draft

__all__ = ("Found", "hint", "listing", "path_of")

LISTED = 12
"""Most names in one message."""

Found = Iterator[tuple[str, str, str]]
"""Path, message and remedy of each place where a rule is broken."""


def path_of(draft: Draft, i: int) -> str:
    """Return the path of a node."""
    return f"{draft.path}.{draft.nodes[i].name}"


def hint(word: str, known: Any) -> str:
    """Guess which of the known names was meant."""
    close = get_close_matches(str(word), sorted(map(str, known)), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def listing(names: Any) -> str:
    """Return names as a list that is not too long."""
    shown = sorted(map(str, names))
    if not shown:
        return "nothing"
    return ", ".join(shown[:LISTED]) + (", ..." if len(shown) > LISTED else "")
