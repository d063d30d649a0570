"""Where the trace of a run goes, whether it arrived, and with which words to ask it.

A hint must lead to the trace of this very run: by its id and not by ``last``, which may be
somebody else's by then, and with the store or the Jaeger that it really is in.
"""

from __future__ import annotations

import logging
import re
import shlex
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from hush.errors import text_of
from hush.insight.source_errors import TraceStoreError
from hush.insight.store import TraceStore, default_path
from hush.log import EVENT
from hush.observe.exporters import receiver_named
from hush.observe.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hush.observe.configuration import Telemetry

__all__ = ("Destination",)

_LOGGERS: Final = ("opentelemetry", "hush")
_JAEGER_PORT: Final = 16686
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")
"""What the operating system said, within what the libraries around it make of that."""
_MOST: Final = 200
"""Characters of what an exporter says of its failure."""


class Destination(logging.Handler):
    """Follows the spans of one run until they are where they belong.

    As a handler of logs it listens to the exporters, whose failures nothing else tells.

    Attributes:
        store: the file that the trace is in; None where it is in none.
        receiver: the address that it was sent to; None where it was sent to none, or where
            only the workflow's own code knows.
        problem: what went wrong, in a sentence; empty where nothing did.
        arrived: whether all that was flushed is where it belongs, as far as it is known;
            to be set by who flushes.
    """

    def __init__(self, telemetry: Telemetry, store: str | None) -> None:
        """Follow nothing yet.

        Args:
            telemetry: what is set up.
            store: as given with ``--store``; None where it was not.
        """
        super().__init__(logging.WARNING)
        self._named = store
        self._writer = settings.store
        self._kept_before = 0 if self._writer is None else self._writer.written
        self._owned = telemetry.owned
        self._provider = telemetry.provider
        self._reason = ""
        self._failed = False
        self._spool = telemetry.spool
        self.arrived = True
        self.store: Path | None = None
        self.receiver: str | None = None
        self.problem = ""

    def __enter__(self) -> Self:
        """Begin to listen."""
        if self._writer is not None:
            self._writer.on_loss = self._lost
        if self._exports:
            for name in _LOGGERS:
                logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End it; whatever was to be sent has been sent by now."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)
        if self._writer is not None:
            if self._writer.written > self._kept_before:
                self.store = self._writer.store.path
            if self.problem:
                lost = self._writer.dropped
                much = f"{lost:,} spans are lost" if self.store else "not kept"
                self.problem = f"{much}: {self.problem}"
        if not self._exports:
            return
        said = f" ({self._reason})" if self._reason else ""
        if self._spool is not None and not self.arrived and said:
            self.problem = (
                f"not sent yet: {receiver_named()} does not take it{said}; it waits in "
                f"{self._spool} and is sent when the next run finds the receiver there"
            )
        elif self._failed:
            self.problem = f"not sent: {receiver_named()} did not take it{said}"
        else:
            self.receiver = receiver_named()

    @property
    def _exports(self) -> bool:
        # What a module has set up itself is its own business.
        return self._owned and receiver_named() is not None and hasattr(self._provider, "sampler")

    def tells(self, record: logging.LogRecord) -> bool:
        """Say whether what a line of the log is about is told by :attr:`problem`."""
        if not self._exports:
            return False
        data = getattr(record, EVENT, None)
        return "spool" in data if data is not None else record.name.startswith("opentelemetry")

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of an exporter's log, or of the spool's."""
        data = getattr(record, EVENT, None)
        if data is not None:
            if "spool" in data:
                self._reason = str(data.get("error") or data.get("event"))[:_MOST]
            return
        text = " ".join(record.getMessage().split())
        if record.levelno >= logging.ERROR:
            self._failed = True
        known = _ERRNO.findall(text)
        if known:
            self._reason = known[-1]
        elif not self._reason or record.levelno < logging.ERROR:
            self._reason = text if len(text) <= _MOST else f"{text[:_MOST]}..."

    def _lost(self, why: str, error: Exception | None) -> None:
        self.problem = why if error is None else text_of(error)

    def hints(self, trace_id: str, commands: Sequence[str]) -> list[str]:
        """Return commands that ask this very trace.

        Args:
            trace_id: the trace's.
            commands: such as ``hush why``.

        Returns:
            Whole commands, the same number; none where nobody knows where to ask.
        """
        if self.store is not None:
            return [f"{one} {self._short(trace_id)}{self._option()}" for one in commands]
        host = urlsplit(self.receiver or "").hostname
        if host is None:
            return []
        # The address of its queries cannot be known; this is where Jaeger has it by default.
        jaeger = f"http://{f'[{host}]' if ':' in host else host}:{_JAEGER_PORT}"
        return [f"{one} {trace_id} --jaeger {jaeger}" for one in commands[:1]]

    def _short(self, trace_id: str) -> str:
        try:
            with TraceStore(self.store) as opened:
                return opened.short_id(trace_id)
        except (TraceStoreError, OSError):
            return trace_id

    def _option(self) -> str:
        if self._named is not None:
            return f" --store {shlex.quote(self._named)}"
        if self.store is None or self.store == default_path():
            return ""
        return f" --store {shlex.quote(str(self.store))}"
