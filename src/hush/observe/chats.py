"""Chats: what listens to calls to models besides the tracer, each on its own account.

An instrument around another one hears what is said of each call before it hands it on.
All other levels go past it. What fails here costs neither the call nor its span.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from hush.observe.before import ObservationBefore
from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from hush.runtime.instrument import Ending, Instrument, Observation, Scope

__all__ = ("ChatInstrument", "Listener")


class Listener(Protocol):
    """Hears of one call to a model."""

    def hear(self, name: str, value: Any) -> Any:
        """Take note of a fact.

        Args:
            name: the fact's name.
            value: never None.

        Returns:
            What the instrument inside is told; None tells it nothing.
        """

    def close(self, ending: Ending) -> None:
        """Take note of the end; the call's span is still open and current."""


class ChatInstrument(ABC):
    """Puts a listener before each call to a model and watches nothing else."""

    def __init__(self, inner: Instrument, on_fault: Callable[[Exception], None]) -> None:
        """Wrap an instrument.

        Args:
            inner: is told everything; must not raise, see
                :class:`hush.runtime.instrument.Guard`.
            on_fault: gets what goes wrong in a listener.
        """
        self._inner = inner
        self._on_fault = on_fault

    def observe(self, scope: Scope) -> AbstractContextManager[Observation]:
        """Watch ``scope`` as the instrument inside does, and listen where it is a call."""
        manager = self._inner.observe(scope)
        if scope.level != "chat":
            return manager
        try:
            with ours:
                listener = self._listener(scope)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
            return manager
        return _Heard(manager, listener, self._on_fault)

    def elsewhere(self) -> Mapping[str, Any]:
        """Return what the instrument inside does."""
        return self._inner.elsewhere()

    def absorb(self, counted_elsewhere: bytes) -> None:
        """Hand on what was counted elsewhere."""
        self._inner.absorb(counted_elsewhere)

    @abstractmethod
    def _listener(self, scope: Scope) -> Listener:
        """Make the listener of one call, which begins now."""


class _Heard(ObservationBefore):
    """One call with a listener before its observation."""

    __slots__ = ("_listener", "_on_fault")

    def __init__(
        self,
        manager: AbstractContextManager[Observation],
        listener: Listener,
        on_fault: Callable[[Exception], None],
    ) -> None:
        super().__init__(manager)
        self._listener = listener
        self._on_fault = on_fault

    def _close(self, ending: Ending) -> None:
        self._listener.close(ending)

    def _fault(self, error: Exception) -> None:
        self._on_fault(error)

    def annotate(self, name: str, value: Any) -> None:
        if value is None:
            return
        try:
            value = self._listener.hear(name, value)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
        if value is not None:
            self._seen.annotate(name, value)
