"""Log lines: each with the run that it belongs to, redacted, and never a reason to fail."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from contextlib import contextmanager

import anyio
import anyio.to_thread
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphNode,
    Hush,
    MapNode,
    RunError,
    WhileLoopNode,
)
from hush.log import get_logger, log_fault
from hush.observe import configure, configure_logging
from hush.observe.redaction import redact_secrets
from hush.observe.settings import settings as observe_settings
from hush.testing import capture_spans

IDS = {"trace_id", "span_id", "hush.run.id", "hush.graph.name", "hush.node.path"}


@contextmanager
def alone():
    """Take away the handlers of pytest, which hostile values do break."""
    root = logging.getLogger()
    taken, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = taken


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def lines(stream):
    """Log as JSON for the test; a function that returns what was written, read anew."""
    made = configure_logging("json", stream=stream, level="DEBUG")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    made.restore()


def mapped(work, count, **options):
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(range(count))}, **options) as each:
            START >> CodeNode(name="work", code_fn=work, inputs={"x": PARENT["x"]}) >> END
        START >> each >> END
    return Hush(graph)


# --- where a line belongs to ------------------------------------------------------------------


async def test_lines_carry_their_run_in_tasks_and_threads(lines):
    log, std = structlog.get_logger("app"), logging.getLogger("std")

    async def on_loop():
        log.info("structlog", place="loop")
        std.info("standard %s", "loop")
        await anyio.to_thread.run_sync(lambda: std.info("standard to_thread"))
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        return {}

    async def child():
        await anyio.sleep(0)
        log.info("child task")

    def in_thread():
        log.info("structlog", place="thread")
        std.info("standard %s", "thread")
        return {}

    with GraphNode(name="g") as graph:
        START >> CodeNode(code_fn=on_loop) >> CodeNode(code_fn=in_thread) >> END
    with capture_spans() as captured:
        std.info("before")
        result = await Hush(graph).run()
        std.info("after")
    before, *inside, after = [line for line in lines() if line["logger"] != "asyncio"]
    assert len(inside) == 6
    assert not IDS & (before.keys() | after.keys())
    for line in inside:
        node = "in_thread" if "thread" in (line.get("place"), line["event"][-6:]) else "on_loop"
        if line["event"] == "standard to_thread":
            node = "on_loop"
        assert line["hush.node.path"] == f"g.{node}"
        assert line["hush.run.id"] == result.run_id
        assert line["hush.graph.name"] == "g"
        assert line["trace_id"] == result.trace_id
        assert line["span_id"] == captured.tree.one(f"node {node}").record.span_id
    assert {line["logger"] for line in inside} == {"app", "std"}
    assert {line["level"] for line in inside} == {"info"}


async def test_lines_of_items_say_which(lines):
    log = structlog.get_logger()

    async def work(x):
        await anyio.sleep(0.001 * (5 - x))
        log.info("at work", x=x)
        return {}

    with capture_spans():
        await mapped(work, 5, max_concurrency=5).run()
    assert {(one["hush.node.path"], one["hush.item.index"]) for one in lines() if "x" in one} == {
        (f"g.m[{x}].work", x) for x in range(5)
    }
    assert all(one["hush.item.index"] == one["x"] for one in lines() if "x" in one)


async def test_without_a_tracer_a_line_says_which_run(lines):
    def work(x):
        logging.getLogger("std").info("hello")
        return {}

    result = await mapped(work, 1).run()
    (line,) = [one for one in lines() if one["logger"] == "std"]
    assert "trace_id" not in line
    assert line["hush.run.id"] == result.run_id
    assert line["hush.node.path"] == "g.m[0].work"


async def test_items_without_a_span_still_have_a_trace(lines):
    def work(x):
        logging.getLogger("std").info("hello %d", x)
        return {}

    with capture_spans() as captured:
        result = await mapped(work, 200, max_concurrency=10, span_budget=10).run()
    tree = captured.tree
    said = [one for one in lines() if one["logger"] == "std"]
    assert len(said) == 200
    assert {one["trace_id"] for one in said} == {result.trace_id}
    assert len({one["span_id"] for one in said}) == 200
    # Our own reading of the ids keeps no item: that would be all of them.
    assert tree.one("map m").record.attributes["hush.map.spans_omitted"] >= 380
    assert "hush.map.spans_pinned" not in tree.one("map m").record.attributes


async def test_rounds_and_runs_in_runs(lines):
    std = logging.getLogger("std")
    with GraphNode(name="inner") as inner:
        START >> CodeNode(name="leaf", code_fn=lambda: std.info("deep") or {}) >> END
    engine = Hush(inner)

    async def again(n):
        std.info("round %d", n)
        await engine.run()
        return {"n": n + 1}

    with GraphNode(name="outer") as outer:
        with WhileLoopNode(
            name="loop", inputs={"n": 0}, stop_condition="n >= 2", max_iterations=5
        ) as loop:
            node = CodeNode(code_fn=again, inputs={"n": PARENT["n"]}, outputs={"n": PARENT})
            START >> node >> END
        START >> loop >> END
    await Hush(outer).run()
    said = [
        (one["hush.graph.name"], one["hush.node.path"], one.get("hush.iteration.index"))
        for one in lines()
        if one["logger"] == "std"
    ]
    assert said == [
        ("outer", "outer.loop[0].again", 0),
        ("inner", "inner.leaf", None),
        ("outer", "outer.loop[1].again", 1),
        ("inner", "inner.leaf", None),
    ]


async def test_a_span_of_the_users_is_where_a_line_belongs(lines):
    with capture_spans() as captured:

        def work(x):
            with captured.tracer.start_as_current_span("mine"):
                logging.getLogger("std").info("in mine")
            return {}

        await mapped(work, 1).run()
    (line,) = [one for one in lines() if one["logger"] == "std"]
    assert line["span_id"] == captured.tree.one("mine").record.span_id


def test_lines_of_threads_of_ones_own_belong_to_nothing(lines):
    def work(x):
        thread = threading.Thread(target=lambda: logging.getLogger("std").info("lost"))
        thread.start()
        thread.join()
        return {}

    mapped(work, 1).run_sync()
    (line,) = [one for one in lines() if one["logger"] == "std"]
    assert not IDS & line.keys()


def test_the_librarys_own_lines_are_data_too(lines):
    get_logger("hush.x").warning("something", node="a.b", count=3)
    log_fault("hush.telemetry", "it failed", ValueError("password=hunter2"))
    plain, fault = lines()
    assert (plain["event"], plain["node"], plain["count"]) == ("something", "a.b", 3)
    assert fault["error"] == "ValueError: password=[redacted]"


# --- what a line says -------------------------------------------------------------------------


def test_exceptions_are_structured_and_redacted(lines):
    secret = "sk-proj-" + "a1B2" * 10
    for logger in (structlog.get_logger("app"), logging.getLogger("std")):
        try:
            raise KeyError(f"token={secret}") from ValueError(secret)
        except KeyError:
            logger.exception("failed with %s", secret)
    for line in lines():
        assert line["exception.type"] == "KeyError"
        assert "Caused by ValueError" in line["exception.stacktrace"]
        assert "test_logs.py" in line["exception.stacktrace"]
        assert secret not in json.dumps(line)
        assert line["event"] == "failed with [redacted]"
        assert line["level"] == "error"


def test_secrets_in_any_place(lines):
    secret = "hunter2hunter2"
    log = structlog.get_logger()
    log.info("x", password=secret, nested={"api_key": secret}, listed=[{"secret": secret}])
    log.info("Authorization: Bearer %s1A", secret)
    logging.getLogger("std").info("password=%s", secret, extra={"client_secret": secret})
    log.info("pairs", one=("password", secret), headers=[["x-api-key", secret], ["a", "kept"]])
    log.info("words", signature=secret, sig=secret, bearer=secret, pin=8141)
    structlog.contextvars.bind_contextvars(session_token=secret)
    log.info("bound")
    structlog.contextvars.clear_contextvars()
    logging.getLogger(f"std?password={secret}").info("x")
    assert len(lines()) == 7
    assert secret not in json.dumps(lines())
    assert lines()[3]["headers"] == [["x-api-key", "[redacted]"], ["a", "kept"]]
    assert lines()[4]["pin"] == "[redacted]"


def test_the_redactor_of_configure_is_used(lines, monkeypatch):
    monkeypatch.setattr(
        observe_settings, "redactor", lambda text: redact_secrets(text).replace("Bob", "***")
    )
    logging.getLogger("std").info("Bob says", extra={"who": "Bob"})
    monkeypatch.setattr(observe_settings, "redactor", lambda text: 1 / 0)
    logging.getLogger("std").info("Bob says")
    first, second = lines()
    assert (first["event"], first["who"]) == ("*** says", "***")
    assert second["event"] == "[redaction failed]"


def test_a_line_keeps_what_it_says_of_itself(lines):
    structlog.get_logger("app").info("real", level="fake", logger="fake", trace_id="fake")
    logging.getLogger("std").info("real", extra={"event": "fake", "timestamp": "fake"})
    first, second = lines()
    assert (first["level"], first["logger"], first["level_"]) == ("info", "app", "fake")
    assert first["trace_id"] == "fake"  # outside of a run there is no other
    assert (second["event"], second["event_"]) == ("real", "fake")
    structlog.get_logger("app").info("the same", level="info")
    assert "level_" not in lines()[-1]


class Hostile:
    def __init__(self, error):
        self.error = error

    def __str__(self):
        raise self.error

    __repr__ = __str__


class HostileMapping(dict):
    def items(self):
        raise RuntimeError("no")


class Logging:
    def __str__(self):
        logging.getLogger("std").info("%s", self)
        return "logged itself"


def recursive():
    found = {}
    found["self"] = [found]
    return found


@pytest.mark.parametrize(
    "value",
    [
        Hostile(ValueError()),
        Hostile(RecursionError()),
        HostileMapping(a=1),
        Logging(),
        recursive(),
        float("nan"),
        10**400,
        b"\xff\x00",
        "\ud800 half a character",
        "line\nbreak \x1b[31m",
        "x" * 1_000_000,
        {f"k{n}": n for n in range(100_000)},
        {("a", 1): 2, None: 3},
        object(),
        type("Slow", (), {})(),
        ...,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("style", ["json", "console"])
def test_hostile_values_break_nothing(stream, value, style, capsys):
    with alone():
        made = configure_logging(style, stream=stream)
        structlog.get_logger("app").info("event %s", value, value=value)
        structlog.get_logger("app").info(value)
        logging.getLogger("std").info("event %s %d", value, value)
        logging.getLogger("std").info(value, extra={"value": value})
        logging.getLogger("std").info("x", exc_info=value)
        made.restore()
    written = stream.getvalue()
    assert "\x1b" not in written
    assert "--- Logging error ---" not in capsys.readouterr().err
    assert len(written) < 400_000
    if style == "json":
        found = [json.loads(line, parse_constant=pytest.fail) for line in written.splitlines()]
        assert len([one for one in found if one["logger"] in {"app", "std"}]) >= 5


@settings(max_examples=60)
@given(
    event=st.text() | st.integers() | st.none(),
    fields=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name not in {"event", "self"}),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
        max_size=6,
    ),
)
def test_any_event_is_one_line(event, fields):
    out = io.StringIO()
    made = configure_logging("json", stream=out)
    try:
        structlog.get_logger("app").bind(**fields).info(event)
    finally:
        made.restore()
    # However lines are told apart: str.splitlines() knows more ends than "\n".
    (line,) = out.getvalue().splitlines()
    assert json.loads(line, parse_constant=pytest.fail)["logger"] == "app"


def test_every_end_of_a_line_is_escaped_and_comes_back(lines, stream):
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\r\nj é"
    logging.getLogger("std").info(text, extra={text: [text]})
    assert len(stream.getvalue().splitlines()) == 1
    (line,) = lines()
    assert line["event"] == text
    assert line[text] == [text]


def test_a_narrow_stream_gets_what_it_can_take():
    raw = io.BytesIO()
    made = configure_logging("json", stream=io.TextIOWrapper(raw, encoding="ascii"))
    logging.getLogger("std").info("漢字 é")
    made.restore()
    assert b"\\u6f22" in raw.getvalue()
    assert json.loads(raw.getvalue())["event"] == "漢字 é"


def test_console_is_for_people_and_one_event_is_one_line(stream):
    made = configure_logging("console", stream=stream)
    logging.getLogger("std").warning("forged\n12:00 [info] all is well \x1b[2J")
    try:
        raise ValueError("bad")
    except ValueError:
        structlog.get_logger("app").exception("oops", n=1)
    made.restore()
    first, second, *trace = stream.getvalue().splitlines()
    assert "forged\\n12:00 [info] all is well \\x1b[2J" in first
    assert "[error" in second
    assert "oops" in second
    assert "n=1" in second
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ValueError: bad"


# --- set-up -----------------------------------------------------------------------------------


def state():
    root = logging.getLogger()
    return (
        list(root.handlers),
        root.level,
        structlog.is_configured(),
        structlog.get_config()["processors"],
        observe_settings.placed,
    )


def test_everything_is_put_back():
    before = state()
    made = configure_logging("json", stream=io.StringIO(), level="ERROR")
    assert state() != before
    assert logging.getLogger().level == logging.ERROR
    made.restore()
    made.restore()
    assert state()[:3] == before[:3]
    assert state()[4] == before[4]


def test_a_second_call_takes_the_place_of_the_first(stream):
    before = state()
    first_stream = io.StringIO()
    first = configure_logging("console", stream=first_stream)
    second = configure_logging("json", stream=stream)
    logging.getLogger("std").info("once")
    first.restore()  # over already
    logging.getLogger("std").info("twice")
    second.restore()
    assert first_stream.getvalue() == ""
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "once",
        "twice",
    ]
    assert state()[:3] == before[:3]


def test_handlers_of_the_application_stay_but_for_standard_streams(stream, tmp_path):
    root = logging.getLogger()
    console, file = logging.StreamHandler(sys.stderr), logging.FileHandler(tmp_path / "app.log")
    file.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root.addHandler(console)
    root.addHandler(file)
    try:
        made = configure_logging("json", stream=stream)
        assert console not in root.handlers
        structlog.get_logger("app").info("100 % sure", n=1)
        made.restore()
        assert console in root.handlers
    finally:
        root.removeHandler(console)
        root.removeHandler(file)
        file.close()
    # For handlers of others an event of structlog is a text.
    assert (tmp_path / "app.log").read_text() == "app: 100 % sure\n"
    assert json.loads(stream.getvalue())["n"] == 1


def test_a_set_up_of_structlog_comes_back(stream):
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        mine = structlog.get_config()
        configure_logging("json", stream=stream).restore()
        assert structlog.get_config()["processors"] == mine["processors"]
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"style": "xml"}, "style='xml': expected one of auto, json, console"),
        ({"level": "LOUD"}, "level='LOUD': expected a number"),
        ({"stream": "stdin"}, "stream='stdin': expected stdout, stderr"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, said):
    before = state()
    with pytest.raises(ValueError, match=said):
        configure_logging(**options)
    assert state() == before


def test_unknown_exporter_of_logs(monkeypatch):
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "carrier-pigeon")
    before = state()
    with pytest.raises(ValueError, match="OTEL_LOGS_EXPORTER"):
        configure_logging("json")
    assert state() == before


def test_configure_leaves_logging_alone_unless_asked():
    before = state()
    with pytest.raises(ValueError, match="logs='yaml'"):
        configure(logs="yaml", store=False)
    assert state() == before


SCRIPT = """
import logging, sys, structlog
from hush.core import *
from hush.observe import configure

def work(x):
    logging.getLogger("std").info("in thread")
    return {}

def away(x):
    logging.getLogger("std").warning("in a process")
    return {}

if __name__ == "__main__":
    telemetry = configure(logs=True)
    with GraphNode(name="g") as graph:
        a = CodeNode(name="a", code_fn=work, inputs={"x": 1})
        b = CodeNode(name="b", code_fn=away, inputs={"x": 1}, run_in="process")
        START >> a >> b >> END
    Hush(graph).run_sync()
    telemetry.shutdown()
    logging.getLogger("std").info("still")
"""


def test_auto_is_json_where_nobody_looks_and_processes_log_by_themselves(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
        env={"PATH": "", "OTEL_TRACES_EXPORTER": "none", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event"] for one in found] == ["in thread", "still"]
    assert found[0]["hush.node.path"] == "g.a"
    assert len(found[0]["trace_id"]) == 32
    # A worker process has a log of its own, and a standard error that nobody reads.
    assert done.stderr == ""


async def test_a_stream_that_is_closed_breaks_no_run(capsys):
    closed = io.StringIO()
    made = configure_logging("json", stream=closed)
    closed.close()

    def work(x):
        logging.getLogger("std").info("nobody hears")
        return {}

    try:
        result = await mapped(work, 2).run()
    finally:
        made.restore()
    assert not result.failures


async def test_lines_of_failing_runs(lines):
    def work(x):
        logging.getLogger("std").info("before it fails")
        raise ValueError

    with capture_spans(), pytest.raises(RunError) as caught:
        await mapped(work, 1).run()
    (line,) = [one for one in lines() if one["logger"] == "std"]
    assert line["trace_id"] == caught.value.trace_id
