"""Which format a parsed document has is told by what it holds, never by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hush.insight.formats.jaeger_json import read_traces
from hush.insight.formats.json_reading import reading
from hush.insight.formats.otlp_json import read_request

if TYPE_CHECKING:
    from hush.insight.formats.json_reading import Place
    from hush.insight.record import SpanRecord

__all__ = ("read_document",)

_SPANS: Final = "resourceSpans"
# A collector may write all of its signals into one file.
_OTHER_SIGNALS: Final = ("resourceLogs", "resourceMetrics", "resourceProfiles")


def read_document(top: Place) -> list[SpanRecord]:
    """Read the spans of a document in OTLP JSON or Jaeger JSON.

    Args:
        top: where it stands.

    Returns:
        Its spans in their order; none of a document that holds only logs or metrics.

    Raises:
        TraceFormatError: it is in neither format, or is damaged; the message names the place.
    """
    with reading(str(top)):
        return _read(top)


def _read(top: Place) -> list[SpanRecord]:
    if top.has(_SPANS):
        return read_request(top)
    if top.has("result"):  # as Jaeger's newer API answers
        return read_request(top.member("result"))
    if top.has("data", "spans"):
        return read_traces(top)
    if isinstance(top.value, list):
        return [record for member in top.members() for record in _read(member)]
    if top.has(*_OTHER_SIGNALS):
        return []
    raise top.wrong("OTLP JSON (with 'resourceSpans') or Jaeger JSON (with 'data')")
