"""Log output: lines as JSON for machines, or in colours for people; written and never raising."""

from __future__ import annotations

import json
import logging
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, Final, Literal, cast

from hush import semconv
from hush.errors import type_name
from hush.observe.log_lines import line_of
from hush.observe.redaction import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("LineHandler", "LogStyle", "StreamName")

LogStyle = Literal["auto", "json", "console"]
"""How lines are written; ``auto`` is for people on a terminal, and JSON everywhere else."""
StreamName = Literal["stdout", "stderr"]

NESTED: Final = 3
"""A text that logs while it is being logged ends here."""
TIME: Final = slice(11, 23)
"""Hours to milliseconds of a timestamp: on a terminal the day is known."""

_BREAKS: Final = {ord(one): f"\\u{ord(one):04x}" for one in "\x85\u2028\u2029"}
"""What JSON may hold as it is, and some readers of lines take for the end of one."""

_nesting = threading.local()


class LineHandler(logging.Handler):
    """Writes each record as a line to a standard stream, whichever that is by then.

    Attributes:
        hidden: fields that are left out, where all lines have the same.
    """

    def __init__(self, stream: StreamName | IO[str], style: LogStyle) -> None:
        """Write nothing yet.

        Args:
            stream: a standard stream by name, which tests and progress displays may replace
                at any time, or any other.
            style: see :data:`LogStyle`.
        """
        super().__init__()
        self._stream = stream
        self._style = style
        self._coloured = _console(colours=True)
        self._plain = _console(colours=False)
        self.hidden: frozenset[str] = frozenset()

    @property
    def style(self) -> LogStyle:
        """How lines are written."""
        return self._style

    @property
    def stream(self) -> IO[str] | None:
        """Where lines go now; None where there is no such stream."""
        if isinstance(self._stream, str):
            return cast("IO[str] | None", getattr(sys, self._stream))
        return self._stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        depth = getattr(_nesting, "depth", 0)
        stream = self.stream
        if stream is None or depth >= NESTED:
            return
        _nesting.depth = depth + 1
        try:
            stream.write(self._text(record, stream) + "\n")
            stream.flush()
        except Exception:  # noqa: BLE001  # a stream that is closed or full; logging says so its way
            self.handleError(record)
        finally:
            _nesting.depth = depth

    def _text(self, record: logging.LogRecord, stream: IO[str]) -> str:
        terminal = _is_terminal(stream)
        style = self._style
        if style == "auto":
            style = "console" if terminal else "json"
        try:
            line = {
                name: value for name, value in line_of(record).items() if name not in self.hidden
            }
            if style == "json":
                return _json(line, ascii_only=not _takes_all(stream))
            text = (self._coloured if terminal else self._plain)(line)
            return text if _takes_all(stream) else text.encode("ascii", "backslashreplace").decode()
        except Exception as error:  # noqa: BLE001  # whatever was logged, something is written
            event = {semconv.LOG_EVENT: f"a line that cannot be told: {type_name(error)}"}
            return json.dumps({semconv.LOG_LEVEL: "error", **event})


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except Exception:  # noqa: BLE001  # closed, or not much of a stream
        return False


def _takes_all(stream: IO[str]) -> bool:
    encoding = str(getattr(stream, "encoding", None) or "utf-8")
    return encoding.lower().replace("-", "").replace("_", "") in {"utf8", "utf16", "utf32"}


def _json(line: dict[str, Any], *, ascii_only: bool) -> str:
    text = json.dumps(line, ensure_ascii=ascii_only, separators=(", ", ": "))
    return text if text.isascii() else text.translate(_BREAKS)


def _console(*, colours: bool) -> Callable[[dict[str, Any]], str]:
    import structlog  # noqa: PLC0415  # it brings much with it, see hush.log

    render = structlog.dev.ConsoleRenderer(
        colors=colours,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def one(line: dict[str, Any]) -> str:
        shown = {_on_one_line(name): _on_one_line(value) for name, value in line.items()}
        shown[semconv.LOG_TIMESTAMP] = line[semconv.LOG_TIMESTAMP][TIME]
        for name, key in (("exception", semconv.EXCEPTION_STACKTRACE), ("stack", "stack")):
            if key in line:
                shown.pop(key)
                shown[name] = "\n".join(map(_on_one_line, str(line[key]).rstrip().split("\n")))
        if semconv.EXCEPTION_STACKTRACE in line:
            # Both stand in it.
            shown.pop(semconv.EXCEPTION_TYPE)
            shown.pop(semconv.EXCEPTION_MESSAGE)
        return safe_text(render(None, "", shown))

    return one


def _on_one_line(value: Any) -> Any:
    """Return a text with nothing in it that moves a terminal's cursor or makes up a line."""
    if not isinstance(value, str):
        return value
    if value.isprintable():
        return value
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in value
    )
