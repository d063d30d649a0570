"""Travelling: the configuration of resources on its way to a worker.

It travels as it was written: ``${NAME}`` stays that, and is filled in by the worker's own
environment. So no key travels that was not written out, in the file or in code.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from hush.providers.hub import ResourceHub
from hush.providers.resource_files import RawResources

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("hub_from", "pack_resources")

HUBS: Final = 16
"""Configurations that a worker keeps."""

_lock = threading.Lock()
_hubs: OrderedDict[str, ResourceHub] = OrderedDict()


def pack_resources(hub: ResourceHub, names: Iterable[str]) -> bytes:
    """Pack what a hub says of some resources.

    Args:
        hub: where they are configured.
        names: theirs; what is configured besides stays here.

    Returns:
        Bytes for :func:`hub_from`. They may hold keys: they belong into no log.
    """
    raw = hub.written(names)
    return pickle.dumps((raw.source, raw.digest, dict(raw.entries)), pickle.HIGHEST_PROTOCOL)


def hub_from(data: bytes) -> ResourceHub:
    """Return the hub that a driver's resources make here.

    Args:
        data: from :func:`pack_resources`.

    Returns:
        The same hub for the same configuration, so that all calls in this process share the
        limits of its resources.
    """
    digest = hashlib.sha256(data).hexdigest()
    with _lock:
        hub = _hubs.get(digest)
        if hub is None:
            source, file_digest, entries = pickle.loads(data)  # noqa: S301  # from a driver, see SECURITY.md
            said = f"{source} (from the driver)"
            hub = _hubs[digest] = ResourceHub(RawResources(said, file_digest, entries))
            while len(_hubs) > HUBS:
                _hubs.popitem(last=False)
        _hubs.move_to_end(digest)
        return hub
