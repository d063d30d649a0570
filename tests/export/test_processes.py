"""Processes that share a spool, fork, end, or are killed: counted span by span."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hush.export.counts import counts
from hush.export.lock import SenderLock, read_status
from tests.export.collector import NOBODY, Collector, Reply, always, collecting
from tests.export.spans import sending, wait_for

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, sys, time, warnings
warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
from pathlib import Path
from tests.export.spans import *
folder, url = Path(sys.argv[1]), sys.argv[2]
def open_source(**options):
    manager = sending(url, folder, **options)
    source = manager.__enter__()
    source.manager = manager  # lest the garbage collector ends it
    return source
def say(source):
    # In one piece: several processes write into one pipe.
    os.write(1, "".join(f"{one}\\n" for one in source.ids).encode())
"""


def script(folder: Path, url: str, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT + code, str(folder), url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ids_of(*processes: subprocess.Popen[str]) -> list[str]:
    ids: list[str] = []
    for process in processes:
        out, err = process.communicate(timeout=50)
        assert process.returncode == 0, err
        ids += out.split()
    return ids


def drained(folder: Path, collector: Collector) -> None:
    """Let a process send what is left."""
    with sending(collector, folder) as source:
        wait_for(lambda: not source.files())
        assert source.processor.force_flush(20_000)


@pytest.mark.timeout(180)
def test_killed_with_9_at_50_random_points(tmp_path: Path):
    rounds = []
    with collecting() as collector:
        with subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "tests.export.killed",
                str(tmp_path / "spool"),
                collector.url,
                "50",
                "20261124",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            for number, line in enumerate(process.stdout):
                rounds.append(json.loads(line))
                # Half of the time the receiver is there, so that sending is interrupted too.
                if number % 10 == 4:
                    collector.stop()
                elif number % 10 == 9:
                    collector.start()
        if collector._server is None:
            collector.start()
        drained(tmp_path / "spool", collector)

    assert len(rounds) == 50
    ended = {span: at for one in rounds for span, at in one["ended"]}
    invented = set(collector.stored) - set(ended)
    assert invented == set()
    lost = 0
    oldest_s = 0.0
    for one in rounds:
        acknowledged = [span for span, _ in one["ended"]][: one["acknowledged"]]
        assert set(acknowledged) <= set(collector.stored)  # what was on the disk is not lost
        for span, at in one["ended"]:
            if span not in collector.stored:
                lost += 1
                oldest_s = max(oldest_s, one["killed"] - at)
    # 0.2 s or 512 spans, and what it takes to write them; a busy machine takes longer.
    assert oldest_s < 0.2 + 3
    assert 0 < lost < len(ended)
    # Killed between the answer and the removal: the batches of one request come twice.
    assert collector.twice <= 50 * 512
    print(
        f"{len(ended)} spans, {lost} lost, the oldest {oldest_s:.3f} s before the kill,"
        f" {collector.twice} twice, {len(collector.requests)} requests"
    )


def test_two_processes_on_one_spool(tmp_path: Path):
    code = """
source = open_source()
for _ in range(20):
    source.end(100)
    time.sleep(0.02)
source.processor.force_flush(20_000)
say(source)
source.provider.shutdown()
"""
    with collecting(always(Reply(delay_s=0.01))) as collector:
        ids = ids_of(*[script(tmp_path, collector.url, code) for _ in range(2)])
        drained(tmp_path, collector)
    assert len(ids) == 4_000
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0


def test_one_of_two_sends_for_both_and_the_other_takes_over(tmp_path: Path):
    with collecting() as collector:
        code = "source = open_source(); source.end(100); source.processor.force_flush(20_000)\n"
        holder = script(tmp_path, collector.url, code + "say(source); time.sleep(60)")
        assert holder.stdout is not None
        ids = [holder.stdout.readline().strip() for _ in range(100)]
        with sending(collector, tmp_path) as source:
            source.end(100)
            assert source.processor.force_flush(20_000)
            assert read_status(source.folder)["pid"] == holder.pid
            assert counts.sent == {}  # the other did
            holder.kill()
            holder.communicate()
            source.end(100)
            assert source.processor.force_flush(20_000)
            assert counts.sent == {"traces": 100}
            ids += source.ids
        assert sorted(collector.stored) == sorted(ids)
        assert collector.twice == 0


def test_the_next_process_sends_what_is_left(tmp_path: Path):
    collector = Collector()
    began = time.monotonic()
    ids = ids_of(
        script(
            tmp_path,
            collector.url,
            "source = open_source(); source.end(3_000); say(source)\nsource.provider.shutdown()",
        )
    )
    assert time.monotonic() - began < 20
    collector.start()
    # It ends no span itself.
    ids_of(script(tmp_path, collector.url, "source = open_source(); source.provider.shutdown()"))
    collector.stop()
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0


def test_the_end_of_the_process_is_about_a_second_away(tmp_path: Path):
    code = """
source = open_source(exit_s=1.0)
source.end(2_000)
time.sleep(0.5)
began = time.monotonic()
source.end(2_000)
source.provider.shutdown()
print(time.monotonic() - began)
"""
    never = always(Reply(delay_s=30, store=False))
    with collecting(never) as collector:
        for url in (NOBODY, collector.url):
            process = script(tmp_path, url, code)
            out, err = process.communicate(timeout=50)
            assert process.returncode == 0, err
            assert float(out) < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("up", [True, False])
def test_forked_child_begins_anew(tmp_path: Path, up: bool):
    code = """
source = open_source()
source.end(500)
if url.endswith("9"): source.written()
else: source.processor.force_flush(20_000)
source.end(300)   # in the queue at the time of the fork
child = os.fork()
if not child:
    source.ids.clear()
    source.end(200)
    source.processor.force_flush(20_000)
    say(source)
    source.provider.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
source.end(100)
source.processor.force_flush(20_000)
say(source)
source.provider.shutdown()
"""
    collector = Collector()
    if up:
        collector.start()
    ids = ids_of(script(tmp_path, collector.url, code))
    if not up:
        collector.start()
    drained(tmp_path, collector)
    collector.stop()
    assert len(ids) == 1_100
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forking_while_it_writes_and_sends_hangs_nobody(tmp_path: Path):
    code = """
source = open_source()
own = source.ids
for number in range(20):
    source.ids = own
    source.end(300)
    child = os.fork()
    if not child:
        source.ids = []
        source.end(20)
        ok = source.processor.force_flush(30_000)
        say(source)
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
assert source.processor.force_flush(30_000)
say(source)
source.provider.shutdown()
"""
    with collecting() as collector:
        ids = ids_of(script(tmp_path, collector.url, code))
    assert len(ids) == 20 * 320
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0


def test_a_fork_does_not_keep_the_lock(tmp_path: Path):
    code = """
source = open_source()
source.end(10)
assert source.processor.force_flush(20_000)
child = os.fork()
if not child:
    time.sleep(30)
    os._exit(0)
print(child, flush=True)
os._exit(0)   # the child lives on and sends nothing
"""
    with collecting() as collector:
        process = script(tmp_path, collector.url, code)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait()
        try:
            with sending(collector, tmp_path) as source:
                source.end(10)
                assert source.processor.force_flush(20_000)
                assert counts.sent == {"traces": 10}
        finally:
            os.kill(child, 9)
            process.communicate()


def test_children_of_multiprocessing_write_before_they_end(tmp_path: Path):
    code = """
import multiprocessing
def work(number):
    source.ids.clear()
    source.end(100)
    say(source)
if __name__ == "__main__":
    source = open_source()
    source.end(100)
    say(source)
    children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(3)]
    for child in children: child.start()
    for child in children: child.join()
    source.provider.shutdown()
"""
    collector = Collector()
    ids = ids_of(script(tmp_path, collector.url, code))
    collector.start()
    drained(tmp_path, collector)
    collector.stop()
    assert len(ids) == 400
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0


def test_nothing_is_started_before_the_first_span(tmp_path: Path):
    code = """
import threading
source = open_source()
assert threading.active_count() == 1, threading.enumerate()
source.provider.shutdown()
"""
    ids_of(script(tmp_path, NOBODY, code))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["receiver"]


def test_status_is_that_of_who_sends(tmp_path: Path):
    with sending(NOBODY, tmp_path) as source:
        source.end(10)
        assert not source.processor.force_flush(20_000)
        said = read_status(source.folder)
        assert (said["held"], said["pid"]) == (True, os.getpid())
        assert said["failing"]["traces"]["error"] == "connection"
        assert not SenderLock(source.folder).take()
    wait_for(lambda: not read_status(source.folder)["held"])
