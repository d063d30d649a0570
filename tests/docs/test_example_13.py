"""examples/13_parallel_advanced.py, run as a newcomer runs it: in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.docs.example_runs import (
    EXAMPLES,
    SAID_OF_SCRIPTED,
    TIMEOUT_S,
    complaints,
    environment,
    real_provider,
    run_example,
)

EXAMPLE = EXAMPLES / "13_parallel_advanced.py"

GOOD = {
    "alpha.py": b'"""Parse telegrams quickly."""\n\ndef run(x):\n    if x:\n        return 1\n    return 2\n',
    "pkg/beta.py": b'"""Telegrams again."""\n# a comment\nfor i in range(3):\n    print(i)\n',
    "pkg/latin.py": b"# -*- coding: latin-1 -*-\nname = '\xe4'\n",
}
BROKEN = {
    "bad_encoding.py": b"x = 1\nname = '\xff\xfe'\n",
    "pkg/bad_syntax.py": b"x = 1\n\ndef broken(:\n    pass\n",
    "pkg/null_bytes.py": b"x = \0\n",
}


def run(*arguments, code=0, models=False, **variables):
    """Run the example; the part with language models has tests of its own."""
    more = () if models else ("--no-models",)
    return run_example(EXAMPLE.name, *arguments, *more, code=code, **variables)


@pytest.fixture
def folder(tmp_path):
    for name, raw in {**GOOD, **BROKEN}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
    # None of these is a module of the folder's own.
    (tmp_path / "notes.txt").write_text("no module")
    (tmp_path / "folder.py").mkdir()
    for hidden in (".venv", "site-packages"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "other.py").write_text("def other(:")
    return tmp_path


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_own_folder(folder, backend):
    done = run(folder, "--backend", backend, "--concurrency", 2)
    out = done.stdout
    assert complaints(done) == ""
    assert "6 of 6 modules, 2 at a time on" in " ".join(out.split())
    assert f"on {backend}" in " ".join(out.split())
    assert "6 of 6: 3 ok, 3 handled, 0 running" in out
    # 6 + 4 + 2 lines; the comments and the empty line are no code.
    assert "3 modules, 12 lines (9 of code), 1 functions" in out
    assert re.search(r"^ +alpha\.py +6 +1 +1$", out, re.MULTILINE)
    assert re.search(r"^ +pkg/latin\.py +2 +0 +0$", out, re.MULTILINE)
    assert "telegrams 2" in out
    assert "Partial failures: 3, each handled" in out
    assert re.search(r"^  bad_encoding\.py +line 2: .*utf-8", out, re.MULTILINE)
    assert re.search(r"^  pkg/bad_syntax\.py +line 3: invalid syntax", out, re.MULTILINE)
    assert re.search(r"^  pkg/null_bytes\.py .*null bytes", out, re.MULTILINE)
    # But for the command that asks the trace, which may well be in there.
    assert ".venv" not in out.partition("the last one is also")[0]
    assert "site-packages" not in out


def test_trace(folder):
    out = run(folder, "--concurrency", 2).stdout
    # run, map and report; for each of six modules itself and its five nodes.
    (trace_id,) = re.findall(r"^trace ([0-9a-f]{32}) .* 39 spans, 3 handled", out, re.MULTILINE)
    assert f"trace id {trace_id}" in out
    assert "run codebase" in out
    assert "peak 2" in out
    for node in ("read", "statistics", "keywords", "complexity", "merge", "report"):
        assert f"node {node} " in out
    red = set(re.findall(r"! item \[(\d)\]", out))
    assert {"1", "2"} <= red <= {"1", "2", "5"}  # by their names in the folder, sorted
    assert "docker compose -f deploy/docker-compose.yml up -d" in out
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo" in out
    assert "http://localhost:16686/trace/" in out


def test_progress_lines_are_few(tmp_path):
    for number in range(200):
        (tmp_path / f"m{number:03}.py").write_text("x = 1\n")
    out = run(tmp_path, "--concurrency", 3).stdout
    lines = re.findall(r"^ +(\d+) of 200: (\d+) ok, 0 handled, (\d+) running$", out, re.MULTILINE)
    assert [int(done) for done, _, _ in lines] == [*range(20, 201, 20)]
    assert {int(running) for _, _, running in lines[:-1]} <= {1, 2, 3}
    assert lines[-1] == ("200", "200", "0")


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of its own")
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_progress_in_a_terminal(folder, variables):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), str(folder)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", **variables),
    ) as process:
        os.close(theirs)
        out = b""
        while chunk := read_terminal(ours):
            out += chunk
        assert process.wait(TIMEOUT_S) == 0, out
    os.close(ours)
    text = out.decode()
    assert "6 of 6: 3 ok, 3 handled, 0 running" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back
    assert (re.search(r"\x1b\[[0-9;]*m", text) is None) == bool(variables)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= 80


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def test_no_failures(folder):
    for name in BROKEN:
        (folder / name).unlink()
    out = run(folder).stdout
    assert "3 of 3: 3 ok, 0 handled, 0 running" in out
    assert "Partial failures: none" in out
    assert "21 spans" in out
    assert "red" not in out


def test_many_failures_are_summed_up(tmp_path):
    for number in range(11):
        (tmp_path / f"bad{number:02}.py").write_text("def f(:\n")
    out = run(tmp_path).stdout
    assert "Partial failures: 11, each handled" in out
    assert "  bad07.py" in out.partition("Partial")[2].partition("trace")[0]
    assert "  bad08.py" not in out.partition("Partial")[2].partition("trace")[0]
    assert "  and 3 more" in out
    assert "most common keywords: none" in out


def test_names_of_any_kind(tmp_path):
    for name in (b"caf\xe9.py", b"\x1b[31mred.py", "日本.py".encode(), b"l" * 200 + b".py"):
        try:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("def f(:\n")
        except OSError:
            pytest.skip("this file system does not take any name")
    out = run(tmp_path, PYTHONIOENCODING="ascii").stdout
    assert "4 of 4: 0 ok, 4 handled" in out
    assert "Partial failures: 4, each handled" in out


# --- language models ----------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_models(folder, backend):
    done = run(folder, "--backend", backend, models=True)
    out = done.stdout
    assert complaints(done) == ""
    assert SAID_OF_SCRIPTED in out
    # Two of the three modules have documentation, and that is what the answers are made of.
    assert "Language models: two side by side, and 2 summaries, 4 at a time" in out
    assert "two models on alpha.py" in out
    for model in ("gpt-4o", "gpt-4o-mini"):
        assert re.search(rf"^    {model}: \d+ tokens in, \d+ out, \$0\.\d+, ", out, re.MULTILINE)
    assert re.search(r"^    alpha\.py +Parse telegrams quickly\.$", out, re.MULTILINE)
    assert re.search(r"^    pkg/beta\.py +Telegrams again\.$", out, re.MULTILINE)
    assert len(re.findall(r"^trace [0-9a-f]{32}  ", out, re.MULTILINE)) == 2
    assert len(re.findall(r"^trace id [0-9a-f]{32}$", out, re.MULTILINE)) == 2


def test_models_on_the_library():
    out = run("--limit", 60, models=True).stdout
    part = out.partition("Language models")[2]
    assert "12 summaries, 4 at a time" in part
    # One 429 and one 500, each tried again.
    assert re.search(r"14 answers from 16 calls, tokens [\d,]+ in, .* \(2 repeated\)", part)
    assert "run questions" in part
    assert re.search(r"✗ chat gpt-4o-mini 429", part)
    assert re.search(r"✗ chat gpt-4o-mini 500", part)
    assert "✓ chat gpt-4o-mini #2" in part
    assert re.search(r"(llm_a|chat) gpt-4o \d+→\d+ \$", part)
    assert re.search(r"(bound by|for) llm:gpt-4o-mini/requests_per_minute", part)
    assert "items waited" in part
    assert re.search(r"^16 calls, tokens [\d,]+ in, \d+ out, \$0\.\d+$", part, re.MULTILINE)
    assert len(out.splitlines()) <= 150


def test_models_of_a_real_provider(folder):
    with real_provider(folder, EXAMPLE.name, "big-1", "tiny-2") as (server, names, variables):
        done = run(folder, "--models", names, models=True, **variables)
    out = done.stdout
    assert "scripted" not in out
    # A long path may be wrapped in front of the colon.
    assert "my-resources.yaml: res-0, res-1" in " ".join(out.split()).replace(" :", ":")
    assert "Parse telegrams quickly." in out
    assert "sk-secret" not in out
    assert sorted(request.model for request in server.requests) == ["big-1", *["tiny-2"] * 3]


def test_no_documentation_no_question(tmp_path):
    (tmp_path / "m.py").write_text("x = 1\n")
    assert "Language models" not in run(tmp_path, models=True).stdout


def test_provider_that_refuses(folder):
    with real_provider(folder, EXAMPLE.name, "m") as (_, names, variables):
        wrong = {**variables, "PROVIDER_KEY": "sk-wrong"}
        done = run(folder, "--models", names, models=True, code=1, **wrong)
    assert "401" in done.stderr
    assert "sk-wrong" not in done.stdout + done.stderr
    assert "Report" in done.stdout  # what was found out before is shown


def test_limit_spreads_over_the_folder(tmp_path):
    for number in range(50):
        (tmp_path / f"m{number:02}.py").write_text("x = 1\n")
    out = run(tmp_path, "--limit", 5).stdout
    assert "5 of 50 modules" in " ".join(out.split())
    assert re.findall(r"^  (m\d\d)\.py", out, re.MULTILINE) == ["m00", "m10", "m20", "m30", "m40"]


def test_default_input():
    out = run("--limit", 60).stdout
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"The library of Python {version}: 60 of" in out
    handled = int(re.findall(r"(\d+) handled, 0 running", out)[-1])
    assert handled >= 3
    assert f"Partial failures: {handled}, each handled" in out
    assert len(out.splitlines()) <= 80


def test_broken_files_are_added_to_a_library_without(folder, tmp_path_factory):
    for name in BROKEN:
        (folder / name).unlink()
    script = tmp_path_factory.mktemp("script") / "main.py"
    script.write_text(
        "import runpy, sys, sysconfig\n"
        f"sysconfig.get_path = lambda name: {str(folder)!r}\n"
        f"sys.path.insert(0, {str(EXAMPLE.parent)!r})\n"
        f"sys.argv[0] = {str(EXAMPLE)!r}\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "It has no broken files; three were added from a temporary folder." in done.stdout
    assert "6 of 6: 3 ok, 3 handled, 0 running" in done.stdout
    for name in ("bad_encoding", "bad_syntax", "null_bytes"):
        assert f"  broken/{name}.py" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "no such folder: missing"),
        (["empty"], "no .py files in empty"),
        (["empty/file.py"], "no such folder: empty/file.py"),
        (["--limit", "0"], "--limit: expected a number from 1, got '0'"),
        (["--limit", "many"], "--limit: expected a number from 1, got 'many'"),
        (["--concurrency=-1"], "--concurrency: expected a number from 1, got '-1'"),
        (["--backend", "curio"], "--backend: invalid choice: 'curio'"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    done = run(*arguments, code=2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_interrupt(backend):
    process = subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLE), "--limit", "2000", "--backend", backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )
    with process:
        for line in process.stdout:
            if "running" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert "Report" not in out


def test_reader_that_stops_reading(folder):
    process = subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLE), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT_S) == 0


# --- where the spans go -------------------------------------------------------------------


class Receiver:
    """An OTLP receiver on loopback that counts spans."""

    def __init__(self, status):
        spans = self.spans = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    spans.extend(span for scope in resource.scope_spans for span in scope.spans)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_spans_are_sent(folder):
    with Receiver(200) as receiver:
        out = run(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url).stdout
    (trace_id,) = re.findall(r"^trace id ([0-9a-f]{32})$", out, re.MULTILINE)
    assert {span.trace_id.hex() for span in receiver.spans} == {trace_id}
    assert len(receiver.spans) == 39
    assert f"39 spans sent to {receiver.url}" in out
    assert f"http://127.0.0.1:16686/trace/{trace_id}" in out
    assert "NOT SENT" not in out


def test_receiver_that_refuses(folder):
    with Receiver(404) as receiver:
        out = run(folder, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url).stdout
    assert f"NOT SENT: {receiver.url} has not got all spans" in " ".join(out.split())
    assert "hush spool send" in out
    assert "spans sent to" not in out
    assert "16686" not in out


def test_nobody_listens(folder):
    with Receiver(200) as receiver:
        free = receiver.url
    out = run(folder, OTEL_EXPORTER_OTLP_ENDPOINT=free).stdout
    assert f"NOT SENT: {free} cannot be reached" in " ".join(out.split())
    assert "39 spans, 3 handled" in out
    assert "spans sent to" not in out


def test_tracing_turned_off(folder):
    out = run(folder, OTEL_TRACES_SAMPLER="always_off").stdout
    assert "Partial failures: 3" in out
    assert "Trace: no spans" in out


def test_environment_that_nobody_understands(folder):
    with Receiver(200) as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        }
        done = run(folder, code=1, **variables)
    assert done.stderr.startswith("error: OTEL_EXPORTER_OTLP_PROTOCOL='http/json'")
