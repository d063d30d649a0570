"""The network between driver and cluster breaks, and is mended: nothing hangs, and it goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

import anyio
import pytest

from hush.core import Hush, RunError
from hush.executors import DaskExecutor
from hush.testing import capture_spans
from tests.executors_contract import bodies
from tests.executors_contract.places import over


class Proxy:
    """A TCP proxy in a thread: it may be cut, and then takes nobody until it is mended."""

    def __init__(self, host, port):
        self._to = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self._cut = threading.Event()
        self._lock = threading.Lock()
        self._threads = []
        self._run(self._accept)

    @property
    def port(self):
        return self._server.getsockname()[1]

    def _run(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._cut.is_set():
                near.close()
                continue
            far = socket.create_connection(self._to)
            with self._lock:
                self._open += [near, far]
            self._run(self._copy, near, far)
            self._run(self._copy, far, near)

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self._cut.set()
        self._drop()

    def mend(self):
        self._cut.clear()

    def _drop(self):
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()

    def close(self):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._drop()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def proxy(dask_address):
    parts = urlsplit(dask_address)
    made = Proxy(parts.hostname, parts.port)
    yield made
    made.close()


async def test_a_cut_between_driver_and_scheduler(proxy, told):
    executor = DaskExecutor(f"tcp://127.0.0.1:{proxy.port}", connect_timeout_s=5)
    engine = Hush(over(bodies.stuck_once, executor, stuck=3, max_concurrency=4))
    inputs = {"xs": range(8), "folder": str(told.folder)}
    outcome = []
    with capture_spans() as captured, anyio.fail_after(45):
        async with anyio.create_task_group() as tasks:

            async def run():
                try:
                    outcome.append((await engine.run(inputs))["ys"])
                except RunError as error:
                    outcome.append(error)

            tasks.start_soon(run)
            await told.wait("stuck")
            proxy.cut()
            bodies.let_go(told.folder)
            await anyio.sleep(1)
            proxy.mend()
    captured.tree.assert_sound()
    # Either all is right, or it is said what cannot be reached.
    (seen,) = outcome
    if isinstance(seen, RunError):
        assert "Dask" in str(seen)
    else:
        assert seen == [2 * x for x in range(8)]
    # The next run finds it again.
    result = await Hush(over(bodies.double, executor)).run(inputs)
    assert result["ys"] == [2 * x for x in range(8)]
