"""Where a spool is: a folder for each receiver, of which nobody else can be the owner.

What is spooled was private in the process that wrote it, so a folder is taken only where
it is a real one of this user's, and never one that everybody may write to. Knows nothing
of batches.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hush.errors import HushError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "RECEIVER",
    "VARIABLE",
    "SpoolError",
    "check_root",
    "default_root",
    "folder_for",
    "prepare",
    "said_by_variable",
    "shown",
)

VARIABLE: Final = "HUSH_SPOOL"
"""Names the folder, or turns the spool off."""
RECEIVER: Final = "receiver"
"""File that says for people and for ``hush spool`` whose batches these are."""

_PRIVATE: Final = 0o700
_OTHERS: Final = 0o077
_SHARED: Final = stat.S_ISVTX | stat.S_IWOTH
"""The mode of folders such as ``/tmp``, where everybody leaves things."""
_CREDENTIAL: Final = re.compile(
    r"auth|key|token|secret|passw|cookie|signature|credential|license|honeycomb-team",
    re.IGNORECASE,
)
_OFF: Final = frozenset(("0", "false", "no", "off"))
_ON: Final = frozenset(("1", "true", "yes", "on"))
_REMEDY: Final = f"name a folder of your own with {VARIABLE} or configure(spool=...)"


class SpoolError(HushError, ValueError):
    """A folder cannot be a spool."""


def said_by_variable() -> bool | str | None:
    """Return what ``$HUSH_SPOOL`` says: a path, whether there is to be a spool, or nothing."""
    said = os.environ.get(VARIABLE, "").strip()
    if said.lower() in _OFF:
        return False
    if said.lower() in _ON:
        return True
    return said or None


def default_root() -> Path:
    """Return where spools are unless it is said otherwise.

    Returns:
        ``hush/spool`` in ``$XDG_STATE_HOME``, else in ``~/.local/state``.

    Raises:
        SpoolError: this user has no home.
    """
    state = os.environ.get("XDG_STATE_HOME")
    # The XDG specification: a relative path is to be ignored.
    if state and Path(state).is_absolute():
        return Path(state) / "hush" / "spool"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise SpoolError(f"no home folder to keep a spool in; {_REMEDY}") from error
    if not home.is_absolute():  # it would be another folder wherever the program is started
        raise SpoolError(f"the home folder {home} is no absolute path; {_REMEDY}")
    return home / ".local" / "state" / "hush" / "spool"


def folder_for(root: Path, base: str, headers: Mapping[str, str]) -> Path:
    """Return the folder of a receiver.

    Spans must never go to somebody else than they were meant for. So it depends on the
    address, and on what the headers say besides credentials, such as a tenant: those stay
    with the folder, while a credential may be renewed.

    Args:
        root: holds the folders of all receivers.
        base: the receiver's address, without the path of a signal.
        headers: what is sent along.
    """
    url = urlsplit(base)
    named = sorted(
        f"{name.lower()}={value}" for name, value in headers.items() if not is_credential(name)
    )
    # What logs in may change; the host, the port and the path may not.
    address = url._replace(netloc=url.netloc.rpartition("@")[2], fragment="").geturl()
    digest = hashlib.sha256("\n".join([address, *named]).encode()).hexdigest()[:12]
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", url.netloc.rpartition("@")[2]).strip("-.")[:64]
    return root / f"{host or 'receiver'}-{digest}"


def is_credential(name: str) -> bool:
    """Say whether a header's name is that of something secret that may be renewed."""
    return _CREDENTIAL.search(name) is not None


def shown(base: str) -> str:
    """Return an address without what may be secret in it: no login and no query."""
    url = urlsplit(base)
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()


def prepare(folder: Path, base: str) -> None:
    """Make a receiver's folder, or see that the one that is there may be used.

    Args:
        folder: as :func:`folder_for` returns it.
        base: the receiver's address.

    Raises:
        SpoolError: it is a link, no folder, somebody else's, or in a shared place.
        OSError: it cannot be made.
    """
    root = folder.parent
    # What is there instead of a folder is told below, in words.
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=_PRIVATE, parents=True)
    check_root(root)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=_PRIVATE)
    found = _checked(folder)
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        folder.chmod(_PRIVATE)
    label = folder / RECEIVER
    if not label.exists():
        _write_private(label, f"{shown(base)}\n".encode())


def check_root(root: Path) -> None:
    """See that a folder that is there may hold the receivers' folders.

    Args:
        root: the folder.

    Raises:
        SpoolError: it is a link, no folder, somebody else's, or a shared place.
        OSError: it is not there.
    """
    found = root.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise SpoolError(f"{root} is a symbolic link, and may be led elsewhere; {_REMEDY}")
    if not stat.S_ISDIR(found.st_mode):
        raise SpoolError(f"{root} is no folder; {_REMEDY}")
    if found.st_mode & _SHARED == _SHARED:
        raise SpoolError(f"{root} is a place that all users share; {_REMEDY}")
    # Root's too: volumes of containers belong to it, and it may do everything in any case.
    if hasattr(os, "geteuid") and found.st_uid not in {os.geteuid(), 0}:
        raise SpoolError(f"{root} belongs to another user ({found.st_uid}); {_REMEDY}")


def _checked(folder: Path) -> os.stat_result:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise SpoolError(f"{folder} is a symbolic link, and may be led elsewhere; {_REMEDY}")
    if not stat.S_ISDIR(found.st_mode):
        raise SpoolError(f"{folder} is no folder; {_REMEDY}")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise SpoolError(f"{folder} belongs to another user ({found.st_uid}); {_REMEDY}")
    return found


def _write_private(path: Path, content: bytes) -> None:
    """Write a small file whole; two that do so at once write the same."""
    temporary = path.with_name(f"{path.name}.{threading.get_native_id()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    temporary.replace(path)
