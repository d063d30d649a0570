"""Opening a trace by id, file or address; what was tried stands in the error."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hush.insight.formats.jaeger_api import fetch_trace, split_trace_url
from hush.insight.formats.jaeger_json import to_jaeger_json
from hush.insight.formats.otlp_json import to_otlp_json
from hush.insight.source_errors import (
    TraceBackendError,
    TraceFormatError,
    TraceNotFoundError,
    TraceStoreError,
)
from hush.insight.sources import load_traces, open_trace
from hush.insight.store import TraceStore
from hush.insight.tree import TraceTree
from tests.insight.records import TRACE, a_run

OTHER = "ab" * 16
TREE = TraceTree(a_run(TRACE))
OTLP = to_otlp_json(TREE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(tmp_path / "traces.sqlite3") as made:
        yield made


def spans(tree: TraceTree) -> dict[str, Any]:
    return {node.record.span_id: node.record for node in tree}


# --- the store ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [TRACE, "4bf9", "4BF9", " last "])
def test_id_is_looked_up_in_the_store(store: TraceStore, where: str):
    store.add(a_run(TRACE))

    assert spans(open_trace(where, store=store)) == spans(TREE)
    assert spans(open_trace(where, store=store.path)) == spans(TREE)


def test_default_store_is_used(store: TraceStore, monkeypatch: pytest.MonkeyPatch):
    store.add(a_run(TRACE))
    monkeypatch.setenv("HUSH_TRACE_STORE", str(store.path))

    assert open_trace("last").trace_id == TRACE


def test_ambiguous_id_is_not_looked_for_elsewhere(store: TraceStore):
    store.add([*a_run("ab" + "0" * 30), *a_run("ab" + "1" * 30)])

    with pytest.raises(TraceNotFoundError, match="'ab' fits several traces") as caught:
        open_trace("ab", store=store)

    assert len(caught.value.candidates) == 2


def test_all_that_was_tried_is_told(store: TraceStore, monkeypatch: pytest.MonkeyPatch):
    store.add(a_run(OTHER))

    with pytest.raises(TraceNotFoundError) as caught:
        open_trace(TRACE, store=store)

    assert str(caught.value) == (
        f"no trace '{TRACE}': no trace '{TRACE}' in {store.path}; the newest trace is {OTHER} "
        "(run report); no Jaeger was asked, since none was named; there is no file of that name"
    )
    with pytest.raises(TraceNotFoundError, match="Jaeger was not asked: it needs all 32 digits"):
        open_trace("4bf9", store=store, jaeger="http://localhost:1")
    with pytest.raises(TraceNotFoundError, match=r"localhost:1: cannot be asked: .*refused"):
        open_trace(TRACE, store=store, jaeger="http://localhost:1")


@pytest.mark.parametrize("where", ["run report", "", "a/b.json", "\0", "a" * 5_000, "#", "a#b"])
def test_what_is_nothing_is_told(store: TraceStore, where: str):
    with pytest.raises(TraceNotFoundError, match="no file of that name"):
        open_trace(where, store=store)


def test_store_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(TraceStoreError, match="HUSH_TRACE_STORE"):
        open_trace("last", store=tmp_path)
    with pytest.raises(TraceNotFoundError, match="a folder, and no trace store"):
        open_trace("abc", store=tmp_path)


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [to_otlp_json, to_jaeger_json])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.txt", "abc"])
def test_format_of_a_file_is_told_by_its_content(
    store: TraceStore, tmp_path: Path, write: Any, indent: int | None, name: str
):
    path = tmp_path / name
    path.write_text(write(TREE, indent=indent))

    for where in (path, str(path)):
        assert {*spans(open_trace(where, store=store))} == {*spans(TREE)}


def test_file_whose_name_looks_like_an_id(
    store: TraceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "abc").write_text(OTLP)
    monkeypatch.chdir(tmp_path)

    assert open_trace("abc", store=store).trace_id == TRACE
    assert open_trace(Path("abc"), store=store).trace_id == TRACE
    store.add(a_run("abc".ljust(32, "0")))
    assert open_trace("abc", store=store).trace_id != TRACE
    assert open_trace("./abc", store=store).trace_id == TRACE


def test_file_with_a_request_for_each_line(tmp_path: Path):
    path = tmp_path / "collected.json"
    first, second, third = (TraceTree([span]) for span in a_run(TRACE))
    other = to_otlp_json(TraceTree(a_run(OTHER)))
    lines = [to_otlp_json(first), other, '{"resourceMetrics":[]}', "", to_otlp_json(second)]
    path.write_text("\n".join([*lines, to_otlp_json(third), ""]))

    traces = load_traces(path)

    assert [(tree.trace_id, len(tree)) for tree in traces] == [(TRACE, 3), (OTHER, 3)]
    assert spans(open_trace(f"{path}#4bf9")) == spans(TREE)
    with pytest.raises(TraceNotFoundError, match=r"2 traces fit; name one, as in .*#4bf92f35"):
        open_trace(path)
    with pytest.raises(TraceNotFoundError, match="no trace 'ff' in it; it holds 4bf9"):
        open_trace(f"{path}#ff")


def test_last_line_that_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "collected.json"
    path.write_text(f"{OTLP}\n{OTLP[:100]}")

    with caplog.at_level(logging.WARNING):
        assert spans(open_trace(path)) == spans(TREE)

    assert "the last line of a file of traces is cut off" in caplog.text
    path.write_text(f"{OTLP}\n{OTLP[:100]}\n{OTLP}")
    with pytest.raises(TraceFormatError, match=r"collected\.json, line 2: no JSON"):
        open_trace(path)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", TraceFormatError, "the file is empty"),
        (b" \n", TraceFormatError, "the file is empty"),
        (OTLP[:50].encode(), TraceFormatError, "no JSON"),
        (gzip.compress(OTLP.encode()), TraceFormatError, "unpack it with gunzip"),
        (b"\x89PNG\r\n", TraceFormatError, "no text in UTF-8"),
        (b'{"spam": 1}', TraceFormatError, "expected OTLP JSON"),
        (b'{"resourceSpans": []}', TraceNotFoundError, "holds no spans"),
        (b'{"data": null}', TraceNotFoundError, "holds no spans"),
        (b"[]", TraceNotFoundError, "holds no spans"),
        (b"[" * 990 + b"]" * 990, TraceFormatError, "nested too deeply"),
    ],
)
def test_file_that_is_none(tmp_path: Path, content: bytes, error: Any, said: str):
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(error, match=said):
        open_trace(path)


def test_store_is_no_file_of_traces(store: TraceStore):
    store.add(a_run(TRACE))

    with pytest.raises(TraceFormatError, match="as a trace store it is opened with store="):
        open_trace(store.path)


def test_what_has_no_end_is_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")

    for where in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "absent"):
        with pytest.raises(TraceNotFoundError, match=r"no regular file|cannot be read"):
            load_traces(where)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=80), st.text('{}[]":,ab1\n ', max_size=40)))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes | str):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with contextlib.suppress(TraceFormatError):
        load_traces(path)


# --- Jaeger over HTTP ---------------------------------------------------------------------------


@contextlib.contextmanager
def serving(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[tuple[str, list[Any]]]:
    """Serve answers by path, and keep what was asked with its headers."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def v3(path: str) -> tuple[int, bytes]:
    if not path.startswith("/api/v3/traces/"):
        return 404, b"{}"
    return 200, b'{"result":' + OTLP.encode() + b"}"


def older(path: str) -> tuple[int, bytes]:
    """A Jaeger that answers what it does not know with its UI."""
    if path.startswith("/api/traces/"):
        return 200, to_jaeger_json(TREE).encode()
    return 200, b"<!doctype html><html></html>"


def in_parts(path: str) -> tuple[int, bytes]:
    parts = [to_otlp_json(TraceTree([span])) for span in a_run(TRACE)]
    return 200, "\n".join(f'{{"result":{part}}}' for part in parts).encode()


@pytest.mark.parametrize("answer", [v3, older, in_parts])
def test_trace_from_the_query_api(answer: Any, store: TraceStore):
    with serving(answer) as (url, _):
        assert {*spans(fetch_trace(url, TRACE))} == {*spans(TREE)}
        assert {*spans(open_trace(TRACE, store=store, jaeger=f"{url}/"))} == {*spans(TREE)}
        assert {*spans(open_trace(f"{url}/trace/{TRACE}?uiFind=x"))} == {*spans(TREE)}


@pytest.mark.parametrize(
    ("url", "parted"),
    [
        ("http://host:16686/trace/AB", ("http://host:16686", "ab")),
        ("https://host/jaeger/trace/ab/?uiFind=1#x", ("https://host/jaeger", "ab")),
        ("http://host/api/traces/ab", ("http://host", "ab")),
        ("http://host/api/v3/traces/ab", ("http://host", "ab")),
        ("http://host/trace/xyz", None),
        ("http://host/search", None),
        ("ftp://host/trace/ab", None),
        ("http://[/trace/ab", None),
    ],
)
def test_address_of_a_trace(url: str, parted: Any):
    assert split_trace_url(url) == parted


def test_address_of_something_else():
    with pytest.raises(TraceNotFoundError, match="is no address of a trace; expected one such as"):
        open_trace("http://localhost:16686/search")


def not_found(path: str) -> tuple[int, bytes]:
    return 404, b'{"errors":[{"code":404,"msg":"trace not found"}]}'


def empty(path: str) -> tuple[int, bytes]:
    return 200, b'{"data":[]}'


@pytest.mark.parametrize("answer", [not_found, empty])
def test_trace_that_jaeger_has_not(answer: Any):
    with serving(answer) as (url, _), pytest.raises(TraceNotFoundError, match="has no trace 4bf9"):
        fetch_trace(url, TRACE)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (lambda _: (200, b"<html>"), TraceBackendError, "is no JSON: is this Jaeger's query"),
        (lambda _: (200, b""), TraceBackendError, "is no JSON"),
        (lambda _: (200, b"{"), TraceFormatError, "no JSON"),
        (lambda _: (200, b'{"data":[{"spans":[{}]}]}'), TraceFormatError, "traceID: missing"),
        (lambda _: (500, b"it\n broke"), TraceBackendError, "HTTP 500: it broke"),
        (lambda _: (401, b""), TraceBackendError, "put user and password into the address"),
    ],
)
def test_answer_that_is_none(answer: Any, error: Any, said: str):
    with serving(answer) as (url, _), pytest.raises(error, match=said):
        fetch_trace(url, TRACE)


def test_user_and_password_are_sent_and_never_shown():
    with serving(v3) as (url, asked):
        fetch_trace(url.replace("//", "//me:s%40crt@"), TRACE)
    assert asked[0][1]["Authorization"] == "Basic bWU6c0BjcnQ="

    for wrong in ("http://me:s3cret@localhost:1", "http://me:s3cret@host:port", "me:s3cret@host"):
        with pytest.raises(TraceBackendError) as caught:
            fetch_trace(wrong, TRACE)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["", "localhost:16686", "file:///etc/passwd", "http://", "http://host:99999999"]
)
def test_address_that_is_none(base_url: str):
    with pytest.raises(TraceBackendError, match="no address"):
        fetch_trace(base_url, TRACE)


@pytest.mark.parametrize("wrong", ["", "xyz", "a" * 33, "../../x"])
def test_id_that_is_none(wrong: str):
    with pytest.raises(TraceNotFoundError, match="is no trace id"):
        fetch_trace("http://localhost:1", wrong)


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", b"?"])
def test_server_that_never_comes_to_an_end(trickle: bytes):
    stop = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(trickle)
            while not stop.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        begin = time.monotonic()
        with pytest.raises(TraceBackendError, match="cannot be asked"):
            fetch_trace(f"http://127.0.0.1:{listener.getsockname()[1]}", TRACE, timeout_s=0.5)
        took = time.monotonic() - begin
        stop.set()
        thread.join()

    assert took < 5


@settings(max_examples=50)
@given(st.one_of(st.binary(max_size=60), st.text('{}[]":,datresul1\n ', max_size=40)))
def test_any_answer_is_read_or_refused(body: bytes | str):
    from hush.insight.formats.jaeger_api import _Answer, _read

    with contextlib.suppress(TraceFormatError, TraceBackendError):
        _read(_Answer(200, body if isinstance(body, bytes) else body.encode()), "http://x")
