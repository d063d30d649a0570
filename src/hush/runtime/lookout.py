"""Lookout: what watches the straight way, from one place, one thing after the other.

A map of a hundred thousand items asks an instrument the same question twice for each of them:
where are we, who is around, what kind of thing is this? An instrument that can answer once
for all that begins in one context gives a lookout; :class:`~hush.runtime.instrument.Guard`
hands it on. It has never heard of spans either, and none of its calls raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hush.runtime.instrument import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Context

    from hush.runtime.instrument import Instrument, Level

__all__ = ("Lookout", "Sight", "lookout_here")


class Sight(Observation, Protocol):
    """An observation that is open, and not yet entered."""

    def enter(self) -> None:
        """Be the current one from now on, in the context that this is called in.

        That context is given up afterwards: nothing is put back.
        """

    def end_well(self, run_s: float) -> None:
        """End without an error, outside of that context.

        Args:
            run_s: how long it ran.
        """

    def end_outside(self, error: BaseException | None) -> None:
        """End as was said by ``end``, outside of that context.

        Args:
            error: what came out of it, if anything.
        """


class Lookout(Protocol):
    """Watches what begins in one context.

    Attributes:
        heard: whether anybody hears of beginnings, who may take their time; of those who have
            come since, it does not say.
    """

    heard: bool

    def node(
        self,
        around: Sight | None,
        context: Context,
        name: str,
        path: str,
        kind: str,
        facts: Mapping[str, Any],
        released_by: object,
        links: Sequence[object],
    ) -> Sight:
        """Watch a node.

        Args:
            around: the item that it is in; None where it begins in the place itself.
            context: what it runs in.
            name: its name.
            path: its path. Those of nodes of one name differ in the indexes of items only.
            kind: its kind.
            facts: what else is known of it.
            released_by: token of what released it; None where that is its surroundings.
            links: tokens of its predecessors.
        """

    def item(
        self,
        context: Context,
        level: Level,
        name: str,
        numbers: dict[str, Any],
        key: str | None,
        released_by: object,
        budget: int | None,
        total: int | None,
    ) -> Sight:
        """Watch an item.

        Args:
            context: what it runs in.
            level: item or iteration.
            name: of its map.
            numbers: what is known of it, by names of :mod:`hush.semconv`; its own from now on.
            key: its key; None where it has none.
            released_by: token of the item that had its slot before.
            budget: how many of its map's items need to be told of; None for all.
            total: how many items its map has; None where that is not known.
        """


def lookout_here(instrument: Instrument) -> Lookout | None:
    """Return what watches the straight way in the current context.

    Args:
        instrument: watches the run.

    Returns:
        None where the instrument has to be asked each time.
    """
    ask = getattr(instrument, "lookout", None)
    return None if ask is None else ask()
