"""How language models are named: ``llm:NAME`` in a configuration, ``NAME`` among us.

By itself, because all who name one need it, also those that must load neither pydantic nor yaml.
"""

from __future__ import annotations

from typing import Final

__all__ = ("PREFIX", "plain")

PREFIX: Final = "llm:"
"""What the key of a language model begins with."""


def plain(key: str) -> str:
    """Return a resource's name without ``llm:``, whether the key has it or not."""
    return key.removeprefix(PREFIX)
