"""``hush whatif``: what other limits of a map would come to, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.cli import exits
from hush.cli.opening import no_run, open_named
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.cli.reading import read_limits
from hush.cli.refusal import Refusal
from hush.cli.tables import Column, Table
from hush.errors import text_of
from hush.insight.outcome import is_ours
from hush.insight.whatif import KNEE, what_if
from hush.insight.wording import format_duration

if TYPE_CHECKING:
    from hush.insight.whatif import Prediction, WhatIf

__all__ = ("whatif",)


def whatif(
    name: str,
    limits: str | None,
    *,
    map_path: str | None,
    jaeger: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Predict a run's wall time for other limits.

    Args:
        name: as for :func:`~hush.cli.opening.open_named`.
        limits: as for :func:`~hush.cli.reading.read_limits`; None takes a few around what
            was recorded.
        map_path: which map; None takes the most promising one.
        jaeger: base URL of a Jaeger to ask as well.
        store: path of the trace store; None as the environment says.
        as_json: print JSON.

    Returns:
        The exit code.
    """
    wanted = None if limits is None else read_limits(limits)
    tree = open_named(name, store=store, jaeger=jaeger)
    if not is_ours(tree):
        raise Refusal(no_run(tree), exits.NOT_FOUND)
    try:
        found = what_if(tree, wanted or [], map_path=map_path)
        if wanted is None:
            found = what_if(tree, _around(found), map_path=found.map_path)
    except LookupError as error:
        raise Refusal(text_of(error), exits.NOT_FOUND) from error
    if as_json:
        say_json({"trace_id": tree.trace_id, **_document(found)})
    else:
        _print(found)
    return exits.OK


def _around(found: WhatIf) -> list[int]:
    """Return limits worth a look: halves and doubles of the recorded one, and the knee."""
    limit, most = found.recorded.max_concurrency, found.floor.max_concurrency
    steps = {limit // 2, limit, limit * 2, limit * 4, found.knee.max_concurrency}
    return sorted(step for step in steps if 1 <= step <= max(most, limit))


def _document(found: WhatIf) -> dict[str, object]:
    return {
        "map": found.map_path,
        "maps": found.maps,
        "items": found.items,
        "recorded": found.recorded,
        "replayed": found.replayed,
        "predictions": found.predictions,
        "knee": found.knee,
        "floor": found.floor,
        "cautions": found.cautions,
        "approximate": found.approximate,
        "reasons": found.reasons,
    }


def _print(found: WhatIf) -> None:
    from rich.text import Text  # noqa: PLC0415  # see console

    place = console()
    times = f", {found.maps} times" if found.maps > 1 else ""
    say(
        place,
        Text.assemble("map ", (tidy(found.map_path), "bold"), f"  {found.items:,} items{times}"),
    )
    columns = [Column(name) for name in ("limit", "run", "change", "map", "in use")]
    shown = Table((*columns, Column("", "note")))
    notes = _notes(found)
    measured = found.recorded.max_concurrency
    shown.add(*_row(found.recorded), "; ".join(notes[measured]))
    predicted = {one.max_concurrency: one for one in (*found.predictions, found.knee, found.floor)}
    # What was measured needs no prediction: corrected by it, that would be the same.
    predicted.pop(measured, None)
    for limit, one in sorted(predicted.items()):
        change = f"{one.run_s / found.recorded.run_s - 1:+.0%}" if found.recorded.run_s else ""
        style = "bold" if limit == found.knee.max_concurrency else ""
        shown.add(*_row(one, change), "; ".join(notes.get(limit, ())), style=style)
    shown.print(place)
    say(
        place,
        f"knee: the least limit within {KNEE - 1:.0%} of the floor; beyond it slots buy little",
        FAINT,
    )
    for caution in found.cautions:
        say(place, Text.assemble(("caution: ", "yellow"), tidy(caution.text)))
    for reason in found.reasons:
        say(place, Text.assemble(("approximate: ", "yellow"), tidy(reason)))


def _row(one: Prediction, change: str = "") -> tuple[str, ...]:
    return (
        f"{one.max_concurrency:,}",
        format_duration(one.run_s),
        change,
        format_duration(one.map_s),
        f"{one.utilisation:.0%}",
    )


def _notes(found: WhatIf) -> dict[int, list[str]]:
    """Return what is to be said of a limit; knee, floor and the recorded one may be the same."""
    notes: dict[int, list[str]] = {}
    for limit, said in (
        (found.recorded.max_concurrency, "measured"),
        (found.knee.max_concurrency, "knee"),
        (found.floor.max_concurrency, "floor: a slot for each item"),
    ):
        notes.setdefault(limit, []).append(said)
    return notes
