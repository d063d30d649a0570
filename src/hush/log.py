"""The library's own log: structured events through the standard ``logging``.

A library must neither print nor configure. So these loggers hand structlog's events
to the standard logger ``hush``, which is silent or loud as the application decides.
"""

from __future__ import annotations

import logging
from typing import cast

import structlog

__all__ = ("get_logger",)


def get_logger(name: str = "hush") -> structlog.stdlib.BoundLogger:
    """Return a structured logger that writes to the standard logger ``name``.

    Args:
        name: name of the standard logger.

    Returns:
        A structlog logger; keyword arguments become key=value behind the event.
    """
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast("structlog.stdlib.BoundLogger", logger)
