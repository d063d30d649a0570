"""Redactors: what texts pass in a worker, where drivers that know nothing of each other share it.

A driver's redactor holds while its calls run. Where those of several drivers run at the same
time, each text passes all their redactors: rather too much is taken out than too little.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hush.observe.credentials import redact_secrets
from hush.observe.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.observe.redaction import Redactor

__all__ = ("redacting",)

_lock = threading.Lock()
_active: list[Redactor] = []
_base: Redactor = redact_secrets
"""What this process has set for itself."""
_set: Redactor | None = None
"""What was set here last."""


@contextmanager
def redacting(redactor: Redactor) -> Iterator[None]:
    """Let texts pass a driver's redactor, for as long as the block lasts.

    Args:
        redactor: the driver's.
    """
    with _lock:
        _active.append(redactor)
        _apply()
    try:
        yield
    finally:
        with _lock:
            # The same one may be in use by other calls.
            del _active[next(i for i, one in enumerate(_active) if one is redactor)]
            _apply()


def _apply() -> None:
    global _base, _set  # noqa: PLW0603  # one per process, behind a lock
    if settings.redactor is not _set:
        # Somebody has configured this process meanwhile.
        _base = settings.redactor
    wanted: list[Redactor] = [] if _base is redact_secrets and _active else [_base]
    for one in _active:
        if not any(one is other for other in wanted):
            wanted.append(one)
    if len(wanted) == 1:
        _set = wanted[0]
    elif not (isinstance(_set, _Chain) and _set.is_of(wanted)):
        _set = _Chain(wanted)
    settings.redactor = _set


class _Chain:
    """Several redactors, one after the other."""

    def __init__(self, redactors: Sequence[Redactor]) -> None:
        self._redactors = tuple(redactors)

    def is_of(self, redactors: Sequence[Redactor]) -> bool:
        same = zip(self._redactors, redactors, strict=False)
        return len(self._redactors) == len(redactors) and all(a is b for a, b in same)

    def __call__(self, text: str) -> str:
        for one in self._redactors:
            text = one(text)
        return text
