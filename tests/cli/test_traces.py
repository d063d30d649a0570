"""hush traces, show, why, whatif, diff and export: on a store with some runs, and without one."""

from __future__ import annotations

import http.server
import json
import re
import threading
from pathlib import Path

import pytest

from hush.insight.sources import load_traces
from hush.insight.store import TraceStore
from tests.insight.records import a_run

COMMANDS = ["show", "why", "whatif", "export", "diff"]


def given(command, *traces):
    """Return arguments that name a trace; diff takes two."""
    return [command, *traces, *(["last"] if command == "diff" else [])]


# --- traces -----------------------------------------------------------------------------------


def test_the_list_is_a_table(stored):
    head, *rows = stored.out("traces").splitlines()
    assert head.split() == ["trace", "started", "graph", "outcome", "took", "spans"]
    assert [row.split()[0] for row in rows] == [one[:8] for one in stored.ids[::-1]]
    assert [row.split()[2:4] for row in rows] == [
        ["fails", "error"],
        ["crawl", "ok"],
        ["crawl", "partial"],
        ["talks", "ok"],
    ]
    assert re.search(r"\d ms +\d+$", rows[0])


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ([], 4),
        (["--graph", "crawl"], 2),
        (["--graph", "nothing"], 0),
        (["--outcome", "error"], 1),
        (["--outcome", "ok"], 2),
        (["--outcome", "partial"], 1),
        (["--min-duration", "400ms"], 2),
        (["--min-duration", "1h"], 0),
        (["--since", "1h"], 4),
        (["--since", "2020-01-01"], 4),
        (["--since", "2999-01-01T00:00:00Z"], 0),
        (["--limit", "3"], 3),
        (["--graph", "crawl", "--limit", "1", "--outcome", "ok"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_filters(stored, filters, count):
    found = stored.json("traces", *filters)
    assert len(found["traces"]) == count
    assert found["store"] == str(stored.store)
    if not count:
        assert stored.out("traces", *filters).startswith("no trace is like that")


def test_what_the_list_says_to_programs(stored):
    (found,) = stored.json("traces", "--outcome", "error")["traces"]
    assert found == {
        **found,
        "trace_id": stored.ids[3],
        "graph": "fails",
        "name": "run fails",
        "outcome": "error",
        "partial_failure": False,
        "spans": 2,
        "complete": True,
    }
    assert found["duration_s"] == pytest.approx((found["end_ns"] - found["start_ns"]) / 1e9)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found["started"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--outcome", "bad"], "--outcome 'bad': use one of ok, partial, error"),
        (["--min-duration", "long"], "--min-duration 'long': expected a duration such as 2s"),
        (["--since", "then"], "--since 'then': expected a duration such as 1h or 2d, or a date"),
        (["--limit", "0"], "--limit 0: expected a number from 1"),
        (["--limit", "many"], "--limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_filters_that_are_none(stored, arguments, said):
    assert said in stored.refused("traces", *arguments)


def test_an_empty_store(hush):
    out = hush("traces").stdout
    assert out == f"{hush.store} is empty: hush run module:graph stores a run\n"
    assert hush.json("traces") == {"store": str(hush.store), "traces": []}
    for command in COMMANDS:
        said = hush.refused(*given(command, "last"), code=4)
        assert "which is empty: nothing has been stored yet" in said


# --- which trace ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_trace_that_is_not_there(stored, command):
    said = stored.refused(*given(command, "0123456789abcdef" * 2), code=4)
    assert "no trace '0123456789abcdef0123456789abcdef'" in said
    assert f"the newest trace is {stored.ids[3]}" in said
    assert "hush traces lists what is stored" in said
    assert "neither a trace id" in stored.refused(*given(command, "nothing!"), code=4)


def test_an_id_that_is_not_long_enough(hush):
    with TraceStore(hush.store) as store:
        for digits in ("abcd1", "abcd2"):
            store.add(a_run(digits.ljust(32, "0")))
    said = hush.refused("show", "abcd", code=4)
    assert "fits several traces; add digits" in said
    assert "abcd1" in said
    assert "abcd2" in said
    assert hush.json("show", "abcd2")["trace_id"].startswith("abcd2")


def test_ids_may_be_abbreviated_and_last_counts_back(stored):
    for number, trace_id in enumerate(reversed(stored.ids)):
        assert stored.json("show", trace_id[:12])["trace_id"] == trace_id
        assert stored.json("show", f"last~{number}")["trace_id"] == trace_id
    assert stored.json("why")["trace_id"] == stored.ids[3]
    said = stored.refused("show", "last~4", code=4)
    assert "no trace 'last~4'" in said
    assert "holds 4 runs" in said


def test_files_and_addresses(stored, tmp_path):
    file = tmp_path / "trace.json"
    stored("export", stored.ids[1], "-o", file)
    assert stored.json("show", file)["trace_id"] == stored.ids[1]
    assert stored.json("show", f"{file}#{stored.ids[1][:4]}")["trace_id"] == stored.ids[1]
    (tmp_path / "broken.json").write_text("{")
    assert "broken.json" in stored.refused("show", tmp_path / "broken.json", code=1)
    nobody = "http://127.0.0.1:9"
    assert nobody in stored.refused("show", f"{nobody}/trace/{'a' * 32}", code=1)
    assert "127.0.0.1:9" in stored.refused("show", "a" * 32, "--jaeger", nobody, code=4)


def test_a_jaeger_is_asked_for_what_the_store_does_not_have(stored, hush):
    exported = stored("export", stored.ids[1], "--format", "jaeger").stdout.encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path.startswith(f"/api/traces/{stored.ids[1]}")
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(exported if known else b"{}")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            for command in COMMANDS:
                arguments = [
                    command,
                    stored.ids[1],
                    *([stored.ids[1]] if command == "diff" else []),
                ]
                hush(*arguments, "--jaeger", url)
            assert hush.json("why", f"{url}/trace/{stored.ids[1]}")["run"] == "crawl"
            assert "no trace" in hush.refused("show", "b" * 32, "--jaeger", url, code=4)
        finally:
            server.shutdown()
            thread.join()


def test_a_trace_of_somebody_else(hush):
    span = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"}
    span |= {"name": "GET /\x1b[31m", "startTimeUnixNano": "1", "endTimeUnixNano": "2000001"}
    request = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "x"}, "spans": [span]}]}]}
    (hush.folder / "foreign.json").write_text(json.dumps(request))
    assert "GET /\\x1b[31m" in hush.out("show", "foreign.json")
    said = "no run of Hush in this trace"
    assert said in hush.out("show", "foreign.json")
    assert said in hush.refused("why", "foreign.json", code=4)
    assert said in hush.refused("whatif", "foreign.json", code=4)
    assert "(no run of Hush)" in hush.out("diff", "foreign.json", "foreign.json#4bf9")
    assert hush.json("show", "foreign.json")["critical_path"] == []
    hush("show", "foreign.json", "--html", "page.html")
    assert said in (hush.folder / "page.html").read_text()


def test_a_file_that_is_no_store_is_left_alone(hush):
    file = hush.folder / "flows.py"
    before = file.read_text()
    for arguments in (
        ["traces"],
        ["run", "flows:build"],
        *(given(one, "last") for one in COMMANDS),
    ):
        said = hush.refused(*arguments, "--store", file)
        assert f"--store {file}: some other file, and no trace store" in said
        assert f"without --store: hush show {file}" in said
        said = hush.refused(
            *arguments, code=2 if "run" in arguments else 1, HUSH_TRACE_STORE=str(file)
        )
        assert f"{file}: some other file, and no trace store; it is left alone" in said
    assert file.read_text() == before
    assert not list(hush.folder.glob("*damaged*"))
    assert "a folder, and no trace store" in hush.refused("traces", "--store", hush.folder)


def test_a_run_that_has_not_ended(hush):
    with TraceStore(hush.store) as store:
        store.add(a_run("ab" * 16)[:-1])
    assert " unfinished " in hush.out("traces", "--outcome", "unfinished")
    for command in ("show", "why"):
        out = hush.out(command)
        assert "unfinished in 1.00 s" in out
    assert "the run has not ended" in hush.out("show")
    assert hush.json("show")["outcome"] == hush.json("why")["outcome"] == "unfinished"


def test_standard_input(stored, hush):
    exported = stored("export", stored.ids[1]).stdout
    for command in ("show", "why", "whatif"):
        assert hush(command, "-", stdin=exported).stdout == stored(command, stored.ids[1]).stdout
    assert hush.json("export", "-", stdin=exported) == json.loads(exported)
    assert "standard input: the file is empty" in hush.refused("show", "-", code=1, stdin="")


def test_two_workflows_are_called_so(stored):
    out = stored.out("diff", stored.ids[0], stored.ids[1])
    assert "two different workflows, 'talks' and 'crawl'" in out
    assert "two different" not in stored.out("diff", stored.ids[1], stored.ids[2])


def test_last_is_of_the_store_also_where_new_runs_are_sent_elsewhere(stored):
    done = stored("show", OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4318")
    assert "note: new runs are sent to http://localhost:4318" in done.stderr
    assert not stored("show", stored.ids[0], OTEL_EXPORTER_OTLP_ENDPOINT="http://x").stderr


def test_a_file_that_cannot_be_written_has_its_remedy(stored):
    for arguments in (["export", "last", "-o"], ["show", "last", "--html"]):
        said = stored.refused(*arguments, "/nope/x.json", code=1)
        assert "there is no folder /nope: make it first, or name another file" in said


def test_who_named_an_address_is_not_sent_to_the_store(hush):
    assert "hush traces" in hush.refused("show", "abcd", code=4)
    assert "hush traces" not in hush.refused("show", "http://localhost/x", code=4)


@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_numbers_units_and_ids_are_whole_in_any_width(stored, width):
    wide = stored("whatif", stored.ids[1], COLUMNS="200").stdout
    narrow = stored("whatif", stored.ids[1], COLUMNS=str(width)).stdout
    for line in wide.splitlines()[2:6]:
        for number in re.findall(r"\d[\d.,]* (?:ms|s)|[+-]?\d+%", line):
            assert number in narrow
    for command in ("traces", "show", "why", "whatif", "diff"):
        given = [command] if command == "traces" else [command, stored.ids[1]]
        out = stored(*given, COLUMNS=str(width)).stdout
        assert max(map(len, out.splitlines())) <= width, out
        assert not re.search(r"[\d.]…|\d (?:m|µ)?…", out.split("fan-ins")[0]), out
    listed = stored("traces", COLUMNS=str(width)).stdout
    assert all(one[:8] in listed for one in stored.ids)
    assert re.search(r" partial +\d+ ms", listed)


def test_another_store(stored, hush):
    for arguments in (["traces"], *(given(one, stored.ids[1]) for one in COMMANDS)):
        hush(*arguments, "--store", stored.store)
    assert not hush.store.exists()


# --- show -------------------------------------------------------------------------------------


def test_show_explains_each_mark_that_it_draws(stored):
    out = stored.out("show", stored.ids[1])
    legend = out[out.index("┄┄ waiting") : out.index("critical path")]
    told = ("━━ running", "! failed and was handled", "peak 2: most items", "last: last to end")
    assert all(one in legend for one in told), legend
    assert "cancelled" not in legend
    assert "partial in" in out.splitlines()[0] + out.splitlines()[1]


def test_show(stored):
    out = stored.out("show", stored.ids[1])
    assert out.startswith(f"trace {stored.ids[1]}  ")
    assert "\n✓ run crawl " in out
    assert "! item [2] " in out
    assert "critical path: what the run's end waited for\n" in out
    assert re.search(r"^  pages\[\d\]\.fetch +\d+ ms +\d+%  [━]+$", out, re.MULTILINE)
    assert "fan-ins and maps\n" in out
    assert "8 items: 7 ok, 1 handled. At most 2 of 2 ran at once" in " ".join(out.split())
    assert "report waited for 2; pages came last" in " ".join(out.split())


def test_show_fewer_items(stored):
    assert stored.out("show", stored.ids[1], "--max-rows", "2").count(" item [") == 2
    assert "--max-rows 0: expected a number from 1" in stored.refused("show", "--max-rows", "0")


def test_show_where_only_ascii_can_be_written(stored):
    assert stored("show", stored.ids[1], PYTHONIOENCODING="ascii").stdout.isascii()


def test_show_in_a_narrow_terminal(stored):
    for columns in (40, 20):
        out = stored.out("show", stored.ids[1], COLUMNS=str(columns))
        assert max(map(len, out.splitlines())) <= columns


def test_what_show_says_to_programs(stored):
    found = stored.json("show", stored.ids[1])
    assert found["spans_total"] == len(found["spans"]) == 20
    assert (found["handled"], found["cancelled"]) == (1, 0)
    assert found["critical_path"][-1]["step"] == "report"
    assert {one["path"] for one in found["explained"]} >= {"crawl.pages", "crawl.report"}
    (item,) = [span for span in found["spans"] if span["outcome"] == "handled"]
    assert item["path"] == "crawl.pages[2]"
    assert item["attributes"]["hush.item.index"] == 2
    assert item["offset_s"] > 0


def test_a_page(stored, tmp_path):
    file = tmp_path / "trace with space.html"
    out = stored("show", stored.ids[1], "--html", file).stdout
    assert "file://" in out
    assert "trace%20with%20space.html" in out
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert "crawl" in page
    found = stored.json("show", stored.ids[1], "--html", file)
    assert found == {
        "trace_id": stored.ids[1],
        "html": str(file),
        "bytes": file.stat().st_size,
    }
    said = stored.refused("show", "--html", tmp_path / "no" / "t.html", code=1)
    assert "No such file or directory" in said


# --- why --------------------------------------------------------------------------------------


def test_why(stored):
    out = stored.out("why", stored.ids[1])
    assert out.startswith("crawl partial in ")
    assert f"trace {stored.ids[1]}\n" in out
    assert re.search(r"^1\. [a-z ]+  crawl", out, re.MULTILINE)
    assert "partial failure  crawl.pages\n" in out
    failed = stored.out("why")
    assert failed.startswith("fails error in ")
    assert "1. failed  fails.only\n" in failed
    assert "no such\\x1b[31m shop" in " ".join(failed.split())


def test_what_why_says_to_programs(stored):
    found = stored.json("why", stored.ids[1])
    assert (found["run"], found["outcome"]) == ("crawl", "partial")
    assert found["wall_s"] > 0.4
    for one in found["findings"]:
        assert {"kind", "path", "gain_s", "text", "remedy", "facts"} <= one.keys()
    assert {"gain_s", "steps", "notes"} <= found.keys()


# --- whatif -----------------------------------------------------------------------------------


def test_whatif(stored):
    out = stored.out("whatif", stored.ids[1], "--max-concurrency", "1,2,8")
    head, columns, measured, *rows = out.splitlines()
    assert head == "map crawl.pages  8 items"
    assert columns.split() == ["limit", "run", "change", "map", "in", "use"]
    assert measured.split()[0] == "2"
    assert measured.endswith("measured")
    limits = [row.split()[0] for row in rows if re.match(r" +\d", row)]
    assert limits == sorted(limits, key=int)
    assert {"1", "8"} <= set(limits)
    assert "2" not in limits  # that was measured
    assert sum("knee" in row for row in rows) == 2  # and the line that says what it is
    assert "floor: a slot for each item" in out


def test_whatif_chooses_limits_itself(stored):
    assert re.search(r"^ +4 ", stored.out("whatif", stored.ids[1]), re.MULTILINE)


def test_what_whatif_says_to_programs(stored):
    arguments = ("whatif", stored.ids[1], "--max-concurrency", "8,1", "--map", "crawl.pages")
    found = stored.json(*arguments)
    assert (found["trace_id"], found["map"], found["items"]) == (stored.ids[1], "crawl.pages", 8)
    assert [one["max_concurrency"] for one in found["predictions"]] == [8, 1]
    assert found["predictions"][0]["run_s"] < found["recorded"]["run_s"]
    assert found["predictions"][1]["run_s"] > found["recorded"]["run_s"]
    assert {"knee", "floor", "replayed", "cautions", "approximate", "reasons"} <= found.keys()


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--max-concurrency", "0"], "--max-concurrency '0': expected whole numbers from 1", 2),
        (["--max-concurrency", "2,,3"], "expected whole numbers", 2),
        (["--max-concurrency", "9" * 30], "expected whole numbers", 2),
        (["--max-concurrency", "few"], "expected whole numbers", 2),
        (["--map", "crawl.nothing"], "no map 'crawl.nothing'; it holds: crawl.pages", 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_whatif_asked_wrongly(stored, arguments, said, code):
    assert said in stored.refused("whatif", stored.ids[1], *arguments, code=code)


def test_whatif_without_a_map(stored):
    assert "this trace holds no map" in stored.refused("whatif", code=4)


# --- diff -------------------------------------------------------------------------------------


def test_diff(stored):
    out = stored.out("diff", stored.ids[1], "last~1")
    first, second, whole, *_ = out.splitlines()
    assert first.startswith(f"A  {stored.ids[1][:8]}  run crawl partial in ")
    assert second.startswith(f"B  {stored.ids[2][:8]}  run crawl ok in ")
    assert re.fullmatch(r"B took .+ (longer|less) \([+-]\d+%\)", whole)
    assert "only in A\n" in out
    assert "ended otherwise\n  crawl.pages[2]: handled, now ok\n" in out
    assert "same trace" in stored.out("diff", stored.ids[1], stored.ids[1])


def test_diff_tells_first_what_was_set_otherwise(stored):
    out = stored.out("diff", stored.ids[1], stored.ids[2])
    told = out.index("maps set or fed otherwise\n  crawl.pages  ")
    assert told < out.index("ended otherwise")
    (one,) = stored.json("diff", stored.ids[1], stored.ids[2])["maps"]
    assert f"{one['a']['items']} items, now {one['b']['items']}" in out


def test_diff_is_bounded(stored):
    out = stored.out("diff", stored.ids[0], stored.ids[1], "--limit", "1")
    assert "more: --limit shows more of them" in out
    assert "--limit 0" in stored.refused("diff", "last", "--limit", "0")
    assert "Missing argument 'A'" in stored.refused("diff")


def test_what_diff_says_to_programs(stored):
    found = stored.json("diff", stored.ids[1], stored.ids[2], "--limit", "2")
    assert (found["trace_a"], found["trace_b"]) == (stored.ids[1], stored.ids[2])
    assert len(found["causes"]) == 2
    assert found["changes_total"] > 2
    assert found["outcome_changes"][0]["outcome_a"] == "handled"
    assert {"path", "kind", "seconds", "queue_s", "run_s", "backoff_s"} <= found["causes"][0].keys()


# --- export -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["otlp-json", "jaeger"])
def test_export(stored, tmp_path, form):
    file = tmp_path / "trace.json"
    written = stored("export", stored.ids[1], "--format", form, "-o", file).stdout
    assert "20 spans in" in written
    (tree,) = load_traces(file)
    assert (tree.trace_id, len(tree)) == (stored.ids[1], 20)
    printed = stored("export", stored.ids[1], "--format", form).stdout
    assert printed == file.read_text()
    found = stored.json("export", stored.ids[1], "--format", form, "-o", file)
    assert found == {
        "trace_id": stored.ids[1],
        "format": form,
        "file": str(file),
        "spans": 20,
        "bytes": file.stat().st_size,
    }
    named = stored("export", stored.ids[1], "--format", form, "--service", "shop").stdout
    assert '"shop"' in named
    assert json.loads(named) != json.loads(printed)


def test_export_asked_wrongly(stored, tmp_path):
    assert "--format 'csv': use one of otlp-json, jaeger" in stored.refused(
        "export", "--format", "csv"
    )
    said = stored.refused("export", "-o", tmp_path / "no" / "t.json", code=1)
    assert "No such file or directory" in said


# --- the command itself -----------------------------------------------------------------------


def test_help_is_there_at_once_and_names_every_command(hush):
    out = hush.out("--help")
    assert hush.out() == out
    for command in ("run", "traces", *COMMANDS):
        assert f"\n  {command} " in out
        assert f"Usage: hush {command} " in hush.out(command, "--help")
    done = hush("--help", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"rich", "anyio", "opentelemetry", "sqlite3", "structlog", "hush.core"}


def test_version(hush):
    assert re.fullmatch(r"hush \d+\.\d+\.\d+\n", hush.out("--version"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "error: No such command 'frobnicate'.\n  try: hush --help\n"),
        (["show", "--frobnicate"], "try: hush show --help"),
        (["run"], "error: Missing argument 'TARGET'.\n  try: hush run --help\n"),
        (["show", "a", "b"], "try: hush show --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage(hush, arguments, said):
    assert said in hush.refused(*arguments)


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_without_the_extra_packages(hush, tmp_path, name):
    (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name={name!r})\n")
    said = hush.refused("traces", PYTHONPATH=str(tmp_path))
    assert said == f"error: the commands need the package {name}: pip install 'hush-runtime[cli]'\n"


def test_the_documented_exit_codes_are_these():
    from hush.cli import exits

    page = Path(__file__).parents[2] / "docs" / "reading-traces.md"
    text = page.read_text(encoding="utf-8")
    for name in exits.__all__:
        assert re.search(rf"^\| {getattr(exits, name)} \|", text, re.MULTILINE), name
