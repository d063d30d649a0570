"""Content: prompts and answers, for those who ask for them by the standard variable.

``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` says where they may go: nowhere
(``NO_CONTENT``, the default), to the call's span, to an event in OpenTelemetry's logs, or
to both. See :mod:`hush.observe.messages` for what becomes of them before they leave.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from hush import __version__, semconv
from hush.log import get_logger
from hush.observe.chats import ChatInstrument
from hush.observe.describing import attributes_of, error_type_of, value_of
from hush.observe.messages import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry._logs import Logger, LoggerProvider

    from hush.observe.chats import Listener
    from hush.runtime.instrument import Ending, Instrument, Scope

__all__ = ("Capture", "ContentInstrument", "capture_as_told", "capture_wanted")

_PREFIXES: Final = ("gen_ai.", "server.")
"""Facts that the event repeats: those of the convention, which it shares with the span."""


@dataclass(frozen=True, slots=True)
class Capture:
    """Where content may go."""

    on_span: bool = False
    in_event: bool = False

    @property
    def wanted(self) -> bool:
        """Whether it may go anywhere."""
        return self.on_span or self.in_event


ON_SPAN: Final = "content_on_span"
"""What a driver says to its workers."""
_NOWHERE: Final = Capture()
_MODES: Final = {
    "NO_CONTENT": _NOWHERE,
    "SPAN_ONLY": Capture(on_span=True),
    "EVENT_ONLY": Capture(in_event=True),
    "SPAN_AND_EVENT": Capture(on_span=True, in_event=True),
}

_told: ContextVar[Capture | None] = ContextVar("hush_capture", default=None)
"""What a driver has said, in a worker; None elsewhere."""
_logged: set[str] = set()
"""Unknown values that the log has been told of."""


def capture_wanted() -> Capture:
    """Read from the environment where content may go.

    Returns:
        What the variable says, in capitals or not. Anything but its four values means
        nowhere, and is logged once; so does ``true``, of which older instrumentations
        made an event, others a span: who means either must say which.
    """
    told = _told.get()
    if told is not None:
        return told
    said = os.environ.get(semconv.CAPTURE_VARIABLE, "").strip()
    if not said:
        return _NOWHERE
    mode = _MODES.get(said.upper())
    if mode is not None:
        return mode
    if said not in _logged:
        _logged.add(said)
        get_logger("hush.telemetry").warning(
            f"{semconv.CAPTURE_VARIABLE} is unknown; no content is captured",
            value=value_of(said),
            valid=", ".join(_MODES),
        )
    return _NOWHERE


def capture_as_told(facts: Mapping[str, Any]) -> None:
    """Let a driver say where content may go, in this context, whatever the environment says.

    Args:
        facts: what its instrument said.
    """
    _told.set(Capture(on_span=True) if facts.get(ON_SPAN) else _NOWHERE)


class ContentInstrument(ChatInstrument):
    """Lets the content of calls to models go where the application wants it."""

    def __init__(
        self,
        inner: Instrument,
        capture: Capture,
        on_fault: Callable[[Exception], None],
        provider: LoggerProvider | None = None,
    ) -> None:
        """Wrap an instrument.

        Args:
            inner: makes the spans; must not raise.
            capture: where content may go.
            on_fault: gets what goes wrong here.
            provider: takes the events; None takes the global one.
        """
        super().__init__(inner, on_fault)
        self._capture = capture
        self._logger = _event_logger(provider) if capture.in_event else None

    def elsewhere(self) -> Mapping[str, Any]:
        """Return what the instrument inside does, and whether spans take content.

        Events are not sent back by workers, so there are none.
        """
        inner = self._inner.elsewhere()
        return {**inner, ON_SPAN: True} if inner and self._capture.on_span else inner

    def _listener(self, scope: Scope) -> Listener:
        return _Conversation(scope.facts, self._logger, on_span=self._capture.on_span)


def _event_logger(provider: LoggerProvider | None) -> Logger:
    from opentelemetry._logs import get_logger as get_otel_logger  # noqa: PLC0415  # rarely wanted, and marked unstable

    return get_otel_logger("hush", __version__, provider)


class _Conversation:
    """The content of one call."""

    __slots__ = ("_attributes", "_content", "_logger", "_on_span")

    def __init__(self, facts: Mapping[str, Any], logger: Logger | None, *, on_span: bool) -> None:
        self._on_span = on_span
        self._logger: Logger | None = None
        self._attributes: dict[str, Any] = {}
        self._content: dict[str, Any] = {}
        if logger is not None and logger.enabled(event_name=semconv.EVENT_GEN_AI_DETAILS):
            self._logger = logger
            known = {name: value for name, value in facts.items() if name.startswith(_PREFIXES)}
            self._attributes = attributes_of(known)

    def hear(self, name: str, value: Any) -> Any:
        if name not in semconv.CONTENT:
            if self._logger is not None and name.startswith(_PREFIXES):
                self._attributes[name] = value_of(value)
            return value
        content = Content(name, value)
        if self._logger is not None:
            # Now: the application may go on to change its list of messages.
            self._content[name] = content.structure
        return content if self._on_span else None

    def close(self, ending: Ending) -> None:
        if self._logger is None:
            return
        error = error_type_of(ending)
        if error is not None:
            self._attributes[semconv.ERROR_TYPE] = error
        # The span is current, so that the event is found in its place in the trace.
        self._logger.emit(
            timestamp=time_ns(),
            event_name=semconv.EVENT_GEN_AI_DETAILS,
            attributes=self._attributes | self._content,
        )
