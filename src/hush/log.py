"""The library's own log: structured events through the standard ``logging``.

A library must neither print nor configure. So these loggers hand structlog's events
to the standard logger ``hush``, which is silent or loud as the application decides. Beside
its text a record keeps the event as data, for a handler that can make use of it.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Final, cast

from hush.errors import text_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import structlog

__all__ = ("EVENT", "get_logger", "log_fault")

TEXT_LIMIT = 200
FRAMES = 8

EVENT: Final = "hush_event"
"""Attribute of a record: the event as data, and its fields."""


def _render(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    from structlog.processors import KeyValueRenderer  # noqa: PLC0415  # see get_logger

    data = dict(event)
    return (KeyValueRenderer(key_order=["event"])(logger, method, event),), {"extra": {EVENT: data}}


def get_logger(name: str = "hush") -> structlog.stdlib.BoundLogger:
    """Return a structured logger that writes to the standard logger ``name``.

    Args:
        name: name of the standard logger.

    Returns:
        A structlog logger; keyword arguments become key=value behind the event.
    """
    # It brings much with it; most processes that import this package never log anything.
    import structlog  # noqa: PLC0415  # as above

    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _render],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast("structlog.stdlib.BoundLogger", logger)


def log_fault(name: str, event: str, error: BaseException) -> None:
    """Log what an observer of a run did wrong. Never raises: the run must not notice.

    Args:
        name: name of the standard logger.
        event: what happened, and what follows from it.
        error: what it raised, whatever its ``__str__`` does.
    """
    try:
        text = f"{type(error).__name__}: {text_of(error)[:TEXT_LIMIT]}"
        # The last frames tell whose fault it is; the text of the exception stands before.
        where = traceback.format_list(traceback.extract_tb(error.__traceback__)[-FRAMES:])
        get_logger(name).error(event, error=text, where="".join(where))
    except Exception:  # noqa: BLE001  # an exception, a handler or a filter that is beyond help
        logging.getLogger(name).error("%s: %s", event, type(error).__name__)  # noqa: TRY400  # its traceback is what failed
