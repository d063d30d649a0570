"""Log lines: what a record of the standard ``logging`` says, as plain data that may leave.

Every text passes the redactor, every size is bounded, and nothing that anybody logs can raise
here: a log that fails where something is wrong is of no use.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.log import EVENT
from hush.observe.exceptions import exception_facts
from hush.observe.reading import Reader
from hush.observe.redaction import clean
from hush.observe.settings import settings
from hush.observe.whereabouts import whereabouts

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping

__all__ = ("line_of",)

LIMIT_BYTES: Final = 32_768
"""Most of the fields of one line, in bytes of JSON."""
FIELDS: Final = 64
"""Most fields of one line."""
RESERVED: Final = frozenset(
    (
        "args",
        "asctime",
        "created",
        "exc_info",
        "exc_text",
        "filename",
        "funcName",
        "levelname",
        "levelno",
        "lineno",
        "message",
        "module",
        "msecs",
        "msg",
        "name",
        "pathname",
        "process",
        "processName",
        "relativeCreated",
        "stack_info",
        "taskName",
        "thread",
        "threadName",
        EVENT,
    )
)
"""What every record has; all else on it is what somebody wants to say."""


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record says.

    Args:
        record: of anybody; called where it was written, for its whereabouts.

    Returns:
        ``timestamp``, ``level``, ``logger``, ``event``; then trace, span, run, graph, node and
        item where there are any; then the fields that came with it, and the exception as
        ``exception.type``, ``exception.message`` and ``exception.stacktrace``. Plain data.
    """
    event, fields = _said(record)
    line: dict[str, Any] = {
        semconv.LOG_TIMESTAMP: _instant(record),
        semconv.LOG_LEVEL: str(record.levelname).lower(),
        semconv.LOG_LOGGER: clean(record.name, settings.redactor),
        semconv.LOG_EVENT: event,
    }
    reader = Reader(settings.redactor, LIMIT_BYTES)
    for name, value in whereabouts().items():
        line[name] = reader.plain(value)
    error = _error(record, fields)
    for number, (name, value) in enumerate(_items(fields)):
        if number == FIELDS:
            line["…"] = "[fields left out]"
            break
        key = reader.text(name) or "_"
        plain = _plain(reader, value, key)
        if key in line and line[key] == plain:
            continue
        while key in line:
            # What the line says of itself stays what it is.
            key += "_"
        line[key] = plain
    if error is not None:
        facts = exception_facts(error, settings.redactor)
        line[semconv.EXCEPTION_TYPE] = facts.type
        line[semconv.EXCEPTION_MESSAGE] = facts.message
        line[semconv.EXCEPTION_STACKTRACE] = facts.stacktrace
    if record.stack_info:
        line[semconv.LOG_STACK] = clean(record.stack_info, settings.redactor)
    return line


def _instant(record: logging.LogRecord) -> str:
    try:
        when = datetime.fromtimestamp(record.created, UTC)
    except (OverflowError, OSError, TypeError, ValueError):
        when = datetime.now(UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _said(record: logging.LogRecord) -> tuple[str, Mapping[Any, Any]]:
    """Return a record's event and the fields beside it."""
    structured = record.__dict__.get(EVENT)
    if isinstance(structured, dict):
        fields = {name: value for name, value in structured.items() if name != "event"}
        return clean(structured.get("event", ""), settings.redactor), fields
    extra = {name: value for name, value in record.__dict__.items() if name not in RESERVED}
    if isinstance(record.msg, dict) and not record.args:
        # Of a structlog that the application has set up itself.
        fields = {**record.msg, **extra}
        return clean(fields.pop("event", ""), settings.redactor), fields
    return clean(_message(record), settings.redactor), extra


def _message(record: logging.LogRecord) -> object:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # a format that does not fit, or an argument without a text
        said = clean(record.msg, settings.redactor)
        return f"{said} {clean(record.args, settings.redactor)}"


def _items(fields: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for name, value in fields.items():
        # structlog's own, and what has been told already.
        if isinstance(name, str) and (name.startswith("_") or name in {"exc_info", "stack_info"}):
            continue
        yield name, value


def _plain(reader: Reader, value: object, name: str) -> Any:
    try:
        return reader.plain(value, name)
    except Exception:  # noqa: BLE001  # a mapping may do as it likes
        return f"<unreadable {type(value).__name__}>"


def _error(record: logging.LogRecord, fields: Mapping[Any, Any]) -> BaseException | None:
    """Return the exception that a record tells of."""
    said: object = record.exc_info or fields.get("exc_info")
    if isinstance(said, BaseException):
        return said
    if isinstance(said, tuple) and len(said) > 1:
        return said[1] if isinstance(said[1], BaseException) else None
    return sys.exc_info()[1] if said else None
