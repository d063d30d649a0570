"""Who sends: one of all processes that share a spool, by the lock on a file in it.

The system itself gives the lock up when its holder ends, however it ends. In the file its
holder says how sending goes, for the others and for ``hush spool``. Needs ``flock``.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for by lockable()

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("SenderLock", "lockable", "read_status")

_FILE: Final = "lock"
_LONGEST: Final = 4_096


def lockable() -> bool:
    """Say whether this system has the lock."""
    return fcntl is not None


class SenderLock:
    """The lock of one folder."""

    def __init__(self, folder: Path) -> None:
        """Stand for the lock; it is not taken yet.

        Args:
            folder: the receiver's folder.
        """
        self._path = folder / _FILE
        self._descriptor: int | None = None

    @property
    def taken(self) -> bool:
        """Whether it was ours when it was last looked at; for any thread."""
        return self._descriptor is not None

    @property
    def held(self) -> bool:
        """Whether it is ours; False also where the file is another one by now.

        For the one thread that takes it.
        """
        if self._descriptor is None:
            return False
        try:
            ours, there = os.fstat(self._descriptor), self._path.stat()
        except OSError:  # the folder was removed, and the lock is that of nothing
            self.release()
            return False
        if (ours.st_ino, ours.st_dev) == (there.st_ino, there.st_dev):
            return True
        self.release()
        return False

    def take(self) -> bool:
        """Take the lock where nobody has it, without waiting.

        Returns:
            Whether it is ours now.

        Raises:
            OSError: the folder is gone, or cannot be written.
        """
        if self.held:
            return True
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock up."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def forget(self) -> None:
        """Leave the lock to the parent, in a child that was forked from its holder."""
        self.release()  # closing gives nothing up while the parent has it open

    def say(self, status: dict[str, Any]) -> None:
        """Write down how sending goes, where the lock is ours. Never raises."""
        if self._descriptor is None:
            return
        content = json.dumps(status).encode()[:_LONGEST]
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))


def read_status(folder: Path) -> dict[str, Any]:
    """Return what whoever sends says of it.

    Args:
        folder: the receiver's folder.

    Returns:
        ``{"held": whether anybody sends}`` and what they say: ``pid``, and of each signal
        that fails ``error`` and ``next_s``, when it is tried again by the wall clock.
    """
    lock = SenderLock(folder)
    try:
        if not (folder / _FILE).exists() or lock.take():
            return {"held": False}
    except OSError:
        return {"held": False}
    finally:
        lock.release()
    said: Any = None
    with contextlib.suppress(OSError, ValueError):
        said = json.loads((folder / _FILE).read_bytes()[:_LONGEST])
    return {"held": True, **(said if isinstance(said, dict) else {})}
