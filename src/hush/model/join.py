"""Joins: how many predecessors a node waits for, where edges alone cannot say it.

The default (no join) waits for all hard predecessors and any soft one. Positive and
negative outcomes are counted by :mod:`hush.runtime.ready_set`; this is only the wish.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("First", "Join", "Quorum")


@dataclass(frozen=True, slots=True)
class Quorum:
    """Start when ``k`` predecessors have succeeded."""

    k: int
    """How many; from 1 to the number of predecessors."""
    cancel_rest: bool = False
    """Whether those that are still running then are cancelled."""


@dataclass(frozen=True, slots=True)
class First:
    """Start when the first predecessor has succeeded: a race."""

    cancel_rest: bool = True
    """Whether the losers are cancelled; else they run to their end."""

    @property
    def k(self) -> int:
        """How many predecessors must succeed: one."""
        return 1


Join = Quorum | First
