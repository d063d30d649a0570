"""configure_logging(): lines as JSON or for people, each with the run that it belongs to.

Only where the application asks: a library neither prints nor configures. What was set before
is put back by :meth:`LoggingSetUp.restore`.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from hush.log import EVENT
from hush.observe.log_export import ExportHandler, export_wanted, logger_provider, stop
from hush.observe.log_output import LineHandler
from hush.observe.patience import EXIT_S, done_within
from hush.observe.redaction import safe_text
from hush.observe.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from hush.observe.log_output import LogStyle, StreamName

__all__ = ("LoggingSetUp", "configure_logging", "lines_now", "write_lines_like")

STYLES = ("auto", "json", "console")

_lock = threading.RLock()
_current: LoggingSetUp | None = None


@dataclass(slots=True)
class LoggingSetUp:
    """What :func:`configure_logging` has set up, and what was there before."""

    handlers: tuple[logging.Handler, ...]
    """Added to the root logger."""
    _replaced: tuple[logging.Handler, ...] = ()
    _level: int = logging.WARNING
    _structlog: dict[str, Any] | None = None
    _stop: Callable[[], None] | None = None
    _over: bool = field(default=False)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Send what is queued for export.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            Whether it was done in time; as with spans, also where an exporter failed.
        """
        # Each, whatever becomes of the one before.
        done = [_flushed(handler, timeout_s) for handler in self.handlers]
        return all(done)

    def end_export(self) -> None:
        """Export what is queued, for at most a second, and no more; lines are still written."""
        exporting = [one for one in self.handlers if isinstance(one, ExportHandler)]
        for handler in exporting:
            logging.getLogger().removeHandler(handler)
            if self._stop is None:
                _flushed(handler, EXIT_S)
        if self._stop is not None:
            self._stop()
            self._stop = None

    def restore(self) -> None:
        """Put back what was there before: handlers, the root's level, structlog's set-up.

        A second call does nothing. A logger provider that was made here stops for good:
        OpenTelemetry takes only one in the life of a process.
        """
        global _current  # noqa: PLW0603  # one set-up per process
        with _lock:
            if self._over:
                return
            self._over = True
            root = logging.getLogger()
            for handler in self.handlers:
                root.removeHandler(handler)
            for handler in self._replaced:
                root.addHandler(handler)
            root.setLevel(self._level)
            import structlog  # noqa: PLC0415  # it brings much with it, see hush.log

            if self._structlog is None:
                structlog.reset_defaults()
            else:
                structlog.configure(**self._structlog)
            if _current is self:
                _current = None
                settings.placed = False
        if self._stop is not None:
            self._stop()


def configure_logging(
    style: LogStyle = "auto",
    *,
    level: int | str = "INFO",
    stream: StreamName | IO[str] = "stdout",
    export: bool | None = None,
    endpoint: str | None = None,
    service_name: str | None = None,
) -> LoggingSetUp:
    """Write what the process logs, through ``structlog`` or the standard ``logging``, as lines.

    Each line inside of a run carries ``trace_id``, ``span_id``, ``hush.run.id``,
    ``hush.graph.name``, ``hush.node.path`` and ``hush.item.index``, in tasks and in worker
    threads, with a tracer or without. Every text passes the redactor of
    :func:`~hush.observe.configuration.configure`. Whatever is logged, nothing raises.

    The root logger gets a handler; those of it that write to a standard stream make room, all
    others stay. structlog hands its events to the standard ``logging``. A second call takes
    the place of the first.

    Args:
        style: ``json``, ``console``, or ``auto``: the latter on a terminal, else the former.
        level: least level of the root logger, by name or number.
        stream: ``stdout``, ``stderr``, or a text stream.
        export: True sends the records to an OTLP receiver as well, or to the logger
            provider that the application has set; None does where ``OTEL_LOGS_EXPORTER``
            is ``otlp``.
        endpoint: base URL of the receiver; None reads the variables.
        service_name: name of the service; None reads the variables, else ``hush``.

    Returns:
        A handle to put everything back.

    Raises:
        ValueError: a style, level or variable is unknown, or an address cannot be used.
    """
    global _current  # noqa: PLW0603  # one set-up per process
    if style not in STYLES:
        raise ValueError(f"style={style!r}: expected one of {', '.join(STYLES)}")
    number = _level_of(level)
    if isinstance(stream, str) and stream not in {"stdout", "stderr"}:
        raise ValueError(f"stream={stream!r}: expected stdout, stderr or a text stream")
    with _lock:
        handlers: list[logging.Handler] = [LineHandler(stream, style)]
        ending: Callable[[], None] | None = None
        if export_wanted(said=export):
            provider, made = logger_provider(endpoint, service_name)
            handlers.append(ExportHandler(provider))
            if made:
                ending = lambda: stop(provider)  # noqa: E731  # one thing to do later
        if _current is not None:
            # What is kept for later is what was there before the first call.
            ending = ending or _current._stop  # noqa: SLF001  # the same module
            _current._stop = None  # noqa: SLF001  # likewise
            _current.restore()
        root = logging.getLogger()
        replaced = tuple(one for one in root.handlers if _writes_to_standard_stream(one))
        import structlog  # noqa: PLC0415  # it brings much with it, see hush.log

        known = structlog.get_config() if structlog.is_configured() else None
        made_now = LoggingSetUp(tuple(handlers), replaced, root.level, known, ending)
        for handler in replaced:
            root.removeHandler(handler)
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(number)
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.contextvars.merge_contextvars,
                _hand_over,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            # A logger that remembers would not notice that all this is put back.
            cache_logger_on_first_use=False,
        )
        settings.placed = True
        _current = made_now
    return made_now


def lines_now() -> tuple[LogStyle, int] | None:
    """Return style and least level of the lines that are written; None where none are."""
    with _lock:
        if _current is None:
            return None
        styles = [one.style for one in _current.handlers if isinstance(one, LineHandler)]
        return (styles[0], logging.getLogger().level) if styles else None


def write_lines_like(told: tuple[LogStyle, int] | None) -> None:
    """Write lines to standard error as a driver does, unless this process writes some already.

    Args:
        told: what :func:`lines_now` returned there.
    """
    with _lock:
        if told is not None and _current is None:
            style, level = told
            configure_logging(style, level=level, stream="stderr", export=False)


def _flushed(handler: logging.Handler, timeout_s: float) -> bool:
    flush = getattr(getattr(handler, "provider", None), "force_flush", None)
    if flush is None:
        return True
    return done_within(timeout_s, lambda: flush(int(timeout_s * 1_000)), "flush of log records")


def _level_of(level: int | str) -> int:
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    number = logging.getLevelNamesMapping().get(str(level).upper())
    if number is None:
        raise ValueError(f"level={level!r}: expected a number, or one such as DEBUG or INFO")
    return number


def _writes_to_standard_stream(handler: logging.Handler) -> bool:
    # The class itself: files and what others derive from it stay.
    if type(handler) is not logging.StreamHandler:
        return False
    return handler.stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}


def _hand_over(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Hand an event of structlog to the standard ``logging``, as text and as data."""
    arguments = event.pop("positional_args", ())
    text = safe_text(event.pop("event", ""))
    if arguments:
        try:
            text = safe_text(text % arguments)
        except Exception:  # noqa: BLE001  # a format that does not fit breaks no program
            text = f"{text} {safe_text(arguments)}"
    options = {name: event.pop(name) for name in ("exc_info", "stack_info") if name in event}
    options["stack_info"] = bool(options.get("stack_info"))
    return (text,), {"extra": {EVENT: {**event, "event": text}}, **options}
