"""An observation before another one: hears what is said, and tells the one behind it.

What fails here costs neither what is observed nor the observation behind. What is heard, and
what for, is up to what is built upon it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

from hush.observe.describing import ending_of
from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from hush.runtime.instrument import Ending, Observation
    from hush.runtime.remote.passage import Passage

__all__ = ("ObservationBefore",)


class ObservationBefore:
    """Stands before an observation; all that is said goes through."""

    __slots__ = ("_ending", "_manager", "_seen")

    _seen: Observation

    def __init__(self, manager: AbstractContextManager[Observation]) -> None:
        """Stand there.

        Args:
            manager: of the observation behind.
        """
        self._manager = manager
        self._ending: Ending | None = None

    @abstractmethod
    def _close(self, ending: Ending) -> None:
        """Take note of the end; what is behind is still open and current. May raise."""

    @abstractmethod
    def _fault(self, error: Exception) -> None:
        """Take note of what went wrong here."""

    def __enter__(self) -> Self:
        self._seen = self._manager.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            # Exemplars and events carry the span's identity, which does not pin it.
            with ours:
                self._close(self._ending if self._ending is not None else ending_of(exc))
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._fault(error)
        finally:
            self._manager.__exit__(exc_type, exc, traceback)

    @property
    def token(self) -> object:
        """That of the observation behind."""
        return self._seen.token

    @property
    def trace_id(self) -> str | None:
        """That of the observation behind."""
        return self._seen.trace_id

    def annotate(self, name: str, value: Any) -> None:
        """Hand on a fact."""
        self._seen.annotate(name, value)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Hand on what happened."""
        self._seen.event(name, facts)

    def end(self, ending: Ending) -> None:
        """Keep how it ends, and hand it on."""
        self._ending = ending
        self._seen.end(ending)

    def carrier(self) -> Mapping[str, str]:
        """Return that of the observation behind."""
        return self._seen.carrier()

    def adopt(self, seen_elsewhere: bytes, passage: Passage) -> None:
        """Hand on what was observed elsewhere."""
        self._seen.adopt(seen_elsewhere, passage)
