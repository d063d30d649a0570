"""Spans to be counted on their way, and the processor that sends them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from hush.export.counts import counts
from hush.export.options import SpoolOptions
from hush.export.outbox import Outbox, open_outbox
from hush.export.span_spool import SpoolingSpanProcessor
from tests.export.collector import Collector


class Source:
    """Ends spans and remembers their ids."""

    def __init__(self, processor: SpoolingSpanProcessor) -> None:
        self.processor = processor
        self.outbox: Outbox = processor.outbox
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("test")
        self.ids: list[str] = []

    def end(self, count: int, name: str = "span") -> None:
        for number in range(count):
            span = self._tracer.start_span(name, attributes={"number": number})
            span.end()
            self.ids.append(format(span.get_span_context().span_id, "016x"))

    @property
    def folder(self) -> Path:
        return self.outbox.spool.folder

    def files(self, where: str = ".") -> list[Path]:
        return sorted((self.folder / where).glob("*.otlp"))

    def written(self) -> None:
        """See that all is on the disk, whether or not it is sent."""
        self.processor.force_flush(0)
        wait_for(lambda: not self.processor._queue and not self.outbox.memory.count)
        # What the writer has taken off the queue is there once it waits again.
        wait_for(lambda: self.spans_on_disk() + sum(counts.sent.values()) >= len(self.ids))

    def written_or_dropped(self) -> None:
        """See that all is on the disk or has been dropped."""
        self.processor.force_flush(0)
        wait_for(lambda: not self.processor._queue and not self.outbox.memory.count)
        wait_for(
            lambda: (
                self.spans_on_disk() + sum(counts.sent.values()) + sum(counts.dropped.values())
                >= len(self.ids)
            )
        )

    def spans_on_disk(self, where: str = ".") -> int:
        return sum(int(path.name.split("-")[3]) for path in self.files(where))


def wait_for(condition: object, timeout_s: float = 30.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@contextlib.contextmanager
def sending(collector: Collector | str, path: Path, **options: object) -> Iterator[Source]:
    """Send to a collector by way of a spool in ``path``; counters begin at zero."""
    counts.__init__()
    url = collector if isinstance(collector, str) else collector.url
    options = {"exit_s": 0.3, **options}
    outbox = open_outbox("traces", url, SpoolOptions(path=path, **options))
    source = Source(SpoolingSpanProcessor(outbox))
    try:
        yield source
    finally:
        source.provider.shutdown()


def assert_all_once(collector: Collector, source: Source) -> None:
    """Nothing lost, nothing invented, nothing twice."""
    assert sorted(collector.stored) == sorted(source.ids)
    assert collector.twice == 0
    assert sum(counts.dropped.values()) == 0
