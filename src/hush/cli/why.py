"""``hush why``: why a run took as long as it did, or failed, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush import semconv
from hush.cli import exits
from hush.cli.opening import no_run, open_named
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.cli.plain import plain
from hush.cli.refusal import Refusal
from hush.insight.diagnosis import diagnose
from hush.insight.outcome import PARTIAL, is_ours, outcome_of
from hush.insight.summary import summarise
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from hush.insight.diagnosis import Diagnosis, Finding
    from hush.insight.tree import TraceTree

__all__ = ("why",)

_BAD = frozenset({"failed", "cancelled", "timeout"})
_MILD = frozenset({"partial_failure", "waste"})
_STYLES = {semconv.OUTCOME_OK: "green", PARTIAL: "yellow"}


def why(name: str, *, jaeger: str | None, store: str | None, as_json: bool) -> int:
    """Diagnose a trace.

    Args:
        name: as for :func:`~hush.cli.opening.open_named`.
        jaeger: base URL of a Jaeger to ask as well.
        store: path of the trace store; None as the environment says.
        as_json: print JSON.

    Returns:
        The exit code.
    """
    tree = open_named(name, store=store, jaeger=jaeger)
    if not is_ours(tree):
        raise Refusal(no_run(tree), exits.NOT_FOUND)
    found = diagnose(tree)
    if as_json:
        say_json({**plain(found), "outcome": outcome_of(tree)})
    else:
        _print(console(), tree, found)
    return exits.OK


def _print(place: Console, tree: TraceTree, found: Diagnosis) -> None:
    from rich.text import Text  # noqa: PLC0415  # see console

    name = tidy(found.run) or tidy(tree.roots[0].record.name)
    took = format_duration(found.wall_s or tree.duration_s)
    outcome = outcome_of(tree)
    style = _STYLES.get(outcome or "", "bold red")
    # None where its process was killed.
    ended = ("", "") if outcome is None else (f" {outcome}", style)
    say(place, Text.assemble((name, "bold"), ended, f" in {took}, {summarise(tree)}"))
    say(place, f"trace {tree.trace_id}", FAINT)
    for number, one in enumerate(found.findings, 1):
        _finding(place, number, one, found.wall_s)
    gaining = sum(1 for one in found.findings if one.gain_s)
    if gaining > 1 and found.gain_s:
        share = found.gain_s / (found.wall_s or found.gain_s)
        say(place)
        say(place, f"together they save {format_duration(found.gain_s)} ({share:.0%})", "bold")
    for note in found.notes:
        say(place, tidy(note), FAINT)


def _finding(place: Console, number: int, one: Finding, wall_s: float) -> None:
    from rich.text import Text  # noqa: PLC0415  # see console

    style = "bold red" if one.kind in _BAD else "bold yellow" if one.kind in _MILD else "bold"
    head = Text(f"{number}. {one.kind.replace('_', ' ')}", style)
    path = Text(tidy(one.path))
    saves = Text("", "green")
    if one.gain_s:
        share = f" ({one.gain_s / wall_s:.0%})" if wall_s else ""
        saves.append(f"  saves {format_duration(one.gain_s)}{share}")
    whole = Text.assemble(head, "  ", path, saves)
    say(place)
    if whole.cell_len <= place.width:
        say(place, whole)
    else:  # the number must not end up in a line of its own
        say(place, Text.assemble(head, saves))
        say(place, path, indent=3)
    say(place, tidy(one.text), indent=3)
    if one.remedy:
        say(place, tidy(one.remedy), "cyan", indent=3)
