"""When spans end faster than the disk takes them: new runs wait, and nothing is dropped."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Hush, MapNode
from hush.export import span_spool
from hush.export.counts import counts
from hush.export.pressure import wait_for_room
from hush.export.spool import Spool
from hush.observe.tracing import override_provider
from tests.export.collector import NOBODY, collecting
from tests.export.spans import Source, assert_all_once, sending, wait_for

MIB = 1024 * 1024


class Disk:
    """A disk that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = threading.Event()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    real, made = Spool.write, Disk()

    def write(self, payload):
        made.asked.set()
        assert made.go_on.wait(50)
        return real(self, payload)

    monkeypatch.setattr(Spool, "write", write)
    yield made
    made.go_on.set()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not taken for a disk that stands still."""
    monkeypatch.setattr(span_spool, "STALLED_S", 20.0)


def engine() -> Hush:
    with GraphNode(name="g") as graph:
        START >> CodeNode(name="n", code_fn=lambda: {"y": 1}, outputs={"y": PARENT}) >> END
    return Hush(graph)


def crowd(source: Source, disk: Disk) -> None:
    source.end(1)
    assert disk.asked.wait(20)
    source.end(60)
    assert source.processor.crowded()


@pytest.mark.usefixtures("patient")
async def test_a_run_waits_until_there_is_room(tmp_path: Path, disk: Disk):
    ended: list[float] = []

    async def run() -> None:
        await engine().run()
        ended.append(time.monotonic())

    with sending(NOBODY, tmp_path, queue_size=100, start_wait_s=50) as source:
        crowd(source, disk)
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.sleep(0.3)
            assert ended == []
            disk.go_on.set()
        assert len(ended) == 1
    assert counts.held_runs == 1
    assert counts.dropped == {}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("start_wait_s", "deadline_s"), [(0.2, None), (50, 0.2), (0, None)])
async def test_the_wait_is_bounded(
    tmp_path: Path, disk: Disk, start_wait_s: float, deadline_s: float | None
):
    with sending(NOBODY, tmp_path, queue_size=100, start_wait_s=start_wait_s) as source:
        crowd(source, disk)
        with anyio.fail_after(20):
            result = await engine().run(deadline_s=deadline_s)
        assert result["y"] == 1
        disk.go_on.set()


async def test_no_run_waits_for_a_disk_that_refuses_while_the_receiver_is_away(tmp_path: Path):
    # The limit of the test's own clock would end before any wait for room did.
    options = {"queue_size": 100, "start_wait_s": 500}
    with sending(NOBODY, tmp_path, **options) as source:
        shutil.rmtree(tmp_path)
        tmp_path.write_text("no folder can be made where a file is")
        source.end(200)
        wait_for(lambda: source.outbox.memory.trouble and counts.failures)
        wait_for(lambda: source.outbox.memory.count >= 50)
        with anyio.fail_after(20):
            for _ in range(3):
                await engine().run()
    assert counts.held_runs == 0


@pytest.mark.usefixtures("patient")
async def test_runs_wait_for_a_disk_that_refuses_while_the_receiver_takes_all(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path, queue_size=2_000) as source:
        shutil.rmtree(tmp_path)
        tmp_path.write_text("no folder can be made where a file is")
        for _ in range(40):
            await wait_for_room()
            source.end(200)
        wait_for(lambda: len(collector.stored) == 8_000)
        assert_all_once(collector, source)
    assert counts.held_runs > 0


async def test_who_chose_to_block_waits_for_a_disk_that_refuses(tmp_path: Path):
    with sending(NOBODY, tmp_path, queue_size=100, when_full="block") as source:
        shutil.rmtree(tmp_path)
        tmp_path.write_text("no folder can be made where a file is")
        source.end(200)
        wait_for(lambda: source.outbox.memory.count >= 50)
        with anyio.move_on_after(0.3) as scope:
            await engine().run()
        assert scope.cancelled_caught


async def test_only_the_first_run_waits_for_a_disk_that_stands_still(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(span_spool, "STALLED_S", 0.2)
    with sending(NOBODY, tmp_path, queue_size=100, start_wait_s=500) as source:
        crowd(source, disk)
        with anyio.fail_after(20):
            await engine().run()
            assert counts.held_runs == 1
            for _ in range(3):
                await engine().run()
        assert counts.held_runs == 1
        disk.go_on.set()


@pytest.mark.usefixtures("patient")
async def test_the_wait_can_be_cancelled(tmp_path: Path, disk: Disk):
    with sending(NOBODY, tmp_path, queue_size=100, start_wait_s=50) as source:
        crowd(source, disk)
        with anyio.move_on_after(0.2) as scope:
            await engine().run()
        assert scope.cancelled_caught
        disk.go_on.set()


async def test_a_full_spool_that_blocks_holds_runs_for_as_long_as_it_takes(tmp_path: Path):
    options = {"max_bytes": 1024 * 1024, "when_full": "block", "start_wait_s": 0.0}
    with sending(NOBODY, tmp_path, **options) as source:
        for _ in range(40):
            source.end(1, "x" * 30_000)
        wait_for(source.outbox.full)
        with anyio.move_on_after(0.3) as scope:
            await engine().run()
        assert scope.cancelled_caught
        for path in source.files():
            path.unlink()
        with anyio.fail_after(20):
            await engine().run()


async def test_runs_that_end_spans_faster_than_they_are_written_lose_none(tmp_path: Path):
    with GraphNode(name="many") as graph:
        with MapNode(name="m", inputs={"x": Each(range(300))}, span_budget=None) as each:
            START >> CodeNode(name="n", code_fn=lambda x: {}, inputs={"x": PARENT}) >> END
        START >> each >> END
    many = Hush(graph)
    with collecting() as collector, sending(collector, tmp_path, queue_size=400) as source:
        with override_provider(source.provider):
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(many.run)
        with anyio.fail_after(40):
            while len(collector.stored) < 6 * 602:
                await anyio.sleep(0.01)
        assert source.processor.force_flush(20_000)
        assert len(collector.stored) == 6 * 602
        assert collector.twice == 0
    assert counts.dropped == {}


def test_a_tight_loop_loses_none(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path, queue_size=1_000) as source:
        source.end(20_000)
        assert source.processor.force_flush(40_000)
        assert sorted(collector.stored) == sorted(source.ids)
    assert counts.dropped == {}
    assert source.processor._queue.__len__() == 0


def test_ending_a_span_never_waits_for_a_disk_that_stands_still(tmp_path: Path, disk: Disk):
    with sending(NOBODY, tmp_path, queue_size=100, exit_s=0.1) as source:
        source.end(1)
        assert disk.asked.wait(20)
        began = time.monotonic()
        source.end(1_000)
        assert time.monotonic() - began < 20
        assert counts.dropped_for("queue_full") > 0
        disk.go_on.set()
    kept = source.spans_on_disk()
    assert kept + sum(counts.dropped.values()) == 1_001


# --- a disk that stands still ---------------------------------------------------------------------


def test_the_end_does_not_wait_for_a_disk_that_stands_still(tmp_path: Path, disk: Disk):
    with sending(NOBODY, tmp_path, exit_s=0.1) as source:
        source.end(5)
        assert disk.asked.wait(20)
        source.end(60)
        began = time.monotonic()
        assert not source.processor.force_flush(200)
        source.provider.shutdown()
        assert time.monotonic() - began < 25
        assert not disk.go_on.is_set()
    # What the writer had in hand is counted as well.
    assert counts.dropped == {("traces", "exit"): 65}


def test_what_a_disk_does_not_take_in_time_is_sent_from_memory_once(tmp_path: Path, disk: Disk):
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(5)
        assert disk.asked.wait(20)
        wait_for(lambda: len(collector.stored) == 5)
        disk.go_on.set()
        source.end(5)
        wait_for(lambda: not source.outbox.memory.trouble)
        assert source.processor.force_flush(20_000)
        assert source.files() == []
        assert_all_once(collector, source)


def test_no_flush_waits_for_a_disk_that_stands_still(tmp_path: Path, disk: Disk):
    with collecting() as collector, sending(collector, tmp_path, exit_s=0.1) as source:
        put = threading.Thread(target=source.outbox.put, args=("traces", b"", 1))
        put.start()
        assert disk.asked.wait(20)
        began = time.monotonic()
        assert not source.outbox.flush(1_000)
        # Nor does another who has something to hand over.
        assert source.outbox.put("traces", b"", 1)
        assert time.monotonic() - began < 25
        disk.go_on.set()
        put.join()


# --- large spans ----------------------------------------------------------------------------------


def test_of_large_spans_fewer_wait_for_a_disk_that_stands_still(tmp_path: Path, disk: Disk):
    options = {"batch_size": 10, "queue_bytes": MIB, "exit_s": 0.1}
    with sending(NOBODY, tmp_path, **options) as source:
        source.end(10, "x" * 30_000)
        assert disk.asked.wait(20)
        source.end(500, "x" * 30_000)
        waiting = source.processor.queued() + source.outbox.memory.count
        assert waiting * 30_000 <= MIB
        assert counts.dropped_for("queue_full") + counts.dropped_for("disk_error") == 510 - waiting
        disk.go_on.set()


def test_of_large_spans_fewer_wait_for_a_disk_that_refuses(tmp_path: Path):
    options = {"batch_size": 10, "queue_bytes": MIB}
    with sending(NOBODY, tmp_path, **options) as source:
        shutil.rmtree(tmp_path)
        tmp_path.write_text("no folder can be made where a file is")
        source.end(500, "x" * 30_000)
        wait_for(lambda: not source.processor.queued())
        wait_for(lambda: source.outbox.memory.count + sum(counts.dropped.values()) == 500)
        # One batch more while it is looked whether there is room for it.
        assert 0 < (source.outbox.memory.count - 10) * 30_000 <= MIB


def test_many_ordinary_spans_may_wait(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(1_000)
        assert source.processor.force_flush(20_000)
        assert 30_000 < source.processor._limit <= source.outbox.options.queue_size
