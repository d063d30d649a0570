"""``hush show``: one trace as a waterfall, with its critical path and its fan-ins in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.cli import exits
from hush.cli.opening import open_named, write_file
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.cli.refusal import Refusal
from hush.cli.tables import Column, Table
from hush.insight.glyphs import choose_glyphs
from hush.insight.legend import legend_of
from hush.insight.outcome import CUT_OFF, is_cut_off, is_ours, outcome_of
from hush.insight.page.places import Places, path_steps
from hush.insight.page.sentences import sentences_of
from hush.insight.summary import summarise
from hush.insight.wording import counted, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, Group

    from hush.insight.diagnosis import Diagnosis
    from hush.insight.page.places import Step
    from hush.insight.page.sentences import Sentence
    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("show",)

_MOST_STEPS: Final = 12
_MOST_FAN_INS: Final = 6
_BAR_CELLS: Final = 20
_TELLING: Final = 0.001
"""Share of the run below which a fan-in's lead is not worth a sentence."""


def show(
    name: str,
    *,
    html: str | None,
    max_items: int,
    jaeger: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Show a trace.

    Args:
        name: as for :func:`~hush.cli.opening.open_named`.
        html: file to write a page into instead; None for the terminal.
        max_items: of each map, at most so many items are shown.
        jaeger: base URL of a Jaeger to ask as well.
        store: path of the trace store; None as the environment says.
        as_json: print JSON.

    Returns:
        The exit code.
    """
    if max_items < 1:
        raise Refusal(f"--max-rows {max_items}: expected a number from 1")
    tree = open_named(name, store=store, jaeger=jaeger)
    if html is not None:
        return _write_page(tree, Path(html), as_json=as_json)
    places = Places(tree)
    steps = path_steps(tree, places)
    if as_json:
        say_json(_document(tree, places, steps))
        return exits.OK
    from hush.insight.waterfall import render_waterfall  # noqa: PLC0415  # loads rich

    place = console()
    picture = render_waterfall(tree, max_items=max_items, console=place)
    place.print(picture)
    _legend(place, tree, picture)
    _critical_path(place, steps, tree)
    _fan_ins(place, tree, places)
    return exits.OK


# --- a page ----------------------------------------------------------------------------------


def _write_page(tree: TraceTree, path: Path, *, as_json: bool) -> int:
    from hush.insight.page.render import render_page  # noqa: PLC0415  # reads its assets

    page = render_page(tree, diagnosis=_diagnosis(tree))
    write_file(str(path), page, "--html")
    if as_json:
        say_json(
            {"trace_id": tree.trace_id, "html": str(path.resolve()), "bytes": len(page.encode())}
        )
    else:
        say(console(), f"written: {tidy(path.resolve().as_uri())}", wrap=False)
    return exits.OK


def _diagnosis(tree: TraceTree) -> Diagnosis | tuple[str, ...]:
    from hush.insight.diagnosis import diagnose  # noqa: PLC0415  # only for pages

    return diagnose(tree) if is_ours(tree) else ()


# --- the terminal ----------------------------------------------------------------------------


def _legend(place: Console, tree: TraceTree, picture: Group) -> None:
    told = legend_of(tree, [str(line) for line in picture.renderables], place.encoding)
    line = ""
    for one in told:  # each stays whole
        if line and len(line) + 2 + len(one) > place.width:
            say(place, line, FAINT)
            line = ""
        line += f"  {one}" if line else one
    say(place, line, FAINT)


def _critical_path(place: Console, steps: Sequence[Step], tree: TraceTree) -> None:
    if not steps:
        if is_cut_off(tree):
            say(place)
            say(place, f"no critical path: {CUT_OFF}", FAINT)
        return
    say(place)
    say(place, "critical path: what the run's end waited for", "bold")
    glyphs = choose_glyphs(place.encoding)
    columns = (Column("", "name"), Column(""), Column(""), Column("", "extra"))
    shown = Table(columns, headed=False)
    for step in steps[:_MOST_STEPS]:
        cells = round(step.share * _BAR_CELLS)
        mark = glyphs.wait if step.kind == "wait" else glyphs.run
        row = [f"  {tidy(step.label)}", format_duration(step.seconds, glyphs), f"{step.share:.0%}"]
        shown.add(*row, mark * (cells or 1))
    shown.print(place)
    if len(steps) > _MOST_STEPS:
        rest = steps[_MOST_STEPS:]
        took = format_duration(sum(step.seconds for step in rest), glyphs)
        say(place, f"  and {counted(len(rest), 'more step')}, {took}", FAINT)


def _fan_ins(place: Console, tree: TraceTree, places: Places) -> None:
    told = list(_telling_fan_ins(tree, places))
    if not told:
        return
    say(place)
    say(place, "fan-ins and maps", "bold")
    graph = f"{places.path(tree.roots[0])}."
    for node, sentences in told[:_MOST_FAN_INS]:
        name = tidy(places.path(node).removeprefix(graph), place.encoding)
        say(place, name, "bold", indent=2)
        for sentence in sentences:
            say(place, tidy(sentence, place.encoding), indent=4)
    if len(told) > _MOST_FAN_INS:
        say(place, f"  and {len(told) - _MOST_FAN_INS} more: --html or --json has all", FAINT)


def _telling_fan_ins(tree: TraceTree, places: Places) -> Iterator[tuple[TreeNode, list[str]]]:
    """Yield fan-ins and maps with what they say, the longest hold-ups first."""
    whole_s = tree.duration_s or 1.0
    found = [
        (node, lead_s)
        for node in tree
        if (lead_s := _weight_s(node)) >= whole_s * _TELLING
        and (
            node.record.prefix == semconv.SPAN_MAP or semconv.FAN_IN_COUNT in node.record.attributes
        )
    ]
    for node, _ in sorted(found, key=lambda one: -one[1]):
        sentences = [_text(sentence) for sentence in sentences_of(node, places)]
        if sentences:
            yield node, sentences


def _weight_s(node: TreeNode) -> float:
    if node.record.prefix == semconv.SPAN_MAP:
        return node.duration_s
    return node.record.seconds(semconv.FAN_IN_LEAD_S)


def _text(sentence: Sentence) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in sentence)


# --- for programs ----------------------------------------------------------------------------


def _document(tree: TraceTree, places: Places, steps: Sequence[Step]) -> dict[str, Any]:
    summary = summarise(tree)
    start_ns = tree.start_ns  # which looks at every span
    return {
        "trace_id": tree.trace_id,
        "start_ns": start_ns,
        "duration_s": tree.duration_s,
        "outcome": outcome_of(tree),
        "spans_total": summary.spans,
        "red": summary.red,
        "failed": summary.failed,
        "handled": summary.handled,
        "cancelled": summary.cancelled,
        "critical_path": [
            {"step": step.label, "kind": step.kind, "seconds": step.seconds, "share": step.share}
            for step in steps
        ],
        "explained": [
            {"path": places.path(node), "text": _text(sentence)}
            for node in tree
            for sentence in sentences_of(node, places)
        ],
        "spans": [_span(start_ns, node, places) for node in tree],
    }


def _span(start_ns: int, node: TreeNode, places: Places) -> dict[str, Any]:
    record = node.record
    return {
        "span_id": record.span_id,
        "parent_id": record.parent_id,
        "path": places.path(node),
        "name": record.name,
        "offset_s": (record.start_ns - start_ns) / 1e9,
        "duration_s": record.duration_s,
        "outcome": record.outcome,
        "status": record.status,
        "status_description": record.status_description,
        "attributes": record.attributes,
        "events": record.events,
        "links": record.links,
    }
