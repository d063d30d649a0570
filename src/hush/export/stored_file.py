"""One file in a spool, looked at with suspicion: names and kinds may be anybody's making.

Knows neither the folder's order nor who sends.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Final

from hush.export.batch_file import CorruptBatchError, decode

if TYPE_CHECKING:
    from pathlib import Path

    from hush.export.batch_file import Batch, Payload

__all__ = ("is_left", "read_batch")

_HALF_WRITTEN: Final = re.compile(r"\d+-[0-9a-f]{8}-\d+\.tmp|receiver\.\d+\.tmp", re.ASCII)
STALE_S: Final = 600.0
"""How old a half-written file is that nobody is writing any more, in seconds."""


def read_batch(path: Path, batch: Batch) -> Payload:
    """Read a batch, unless the file is another than its name says.

    Args:
        path: where it is.
        batch: what its name says, with the size that a listing found.

    Raises:
        FileNotFoundError: it is gone.
        CorruptBatchError: it is not what was written.
        NewerBatchError: it is in a later format.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptBatchError(f"{batch.name} is a link, no file") from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CorruptBatchError(f"{batch.name} is no file")
        if found.st_size != batch.size_bytes:
            msg = f"{batch.name} has {found.st_size} bytes instead of {batch.size_bytes}"
            raise CorruptBatchError(msg)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return decode(file.read(batch.size_bytes), batch)
    finally:
        os.close(descriptor)


def is_left(entry: os.DirEntry[str]) -> bool:
    """Say whether a file was left by somebody who was killed while he wrote it.

    By its age only: numbers of processes come again, in containers always the same ones. Who
    writes for longer than that finds his file gone and writes it once more.
    """
    if _HALF_WRITTEN.fullmatch(entry.name) is None:
        return False
    try:
        written = entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # it is gone
        return False
    return abs(time.time() - written) > STALE_S
