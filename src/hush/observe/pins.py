"""Pins: telling reads of a span's identity that are ours from those that are anyone else's.

Whoever reads the identity of a span may send it elsewhere: to a span of their own, to
another service. A span that is then left out would be missed there, so it is kept; see
:mod:`hush.observe.own_span`. What reads on our behalf does so inside ``with ours:``, or by
:func:`context_of`: that has no consequence, for which the reader answers. It is for what may
name a span that is never seen, such as the ids on our own lines in the log.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

__all__ = ("context_of", "ours")


class _Ours(threading.local):
    """Whether this thread is reading on our behalf."""

    depth: int = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_details: object) -> None:
        self.depth -= 1


ours = _Ours()
"""A block inside which reading the identity of a span keeps nobody from leaving it out. No
``await`` in it: it is of the thread, not of the task."""


def context_of(span: Span) -> SpanContext:
    """Read the identity of a span on our behalf.

    Args:
        span: any, of any provider.
    """
    with ours:
        return span.get_span_context()
