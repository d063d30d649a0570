"""The processor that writes spans into the local store: it loses nothing silently, and no run
notices it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from hush.core import END, PARENT, START, GraphNode, Hush, code_node
from hush.export.trace_store import TraceStoreProcessor
from hush.insight.record import SpanRecord
from hush.insight.store import TraceStore
from hush.observe.tracing import override_provider
from hush.testing import capture_spans
from tests.export.spans import wait_for
from tests.insight.records import report, same

ROOT = Path(__file__).parents[2]


class Stuck(TraceStore):
    """A store whose disk answers only when it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = threading.Event()
        self.called = threading.Event()

    def add(self, records: Iterable[SpanRecord]) -> int:
        self.called.set()
        self.go_on.wait(30)
        return super().add(records)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "traces.sqlite3"


@pytest.fixture
def processor(path: Path) -> Iterator[TraceStoreProcessor]:
    made = TraceStoreProcessor(TraceStore(path))
    yield made
    made.shutdown()


def provider_of(processor: TraceStoreProcessor, **options: object) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(processor)
    return provider


def ended(tracer: trace.Tracer, count: int) -> None:
    with tracer.start_as_current_span("root"):
        for number in range(count - 1):
            tracer.start_span(f"child {number}").end()


async def test_run_is_in_the_store_as_it_was_captured(processor: TraceStoreProcessor):
    with capture_spans(processors=[processor]) as capture:
        await Hush(report()).run(inputs={"items": list(range(8))})
        assert processor.force_flush(20_000)
        tree = processor.store.trace("last")

    assert same({n.record.span_id: n.record for n in tree}, {s.span_id: s for s in capture.spans})
    (summary,) = processor.store.traces()
    assert (summary.graph, summary.partial_failure, summary.complete) == ("report", True, True)
    assert (processor.written, processor.dropped) == (len(capture.spans), 0)


def test_finished_root_is_written_without_a_flush(processor: TraceStoreProcessor, path: Path):
    ended(provider_of(processor).get_tracer("t"), 3)

    with TraceStore(path) as reader:
        wait_for(lambda: [one.spans for one in reader.traces()] == [3])


def test_spans_of_a_long_run_are_written_while_it_runs(processor: TraceStoreProcessor, path: Path):
    tracer = provider_of(processor).get_tracer("t")

    with tracer.start_as_current_span("root"), TraceStore(path) as reader:
        tracer.start_span("child").end()
        wait_for(lambda: [one.complete for one in reader.traces()] == [False])


def test_what_is_not_sampled_is_not_kept(processor: TraceStoreProcessor, path: Path):
    ended(provider_of(processor, sampler=ALWAYS_OFF).get_tracer("t"), 3)

    assert processor.force_flush()
    assert not path.exists()


def test_20_000_spans_from_threads_lose_none(processor: TraceStoreProcessor):
    tracer = provider_of(processor).get_tracer("t")
    threads = [threading.Thread(target=ended, args=(tracer, 5_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert processor.force_flush(40_000)

    assert [one.spans for one in processor.store.traces()] == [5_000] * 4
    assert processor.dropped == 0


def test_full_queue_drops_counts_and_is_told_once(path: Path, caplog: pytest.LogCaptureFixture):
    store = Stuck(path)
    processor = TraceStoreProcessor(store, queue_size=10)
    tracer = provider_of(processor).get_tracer("t")
    tracer.start_span("first").end()
    store.called.wait(20)

    with caplog.at_level(logging.WARNING):
        begin = time.monotonic()
        for number in range(1_000):
            tracer.start_span(f"s{number}").end()
        took = time.monotonic() - begin
    store.go_on.set()
    assert processor.force_flush(20_000)
    processor.shutdown()

    assert took < 5  # nobody waited for the disk
    assert processor.dropped == 990
    assert processor.written == 11
    assert caplog.text.count("spans are lost to the local trace store") == 1
    assert "why='the queue is full'" in caplog.text


def test_store_that_cannot_be_written_costs_spans_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("x")
    processor = TraceStoreProcessor(TraceStore(tmp_path / "file" / "t.sqlite3"))
    tracer = provider_of(processor).get_tracer("t")

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            ended(tracer, 5)
            assert not processor.force_flush(20_000)
        processor.shutdown()

    assert (processor.dropped, processor.written) == (15, 0)
    assert caplog.text.count("spans are lost to the local trace store") == 1
    assert "TraceStoreError" in caplog.text
    assert "HUSH_TRACE_STORE" in caplog.text


def test_log_that_raises_is_not_noticed(tmp_path: Path):
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no log")

    processor = TraceStoreProcessor(TraceStore(tmp_path))  # a folder
    logger = logging.getLogger("hush.traces")
    handler = Broken()
    logger.addHandler(handler)
    try:
        ended(provider_of(processor).get_tracer("t"), 2)
        assert not processor.force_flush(20_000)
        ended(provider_of(processor).get_tracer("t"), 2)
        assert not processor.force_flush(20_000)
    finally:
        logger.removeHandler(handler)
        processor.shutdown()
    assert processor.dropped == 4


def test_flush_and_shutdown_are_bounded(path: Path, caplog: pytest.LogCaptureFixture):
    store = Stuck(path)
    processor = TraceStoreProcessor(store)
    tracer = provider_of(processor).get_tracer("t")
    tracer.start_span("first").end()
    store.called.wait(20)
    ended(tracer, 7)

    begin = time.monotonic()
    assert not processor.force_flush(100)
    with caplog.at_level(logging.WARNING):
        processor.shutdown()
    took = time.monotonic() - begin
    store.go_on.set()

    assert took < 10
    assert processor.dropped == 8
    assert "did not take them in time" in caplog.text


def test_shutdown_writes_what_is_queued_and_ends_it(processor: TraceStoreProcessor, path: Path):
    tracer = provider_of(processor).get_tracer("t")
    ended(tracer, 100)
    processor.shutdown()
    processor.shutdown()
    ended(tracer, 100)

    assert processor.force_flush(100)
    with TraceStore(path) as reader:
        assert [one.spans for one in reader.traces()] == [100]


def test_nothing_is_started_before_the_first_span(processor: TraceStoreProcessor, path: Path):
    before = threading.active_count()
    provider_of(processor)

    assert processor.force_flush()
    processor.shutdown()

    assert threading.active_count() == before
    assert not path.parent.exists()


def test_queue_needs_room():
    with pytest.raises(ValueError, match="queue_size=0"):
        TraceStoreProcessor(queue_size=0)


def test_default_store(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HUSH_TRACE_STORE", str(path))

    assert TraceStoreProcessor().store.path == path


def test_writing_is_not_itself_traced(path: Path):
    seen: list[object] = []

    class Watched(TraceStore):
        def add(self, records: Iterable[SpanRecord]) -> int:
            seen.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return super().add(records)

    processor = TraceStoreProcessor(Watched(path))
    ended(provider_of(processor).get_tracer("t"), 2)
    processor.force_flush(20_000)
    processor.shutdown()

    assert seen == [True]


async def test_broken_store_never_breaks_a_run(tmp_path: Path):
    @code_node
    def double(x: int) -> dict[str, int]:
        return {"y": 2 * x}

    with GraphNode(name="g") as graph:
        START >> double(inputs={"x": PARENT}, outputs={"y": PARENT}) >> END
    processor = TraceStoreProcessor(TraceStore(tmp_path))
    with override_provider(provider_of(processor)):
        result = await Hush(graph).run(inputs={"x": 2})
    processor.force_flush(20_000)
    processor.shutdown()

    assert result["y"] == 4
    assert processor.dropped == 2


# --- processes -----------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time, warnings
# From Python 3.12 on forking beside a thread is deprecated; here it is what is tested.
warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
from opentelemetry.sdk.trace import TracerProvider
from hush.export.trace_store import TraceStoreProcessor
from hush.insight.store import TraceStore
processor = TraceStoreProcessor(TraceStore(sys.argv[1]))
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
def run(name, spans=10):
    with tracer.start_as_current_span(name):
        for number in range(spans - 1):
            tracer.start_span("child").end()
"""


def script(path: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT + code, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_end_of_the_process_writes_what_is_queued(path: Path):
    process = script(path, "with tracer.start_as_current_span('x'): pass\nrun('last', 3_000)")
    _, err = process.communicate(timeout=50)

    assert (process.returncode, err) == (0, "")
    with TraceStore(path) as store:
        assert sorted(one.spans for one in store.traces()) == [1, 3_000]


def test_end_of_the_process_waits_for_a_stuck_store_a_second_only(path: Path):
    process = script(
        path,
        "TraceStore.add = lambda self, records: time.sleep(60)\n"
        "run('lost')\nprint(time.monotonic(), flush=True)",
    )
    out, err = process.communicate(timeout=50)
    took = time.monotonic() - float(out)

    assert process.returncode == 0
    assert took < 10
    # Without any handler logging shows warnings on stderr.
    assert "did not take them in time" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_begins_anew(path: Path):
    process = script(
        path,
        """
run('parent')
processor.force_flush()
with tracer.start_as_current_span('before the fork'):
    pass
child = os.fork()
if not child:
    run('child')
    assert processor.written == 0
    print(processor.force_flush(20_000), processor.written, processor.dropped)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
run('after')
""",
    )
    out, err = process.communicate(timeout=50)

    assert (process.returncode, err, out) == (0, "", "True 10 0\n")
    with TraceStore(path) as store:
        names = {one.name: one.spans for one in store.traces()}
    assert names == {"parent": 10, "before the fork": 1, "child": 10, "after": 10}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_of_multiprocessing_write_before_they_end(path: Path):
    process = script(
        path,
        """
import multiprocessing
run('parent', 2)
children = [
    multiprocessing.get_context('fork').Process(target=run, args=(f'child {number}', 3_000))
    for number in range(3)
]
for child in children:
    child.start()
for child in children:
    child.join()
""",
    )
    _, err = process.communicate(timeout=50)

    assert (process.returncode, err) == (0, "")
    with TraceStore(path) as store:
        assert sorted(one.spans for one in store.traces()) == [2, 3_000, 3_000, 3_000]


def test_forking_while_it_writes_hangs_nobody(path: Path):
    process = script(
        path,
        """
for number in range(20):
    run(f'parent {number}', 200)
    child = os.fork()
    if not child:
        run(f'child {number}')
        os._exit(0 if processor.force_flush(30_000) else 1)
    assert os.waitpid(child, 0)[1] == 0
""",
    )
    _, err = process.communicate(timeout=50)

    assert (process.returncode, err) == (0, "")
    with TraceStore(path) as store:
        traces = store.traces(limit=None)
    assert sorted({one.spans for one in traces}) == [10, 200]
    assert len(traces) == 40


def test_killed_process_has_written_all_but_the_last_moment(path: Path):
    process = script(
        path,
        """
with tracer.start_as_current_span('root'):
    for number in range(10**9):
        tracer.start_span('child').end()
        if number == 2_000:
            processor.force_flush()
            print('there', flush=True)
""",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()

    with TraceStore(path) as store:
        (summary,) = store.traces()
        assert summary.spans >= 2_001
        assert not summary.complete
        assert len(store.trace("last")) == summary.spans


def test_who_wants_to_know_of_losses_is_told_once_instead_of_the_log(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    processor = TraceStoreProcessor(TraceStore(tmp_path / "file" / "traces.sqlite3"))
    told = []
    processor.on_loss = lambda why, error: told.append((why, str(error)))
    provider = TracerProvider()
    provider.add_span_processor(processor)
    for _ in range(2):
        provider.get_tracer("x").start_span("a").end()
        processor.force_flush()
    provider.shutdown()

    ((why, error),) = told
    assert why == "the trace store cannot be written"
    assert "make room or mend the path" in error
    assert not caplog.records
