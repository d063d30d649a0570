"""Chats: what listens to calls to models besides the tracer, each on its own account.

An instrument around another one hears what is said of each call before it hands it on.
All other levels go past it. What fails here costs neither the call nor its span.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self

from hush.observe.describing import ending_of
from hush.observe.pins import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

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

    @abstractmethod
    def _listener(self, scope: Scope) -> Listener:
        """Make the listener of one call, which begins now."""


class _Heard:
    """One call with a listener before its observation."""

    __slots__ = ("_ending", "_listener", "_manager", "_on_fault", "_seen")

    _seen: Observation

    def __init__(
        self,
        manager: AbstractContextManager[Observation],
        listener: Listener,
        on_fault: Callable[[Exception], None],
    ) -> None:
        self._manager = manager
        self._listener = listener
        self._on_fault = on_fault
        self._ending: Ending | None = None

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
                self._listener.close(self._ending if self._ending is not None else ending_of(exc))
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
        finally:
            self._manager.__exit__(exc_type, exc, traceback)

    @property
    def token(self) -> object:
        return self._seen.token

    @property
    def trace_id(self) -> str | None:
        return self._seen.trace_id

    def annotate(self, name: str, value: Any) -> None:
        if value is None:
            return
        try:
            value = self._listener.hear(name, value)
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
            self._on_fault(error)
        if value is not None:
            self._seen.annotate(name, value)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        self._seen.event(name, facts)

    def end(self, ending: Ending) -> None:
        self._ending = ending
        self._seen.end(ending)
