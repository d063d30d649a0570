"""Watching: what observes a call, and gathers what there is to tell of each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hush.runtime.instrument import NULL_INSTRUMENT

if TYPE_CHECKING:
    from hush.runtime.instrument import Instrument
    from hush.runtime.remote.call import CallItem

__all__ = ("UNSEEN", "Gathered", "Watching")


class Gathered(Protocol):
    """What is observed of one attempt, while it is entered."""

    def __enter__(self) -> object: ...
    def __exit__(self, *details: object) -> None: ...
    def packed(self) -> bytes | None:
        """Return it for the driver, once the attempt is over."""


class Watching(Protocol):
    """Watches one call."""

    @property
    def instrument(self) -> Instrument:
        """Watches the attempts."""

    def attempt(self, item: CallItem, path: str) -> Gathered | None:
        """Return what gathers what is observed of an attempt; None where nothing is."""

    def metrics(self) -> bytes | None:
        """Return what was counted in all attempts; None where nothing was."""


class _Unseen:
    instrument = NULL_INSTRUMENT

    def attempt(self, item: CallItem, path: str) -> None:
        del item, path

    def metrics(self) -> None:
        return None


UNSEEN: Watching = _Unseen()
"""Watches nothing."""
