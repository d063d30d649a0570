"""Sources: where a map's items come from, pulled one index at a time and never ahead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from time import perf_counter
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

import anyio

from hush.errors import MapSourceError, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hush.runtime.placement import Placement

__all__ = ("Source",)

CLOSE_S = 5.0
"""How long an async generator may take to close after the map is over, in seconds."""

EXHAUSTED = object()


class Source:
    """Several sources zipped; each must have the same length.

    Attributes:
        total: number of items where the sources say it, else None.
        sync: whether it never has to be awaited.
        slow: whether an item may have to be waited for: not with what is in memory.
    """

    def __init__(
        self,
        path: str,
        each: Mapping[str, Any],
        in_thread: frozenset[str],
        placement: Placement,
        *,
        on_abandon: Callable[[], None] | None,
    ) -> None:
        """Open the sources; sized ones are compared before anything is pulled.

        Args:
            path: the map's path, for messages.
            each: input name to iterable or async iterable.
            in_thread: names whose ``next`` may block and runs in a thread.
            placement: runs those.
            on_abandon: where given, cancellation leaves their threads behind and calls this.

        Raises:
            MapSourceError: something cannot be iterated, or sizes differ.
        """
        self._path = path
        self._in_thread = in_thread
        self._placement = placement
        self._on_abandon = on_abandon
        sizes = {name: len(source) for name, source in each.items() if hasattr(source, "__len__")}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{name!r} has {size}" for name, size in sizes.items())
            raise MapSourceError(
                path, f"its Each sources differ in length: {said}. Make them one length"
            )
        self.total: int | None = next(iter(sizes.values())) if len(sizes) == len(each) else None
        self._iterators: dict[str, Iterator[Any] | AsyncIterator[Any]] = {}
        for name, source in each.items():
            self._iterators[name] = self._open(name, source)
        self.sync = not in_thread and all(
            isinstance(iterator, Iterator) for iterator in self._iterators.values()
        )
        self._only: tuple[str, Iterator[Any]] | None = None
        """The source, where there is only one and it never waits."""
        if self.sync and len(each) == 1:
            ((name, iterator),) = self._iterators.items()
            self._only = name, iterator  # type: ignore[assignment]  # all are sync here, see _sync
        self.slow = self.total is None or not self.sync
        self._lock = anyio.Lock(fast_acquire=True)
        self._next = 0
        self.over = False

    def _open(self, name: str, source: Any) -> Iterator[Any] | AsyncIterator[Any]:
        try:
            if hasattr(type(source), "__aiter__"):
                stream: AsyncIterator[Any] = aiter(source)
                return stream
            items: Iterator[Any] = iter(source)
        except Exception as error:
            raise MapSourceError(
                self._path,
                f"the source of {name!r} is a {type(source).__name__}, which cannot be "
                f"iterated ({text_of(error)}). Give an iterable or an async iterable",
            ) from error
        else:
            return items

    def pull_now(self) -> tuple[int, dict[str, Any], float] | None:
        """Take the next item where nothing has to be waited for.

        Returns:
            As :meth:`pull`; None also where that has to be asked.

        Raises:
            MapSourceError: as :meth:`pull`.
        """
        # Nobody is in the middle of pulling and nothing here waits: no lock needed.
        if self.over or not self.sync or self._lock.locked():
            return None
        began = perf_counter()
        if self._only is None:
            values = self._pull_now()
        else:
            name, iterator = self._only
            try:
                value = next(iterator, EXHAUSTED)
            except Exception as error:
                raise self._raised(name, error) from error
            values = None if value is EXHAUSTED else {name: value}
        if values is None:
            self.over = True
            return None
        index = self._next
        self._next = index + 1
        return index, values, perf_counter() - began

    async def pull(self) -> tuple[int, dict[str, Any], float] | None:
        """Take the next item.

        Returns:
            Index, values by name, and the seconds that the source took; None at the end.

        Raises:
            MapSourceError: a source raised, or one ended before another.
        """
        if self.over:
            return None
        async with self._lock:
            if self.over:
                return None
            began = perf_counter()
            values = await self._pull_waiting()
        if values is None:
            self.over = True
            return None
        index = self._next
        self._next += 1
        return index, values, perf_counter() - began

    def _pull_now(self) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        for name, iterator in self._iterators.items():
            try:
                values[name] = next(iterator, EXHAUSTED)  # type: ignore[arg-type]  # all are sync here, see _sync
            except Exception as error:
                raise self._raised(name, error) from error
        return self._checked(values)

    async def _pull_waiting(self) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        for name, iterator in self._iterators.items():
            try:
                if not isinstance(iterator, Iterator):
                    values[name] = await anext(iterator, EXHAUSTED)
                elif name in self._in_thread:
                    values[name], _ = await self._placement.in_thread(
                        lambda it=iterator: next(it, EXHAUSTED),  # type: ignore[misc]  # bound at once
                        on_abandon=self._on_abandon,
                    )
                else:
                    values[name] = next(iterator, EXHAUSTED)
            except Exception as error:
                raise self._raised(name, error) from error
        return self._checked(values)

    def _checked(self, values: dict[str, Any]) -> dict[str, Any] | None:
        ended = [name for name, value in values.items() if value is EXHAUSTED]
        if not ended:
            return values
        if len(ended) < len(values):
            more = next(name for name in values if name not in ended)
            self.over = True
            raise MapSourceError(
                self._path,
                f"its Each sources differ in length: {ended[0]!r} ended after {self._next} "
                f"items, {more!r} has more. Make them one length",
            )
        return None

    def _raised(self, name: str, error: Exception) -> MapSourceError:
        self.over = True
        return MapSourceError(
            self._path,
            f"the source of {name!r} raised at item {self._next}: {type(error).__name__}: "
            f"{text_of(error)}. Mend the source; items that were running are cancelled",
        )

    async def close(self) -> list[MapSourceError]:
        """Close async generators: left open, they would be finalised outside of the run.

        Returns:
            What they raised.
        """
        faults: list[MapSourceError] = []
        for name, iterator in self._iterators.items():
            if not isinstance(iterator, AsyncGeneratorType):
                continue
            try:
                with anyio.move_on_after(CLOSE_S, shield=True):
                    await iterator.aclose()
            except Exception as error:  # noqa: BLE001  # whoever closes says what it means
                fault = MapSourceError(
                    self._path,
                    f"the source of {name!r} raised when it was closed: {type(error).__name__}: "
                    f"{text_of(error)}. Mend its clean-up",
                )
                fault.__cause__ = error
                faults.append(fault)
        return faults
