"""What goes wrong when traces are read: four errors, each with its remedy in the text.

They stand beside what raises them and not in a reader's module, because every reader can
raise most of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.errors import HushError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("TraceBackendError", "TraceFormatError", "TraceNotFoundError", "TraceStoreError")


class TraceStoreError(HushError, OSError):
    """The local trace store cannot be read or written; names the file and the remedy."""


class TraceFormatError(HushError, ValueError):
    """A file or an answer holds no trace of a known format; names the place in it."""


class TraceBackendError(HushError, ConnectionError):
    """A tracing backend could not be asked, or its answer is none."""


class TraceNotFoundError(HushError, LookupError):
    """No trace fits what was asked for, or more than one does.

    Attributes:
        candidates: ids of the traces that fit, newest first; empty where none does.
    """

    def __init__(self, message: str, candidates: Sequence[str] = ()) -> None:
        """Keep what might have been meant.

        Args:
            message: what was asked for, what there is, and the remedy.
            candidates: 32 hex digits each.
        """
        self.message = message
        self.candidates = tuple(candidates)
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by constructor arguments."""
        return type(self), (self.message, self.candidates)
