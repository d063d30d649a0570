"""A time limit over the whole of a request, however the other side draws it out.

The limit that ``requests`` knows is one for each read, so an answer that comes a byte at a
time would hold the one sender for ever. Here a timer shuts the request's sockets down,
which ends whatever waits on them: greeting, sending, head or body. Knows no answers.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

__all__ = ("Deadline", "Watch")


class Watch:
    """The sockets of one request.

    Attributes:
        passed: whether its time was up before it was over.
    """

    def __init__(self) -> None:
        """Have none yet."""
        self.passed = False
        self._over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def add(self, line: socket.socket) -> None:
        """Watch one more.

        Args:
            line: is connected. What is kept is a descriptor of our own: the socket may be
                closed, or become part of another, before the request is over.
        """
        own = socket.socket(line.family, line.type, line.proto, os.dup(line.fileno()))
        with self._lock:
            self._sockets.append(own)
            if self.passed:  # it took all the time to get here
                _shut(own)

    def cut(self) -> None:
        """Break the request off, unless it is over."""
        with self._lock:
            if self._over:
                return
            self.passed = True
            for one in self._sockets:
                _shut(one)

    def end(self) -> None:
        """Let go: the request is over."""
        with self._lock:
            self._over = True
            for one in self._sockets:
                one.close()
            self._sockets.clear()


def _shut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is not connected any more
        line.shutdown(socket.SHUT_RDWR)


class Deadline:
    """Limits the requests of one thread, one after the other."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._watch: Watch | None = None

    @contextlib.contextmanager
    def within(self, limit_s: float) -> Iterator[Watch]:
        """Break off what is requested inside, where it takes too long.

        Args:
            limit_s: how long it may take, in seconds.
        """
        watch = self._watch = Watch()
        timer = threading.Timer(limit_s, watch.cut)
        timer.daemon = True
        # No thread at the end of the interpreter: then the limit of each read has to do.
        with contextlib.suppress(RuntimeError):
            timer.start()
        try:
            yield watch
        finally:
            timer.cancel()
            self._watch = None
            watch.end()

    def cover(self, session: requests.Session) -> None:
        """See the sockets of a session, whoever made it.

        Args:
            session: is used by this thread only.
        """
        for adapter in session.adapters.values():
            if isinstance(adapter, HTTPAdapter):
                self._cover(adapter)

    def _cover(self, adapter: HTTPAdapter) -> None:
        found = adapter.get_connection_with_tls_context

        def get(*args: Any, **kwargs: Any) -> Any:
            pool = found(*args, **kwargs)
            if not getattr(pool.ConnectionCls, _MARK, False):
                pool.ConnectionCls = self._seen(pool.ConnectionCls)
            return pool

        # The adapter may be a subclass of somebody who hands out credentials: it stays.
        adapter.get_connection_with_tls_context = get  # type: ignore[method-assign]  # of this object only

    def _seen(self, kind: type[Any]) -> type[Any]:
        def connect(connection: Any) -> socket.socket:
            made: socket.socket = kind._new_conn(connection)  # noqa: SLF001  # what urllib3 has for it
            self._add(made)
            return made

        def request(connection: Any, *args: Any, **kwargs: Any) -> Any:
            if connection.sock is not None:  # one that was kept
                self._add(connection.sock)
            return kind.request(connection, *args, **kwargs)

        return type(kind.__name__, (kind,), {"_new_conn": connect, "request": request, _MARK: True})

    def _add(self, line: socket.socket) -> None:
        if self._watch is not None:
            self._watch.add(line)


_MARK: Final = "_hush_deadline"
