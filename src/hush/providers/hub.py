"""The hub: configured language models by name, and what all who use one of them share.

A hub checks only the resources that somebody asks for, and all of those at once. It knows
neither clients nor event loops; what callers share at run time, it keeps without looking at it.
pydantic and yaml are imported when a hub is first made: most workflows call no model.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar, cast

from hush.errors import ResourceError
from hush.providers.resource_key import PREFIX, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import SupportsIndex

    from hush.providers.resource import LLMResource
    from hush.providers.resource_files import RawResources

__all__ = ("ResourceHub",)

T = TypeVar("T")


class ResourceHub:
    """Where language models are configured; safe to use from several threads.

    Made by :meth:`default`, :meth:`from_file` or :meth:`from_mapping`. Those who use one hub
    share the limits of its resources, also across engines and runs.
    """

    __slots__ = ("__weakref__", "_checked", "_lock", "_raw", "_states")

    _defaults: ClassVar[dict[tuple[Path, str], ResourceHub]] = {}
    """By the file's path and contents."""
    _defaults_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, raw: RawResources) -> None:
        """Take a configuration; nothing is checked yet.

        Args:
            raw: the configuration as it was written.
        """
        self._raw = raw
        # One that may be entered again: a factory may ask the hub for something.
        self._lock = threading.RLock()
        self._checked: dict[str, tuple[LLMResource, Mapping[str, str | None]]] = {}
        self._states: dict[str, Any] = {}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Mapping[str, Any]]) -> Self:
        """Make a hub of a configuration in code.

        Args:
            mapping: ``llm:NAME`` to the fields of :class:`hush.providers.resource.LLMResource`,
                as in a file, ``${NAME}`` included; it is copied.

        Returns:
            A new hub, which shares nothing with others.

        Raises:
            ResourceError: a key is not ``llm:NAME``.
        """
        from hush.providers.resource_files import copy_mapping  # noqa: PLC0415  # see the top

        return cls(copy_mapping("ResourceHub.from_mapping", mapping))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Make a hub of a file.

        Args:
            path: path of a YAML file.

        Returns:
            A new hub, which shares nothing with others.

        Raises:
            ResourceError: the file cannot be read, or is not what a resource file is.
        """
        from hush.providers.resource_files import load_file  # noqa: PLC0415  # see the top

        return cls(load_file(path))

    @classmethod
    def default(cls) -> ResourceHub:
        """Return the process's hub: that of the file that is found.

        The file is the one that ``HUSH_CONFIG`` names, else the first ``resources.yaml`` in the
        working folder or one above it. While path and contents are the same, so is the hub.

        Returns:
            The hub, shared by all who ask in this process.

        Raises:
            ResourceError: there is no file, or it is not what a resource file is.
        """
        from hush.providers import resource_files as files  # noqa: PLC0415  # see the top

        path = files.find_file()
        if path is None:
            text = (
                f"not found: {files.VARIABLE} is not set, and there is none in {Path.cwd()} or a "
                f"folder above it. Write one with at least\n\n{files.EXAMPLE}\n\n"
                f"or name one with {files.VARIABLE}, or pass resources to Hush(...)"
            )
            raise ResourceError(files.FILE_NAME, [("", text)])
        digest = files.digest_of(path)
        with cls._defaults_lock:
            hub = cls._defaults.get((path, digest))
            if hub is None:
                raw = files.load_file(path)
                # By what was loaded: the file may have changed since.
                hub = cls._defaults.setdefault((path, raw.digest), ResourceHub(raw))
        return hub

    def written(self, names: Iterable[str]) -> RawResources:
        """Return the configuration of some resources as it was written, nothing filled in.

        It holds whatever keys were written in it. All else is left out.

        Args:
            names: of resources, with or without ``llm:``.
        """
        return self._raw.only(names)

    @property
    def source(self) -> str:
        """The file's path, or what else the configuration came from."""
        return self._raw.source

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all resources, without ``llm:``, sorted."""
        return self._raw.names

    def resolve(
        self, keys: Iterable[str], *, used_by: Mapping[str, str] | None = None
    ) -> dict[str, LLMResource]:
        """Fill in and check resources; others are not looked at.

        A resource is checked once, and again when an environment variable that it reads has
        changed. If that makes it another one, its :meth:`state` begins anew.

        Args:
            keys: names of resources, with or without ``llm:``.
            used_by: for names, with or without ``llm:``, the path of a node that uses each;
                an error about a resource that does not exist names it.

        Returns:
            The resources by name, without ``llm:``, in the order asked for.

        Raises:
            ResourceError: all that is wrong with all of them.
        """
        users = {plain(key): node for key, node in (used_by or {}).items()}
        found: dict[str, LLMResource] = {}
        problems: list[tuple[str, str]] = []
        with self._lock:
            for name in dict.fromkeys(map(plain, keys)):
                if name not in self.names:
                    text = self._raw.absence(name, users.get(name))
                    problems.append((f"{PREFIX}{name}", text))
                    continue
                one = self._resource(name, problems)
                if one is not None:
                    found[name] = one
        if problems:
            raise ResourceError(self.source, problems)
        return found

    def _resource(self, name: str, problems: list[tuple[str, str]]) -> LLMResource | None:
        before = self._checked.get(name)
        if before is not None and _unchanged(before[1]):
            return before[0]
        built = self._raw.build(name)
        problems += built.problems
        if built.resource is None:
            return None
        resource = built.resource
        if before is not None:
            if before[0] == resource:
                resource = before[0]
            else:
                self._states.pop(name, None)
        self._checked[name] = resource, built.variables
        return resource

    def state(self, name: str, factory: Callable[[], T]) -> T:
        """Return the object that all users of a resource share at run time.

        The hub keeps one for each resource and does not look at it: its limits, its circuit,
        whatever must be one in the whole process.

        Args:
            name: name of a resource, with or without ``llm:``.
            factory: makes the object; called only where there is none yet, never by two
                threads at a time. Where it raises, there is still none.

        Returns:
            What the first caller's factory made.
        """
        name = plain(name)
        with self._lock:
            if name not in self._states:
                self._states[name] = factory()
            return cast("T", self._states[name])

    def __repr__(self) -> str:
        """Show where it comes from and the names, no more."""
        return f"<ResourceHub {self.source!r}: {', '.join(self.names) or 'no resources'}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: a hub holds API keys and what belongs to this process."""
        raise TypeError(
            "a ResourceHub cannot be pickled or copied, because it holds API keys; "
            "load the configuration in the other process instead"
        )


def _unchanged(variables: Mapping[str, str | None]) -> bool:
    return all(os.environ.get(name) == value for name, value in variables.items())
