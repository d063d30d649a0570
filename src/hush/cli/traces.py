"""``hush traces``: what is in the trace store, a line for each trace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.cli import exits
from hush.cli.opening import checked_store
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.cli.reading import read_duration, read_since
from hush.cli.refusal import Refusal
from hush.cli.tables import Column, Table
from hush.insight.outcome import OUTCOMES, PARTIAL
from hush.insight.store import TraceStore
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.insight.store import TraceSummary

__all__ = ("traces",)

_LEAST_DIGITS: Final = 8
_STYLES: Final = {
    semconv.OUTCOME_OK: "green",
    PARTIAL: "yellow",
    semconv.OUTCOME_ERROR: "bold red",
    semconv.OUTCOME_TIMEOUT: "bold red",
    semconv.OUTCOME_CANCELLED: FAINT,
}


def traces(
    *,
    graph: str | None,
    outcome: str | None,
    min_duration: str | None,
    since: str | None,
    limit: int,
    store: str | None,
    as_json: bool,
) -> int:
    """List traces, the newest first.

    Args:
        graph: only runs of the graph of this name.
        outcome: only those that ended so.
        min_duration: only those that took so long.
        since: only those that started since.
        limit: how many at most.
        store: path of the trace store; None as the environment says.
        as_json: print JSON.

    Returns:
        The exit code.
    """
    if limit < 1:
        raise Refusal(f"--limit {limit}: expected a number from 1")
    if outcome is not None and outcome not in OUTCOMES:
        raise Refusal(f"--outcome {outcome!r}: use one of {', '.join(OUTCOMES)}")
    least_s = None if min_duration is None else read_duration(min_duration, "--min-duration")
    earliest = None if since is None else read_since(since)
    with TraceStore(checked_store(store)) as opened:
        found = opened.traces(
            graph=graph, outcome=outcome, min_duration_s=least_s, since=earliest, limit=limit
        )
        nothing = not found and not opened.traces(limit=1)
    if as_json:
        listed = [_summary(one) for one in found]
        say_json({"store": str(opened.path), "traces": listed})
        return exits.OK
    place = console()
    if found:
        _print(found)
    elif nothing:
        said = f"{tidy(opened.path)} is empty: hush run module:graph stores a run"
        say(place, said, wrap=False)
    else:
        say(place, "no trace is like that; without filters hush traces lists all")
    return exits.OK


def _summary(one: TraceSummary) -> dict[str, object]:
    started = datetime.fromtimestamp(one.start_ns / 1e9, UTC)
    return {
        "trace_id": one.trace_id,
        "graph": one.graph,
        "name": one.name,
        "started": started.isoformat(timespec="milliseconds"),
        "start_ns": one.start_ns,
        "end_ns": one.end_ns,
        "duration_s": one.duration_s,
        "outcome": one.word,
        "partial_failure": one.partial_failure,
        "spans": one.spans,
        "complete": one.complete,
    }


def _print(found: Sequence[TraceSummary]) -> None:
    from rich.text import Text  # noqa: PLC0415  # see console

    digits = _digits([one.trace_id for one in found])
    shown = Table(
        (
            Column("trace", "left"),
            Column("started", "left"),
            Column("graph", "name"),
            Column("outcome", "left"),
            Column("took"),
            Column("spans", "extra"),
        )
    )
    now = datetime.now().astimezone()
    for one in found:
        outcome = one.word or "unknown"
        shown.add(
            one.trace_id[:digits],
            _when(one.start_ns, now),
            tidy(one.graph or one.name or "?"),
            Text(outcome, _STYLES.get(outcome, "")),
            format_duration(one.duration_s),
            f"{one.spans:,}",
        )
    shown.print(console())


def _digits(ids: Sequence[str]) -> int:
    """Return how many digits tell these ids apart."""
    digits = _LEAST_DIGITS
    while digits < len(ids[0]) and len({one[:digits] for one in ids}) < len(set(ids)):
        digits += 1
    return digits


def _when(start_ns: int, now: datetime) -> str:
    """Return the local time, without the day where it is today's."""
    start = datetime.fromtimestamp(start_ns / 1e9).astimezone()
    if start.date() == now.date():
        return start.strftime("%H:%M:%S")
    return start.strftime("%b %d %H:%M" if start.year == now.year else "%Y-%m-%d")
