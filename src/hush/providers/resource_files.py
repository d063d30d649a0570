"""Resource files: where one is found, how it is read, and what is refused on the way.

Reading is careful, because a configuration may come from elsewhere: plain YAML only, no
Python objects, bounded in size, depth and what its aliases expand to. A single resource is
the business of :mod:`hush.providers.resource_entry`; nothing here looks at one before it is
asked for. No error shows a line of the file, which may hold a key.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from hush.errors import ResourceError
from hush.plan.telling import listing
from hush.providers.plain_yaml import DEPTH_LIMIT, PlainYAMLError, parse, shown
from hush.providers.resource_entry import Built, build
from hush.providers.resource_key import PREFIX, plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import SupportsIndex

__all__ = (
    "EXAMPLE",
    "FILE_NAME",
    "VARIABLE",
    "RawResources",
    "copy_mapping",
    "digest_of",
    "find_file",
    "load_file",
)

VARIABLE: Final = "HUSH_CONFIG"
"""The environment variable that names the file."""

FILE_NAME: Final = "resources.yaml"
"""What the file is called where no variable names it."""

BYTES_LIMIT: Final = 1024 * 1024
"""Largest file."""

EXAMPLE: Final = "llm:gpt-4o:\n  api_key: ${OPENAI_API_KEY}\n  model: gpt-4o"
"""The least that a file holds."""

_REMEDY: Final = "correct the path or the file"

_BLANK: Final = re.compile(rf"\s*{PREFIX[:-1]}\s*:\s+\S")
"""The key of a resource with a blank behind ``llm:``, which YAML takes for a key and its value."""

_Problems = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RawResources:
    """A configuration as it was written: nothing filled in, nothing checked."""

    source: str
    """The file's path, or what else it came from."""
    digest: str
    """SHA-256 of the file as hex digits; empty where there is none."""
    entries: Mapping[Any, Any] = field(repr=False)
    """All top-level keys, also those of other tools."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the language models, without ``llm:``, sorted."""
        keys = (one for one in self.entries if isinstance(one, str))
        return tuple(sorted(plain(one) for one in keys if _is_key(one)))

    def only(self, names: Iterable[str]) -> RawResources:
        """Return the same of some resources, and of nothing else.

        Args:
            names: of resources, with or without ``llm:``; what is not there is left out.
        """
        keys = {PREFIX + plain(name) for name in names}
        kept = {key: one for key, one in self.entries.items() if key in keys}
        return RawResources(self.source, self.digest, kept)

    def build(self, name: str) -> Built:
        """Fill in and check one resource.

        Args:
            name: one of ``names``.

        Returns:
            The resource, or all that is wrong with it.
        """
        return build(name, self.entries[PREFIX + name], os.environ)

    def absence(self, name: str, node: str | None) -> str:
        """Say that a resource does not exist.

        Args:
            name: the name that was asked for, without ``llm:``.
            node: path of the node that asks for it; None where that is not known.

        Returns:
            What is wrong, names that are alike, all that there are, and the remedy.
        """
        wanted = shown(PREFIX + name)
        said = f"there is no such resource, which node {node!r} uses" if node else "does not exist"
        section = self.entries.get(PREFIX[:-1])
        others = {one.casefold(): one for one in self.entries if isinstance(one, str)}
        if isinstance(section, Mapping) and name in section:
            said += f". It stands below 'llm:'; write it as one top-level key, {wanted}:."
        elif name in self.entries:
            said += f". There is a key {shown(name)!r}; write it as {wanted}:."
        elif close := get_close_matches((PREFIX + name).casefold(), others, n=3):
            said += f". Did you mean {' or '.join(repr(shown(others[one])) for one in close)}?"
        else:
            said += "."
        known = listing(shown(PREFIX + one) for one in self.names)
        return f"{said} There are: {known}. Add {wanted}, or change resource_key"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: what was written may hold an API key in clear."""
        raise TypeError(
            "a configuration of resources cannot be pickled, because it may hold API keys; "
            "load it in the other process instead"
        )


def _is_key(text: str) -> bool:
    return text.startswith(PREFIX) and len(text) > len(PREFIX)


def find_file() -> Path | None:
    """Find the resource file.

    Returns:
        The absolute path of the file that ``HUSH_CONFIG`` names, else of the first
        ``resources.yaml`` in the working folder or one above it; None where there is none.

    Raises:
        ResourceError: the file that ``HUSH_CONFIG`` names cannot be read, or there is no
            working folder.
    """
    named = os.environ.get(VARIABLE)
    try:
        here = Path.cwd()
        path = Path(named).expanduser().absolute() if named else None
    except (OSError, RuntimeError):
        text = f"the working or home folder is gone; set {VARIABLE} to the absolute path of a file"
        raise ResourceError(FILE_NAME, [("", text)]) from None
    if path is None:
        candidates = (one / FILE_NAME for one in (here, *here.parents))
        return next((one for one in candidates if os.path.isfile(one)), None)  # noqa: PTH113  # unlike Path.is_file, False also where it may not look
    fault = _opened(path)
    if isinstance(fault, str):
        text = f"{VARIABLE} names this file, which {fault}; correct the variable or the file"
        raise ResourceError(str(path), [("", text)])
    return path


def digest_of(path: str | os.PathLike[str]) -> str:
    """Return what tells a file's contents apart.

    Args:
        path: path of the file.

    Returns:
        Its SHA-256 as hex digits.

    Raises:
        ResourceError: it cannot be read, or is too large.
    """
    content = _opened(Path(path))
    fault = content if isinstance(content, str) else None
    digest = "" if isinstance(content, str) else hashlib.sha256(content).hexdigest()
    del content  # A traceback may show a frame's variables, and this may hold keys.
    if fault is not None:
        raise ResourceError(str(path), [("", f"{fault}; {_REMEDY}")])
    return digest


def load_file(path: str | os.PathLike[str]) -> RawResources:
    """Read a resource file.

    Args:
        path: path of a YAML file in UTF-8, at most 1 MiB.

    Returns:
        What it holds, nothing filled in and no resource checked.

    Raises:
        ResourceError: it cannot be read, is not plain YAML, holds a key twice, or nothing.
    """
    read = _read(Path(path))
    if isinstance(read, tuple):
        raise ResourceError(str(path), read)
    return read


def copy_mapping(source: str, mapping: Mapping[str, Any]) -> RawResources:
    """Take a configuration from code.

    Args:
        source: what errors call it.
        mapping: ``llm:NAME`` to fields, as in a file; it is copied.

    Returns:
        The same as from a file, nothing filled in and no resource checked.

    Raises:
        ResourceError: a key is not ``llm:NAME``.
    """
    problems = [
        (shown(key), f"expected a key such as 'llm:gpt-4o'; write 'llm:{shown(key)}'")
        for key in mapping
        if not isinstance(key, str) or not _is_key(key)
    ]
    if problems:
        raise ResourceError(source, problems)
    return RawResources(source, "", {key: _copy(one, 1) for key, one in mapping.items()})


def _copy(value: Any, depth: int) -> Any:
    # More levels than are allowed, so that whoever asks for the resource is told; not endless.
    if depth > 2 * DEPTH_LIMIT:
        return None
    if isinstance(value, Mapping):
        return {key: _copy(one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(one, depth + 1) for one in value]
    return value


def _opened(path: Path) -> bytes | str:
    """Return a file's content, or what is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            return "is not a file"
        with path.open("rb") as file:
            content = file.read(BYTES_LIMIT + 1)
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or 'no valid path'})"
    return content if len(content) <= BYTES_LIMIT else f"is larger than {BYTES_LIMIT} bytes"


def _read(path: Path) -> RawResources | _Problems:
    content = _opened(path)
    if isinstance(content, str):
        return (("", f"{content}; {_REMEDY}"),)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return (("", f"line {line} is not UTF-8; save the file as UTF-8"),)
    try:
        entries = parse(text)
    except PlainYAMLError as refusal:
        return tuple((key, said + _blank(text, refusal.line)) for key, said in refusal.problems)
    if entries is None:
        return (("", f"is empty; write at least\n\n{EXAMPLE}"),)
    if not isinstance(entries, dict):
        kind = "a list" if isinstance(entries, list) else "a single value"
        return (("", f"expected resources by key, not {kind}; write such as\n\n{EXAMPLE}"),)
    return RawResources(str(path), hashlib.sha256(content).hexdigest(), entries)


def _blank(text: str, line: int | None) -> str:
    """Return a hint where a resource's key with a blank in it is what YAML stumbled over."""
    if line is None:
        return ""
    # Without the colon at its end, YAML gets only as far as the first field.
    suspects = text.splitlines()[max(line - 1, 0) : line + 1]
    if not any(map(_BLANK.match, suspects)):
        return ""
    return f". The key of a resource is written without a blank, such as {PREFIX}gpt-4o:"
