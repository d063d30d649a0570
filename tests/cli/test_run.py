"""hush run: targets, inputs, endings, exit codes, and what programs get."""

from __future__ import annotations

import http.server
import re
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.cli.commands import FLOWS, program

PAGES = "pages=[1,2,4]"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_that_goes_well(hush, backend):
    out = hush.out("run", "flows:crawl", "--input", PAGES, "--backend", backend)
    assert re.match(r"crawl ok in \d+ ms\n", out)
    assert "  total   700\n  failed  0\n" in out
    (trace_id,) = re.findall(r"^trace ([0-9a-f]{32})$", out, re.MULTILINE)
    assert out.endswith(f"next: hush show {trace_id[:8]}   hush why {trace_id[:8]}\n")
    assert hush.json("show", "last")["trace_id"] == trace_id


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_failures_that_the_run_bore_have_an_exit_code_of_their_own(hush, backend):
    given = ("run", "flows.py:crawl", "-i", "pages=[1,2,3,4]", "--backend", backend)
    out = hush.out(*given, code=3)
    assert out.startswith("crawl partial in ")
    assert "1 failure, which did not stop the run:\n" in out
    assert "  crawl.pages[2]: handled: 503 Service Unavailable\n" in out
    assert hush.out(*given, "--partial-ok", code=0).startswith("crawl partial in ")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_that_fails(hush, backend):
    done = hush("run", "flows:fails", "--backend", backend, code=1)
    assert done.stdout == ""
    first, second, third, fourth = done.stderr.splitlines()
    assert re.fullmatch(
        r"error: fails\.only: ValueError: no such\\x1b\[31m shop \(after .+\)", first
    )
    assert re.fullmatch(r"  raised at flows\.py, line \d+, in refuse", second)
    assert third.startswith("trace ")
    short = third.split()[1][:8]
    assert fourth == f"next: hush why {short}   hush show {short}"


def test_the_traceback_is_there_for_who_asks(hush):
    done = subprocess.run(
        [*program(), "run", "flows:fails", "--traceback"],
        capture_output=True,
        encoding="utf-8",
        cwd=hush.folder,
        env={"HUSH_TRACE_STORE": str(hush.store)},
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback (most recent call last):" in done.stderr
    assert '    raise ValueError("no such' in done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_deadline(hush, backend):
    done = hush("run", "flows:waits", "--deadline", "300ms", "--backend", backend, code=124)
    assert done.stderr.startswith("timeout: waits: ")
    assert "NodeTimeoutError: the run's deadline_s=0.3 was exceeded" in done.stderr
    assert "hush.errors" not in done.stderr


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["flows:build", "flows.py:build", "./flows.py:Shop.graph", "sub/alone.py", "sub.alone"],
)
def test_what_can_be_run(hush, target):
    (hush.folder / "sub").mkdir()
    (hush.folder / "sub" / "neighbour.py").write_text("x = 1\n")
    source = "from hush.core import *\nwith GraphNode(name='built') as g:\n"
    source += "    with GraphNode(name='inner') as inner:\n"
    source += "        START >> CodeNode(name='n', code_fn=lambda: {'pid': 1}, outputs={'*': PARENT}) >> END\n"
    source += "    START >> inner >> END\n    inner['pid'] >> PARENT['pid']\n"
    if target.endswith(".py"):
        source = f"import neighbour\n{source}"
    (hush.folder / "sub" / "alone.py").write_text(source)
    assert re.search(r"^  pid  \d+$", hush.out("run", target), re.MULTILINE)


def test_an_engine(hush):
    assert hush.out("run", "flows:engine", "-i", PAGES).startswith("crawl ok")


def test_what_runs_in_processes_is_found_by_them(hush):
    (hush.folder / "sub").mkdir()
    source = "from hush.core import *\nimport os\ndef pid(): return {'pid': os.getpid()}\n"
    source += "with GraphNode(name='g') as g:\n    START >> CodeNode(name='n', code_fn=pid, "
    source += "run_in='process', outputs={'*': PARENT}) >> END\n"
    (hush.folder / "sub" / "apart.py").write_text(source)
    assert hush.json("run", "sub/apart.py")["outputs"]["pid"] > 0


def test_a_file_named_like_a_module_of_python(hush):
    (hush.folder / "json.py").write_text(FLOWS)
    assert hush.out("run", "json.py:build").startswith("built ok")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:graph", "there is no module 'nowhere' in "),
        ("nowhere.py:graph", "there is no file nowhere.py"),
        ("no/where:graph", "there is no file no/where"),
        ("flows", "flows holds several graphs; name one: flows:crawl, flows:fails"),
        ("flows:nothing", "flows has no 'nothing'; it holds: crawl, fails"),
        ("flows:crawl.nothing", "flows has no 'crawl.nothing'"),
        ("flows:number", "flows:number is of type int; expected a GraphNode, a Hush engine, or"),
        ("flows:held", "flows:held is of type dict"),
        ("flows:build_two", "flows:build_two takes width; expected a function without arguments"),
        ("flows:build_later", "flows:build_later is async"),
        ("flows:build_nothing", "flows:build_nothing is None"),
        (
            "flows:build_badly",
            "flows:build_badly cannot be used: RuntimeError: no plan\n  at flows.py, line",
        ),
        ("flows:", "flows holds several graphs"),
        (":graph", "':graph' is no module; expected module:graph or path/file.py:graph"),
        ("flows:a b", "expected module:graph"),
        ("broken.py:g", "broken.py cannot be used: SyntaxError"),
        (
            "needs:g",
            "needs cannot be used: ModuleNotFoundError: No module named 'notthere'\n  at needs.py, line 1",
        ),
        ("empty.py", "empty.py holds no graph; name what builds one"),
        ("leaves:g", "leaves ends the program while it is imported"),
        ("flows.py/x:g", "there is no file flows.py/x"),
    ],
)
def test_what_cannot_be_run(hush, target, said):
    (hush.folder / "broken.py").write_text("def (\n")
    (hush.folder / "needs.py").write_text("import notthere\n")
    (hush.folder / "empty.py").write_text("")
    (hush.folder / "leaves.py").write_text("raise SystemExit(3)\n")
    assert said in hush.refused("run", target)


def test_every_problem_of_a_graph_is_told(hush):
    said = hush.refused("run", "flows:wrong")
    assert said.startswith("error: graph 'wrong' has ")
    assert said.count("\n  - ") >= 2
    assert "cycle" in said


# --- inputs -----------------------------------------------------------------------------------


def test_inputs_from_a_file_and_from_standard_input(hush):
    (hush.folder / "in.json").write_text('{"pages": [1, 2]}')
    assert "  total   300\n" in hush.out("run", "flows:crawl", "--inputs", "in.json")
    got = hush.out("run", "flows:crawl", "--inputs", "-", stdin='{"pages": [4]}')
    assert "  total   400\n" in got
    got = hush.out("run", "flows:crawl", "--inputs", "in.json", "--input", "pages=[5]")
    assert "  total   500\n" in got


def test_a_value_that_is_no_json_is_text(hush):
    source = "from hush.core import *\nwith GraphNode(name='g', inputs={'*': PARENT}) as g:\n    START >> CodeNode("
    source += (
        "name='n', code_fn=lambda **x: x, inputs={'*': PARENT}, outputs={'*': PARENT}) >> END\n"
    )
    (hush.folder / "echo.py").write_text(source)
    inputs = ["a=1", "b=x=y", "c=", 'd="1"', "e={'x'}", "f=null", "g=[1, 2]", "h=NaNa"]
    given = [part for pair in inputs for part in ("-i", pair)]
    outputs = hush.json("run", "echo.py", *given)["outputs"]
    expected = [1, "x=y", "", "1", "{'x'}", None, [1, 2], "NaNa"]
    assert [outputs[name] for name in "abcdefgh"] == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "pages"], "--input 'pages': expected name=value"),
        (["--input", "=1"], "--input '=1': expected name=value"),
        (["--inputs", "nowhere.json"], "--inputs nowhere.json: No such file or directory"),
        (["--inputs", "flows.py"], "--inputs flows.py: no JSON: Extra data in line 2"),
        (["--inputs", "list.json"], "--inputs list.json: expected a JSON object"),
        (["--inputs", "."], "--inputs .: Is a directory"),
        ([], "crawl: inputs missing: pages. The graph takes: pages"),
        (["-i", PAGES, "-i", "x=1"], "unknown: x"),
        (["-i", PAGES, "--backend", "curio"], "--backend 'curio': use asyncio or trio"),
        (["-i", PAGES, "--deadline", "soon"], "--deadline 'soon': expected a duration such as 2s"),
        (["-i", PAGES, "--deadline", "0"], "--deadline '0': expected more than 0 s"),
        (["-i", PAGES, "--frobnicate"], "No such option: --frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_given_wrongly(hush, arguments, said):
    (hush.folder / "list.json").write_text("[1]")
    assert said in hush.refused("run", "flows:crawl", *arguments)
    assert not hush.store.exists()


# --- outputs ----------------------------------------------------------------------------------


def test_json(hush):
    found = hush.json("run", "flows:crawl", "-i", "pages=[1,3]", code=3)
    assert {
        **found,
        "run_id": None,
        "trace_id": None,
        "duration_s": None,
        "usage": None,
        "failures": None,
    } == {
        "graph": "crawl",
        "run_id": None,
        "trace_id": None,
        "store": str(hush.store),
        "sent_to": None,
        "trace_problem": None,
        "outcome": "partial",
        "partial_failure": True,
        "exit_code": 3,
        "duration_s": None,
        "outputs": {"total": 100, "failed": 1},
        "skipped": [],
        "error": None,
        "failure_count": 1,
        "failures": None,
        "usage": None,
    }
    assert found["duration_s"] > 0.05
    assert found["failures"] == [
        {
            "path": "crawl.pages[1]",
            "kind": "handled",
            "error_type": "handled",
            "message": "503 Service Unavailable",
            "index": 1,
            "attempts": 1,
        }
    ]


def test_json_of_a_failure(hush):
    found = hush.json("run", "flows:fails", code=1)
    assert (found["outcome"], found["exit_code"], found["outputs"]) == ("error", 1, None)
    assert found["error"]["path"] == "fails.only"
    assert found["failures"][0]["error_type"] == "ValueError"
    assert hush.json("run", "flows:waits", "--deadline", ".2", code=124)["outcome"] == "timeout"


def test_in_json_nothing_else_is_on_standard_output(hush):
    done = hush("run", "flows:talks", "--json")
    assert done.stdout.startswith("{")
    assert "printed by a node" in done.stderr
    assert "printed by a child" in done.stderr
    assert "printed by a node\n" in hush("run", "flows:talks").stdout


def test_a_long_message_is_cut_for_people_and_whole_for_programs(hush):
    (hush.folder / "long.py").write_text(
        "from hush.core import *\n"
        "def fail():\n    raise ValueError('x' * 5000)\n"
        "with GraphNode(name='long') as graph:\n"
        "    START >> CodeNode(name='only', code_fn=fail) >> END\n"
    )
    said = hush("run", "long", code=1).stderr
    assert len(said) < 700
    assert "... (5,012 characters: --json has all) (after " in said
    assert "x" * 5000 in hush.json("run", "long", code=1)["error"]["message"]


def test_values_of_any_kind_are_bounded_for_people_and_whole_for_programs(hush):
    out = hush.out("run", "flows:anything")
    assert len(out.splitlines()) < 60
    assert "  text   plain\n" in out
    assert "x" * 500 not in out
    assert "日本" in out
    outputs = hush.json("run", "flows:anything")["outputs"]
    assert outputs["many"] == list(range(1000))
    assert len(outputs["long"]) == 5000
    assert outputs["odd"] == "<unprintable Odd>"
    assert (outputs["nan"], outputs["bytes"], outputs["set"]) == ("nan", "/w==", [1])
    assert outputs["日本"] == "語"
    assert hush("run", "flows:anything", PYTHONIOENCODING="ascii").stdout.isascii()


# --- the trace --------------------------------------------------------------------------------


def test_a_trace_that_goes_nowhere_is_not_spoken_of(hush):
    for variables in (
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
    ):
        done = hush("run", "flows:build", **variables)
        assert "trace" not in done.stdout + done.stderr
        found = hush.json("run", "flows:build", **variables)
        assert (found["store"], found["sent_to"]) == (None, None)
    assert not hush.store.exists()


@pytest.fixture
def receiver():
    """A server that takes whatever is sent to it, and its address."""
    taken = []

    class Taker(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()
        thread.join()


def test_a_trace_that_was_sent_says_whereto_and_how_to_ask_it(hush, receiver):
    address, taken = receiver
    out = hush("run", "flows:build", OTEL_EXPORTER_OTLP_ENDPOINT=address).stdout
    (trace_id,) = re.findall(r"^trace ([0-9a-f]{32})$", out, re.MULTILINE)
    assert f"sent to {address}" in out
    assert f"hush show {trace_id} --jaeger http://127.0.0.1:16686\n" in out
    assert any(bytes.fromhex(trace_id) in one for one in taken)
    assert not hush.store.exists()
    found = hush.json("run", "flows:build", OTEL_EXPORTER_OTLP_ENDPOINT=address)
    assert (found["store"], found["sent_to"]) == (None, address)


def test_a_receiver_that_is_away_is_told_after_the_result_and_no_id_leads_nowhere(hush, tmp_path):
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    variables["XDG_STATE_HOME"] = str(tmp_path / "state")
    for spool, said in (("", "not sent yet: "), ("off", "not sent: ")):
        done = hush("run", "flows:build", **variables, HUSH_SPOOL=spool)
        assert "hush show" not in done.stdout
        assert " ".join(done.stderr.split()).startswith(f"trace {said}http://127.0.0.1:1 d")
        assert "Connection refused" in " ".join(done.stderr.split())
        assert "event=" not in done.stderr


def test_both_are_told_where_both_have_it(hush, receiver):
    address, _ = receiver
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_TRACES_EXPORTER": "otlp,hush"}
    out = hush.out("run", "flows:build", **variables)
    assert f"sent to {address}\n" in out
    hint = re.search(r"hush why [0-9a-f]{8}$", out, re.MULTILINE)
    assert hint
    assert "built ok in " in hush.out(*hint[0].split()[1:])


def test_the_hint_leads_to_the_trace_just_made_whatever_else_is_run(hush):
    for given, store in (([], str(hush.store)), (["--store", "my own.sqlite3"], "my own.sqlite3")):
        out = hush.out("run", "flows:crawl", "--input", PAGES, *given)
        hush("run", "flows:build", "--store", store)
        hush("run", "flows:talks")
        hints = [
            one.strip()
            for one in re.findall(r"hush (?:show|why) (?:(?!  |$).)+", out, re.MULTILINE)
        ]
        assert [one.split()[1] for one in hints] == ["show", "why"]
        for hint in hints:
            assert "crawl" in hush.out(*shlex.split(hint)[1:])


def test_a_store_of_ones_own(hush):
    hush("run", "flows:build", "--store", "mine.sqlite3")
    assert not hush.store.exists()
    assert len(hush.json("traces", "--store", "mine.sqlite3")["traces"]) == 1


def test_a_variable_that_nobody_understands(hush):
    said = hush.refused("run", "flows:build", OTEL_TRACES_EXPORTER="pigeon")
    assert "OTEL_TRACES_EXPORTER='pigeon'" in said


def test_a_store_that_cannot_be_written_is_told_after_the_result(hush):
    nowhere = "flows.py/traces.sqlite3"  # a file is no folder
    done = hush("run", "flows:build", HUSH_TRACE_STORE=nowhere)
    assert "built ok" in done.stdout
    assert "hush why" not in done.stdout
    assert " ".join(done.stderr.split()).startswith(f"trace not kept: {nowhere}: it cannot be used")
    assert "event=" not in done.stderr
    found = hush.json("run", "flows:build", HUSH_TRACE_STORE=nowhere)
    assert found["store"] is None
    assert found["trace_problem"].startswith(f"not kept: {nowhere}")


def test_a_module_that_sets_up_tracing_itself(hush):
    source = "from hush.observe import configure\nconfigure(store='theirs.sqlite3')\n"
    (hush.folder / "own.py").write_text(source + FLOWS)
    out = hush.out("run", "own.py:build")
    assert re.search(r"hush show [0-9a-f]{8} --store theirs.sqlite3\n", out)
    assert not hush.store.exists()
    assert (hush.folder / "theirs.sqlite3").exists()


# --- how it goes on ---------------------------------------------------------------------------


def wait_for(process, text):
    for line in process.stderr:
        if text in line:
            return line
    pytest.fail(f"it never said {text!r}")


def ask_until(process, text):
    """Ask how the run stands until it says so: signals come before it has begun, too."""
    over = threading.Event()

    def ask():
        while not over.wait(0.2):
            process.send_signal(signal.SIGUSR1)

    wait_until_it_listens(process)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        return wait_for(process, text)
    finally:
        over.set()
        asking.join()


def wait_until_it_listens(process):
    """Wait until SIGUSR1 does not end the process any more."""
    for _ in range(500):
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, re.MULTILINE)
        if int(caught[1], 16) >> (signal.SIGUSR1 - 1) & 1:
            return
        time.sleep(0.02)
    pytest.fail("it never listened")


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")


@linux
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sigusr1_shows_how_it_stands_and_ctrl_c_ends_it(hush, backend):
    with hush.start("run", "flows:waits", "--backend", backend) as process:
        said = ask_until(process, "waits.only runs")
        assert re.fullmatch(r"  waits\.only runs, \d+\.\d s\n", said)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
    assert process.returncode == 130
    assert out == ""
    assert "cancelled: waits: interrupted by Ctrl-C (after " in err
    assert "Traceback" not in err
    found = hush.json("show", "last")
    assert found["spans"][0]["outcome"] == "cancelled"


@linux
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_node_that_holds_the_loop_hides_nothing_and_goes_on(hush, backend):
    with hush.start("run", "flows:holds", "--backend", backend) as process:
        ask_until(process, "holds.only runs")
        out, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    assert out.startswith("holds ok in 1.5")


@linux
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_second_ctrl_c_leaves_at_once(hush, backend):
    with hush.start("run", "flows:stuck", "--backend", backend) as process:
        ask_until(process, "stuck.only runs")
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping; Ctrl-C again leaves at once")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "left at once" in err


@linux
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("background", [False, True])
def test_sigterm_ends_it_as_ctrl_c_does(hush, backend, background):
    given = ("run", "flows:waits", "--backend", backend, "--json")
    with hush.start(*given, ignoring_interrupts=background) as process:
        ask_until(process, "waits.only runs")
        if background:
            process.send_signal(signal.SIGINT)  # as a shell's background job, it does not care
            ask_until(process, "waits.only runs")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
    assert process.returncode == 143
    assert '"outcome": "cancelled"' in out
    assert '"message": "ended by SIGTERM"' in out
    assert '"exit_code": 143' in out
    assert "Traceback" not in err


def test_a_node_that_ends_the_program(hush):
    done = hush("run", "flows:quits", code=7)
    assert "Traceback" not in done.stderr


def test_a_reader_that_stops_reading(hush):
    with hush.start("run", "flows:anything", "--json") as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert err == ""
