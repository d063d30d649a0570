"""Receivers that draw out, repeat secrets, or ask for too much."""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hush.export.counts import counts
from hush.export.lock import read_status
from hush.export.masking import masked
from hush.export.receiver import LONGEST_ASKED_S, retry_after_s
from hush.export.route import route_of
from hush.observe.exporters import check_endpoint
from tests.export.collector import NOBODY, Collector, Reply, collecting, first
from tests.export.spans import assert_all_once, sending, wait_for
from tests.export.test_faults import arrived

SECRET = "s3cr3t-Va1ue"


# --- drawing out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("drip", ["head", "body", "last body"])
def test_an_answer_that_drips_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drip: str
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")
    script = first(1, Reply(drip=drip, store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(100)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", "timeout"): 1}


def test_a_kept_connection_that_drips_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")

    def script(request: object, number: int) -> Reply:
        return Reply(drip="head", store=False) if number == 2 else Reply()

    with collecting(script) as collector, sending(collector, tmp_path) as source:
        for _ in range(4):
            source.end(10)
            arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", "timeout"): 1}


@contextlib.contextmanager
def dripping_greeter() -> Iterator[str]:
    """Says the beginning of TLS, a byte at a time, and then goes on for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=server.accept()[:1], daemon=True).start()

        def drip(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.sendall(b"\x16\x03\x03\x40\x00")
                while True:
                    connection.sendall(b"\x02")
                    time.sleep(0.05)

        threading.Thread(target=greet, daemon=True).start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_greeting_that_drips_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with dripping_greeter() as url, sending(url, tmp_path) as source:
        source.end(10)
        wait_for(lambda: counts.failures.get(("traces", "timeout"), 0) >= 2)
        assert source.spans_on_disk() == 10


def test_what_takes_too_long_together_is_sent_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")

    def script(request: object, number: int) -> Reply:
        return Reply(drip="head", store=False) if len(request.spans) > 10 else Reply()

    collector = Collector(script)
    with sending(collector, tmp_path) as source:
        for _ in range(5):
            source.end(10)
            source.written()
        assert len(source.files()) == 5
        collector.start()
        arrived(collector, source)
        assert_all_once(collector, source)
    collector.stop()


def test_nothing_is_left_open(tmp_path: Path):
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")

    def sockets() -> int:
        count = 0
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                count += str(path.readlink()).startswith("socket:")
        return count

    with collecting() as collector:
        before = sockets()
        with sending(collector, tmp_path) as source:
            for _ in range(5):
                source.end(10)
                assert source.processor.force_flush(20_000)
        collector.stop()
        wait_for(lambda: sockets() <= before)


# --- faults that are those of a batch -------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502])
def test_batches_that_the_receiver_faults_on_hold_up_no_others_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
):
    monkeypatch.setattr("hush.export.backoff.LONGEST_S", 0.02)
    bad: set[str] = set()

    def script(request: object, number: int) -> Reply:
        return Reply(status, store=False) if bad & set(request.spans) else Reply()

    collector = Collector(script)
    with sending(collector, tmp_path) as source:
        for _ in range(8):
            source.end(10)
            source.written()
        bad |= {source.ids[5], source.ids[15], source.ids[45]}
        poisoned = [source.files()[place] for place in (0, 1, 4)]
        collector.start()
        wait_for(lambda: source.files() == poisoned)
        wait_for(lambda: all(source.outbox._sender.postpones(one.name) for one in poisoned))
        source.end(10)
        wait_for(lambda: len(collector.stored) == 60)
        assert not source.processor.force_flush(20_000)
        assert source.files() == poisoned
    assert caplog.text.count("the receiver faults on a batch again and again") == 1
    assert poisoned[0].name in caplog.text
    assert counts.dropped == {}
    bad.clear()
    with sending(collector, tmp_path) as again:
        wait_for(lambda: not again.files())
        assert sorted(collector.stored) == sorted(source.ids)
        assert collector.twice == 0
    collector.stop()


def test_a_receiver_that_faults_on_all_for_a_while_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hush.export.backoff.LONGEST_S", 0.02)
    collector = Collector(first(40, Reply(500, store=False)))
    with sending(collector, tmp_path) as source:
        for _ in range(8):
            source.end(10)
            source.written()
        collector.start()
        arrived(collector, source)
        assert_all_once(collector, source)
        assert not source.outbox._sender._picker._postponed
    collector.stop()


# --- secrets --------------------------------------------------------------------------------------


def everything_told(folder: Path, path: Path, log: str) -> str:
    """What is on the disk, in the log and on the screen."""
    said = log
    for file in path.rglob("*"):
        said += str(file)
        if file.is_file():
            said += file.read_bytes().decode("latin-1")
    said += json.dumps(read_status(folder))
    for more in ([], ["--json"]):
        said += subprocess.run(
            [sys.executable, "-m", "hush.cli", "spool", *more, "--spool", str(path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return said


def echo(request: object, number: int) -> Reply:
    said = f"who is {request.headers}, with {SECRET} in {request.path}?"
    return Reply(401, body=said.encode(), store=False)


@pytest.mark.parametrize("value", [f"Bearer%20{SECRET}", f"Bearer {SECRET}", SECRET])
def test_what_a_receiver_repeats_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={value}")
    with collecting(echo) as collector, sending(collector, tmp_path) as source:
        source.end(10)
        wait_for(lambda: counts.failures)
        wait_for(lambda: read_status(source.folder).get("failing"))
        told = everything_told(source.folder, tmp_path, caplog.text)
        assert SECRET in collector.requests[0].headers["authorization"]
    assert "401 Unauthorized: who is" in told
    assert SECRET not in told


def test_a_header_that_cannot_be_sent_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET}%0Adef")
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(10)
        wait_for(lambda: read_status(source.folder).get("failing"))
        told = everything_told(source.folder, tmp_path, caplog.text)
    assert "mend OTEL_EXPORTER_OTLP_HEADERS" in told
    assert SECRET not in told
    assert collector.requests == []


@pytest.mark.parametrize("refused", [200, 302, 400, 503])
def test_logins_and_queries_of_addresses_are_masked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, refused: int
):
    def script(request: object, number: int) -> Reply:
        said = f"{request.path} {request.headers} {SECRET} http://me:{SECRET}@h/?k={SECRET}"
        return Reply(refused, {"Location": f"http://u:{SECRET}@h/#{SECRET}"}, said.encode())

    with collecting(script) as collector:
        url = f"http://me:{SECRET}@127.0.0.1:{collector.port}?token={SECRET}"
        with caplog.at_level(logging.DEBUG, "hush"), sending(url, tmp_path) as source:
            source.end(10)
            wait_for(lambda: counts.failures or counts.sent)
            told = everything_told(source.folder, tmp_path, caplog.text)
        login = collector.requests[0].headers["Authorization"].partition(" ")[2]
    assert SECRET not in told
    assert login not in told


@pytest.mark.parametrize(
    "proxy",
    [f"http://u:{SECRET}@127.0.0.1:9", f"http://u:{SECRET}@x y:1", f"ftp://u:{SECRET}@h:1"],
)
def test_logins_of_proxies_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, proxy: str
):
    monkeypatch.setenv("http_proxy", proxy)
    with sending("http://hush.invalid", tmp_path) as source:
        source.end(10)
        wait_for(lambda: read_status(source.folder).get("failing"))
        told = everything_told(source.folder, tmp_path, caplog.text)
    assert SECRET not in told


def test_headers_that_cannot_be_read_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    said = f"a=1, B%2DC = x%20y=,authorization Bearer {SECRET},d=Bearer a%b,=e,f=é,"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", said)
    headers = route_of("traces", NOBODY).headers
    assert headers == {"a": "1", "b-c": "x y=", "d": "Bearer a%b", "f": "é"}
    assert caplog.text.count("is no name=value") == 2
    assert SECRET not in caplog.text


def test_an_address_that_is_refused_is_shown_without_its_secrets():
    with pytest.raises(ValueError, match="no address of HTTP") as caught:
        check_endpoint(f"u:{SECRET}@host:4318?token={SECRET}")
    assert SECRET not in str(caught.value)
    assert "'host:4318'" in str(caught.value)


def test_short_values_are_masked_as_words():
    assert masked("401: no 40 here", NOBODY, {"x": "40"}) == "401: no [redacted] here"
    assert masked("nothing", NOBODY, {"x": ""}) == "nothing"


# --- asking for too much --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("3", 3.0),
        (" 3600 ", 3_600.0),
        ("86400", LONGEST_ASKED_S),
        ("9" * 5_000, LONGEST_ASKED_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_ASKED_S),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
        *((text, None) for text in ("inf", "nan", "1e308", "1_000", "-1", "1.5", "٣", "soon", "")),
    ],
)
def test_how_long_a_receiver_may_ask_to_wait(said: str, wait_s: float | None):
    assert retry_after_s(said) == wait_s


def test_a_receiver_that_asks_for_eternity_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hush.export.receiver.LONGEST_ASKED_S", 0.2)
    until = email.utils.formatdate(time.time() + 1e9, usegmt=True)
    script = first(2, Reply(429, {"Retry-After": until}, store=False))
    with collecting(script) as collector, sending(collector, tmp_path) as source:
        source.end(10)
        arrived(collector, source)
        assert_all_once(collector, source)
    assert counts.failures == {("traces", "429"): 2}
