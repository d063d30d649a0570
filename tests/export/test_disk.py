"""The disk: full, missing, damaged, shared, somebody else's; the clock that stamps files."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hush.export import spool as spool_module
from hush.export.batch_file import (
    CorruptBatchError,
    NewerBatchError,
    Payload,
    decode,
    encode,
    name_of,
    parse_name,
)
from hush.export.counts import counts
from hush.export.options import SpoolOptions
from hush.export.outbox import open_outbox
from hush.export.place import SpoolError, default_root, folder_for
from hush.export.spool import Spool
from tests.export.collector import NOBODY, Collector, Reply, always, collecting, first
from tests.export.spans import assert_all_once, sending, wait_for

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


def batch_of(payload: Payload):
    batch = parse_name(name_of(1, 1.0, payload, len(encode(payload)), "0" * 8))
    assert batch is not None
    return batch


# --- a file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("data", [b"", b"\n", bytes(range(256)) * 50])
def test_what_is_written_is_read(encoding: str, data: bytes):
    payload = Payload("logs", 7, data, encoding)
    assert decode(encode(payload), batch_of(payload)) == payload


def test_every_cut_and_every_changed_byte_is_found():
    payload = Payload("traces", 3, b"abcdefgh" * 20)
    batch, whole = batch_of(payload), encode(payload)
    for length in range(len(whole)):
        with pytest.raises(CorruptBatchError):
            decode(whole[:length], batch)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        with pytest.raises((CorruptBatchError, NewerBatchError)):
            decode(bytes(changed), batch)


def test_a_later_format_is_told_apart_from_damage():
    payload = Payload("traces", 3, b"abc")
    newer = encode(payload).replace(b"hush-spool 1 ", b"hush-spool 2 ")
    with pytest.raises(NewerBatchError, match="format 2, known is 1"):
        decode(newer, batch_of(payload))


@pytest.mark.parametrize(
    "name",
    ["", "x.otlp", "1-2-traces-3-4-00000000.otlp", f"{1:020d}-1-spans-1-1-00000000.otlp", "lock"],
)
def test_other_files_are_none_of_ours(name: str):
    assert parse_name(name) is None


# --- damage ---------------------------------------------------------------------------------------


def test_damaged_files_are_set_aside_and_the_others_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    collector = Collector()
    with caplog.at_level(logging.WARNING, "hush.export"), sending(collector, tmp_path) as source:
        for _ in range(6):
            source.end(10)
            source.written()
        files = source.files()
        assert len(files) == 6
        os.truncate(files[1], files[1].stat().st_size // 2)
        content = bytearray(files[2].read_bytes())
        content[-5] ^= 0xFF
        files[2].write_bytes(content)
        files[3].write_bytes(b"")
        with files[4].open("ab") as file:
            file.write(b"more")
        (source.folder / "note.txt").write_text("not ours")
        collector.start()
        wait_for(lambda: not source.files() and len(counts.sent))
        assert sorted(collector.stored) == sorted(source.ids[:10] + source.ids[50:])
        assert collector.twice == 0
        assert [path.name for path in source.files("corrupt")] == [p.name for p in files[1:5]]
        assert stat.S_IMODE((source.folder / "corrupt").stat().st_mode) == 0o700
    collector.stop()
    assert counts.dropped == {("traces", "corrupt"): 40}
    assert counts.sent == {"traces": 20}
    assert caplog.text.count("a batch is damaged") == 1


def test_a_file_of_a_later_version_stays_for_it(tmp_path: Path):
    collector = Collector()
    with sending(collector, tmp_path) as source:
        for _ in range(2):
            source.end(10)
            source.written()
        first = source.files()[0]
        later = first.read_bytes().replace(b"hush-spool 1 ", b"hush-spool 2 ")
        first.write_bytes(later)
        collector.start()
        wait_for(lambda: len(source.files()) == 1)
        assert source.processor.force_flush(20_000)
        assert source.files() == [first]
        assert sorted(collector.stored) == sorted(source.ids[10:])
    collector.stop()
    assert counts.dropped == {}


def test_what_a_killed_writer_left_is_cleaned_up(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path) as source:
        gone = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"],
            capture_output=True,
            text=True,
            check=True,
        )
        source.folder.mkdir(parents=True, exist_ok=True)
        old = source.folder / f"{gone.stdout.strip()}-12345678-1.tmp"
        young = source.folder / f"{gone.stdout.strip()}-12345678-2.tmp"
        alive = source.folder / f"{os.getpid()}-12345678-1.tmp"
        label = source.folder / f"receiver.{os.getpid()}.tmp"
        other = source.folder / "theirs.tmp"
        left = (old, alive, label)
        for path in (*left, young, other):
            path.write_bytes(b"half")
        for path in (*left, other):
            os.utime(path, (time.time() - 3_600, time.time() - 3_600))
        source.end(10)
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)
        # In a container every process has the number of the one that was killed.
        assert not any(path.exists() for path in left)
        assert young.exists()
        assert other.exists()


def test_a_writer_whose_file_was_taken_for_left_writes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, slow = spool_module._write_all, []

    def written(descriptor, content):
        real(descriptor, content)
        if not slow:
            slow.append(None)
            for path in tmp_path.rglob("*.tmp"):
                path.unlink()

    monkeypatch.setattr(spool_module, "_write_all", written)
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(10)
        assert source.processor.force_flush(20_000)
        assert slow
        assert_all_once(collector, source)


def named(sequence: str, size: int | str = 10, created: int | None = None) -> str:
    created = int(time.time() * 1_000) if created is None else created
    return f"{sequence}-{created}-traces-1-{size}-deadbeef.otlp"


@pytest.mark.parametrize("sequence", ["9" * 20, str(2**63 - 1).zfill(20), str(2**62).zfill(20)])
def test_no_name_poisons_the_order(tmp_path: Path, sequence: str):
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(5)
        assert source.processor.force_flush(20_000)
        (source.folder / named(sequence)).touch()
        for _ in range(3):
            source.end(5)
            source.written()
        wait_for(lambda: not source.files() and len(collector.stored) == 20)
        assert sorted(collector.stored) == sorted(source.ids)
        assert collector.twice == 0
    assert counts.dropped == {("traces", "corrupt"): 1}


def test_a_clock_beyond_all_reason_makes_names_that_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(time, "time_ns", lambda: 3 * 10**20)
    with collecting() as collector, sending(collector, tmp_path) as source:
        for _ in range(3):
            source.end(5)
            source.written()
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)


def test_no_size_in_a_name_is_believed(tmp_path: Path):
    collector = Collector()
    with sending(collector, tmp_path, max_bytes=10**13) as source:
        for _ in range(2):
            source.end(5)
            source.written()
        (source.folder / named("1".zfill(20), "9" * 12)).write_text("x")
        (source.folder / named("2".zfill(20), 8 * MIB)).write_text("x")
        assert source.outbox.spool.content(fresh=True).disk_bytes < 9 * MIB
        collector.start()
        wait_for(lambda: not source.files())
        assert_all_once_but(collector, source.ids, {("traces", "corrupt"): 2})
    collector.stop()


def test_no_size_in_a_name_drives_out_others(tmp_path: Path):
    with sending(NOBODY, tmp_path, max_bytes=MIB) as source:
        for _ in range(2):
            source.end(5)
            source.written()
        (source.folder / named("1".zfill(20), "9" * 12)).write_text("x")
        source.outbox.memory.evict(MIB)
        assert source.spans_on_disk() == 11
        assert counts.dropped == {}


def test_what_is_no_file_is_set_aside_and_leaves_nothing_open(tmp_path: Path):
    collector = Collector()
    with sending(collector, tmp_path) as source:
        source.end(5)
        source.written()
        (source.folder / named("1".zfill(20))).mkdir()
        os.mkfifo(source.folder / named("2".zfill(20)))
        (source.folder / named("3".zfill(20))).symlink_to("/etc/passwd")
        collector.start()
        wait_for(lambda: not source.files())
        assert_all_once_but(collector, source.ids, {("traces", "corrupt"): 3})
        if Path("/proc/self/fd").exists():
            links = [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
            assert not [link for link in links if link.suffix == ".otlp"]
    collector.stop()


def assert_all_once_but(collector: Collector, ids: list[str], dropped: dict) -> None:
    assert sorted(collector.stored) == sorted(ids)
    assert collector.twice == 0
    assert counts.dropped == dropped


def test_a_file_that_cannot_be_read_at_all_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, hit = Spool.read, []

    def read(self, batch):
        hit.append(batch.name)
        if batch.name == hit[0]:
            raise MemoryError
        return real(self, batch)

    collector = Collector()
    with sending(collector, tmp_path) as source:
        for _ in range(2):
            source.end(5)
            source.written()
        monkeypatch.setattr(Spool, "read", read)
        collector.start()
        wait_for(lambda: len(collector.stored) == 5)
        wait_for(lambda: source.spans_on_disk() == 5)
    collector.stop()


def test_a_folder_that_cannot_be_forced_onto_the_disk_sends_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with collecting() as collector, sending(collector, tmp_path, sync=True) as source:
        for _ in range(5):
            source.end(5)
            source.written()
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)
    assert caplog.text.count("cannot be forced onto the disk") == 1


# --- no room --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB: a real one, where this may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if not done or done.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_disk_full_and_room_again(small_disk: Path, caplog: pytest.LogCaptureFixture):
    collector = Collector()
    with (
        caplog.at_level(logging.WARNING, "hush.export"),
        sending(collector, small_disk / "spool", queue_size=20_000) as source,
    ):
        (small_disk / "other").write_bytes(b"x" * (MIB // 2))
        source.end(10_000)
        wait_for(lambda: source.outbox.memory.trouble == "disk_full")
        wait_for(lambda: source.spans_on_disk() + source.outbox.memory.count == 10_000)
        assert source.outbox.memory.count > 0
        (small_disk / "other").unlink()
        wait_for(lambda: source.outbox.memory.count == 0)
        assert source.outbox.memory.trouble == ""
        assert source.spans_on_disk() == 10_000
        collector.start()
        wait_for(lambda: not source.files() and len(collector.stored) == 10_000)
        assert_all_once(collector, source)
    collector.stop()
    assert caplog.text.count("the spool cannot be written") == 1
    assert "No space left on device" in caplog.text


def test_disk_full_while_the_receiver_is_there_loses_nothing(small_disk: Path):
    (small_disk / "other").write_bytes(b"x" * (MIB - 64 * 1024))
    with collecting(always(Reply(delay_s=0.02))) as collector:
        with sending(collector, small_disk / "spool") as source:
            source.end(10_000)
            wait_for(lambda: len(collector.stored) == 10_000)
            assert source.processor.force_flush(20_000)
            assert_all_once(collector, source)


def test_disk_full_and_memory_full_drops_what_it_counts(small_disk: Path):
    with sending(NOBODY, small_disk / "spool", queue_size=2_000) as source:
        (small_disk / "other").write_bytes(b"x" * (MIB - 64 * 1024))
        source.end(10_000)

        def kept() -> int:
            return source.spans_on_disk() + source.outbox.memory.count

        wait_for(lambda: kept() + sum(counts.dropped.values()) == 10_000)
        assert counts.dropped_for("disk_full") > 0
        assert source.outbox.memory.count <= 2_000 + 512
        (small_disk / "other").unlink()
        wait_for(lambda: source.spans_on_disk() == 10_000 - sum(counts.dropped.values()))


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path):
    code = """
import resource, sys
from pathlib import Path
from hush.export.counts import counts
from tests.export.spans import *
with sending(sys.argv[2], Path(sys.argv[1])) as source:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    source.end(1_000)
    wait_for(lambda: source.outbox.memory.trouble == "disk_full")
    wait_for(lambda: sum(counts.sent.values()) == 1_000)
"""
    with collecting() as collector:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), collector.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        assert len(collector.stored) == 1_000
        assert collector.twice == 0


def test_a_folder_that_cannot_be_made_costs_the_guarantee_and_no_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    counts.__init__()
    with collecting() as collector, sending(collector, None) as source:
        source.end(3_000)
        wait_for(lambda: len(collector.stored) == 3_000)
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)
        assert "the spool cannot be written" in caplog.text
    with sending(NOBODY, None) as source:
        source.end(100)
    assert counts.dropped == {("traces", "disk_error"): 100}
    assert "telemetry is lost at the end of the process" in caplog.text


def test_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def nowhere():
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(SpoolError, match="HUSH_SPOOL"):
        default_root()


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path):
    with collecting() as collector, sending(collector, tmp_path) as source:
        source.end(100)
        assert source.processor.force_flush(20_000)
        shutil.rmtree(source.folder)
        source.end(100)
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)


def test_a_disk_that_fails_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, calls = spool_module._write_all, []

    def sometimes(descriptor, content):
        calls.append(None)
        if len(calls) % 3:
            os.write(descriptor, content[: len(content) // 2])
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor, content)

    monkeypatch.setattr(spool_module, "_write_all", sometimes)
    with collecting() as collector, sending(collector, tmp_path, batch_size=50) as source:
        source.end(2_000)
        wait_for(lambda: len(collector.stored) == 2_000)
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)
        assert list(source.folder.glob("*.tmp")) == []


# --- limits ---------------------------------------------------------------------------------------


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path):
    collector = Collector()
    with sending(collector, tmp_path, max_bytes=MIB) as source:
        for _ in range(60):
            source.end(100)
            source.end(1, "x" * 30_000)
            source.written_or_dropped()
        wait_for(lambda: source.outbox.spool.content(fresh=True).disk_bytes <= MIB)
        dropped = counts.dropped_for("spool_full")
        assert dropped > 0
        assert dropped % 101 == 0  # whole batches
        collector.start()
        wait_for(lambda: not source.files())
        assert len(collector.stored) + dropped == len(source.ids)
        # The newest are there, in full.
        assert sorted(collector.stored) == sorted(source.ids[dropped:])
    collector.stop()


def test_block_holds_new_batches_in_memory_until_there_is_room(tmp_path: Path):
    collector = Collector()
    with sending(collector, tmp_path, max_bytes=MIB, when_full="block") as source:
        for _ in range(60):
            source.end(100)
            source.end(1, "x" * 30_000)
        wait_for(lambda: not source.processor._queue)
        wait_for(lambda: source.outbox.full())
        assert source.outbox.memory.count > 0
        assert source.processor.crowded()
        assert counts.dropped == {}
        collector.start()
        wait_for(lambda: len(collector.stored) == len(source.ids))
        assert source.processor.force_flush(20_000)
        assert_all_once(collector, source)
        assert not source.processor.crowded()
    collector.stop()


def test_old_batches_go_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hush.export.sender.TIDY_S", 0.05)
    with sending(NOBODY, tmp_path, max_age_s=1.0) as source:
        source.end(100)
        source.written()
        wait_for(lambda: not source.files())
        source.end(100)
        wait_for(lambda: counts.dropped_for("too_old") == 200)


def test_metrics_are_too_old_sooner():
    options = SpoolOptions()
    assert options.max_age_of("metrics") == 3_600
    assert options.max_age_of("traces") == options.max_age_of("logs") == 7 * 86_400


def test_what_was_set_aside_is_bounded_too(tmp_path: Path):
    def script(request: object, number: int) -> Reply:
        return Reply(400, store=False)

    with collecting(script) as collector, sending(collector, tmp_path, max_bytes=MIB) as source:
        for _ in range(30):
            source.end(1, "x" * 30_000)
            source.processor.force_flush(20_000)
        assert counts.dropped == {("traces", "rejected"): 30}
        size = sum(path.stat().st_size for path in source.files("rejected"))
        assert 0 < size <= MIB // 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_bytes", 10),
        ("queue_size", 0),
        ("batch_size", 0),
        ("interval_s", 0),
        ("max_age_s", -1.0),
        ("exit_s", -1.0),
        ("start_wait_s", float("nan")),
        ("when_full", "explode"),
    ],
)
def test_options_that_make_no_sense(name: str, value: object):
    with pytest.raises(ValueError, match=name):
        SpoolOptions(**{name: value})


# --- the clock ------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_changes_neither_order_nor_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    offset_s = 0.0
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + offset_s)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(offset_s * 1e9))
    collector = Collector()
    with sending(collector, tmp_path) as source:
        for shift_s in (0.0, -3_600.0, -3_600.0, 30 * 86_400.0, -60.0):
            offset_s = shift_s
            source.end(20)
            source.written()
        assert len(source.files()) == 5
        sequences = [int(path.name.split("-")[0]) for path in source.files()]
        assert sequences == sorted(sequences)
        collector.start()
        wait_for(lambda: not source.files() and len(collector.stored) == 100)
        got = [span for request in collector.requests for span in request.spans]
        assert got == source.ids
        assert_all_once(collector, source)  # a month ahead for a moment: nothing was too old
    collector.stop()


def test_a_process_whose_clock_is_behind_goes_on_behind_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def spool() -> Spool:
        return Spool(tmp_path / "one", "http://h", SpoolOptions())

    first = spool().write(Payload("traces", 1, b"1"))
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 10**15)
    second = spool().write(Payload("traces", 1, b"2"))
    assert second.sequence > first.sequence
    assert spool().content().batches == (first, second)


def left_by_another(tmp_path: Path, receiver: str, born_s: float, count: int = 20) -> None:
    """Leave a batch of spans that says it was written then."""
    with sending(receiver, tmp_path, exit_s=0.0) as source:
        source.end(count)
        source.written()
        for path in source.files():
            _, _, rest = path.name.split("-", 2)
            name = f"{int(born_s * 1e9):020d}-{int(born_s * 1e3)}-{rest}"
            path.rename(path.with_name(name))


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hush.export.sender.TIDY_S", 0.05)


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("answers", [True, False])
def test_a_process_that_starts_with_its_clock_ahead_throws_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, answers: bool
):
    collector = Collector(always(Reply(503, store=False)))
    left_by_another(tmp_path, collector.url, time.time())
    if answers:
        collector.start()
    real = time.time

    class Ahead:
        """The clock of the process that reads the spool; the receiver has one of its own."""

        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return real() + 400 * 86_400

    monkeypatch.setattr("hush.export.age.time", Ahead)
    with sending(collector, tmp_path) as source:
        source.outbox.start()
        wait_for(lambda: counts.failures)
        assert source.outbox.spooled()["traces"][1] > 399 * 86_400
        time.sleep(0.3)
        source.outbox.memory.evict(None)
        assert source.spans_on_disk() == 20
    assert counts.dropped == {}
    collector.stop()


@pytest.mark.usefixtures("tidy")
def test_what_another_process_left_is_too_old_when_the_receiver_says_so_too(tmp_path: Path):
    collector = Collector(always(Reply(503, store=False)))
    left_by_another(tmp_path, collector.url, time.time() - 8 * 86_400)
    with sending(collector, tmp_path) as source:
        source.outbox.start()
        wait_for(lambda: counts.failures)
        source.outbox.memory.evict(None)
        assert source.spans_on_disk() == 20  # nobody but our own clock says so
        assert source.outbox.spooled()["traces"][1] > 7 * 86_400
        collector.start()
        wait_for(lambda: counts.dropped_for("too_old") == 20)
        wait_for(lambda: source.files() == [])
    collector.stop()


@pytest.mark.usefixtures("tidy")
def test_what_was_written_before_the_clock_was_set_is_not_too_old(tmp_path: Path):
    collector = Collector(first(3, Reply(503, store=False)))
    left_by_another(tmp_path, collector.url, 1_000.0)
    collector.start()
    with sending(collector, tmp_path) as source:
        wait_for(lambda: len(collector.stored) == 20)
        wait_for(lambda: source.files() == [])
    assert counts.dropped == {}
    collector.stop()


# --- whose folder it is ---------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, int]:
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in [folder, *folder.rglob("*")]}


def test_only_the_owner_can_read_it(tmp_path: Path):
    before = os.umask(0)
    try:
        with sending(NOBODY, tmp_path / "spool") as source:
            source.end(10)
            source.written()
            assert not source.processor.force_flush(10_000)
            found = modes(source.folder)
            assert found.pop(source.folder.name) == 0o700
            assert len(found) == 3  # a batch, the lock, the receiver's name
            assert set(found.values()) == {0o600}
            assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_folder_that_others_can_read_is_closed_to_them(tmp_path: Path):
    with sending(NOBODY, tmp_path) as source:
        folder = source.folder
    folder.chmod(0o755)
    with sending(NOBODY, tmp_path) as source:
        source.end(1)
        source.written()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def opened(path: Path):
    return open_outbox("traces", NOBODY, SpoolOptions(path=path))


def test_links_are_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SpoolError, match=r"link is a symbolic link.*HUSH_SPOOL"):
        opened(tmp_path / "link")
    inside = folder_for(tmp_path / "real", NOBODY, {})
    inside.symlink_to(tmp_path)
    with pytest.raises(SpoolError, match="is a symbolic link"):
        opened(tmp_path / "real")


def test_shared_places_and_files_are_refused(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(SpoolError, match="all users share"):
        opened(shared)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpoolError, match="is no folder"):
        opened(tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12_345, 12_345)
    with pytest.raises(SpoolError, match=r"belongs to another user \(12345\)"):
        opened(theirs)
    ours = tmp_path / "ours"
    inside = folder_for(ours, NOBODY, {})
    inside.mkdir(parents=True)
    os.chown(inside, 12_345, 12_345)
    with pytest.raises(SpoolError, match="belongs to another user"):
        opened(ours)


def test_each_receiver_and_tenant_has_a_folder(tmp_path: Path):
    def folder(url: str, **headers: str) -> Path:
        return folder_for(tmp_path, url, headers)

    one = folder("http://h:4318")
    assert one.parent == tmp_path
    assert one.name.startswith("h-4318-")
    assert one != folder("http://h:4319")
    assert one != folder("https://h:4318")
    assert one != folder("http://h:4318/other")
    assert one != folder("http://h:4318?key=1")
    assert one != folder("http://h:4318", **{"X-Scope-OrgID": "blue"})
    # Credentials may be renewed.
    for name in ("Authorization", "api-key", "x-honeycomb-team", "X-Auth-Token"):
        assert one == folder("http://h:4318", **{name: "secret"})
    assert folder("http://me:secret@h:4318") == folder("http://h:4318")
    assert "secret" not in str(folder("http://me:secret@h:4318"))


def test_batches_never_go_to_another_receiver(tmp_path: Path):
    with sending(NOBODY, tmp_path) as source:
        source.end(100)
        source.written()
        kept = source.files()
    with collecting() as collector, sending(collector, tmp_path) as other:
        other.end(100)
        assert other.processor.force_flush(20_000)
        assert sorted(collector.stored) == sorted(other.ids)
    assert source.files() == kept
