"""The local trace store: what goes in comes out, from several processes, within its caps."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hush import semconv
from hush.errors import HushError
from hush.insight.record import SpanRecord
from hush.insight.source_errors import TraceNotFoundError
from hush.insight.store import TraceStore, TraceStoreError, default_path
from hush.insight.store_owner import is_ours
from tests.insight.records import TRACE, a_run, records, same

ROOT = Path(__file__).parents[2]
S = 1_000_000_000


@pytest.fixture
def store(tmp_path: Path):
    with TraceStore(tmp_path / "state" / "traces.sqlite3") as made:
        yield made


def trace_id(number: int) -> str:
    return f"{number:08x}".ljust(32, "0")


def ids(store: TraceStore, **filters: Any) -> list[str]:
    return [summary.trace_id for summary in store.traces(**filters)]


def worker(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    return out


# --- in and out --------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(spans=st.lists(records(), min_size=1, max_size=4))
def test_what_goes_in_comes_out(tmp_path: Path, spans: list[SpanRecord]):
    with TraceStore(tmp_path / f"{time.monotonic_ns()}.sqlite3") as store:
        expected: dict[str, SpanRecord] = {}
        for span in spans:
            expected.setdefault(span.span_id, span)

        assert store.add(spans) == len(expected)
        assert store.add(spans) == 0

        read = {node.record.span_id: node.record for node in store.trace(TRACE)}
    assert same(read, expected)


def test_text_that_is_no_unicode_and_instants_beyond_64_bits_are_stored_as_near_as_can_be(store):
    span = SpanRecord(TRACE, "1" * 16, None, "a\ud800b", -1, 2**70, attributes={"x": "\ud800"})

    store.add([span])

    (node,) = store.trace(TRACE)
    assert (node.record.name, node.record.start_ns, node.record.end_ns) == ("a?b", 0, 2**63 - 1)
    assert node.record.attributes == {"x": "\ud800"}


@pytest.mark.parametrize(
    "wrong", [{"trace_id": "t"}, {"span_id": "xx" * 8}, {"parent_id": "1"}], ids=str
)
def test_ids_that_are_none_are_refused_and_nothing_is_stored(store, wrong: dict[str, str]):
    good, bad = a_run(TRACE, spans=2)

    with pytest.raises(ValueError, match="hex digits"):
        store.add([good, dataclasses.replace(bad, **wrong)])

    assert store.traces() == []


def test_reading_makes_no_file(store):
    assert store.traces() == []
    with pytest.raises(TraceNotFoundError, match="empty: nothing has been stored yet"):
        store.trace("last")
    assert not store.path.parent.exists()


def test_folder_and_file_are_private(store):
    store.add(a_run(TRACE))

    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    for file in store.path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_wide_open_file_is_closed_to_others(store):
    store.path.parent.mkdir()
    store.path.touch(0o666)
    store.path.chmod(0o666)

    store.add(a_run(TRACE))

    assert store.path.stat().st_mode & 0o777 == 0o600


# --- finding -----------------------------------------------------------------------------------


def test_ids_may_be_abbreviated(store):
    store.add(a_run("ab12" + "0" * 28))
    store.add(a_run("ab34" + "0" * 28, start_ns=5 * S))

    assert store.trace("AB1").trace_id.startswith("ab12")
    assert store.trace("ab34" + "0" * 28).trace_id.startswith("ab34")
    with pytest.raises(TraceNotFoundError, match="'ab' fits several traces; add digits") as caught:
        store.trace("ab")
    assert caught.value.candidates == ("ab12" + "0" * 28, "ab34" + "0" * 28)
    with pytest.raises(TraceNotFoundError, match=r"no trace 'ac' in .*; the newest trace is ab12"):
        store.trace("ac")


@pytest.mark.parametrize("wrong", ["", " ", "xyz", "a" * 33, "a%", "a' OR 1 --"])
def test_what_is_no_id_is_told(store, wrong: str):
    store.add(a_run("a" * 32))

    with pytest.raises(TraceNotFoundError, match="is no trace id"):
        store.trace(wrong)


def test_many_candidates_are_cut(store):
    for number in range(15):
        store.add(a_run(trace_id(number)))

    with pytest.raises(TraceNotFoundError, match="…") as caught:
        store.trace("0")

    assert len(caught.value.candidates) == 10


def test_last_is_the_newest_run_and_no_other_trace(store):
    foreign = SpanRecord("f" * 32, "1" * 16, None, "GET /", 99 * S, 100 * S, scope="http")
    store.add([*a_run("b" * 32, start_ns=9 * S), *a_run("a" * 32, start_ns=S), foreign])

    assert store.trace(" Last ").trace_id == "b" * 32


def test_lists_are_filtered(store):
    store.add(a_run("a" * 32, graph="one", start_ns=1 * S))
    store.add(a_run("b" * 32, graph="two", start_ns=2 * S, outcome="error"))
    store.add(a_run("c" * 32, graph="two", start_ns=3 * S, duration_ns=60 * S))

    assert ids(store) == ["c" * 32, "b" * 32, "a" * 32]
    assert ids(store, graph="two") == ["c" * 32, "b" * 32]
    assert ids(store, outcome="error") == ["b" * 32]
    assert ids(store, min_duration_s=60.0) == ["c" * 32]
    assert ids(store, since=datetime.fromtimestamp(2, UTC)) == ["c" * 32, "b" * 32]
    assert ids(store, limit=1) == ["c" * 32]
    assert ids(store, limit=None, graph="two", outcome="ok") == ["c" * 32]
    with pytest.raises(ValueError, match="outcome='bad': use one of ok, partial"):
        store.traces(outcome="bad")


# --- what a list says of a trace -----------------------------------------------------------------


def test_partial_is_an_outcome_of_its_own(store):
    store.add(a_run("a" * 32))
    store.add(a_run("b" * 32, attributes={semconv.PARTIAL_FAILURE: True}))
    store.add(a_run("c" * 32, outcome="error", attributes={semconv.PARTIAL_FAILURE: True}))

    assert {one.trace_id[0]: one.word for one in store.traces()} == {
        "a": "ok",
        "b": "partial",
        "c": "error",
    }
    store.add(a_run("d" * 32)[:-1])  # its process was killed
    for word, found in (("ok", "a"), ("partial", "b"), ("error", "c"), ("unfinished", "d")):
        assert ids(store, outcome=word) == [found * 32]


def test_id_is_abbreviated_so_that_it_means_one_trace(store):
    one, other = "ab" * 4 + "0" * 24, "ab" * 4 + "01" * 12
    store.add(a_run(one))
    assert store.short_id(one) == "abababab"
    store.add(a_run(other))
    assert store.short_id(one) == "abababab00"
    assert store.trace(store.short_id(other)).trace_id == other


def test_summary_of_a_run(store):
    store.add(a_run(TRACE, spans=4, attributes={semconv.PARTIAL_FAILURE: True}))

    (summary,) = store.traces()

    assert (summary.graph, summary.name, summary.outcome) == ("report", "run report", "ok")
    assert (summary.spans, summary.complete, summary.partial_failure) == (4, True, True)
    assert summary.duration_s == 1.0


def test_run_that_never_ended_has_a_name_and_no_outcome(store):
    store.add(a_run(TRACE)[:-1])

    (summary,) = store.traces(graph="report")

    assert (summary.name, summary.outcome, summary.complete) == ("", None, False)


@pytest.mark.parametrize("order", [1, -1])
def test_outermost_run_speaks_for_a_trace_in_whatever_order_it_comes(store, order: int):
    outer = a_run(TRACE, graph="outer", spans=2)
    inner = dataclasses.replace(
        a_run(TRACE, graph="inner", spans=1, outcome="error")[0],
        span_id="c" * 16,
        parent_id=outer[0].span_id,
        start_ns=outer[0].start_ns + 1,
        kind="internal",
    )
    for span in [inner, *outer][::order]:
        store.add([span])

    (summary,) = store.traces()

    assert (summary.graph, summary.name, summary.outcome) == ("outer", "run outer", "ok")
    assert summary.complete


def test_run_with_a_remote_parent_is_complete(store):
    store.add(a_run(TRACE, parent_id="e" * 16))

    assert store.traces()[0].complete
    assert store.traces()[0].name == "run report"


def test_foreign_trace_has_the_name_of_its_root(store):
    store.add([SpanRecord(TRACE, "1" * 16, None, "GET /", 0, 1, "error", scope="http")])

    (summary,) = store.traces()

    assert (summary.graph, summary.name, summary.outcome) == (None, "GET /", "error")


# --- caps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("caps", [{"max_bytes": 1000}, {"max_age_s": 0}, {"max_age_s": -1.0}])
def test_caps_that_keep_nothing_are_refused(tmp_path: Path, caps: dict[str, Any]):
    with pytest.raises(ValueError, match="max_"):
        TraceStore(tmp_path / "a", **caps)


def bulky(number: int, spans: int = 40) -> list[SpanRecord]:
    """A trace of about 90 KiB that does not compress."""
    return [
        dataclasses.replace(span, attributes={**span.attributes, "noise": os.urandom(1_500).hex()})
        for span in a_run(trace_id(number), spans=spans, start_ns=number * S)
    ]


def test_size_is_capped_by_whole_traces_the_oldest_first(tmp_path: Path):
    cap = 1_000_000
    with TraceStore(tmp_path / "t.sqlite3", max_bytes=cap) as store:
        for number in range(60):
            store.add(bulky(number))
        kept = store.traces()
        store.prune()

        size = store.path.stat().st_size
        assert 5 <= len(kept) < 60
        assert [one.trace_id for one in kept] == [trace_id(59 - n) for n in range(len(kept))]
        assert {one.spans for one in kept} == {40}
        assert len(store.trace(trace_id(59))) == 40
        assert size <= cap + 200_000


def test_file_really_shrinks(tmp_path: Path):
    path = tmp_path / "t.sqlite3"
    with TraceStore(path) as store:
        for number in range(30):
            store.add(bulky(number))
    before = path.stat().st_size

    with TraceStore(path, max_bytes=500_000) as store:
        removed = store.prune()

    assert removed > 20
    assert before > 2_000_000
    assert path.stat().st_size < 600_000


def test_newest_trace_is_kept_and_grows_no_more_than_the_cap(tmp_path: Path):
    cap = 500_000
    with TraceStore(tmp_path / "t.sqlite3", max_bytes=cap) as store:
        store.add(bulky(1))
        with pytest.raises(TraceStoreError, match="the newest trace alone has reached max_bytes"):
            for part in range(100):
                store.add(
                    dataclasses.replace(span, span_id=f"{part * 100 + at:016x}")
                    for at, span in enumerate(bulky(2))
                )

        assert ids(store) == [trace_id(2)]
        assert store.path.stat().st_size < cap + 300_000


def test_age_is_capped_since_the_last_write(tmp_path: Path):
    path = tmp_path / "t.sqlite3"
    with TraceStore(path) as store:
        store.add(a_run(trace_id(1)))
        store.add(a_run(trace_id(2)))
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE traces SET written_ns = written_ns - ? WHERE trace_id = ?",
            (60 * S, trace_id(1)),
        )
    connection.close()

    with TraceStore(path, max_age_s=30) as store:
        store.add(a_run(trace_id(3)))

        assert set(ids(store)) == {trace_id(2), trace_id(3)}


# --- several at once -------------------------------------------------------------------------------

WRITER = """
import sys
from hush.insight.store import TraceStore
from tests.insight.records import a_run
path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = TraceStore(path)
for number in range(first, first + count):
    spans = a_run(f"{number:08x}".ljust(32, "0"), spans=50)
    for start in range(0, 50, 10):
        store.add(spans[start:start + 10])
    print(number, flush=True)
"""


def test_processes_write_at_once(tmp_path: Path):
    path = tmp_path / "sub" / "t.sqlite3"

    writers = [worker(WRITER, str(path), str(first), "30") for first in (0, 100, 200)]
    for writer in writers:
        finish(writer)

    with TraceStore(path) as store:
        traces = store.traces(limit=None)
        assert len(traces) == 90
        assert {trace.spans for trace in traces} == {50}
        assert all(trace.complete for trace in traces)
    assert no_damage(path)


def no_damage(path: Path) -> bool:
    with sqlite3.connect(path) as connection:
        answer = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return answer == ("ok",)


def test_processes_write_into_one_trace(tmp_path: Path):
    path = tmp_path / "t.sqlite3"

    # The same spans from both: whoever comes first.
    for writer in [worker(WRITER, str(path), "7", "1") for _ in range(3)]:
        finish(writer)

    with TraceStore(path) as store:
        assert [trace.spans for trace in store.traces()] == [50]


def test_threads_write_and_read_at_once(store):
    faults: list[BaseException] = []

    def write(first: int) -> None:
        try:
            for number in range(first, first + 20):
                store.add(a_run(trace_id(number), spans=20))
                assert len(store.trace(trace_id(number))) == 20
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not faults
    assert len(store.traces(limit=None)) == 80


def test_killed_writer_leaves_a_store_that_can_be_read(tmp_path: Path):
    path = tmp_path / "t.sqlite3"
    for round_ in range(4):
        process = worker(WRITER, str(path), str(round_ * 10_000), "10000")
        assert process.stdout is not None
        for _ in range(3 + round_):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()

        with TraceStore(path) as store:
            traces = store.traces(limit=None)
            # Whole batches only, but for the three spans that are added below.
            assert all(trace.spans % 10 == 0 for trace in traces if trace.trace_id[0] != "f")
            assert len([trace for trace in traces if trace.complete]) >= 3
            assert len(store.trace("last")) > 0
            assert store.add(a_run("f" * 31 + str(round_))) == 3
        assert no_damage(path)


FORKS = """
import os, sys
from hush.insight.store import TraceStore
from tests.insight.records import a_run
store = TraceStore(sys.argv[1])
store.add(a_run("a" * 32))
child = os.fork()
if not child:
    store.add(a_run("b" * 32))
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
store.add(a_run("c" * 32))
print(len(store.traces()))
"""


def test_forked_child_writes_too(tmp_path: Path):
    path = tmp_path / "t.sqlite3"

    assert finish(worker(FORKS, str(path))) == "3\n"
    assert no_damage(path)


def test_store_that_was_removed_or_moved_is_begun_anew(store):
    store.add(a_run("a" * 32))
    moved = store.path.rename(store.path.with_name("moved"))
    assert store.traces() == []

    store.add(a_run("b" * 32))

    assert ids(store) == ["b" * 32]
    assert no_damage(store.path)
    store.path.unlink()
    store.add(a_run("c" * 32))
    assert ids(store) == ["c" * 32]
    assert moved.exists()


def test_20_000_spans_in_reasonable_time(store):
    batches = [a_run(trace_id(number), spans=500) for number in range(40)]

    begin = time.perf_counter()
    for batch in batches:
        store.add(batch)
    took = time.perf_counter() - begin

    # About half a second alone on a laptop; here is only said that it is not quadratic.
    assert took < 15
    store.close()
    assert store.path.stat().st_size / 20_000 < 200


# --- what goes wrong --------------------------------------------------------------------------------


def test_newer_schema_is_refused_and_left_alone(store):
    store.add(a_run(TRACE))
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    for use in (lambda: store.add(a_run(TRACE)), store.traces):
        with pytest.raises(TraceStoreError, match=r"newer Hush \(schema 99; this one knows 1\)"):
            use()


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return every file with its content, its mode and its inode."""
    return {
        one.name: (one.read_bytes(), one.stat().st_mode, one.stat().st_ino)
        for one in folder.iterdir()
    }


def foreign_database(path: Path, *, journal: bool) -> None:
    connection = sqlite3.connect(path)
    if journal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE precious (x)")
    connection.execute("INSERT INTO precious VALUES (1)")
    connection.commit()
    if not journal:
        connection.close()
        return
    # As a killed program leaves it: what is in the journal is not in the file yet.
    copies = {one: one.read_bytes() for one in path.parent.iterdir() if one.suffix != "-shm"}
    connection.close()
    for file, content in copies.items():
        file.write_bytes(content)


@pytest.mark.parametrize("what", ["text", "database", "database with a journal"])
def test_file_of_somebody_else_is_left_alone(store, what: str):
    store.path.parent.mkdir()
    if what == "text":
        store.path.write_text("my notes on everything " * 100)
    else:
        foreign_database(store.path, journal="journal" in what)
    store.path.chmod(0o644)
    before = snapshot(store.path.parent)

    for use in (lambda: store.add(a_run(TRACE)), store.traces, store.prune):
        with pytest.raises(TraceStoreError, match="no trace store; it is left alone: move it away"):
            use()
    store.close()

    assert snapshot(store.path.parent) == before


def test_pipe_is_no_store_and_nobody_waits_for_it(store):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    store.path.parent.mkdir()
    os.mkfifo(store.path)

    for use in (lambda: store.add(a_run(TRACE)), store.traces):
        with pytest.raises(TraceStoreError, match="no regular file"):
            use()


def test_store_says_whose_it_is_before_its_journal_is_played_back(store):
    store.add(a_run(TRACE))  # which is in the journal only

    assert store.path.with_name(f"{store.path.name}-wal").exists()
    assert is_ours(store.path)


def test_damaged_file_is_set_aside(store, caplog: pytest.LogCaptureFixture):
    for number in range(50):
        store.add(a_run(trace_id(number), spans=40))
    store.close()
    content = store.path.read_bytes()
    damaged = content[:100] + b"\xff" * (len(content) - 100)
    store.path.write_bytes(damaged)

    with caplog.at_level(logging.WARNING):
        store.add(a_run(TRACE))

    assert ids(store) == [TRACE]
    (aside,) = [one for one in store.path.parent.iterdir() if ".damaged-" in one.name]
    assert aside.read_bytes()[:4_000] == damaged[:4_000]
    assert "was damaged; it was set aside and a new one is started" in caplog.text
    assert str(aside) in caplog.text


def test_file_that_is_damaged_while_it_is_open(store, caplog: pytest.LogCaptureFixture):
    for number in range(50):
        store.add(a_run(trace_id(number), spans=40))
    store.prune()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.write(b"\xff" * size)

    with caplog.at_level(logging.WARNING):
        for number in range(3):
            store.add(a_run(trace_id(number + 100), spans=400))

    assert "set aside" in caplog.text
    assert set(ids(store)) <= {trace_id(number + 100) for number in range(3)}


def test_full_disk_is_told_and_costs_nothing_that_was_stored(store):
    store.add(a_run(trace_id(1)))
    # SQLite's own limit: the same error as of a disk without room.
    store._file.write(lambda c: c.execute("PRAGMA max_page_count = 12").fetchone())

    with pytest.raises(TraceStoreError, match="the disk is full: free some space, or name another"):
        store.add(bulky(2))

    assert ids(store) == [trace_id(1)]
    assert isinstance(TraceStoreError("x"), (HushError, OSError))


@pytest.mark.parametrize("where", ["file/t.sqlite3", "folder", "/proc/hush/t.sqlite3"])
def test_place_that_cannot_be(tmp_path: Path, where: str):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()

    with pytest.raises(TraceStoreError, match="HUSH_TRACE_STORE"):
        TraceStore(tmp_path / where).add(a_run(TRACE))


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from hush.insight.store import TraceStore, TraceStoreError
from tests.insight.records import a_run
path = Path(sys.argv[1])
store = TraceStore(path)
store.add(a_run("a" * 32))
store.close()
path.chmod(0o444)
path.parent.chmod(0o555)
path.parent.parent.chmod(0o755)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(len(store.traces()), len(store.trace("a")))
try:
    store.add(a_run("b" * 32))
except TraceStoreError as error:
    print(error)
"""


def test_read_only_store_is_read_and_not_written(tmp_path_factory: pytest.TempPathFactory):
    import shutil
    import tempfile

    # pytest's own folders let nobody else in.
    folder = Path(tempfile.mkdtemp(prefix="hush-store-"))
    try:
        out = finish(worker(UNPRIVILEGED, str(folder / "state" / "t.sqlite3")))
    finally:
        (folder / "state").chmod(0o700)
        shutil.rmtree(folder)

    first, said = out.splitlines()
    assert first == "1 3"
    assert "cannot be opened or written: allow this user to" in said


def test_lock_of_another_process_is_waited_for_and_told(store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hush.insight.store_file.BUSY_S", 0.2)
    store.add(a_run(trace_id(1)))
    store.close()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(TraceStoreError, match="another process has kept it locked"):
        store.add(a_run(trace_id(2)))
    assert ids(store) == [trace_id(1)]
    other.execute("COMMIT")
    other.close()

    assert store.add(a_run(trace_id(2))) == 3


def test_damaged_span_is_named(store):
    store.add(a_run(TRACE))
    store._file.write(lambda c: c.execute("UPDATE spans SET more = x'00ff' WHERE name LIKE 'run%'"))

    with pytest.raises(TraceStoreError, match=r"span 'run report' of trace 4bf9.* is damaged"):
        store.trace(TRACE)


# --- where it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({}, "/home/me/.local/state/hush/traces.sqlite3"),
        ({"XDG_STATE_HOME": "/state"}, "/state/hush/traces.sqlite3"),
        ({"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/hush/traces.sqlite3"),
        ({"XDG_STATE_HOME": "/state", "HUSH_TRACE_STORE": "/a/b.db"}, "/a/b.db"),
        ({"HUSH_TRACE_STORE": "~/b.db"}, "/home/me/b.db"),
        ({"HUSH_TRACE_STORE": ""}, "/home/me/.local/state/hush/traces.sqlite3"),
    ],
)
def test_default_path(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], path: str):
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("XDG_STATE_HOME", "HUSH_TRACE_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert default_path() == Path(path)
    assert TraceStore().path == Path(path)
