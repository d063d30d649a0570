"""Servers and engines for tests that call models: the real client over real sockets."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hush.core import END, PARENT, START, GraphNode, Hush
from hush.providers import LLMNode
from hush.testing import ScriptedLLMServer

MESSAGES = [{"role": "user", "content": "hello there"}]


def _settled(server):
    """Whether nothing is left of the calls; a connection's end is noticed soon after."""
    deadline = time.monotonic() + 5
    while server.active or server.open_connections:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@pytest.fixture
def server():
    """A scripted model server; each test must leave it without calls and connections."""
    with ScriptedLLMServer() as running:
        yield running
        assert _settled(running), (running.active, running.open_connections)


@pytest.fixture
def engine_of(server):
    """Make an engine whose resources are models of the scripted server."""

    def make(graph, *models, **options):
        return Hush(graph, resources=server.resources(*(models or ("m", "n")), **options))

    return make


@pytest.fixture
def single(engine_of):
    """Make an engine with the one node ``g.ask``, which asks ``m`` and gives all it has."""

    def make(inputs=None, *, node=LLMNode, resource=None, **options):
        with GraphNode(name="g") as graph:
            given = {"messages": MESSAGES, **(inputs or {})}
            START >> node("ask", "m", inputs=given, outputs={"*": PARENT}, **options) >> END
        return engine_of(graph, "m", **(resource or {}))

    return make


@pytest.fixture
def ask(single):
    """Run such an engine once and return the result."""

    async def run(inputs=None, **options):
        return await single(inputs, **options).run()

    return run


class Wire(ThreadingHTTPServer):
    """Answers every request with the same pieces of a body, each in an HTTP chunk of its own."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Pieces)
        self.pieces = []
        self.content_type = "text/event-stream"
        self.ending = "end"
        """What follows the pieces: the body's end, or ``cut`` the connection, or keep it open."""
        self.over = threading.Event()

    def resources(self, *models, **options):
        url = f"http://127.0.0.1:{self.server_port}/v1"
        usual = {"api_key": "test-key", "base_url": url}
        return {f"llm:{model}": {**usual, "model": model, **options} for model in models}


class _Pieces(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        last = [b""] if self.server.ending == "end" else []
        for piece in [*self.server.pieces, *last]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        if self.server.ending == "open":
            self.server.over.wait()
        self.close_connection = self.server.ending != "end"

    def log_message(self, *args):
        pass


@pytest.fixture
def wire():
    """A server whose bytes a test writes itself."""
    with Wire() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()
