"""``hush diff``: what changed between two runs, by the seconds that it made out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.cli import exits
from hush.cli.opening import open_named
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.cli.refusal import Refusal
from hush.cli.tables import Column, Table
from hush.insight.diff import diff as compare
from hush.insight.outcome import is_ours, outcome_of
from hush.insight.wording import counted, format_cost, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from hush.insight.diff import Change, Only, TraceDiff
    from hush.insight.map_changes import MapChange
    from hush.insight.tree import TraceTree

__all__ = ("diff",)

_TELLING_S: Final = 0.001
"""A change below this is noise, whatever the run."""
_NOISE: Final = 0.005
"""And so is one below this share of the longer run."""
_DIGITS: Final = 8


def diff(
    first: str,
    second: str,
    *,
    limit: int,
    jaeger: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Compare two runs.

    Args:
        first: as for :func:`~hush.cli.opening.open_named`.
        second: likewise; differences are second minus first.
        limit: how many changes are listed of each kind.
        jaeger: base URL of a Jaeger to ask as well.
        store: path of the trace store; None as the environment says.
        as_json: print JSON.

    Returns:
        The exit code.
    """
    if limit < 1:
        raise Refusal(f"--limit {limit}: expected a number from 1")
    a = open_named(first, store=store, jaeger=jaeger)
    b = open_named(second, store=store, jaeger=jaeger)
    found = compare(a, b)
    if as_json:
        say_json(_document(a, b, found, limit))
    else:
        _print(a, b, found, limit)
    return exits.OK


def _document(a: TraceTree, b: TraceTree, found: TraceDiff, limit: int) -> dict[str, object]:
    return {
        "trace_a": a.trace_id,
        "trace_b": b.trace_id,
        "duration_a_s": a.duration_s,
        "duration_b_s": b.duration_s,
        "graph_a": found.graph_a,
        "graph_b": found.graph_b,
        "maps": found.maps[:limit],
        "causes": found.causes[:limit],
        "outcome_changes": found.outcome_changes[:limit],
        "only_a": found.only_a[:limit],
        "only_b": found.only_b[:limit],
        "changes_total": len(found.changes),
        "outcome_changes_total": len(found.outcome_changes),
        "only_a_total": len(found.only_a),
        "only_b_total": len(found.only_b),
        "unseen": found.unseen,
    }


def _print(a: TraceTree, b: TraceTree, found: TraceDiff, limit: int) -> None:
    place = console()
    for mark, tree in (("A", a), ("B", b)):
        root = tidy(tree.roots[0].record.name)
        took = format_duration(tree.duration_s)
        ended = f" {outcome}" if (outcome := outcome_of(tree)) else ""
        ended = ended if is_ours(tree) else " (no run of Hush)"
        say(place, f"{mark}  {tree.trace_id[:_DIGITS]}  {root}{ended} in {took}", indent=0)
    if a.trace_id == b.trace_id:
        say(place, "both are the same trace", FAINT)
        return
    if not found.same_workflow:
        names = f"'{tidy(found.graph_a)}' and '{tidy(found.graph_b)}'"
        said = f"two different workflows, {names}: what has the same name in both is compared"
        say(place, said, "yellow")
    change_s = b.duration_s - a.duration_s
    whole = f"B took {format_duration(abs(change_s))} {'longer' if change_s > 0 else 'less'}"
    share = f" ({change_s / a.duration_s:+.0%})" if a.duration_s else ""
    say(place, f"{whole}{share}", "bold")
    _maps(place, found.maps, limit)
    _outcomes(place, found.outcome_changes, limit)
    _causes(place, found, limit, max(_TELLING_S, _NOISE * max(a.duration_s, b.duration_s)))
    _alone(place, "only in A", found.only_a, limit)
    _alone(place, "only in B", found.only_b, limit)
    for path, count in found.unseen.items():
        say(
            place,
            f"{tidy(path)}: {counted(count, 'item')} with a span in one run only (the span budget)",
            FAINT,
        )


def _maps(place: Console, maps: Sequence[MapChange], limit: int) -> None:
    if not maps:
        return
    say(place)
    say(place, "maps set or fed otherwise", "bold")
    for one in maps[:limit]:
        change = _signed(one.seconds) or "no change"
        said = "; ".join(_settings(one))
        say(place, f"{tidy(one.path)}  {change}: {said}", indent=2)
    _more(place, len(maps) - limit)


def _settings(one: MapChange) -> Iterator[str]:
    a, b = one.a, one.b
    if a.max_concurrency != b.max_concurrency:
        yield f"max_concurrency {a.max_concurrency}, now {b.max_concurrency}"
    if a.items != b.items:
        yield f"{a.items:,} items, now {b.items:,}"
    if abs(b.wait_p50_s - a.wait_p50_s) > _TELLING_S:
        waits = f"{format_duration(a.wait_p50_s)}, now {format_duration(b.wait_p50_s)}"
        yield f"an item waited {waits}, for a slot (median)"
    yield f"it took {format_duration(a.seconds)}, now {format_duration(b.seconds)}"


def _outcomes(place: Console, changes: Sequence[Change], limit: int) -> None:
    if not changes:
        return
    say(place)
    say(place, "ended otherwise", "bold")
    for one in changes[:limit]:
        before, after = one.outcome_a or "none", one.outcome_b or "none"
        say(place, f"{tidy(one.path)}: {before}, now {after}", indent=2)
    _more(place, len(changes) - limit)


def _causes(place: Console, found: TraceDiff, limit: int, telling_s: float) -> None:
    causes = [one for one in found.causes if _tells(one, telling_s)]
    say(place)
    if not causes:
        what = "nothing else" if found.maps else "nothing"
        say(place, f"{what} took noticeably longer or less", FAINT)
        return
    say(place, "took longer or less, B minus A (what only contains others left out)", "bold")
    always = ["where", "time"]
    names = [*always, "queue", "run", "backoff", "tries", "tokens", "cost"]
    told = [_row(one) for one in causes[:limit]]
    # A column without a change tells nothing.
    kept = [at for at, name in enumerate(names) if name in always or any(row[at] for row in told)]
    shown = Table([Column(names[at], "right" if at else "name") for at in kept])
    for row, one in zip(told, causes, strict=False):
        style = "red" if one.own_s > 0 else "green"
        shown.add(*(row[at] for at in kept), style=style if abs(one.own_s) > _TELLING_S else "")
    shown.print(place)
    _more(place, len(causes) - limit)


def _tells(one: Change, telling_s: float) -> bool:
    return abs(one.seconds) >= telling_s or one.tries_a != one.tries_b or _tokens(one) != 0


def _tokens(one: Change) -> int:
    return one.tokens_input + one.tokens_output + one.tokens_wasted


def _row(one: Change) -> list[str]:
    tokens = _tokens(one)
    cost = one.cost_usd or 0.0
    return [
        tidy(one.path),
        _signed(one.seconds),
        _signed(one.queue_s),
        _signed(one.run_s),
        _signed(one.backoff_s),
        f"{one.tries_a} to {one.tries_b}" if one.tries_a != one.tries_b else "",
        f"{tokens:+,}" if tokens else "",
        f"{'-' if cost < 0 else '+'}{format_cost(abs(cost))}" if cost else "",
    ]


def _signed(seconds: float) -> str:
    if abs(seconds) < _TELLING_S:
        return ""
    return f"{'-' if seconds < 0 else '+'}{format_duration(abs(seconds))}"


def _alone(place: Console, title: str, alone: Sequence[Only], limit: int) -> None:
    if not alone:
        return
    say(place)
    say(place, title, "bold")
    for one in _folded(alone)[:limit]:
        spans = f", {one.spans:,} spans" if one.spans > 1 else ""
        why = ", skipped in the other" if one.skipped else ""
        outcome = f" {one.outcome}" if one.outcome else ""
        say(
            place,
            f"{tidy(one.path)}{outcome}, {format_duration(one.seconds)}{spans}{why}",
            indent=2,
        )
    _more(place, len(_folded(alone)) - limit)


def _folded(alone: Sequence[Only]) -> list[Only]:
    """Make one line of the items of a map that are in one of the runs only."""
    folded: dict[str, list[Only]] = {}
    for one in alone:
        path = one.path.rpartition("[")[0] if one.kind == semconv.SPAN_ITEM else one.path
        folded.setdefault(path, []).append(one)
    return [
        these[0]
        if len(these) == 1
        else replace(
            these[0],
            path=f"{path}, {len(these):,} items",
            outcome=None,
            seconds=sum(one.seconds for one in these),
            spans=sum(one.spans for one in these),
            skipped=False,
        )
        for path, these in folded.items()
    ]


def _more(place: Console, count: int) -> None:
    if count > 0:
        say(place, f"  and {count:,} more: --limit shows more of them", FAINT)
