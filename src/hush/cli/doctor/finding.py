"""Whether a span that a receiver has taken can be found in Jaeger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hush.cli.doctor.check import Check
from hush.errors import text_of
from hush.export.place import shown
from hush.insight.formats.jaeger_api import fetch_trace
from hush.insight.source_errors import TraceBackendError, TraceNotFoundError
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("look_for",)

_LOOK_S: Final = 0.5
_ANSWER_S: Final = 5.0
_QUERY_PORT: Final = 16_686


def look_for(trace_id: str, receiver: str, jaeger: str | None, wait_s: float) -> Iterator[Check]:
    """Look for a trace that a receiver has taken.

    Args:
        trace_id: its id, 32 hex digits.
        receiver: the receiver's address.
        jaeger: base URL of the Jaeger to look in; None tries the receiver's host.
        wait_s: for how long to look, in seconds.
    """
    base = jaeger or _guessed(receiver)
    facts = {"trace_id": trace_id, "jaeger": shown(base)}
    began = time.monotonic()
    while True:
        try:
            fetch_trace(base, trace_id, timeout_s=_ANSWER_S)
        except TraceNotFoundError:
            if time.monotonic() - began > wait_s:
                break
            time.sleep(_LOOK_S)
        except TraceBackendError as error:
            said = f"whether it was kept is not known: {text_of(error)}"
            if jaeger is None:
                remedy = "give the address of Jaeger's UI with --jaeger"
                yield Check("found again", "note", said, remedy, facts)
            else:
                remedy = "mend the address after --jaeger"
                yield Check("found again", "warning", said, remedy, facts)
            return
        else:
            took = format_duration(time.monotonic() - began)
            said = f"Jaeger at {shown(base)} has it, {took} later"
            yield Check("found again", "ok", said, facts=facts)
            return
    yield Check(
        "found again",
        "warning",
        f"Jaeger at {shown(base)} has not got the span within {format_duration(wait_s)}",
        "where a collector samples, an ordinary trace may be left out, and is seen only when that "
        "is decided: look again with --wait 60s, and see that Jaeger is what the receiver sends to",
        facts,
    )


def _guessed(receiver: str) -> str:
    host = urlsplit(receiver).hostname or "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{_QUERY_PORT}"
