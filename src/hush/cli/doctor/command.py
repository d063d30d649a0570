"""``hush doctor``: whether telemetry will arrive, and what to mend where it will not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rich.text import Text

from hush.cli import exits
from hush.cli.doctor.keeping import look_at_clock, look_at_spool, look_at_store
from hush.cli.doctor.providing import look_at_target
from hush.cli.doctor.receiving import look_at_receiver
from hush.cli.doctor.surroundings import look_at_variables, look_at_versions
from hush.cli.output import FAINT, console, say, say_json, tidy
from hush.insight.glyphs import choose_glyphs
from hush.insight.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from hush.cli.doctor.check import Check, Level

__all__ = ("doctor",)

_INDENT: Final = 2
_STYLES: Final[dict[Level, str]] = {
    "ok": "green",
    "note": "cyan",
    "warning": "yellow",
    "fault": "bold red",
}


def doctor(
    target: str | None,
    *,
    endpoint: str | None,
    jaeger: str | None,
    send: bool,
    wait_s: float,
    as_json: bool,
) -> int:
    """Examine what a run would use, and tell.

    Args:
        target: a workflow whose own set-up is examined too; None for none.
        endpoint: the receiver's address; None as the environment says.
        jaeger: base URL of a Jaeger in which to look for the span that is sent.
        send: whether to send one.
        wait_s: for how long to look for it, in seconds.
        as_json: print JSON.

    Returns:
        The exit code: failed where there is a fault.
    """
    # What goes wrong is told here.
    for name in ("hush", "opentelemetry", "urllib3"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    place = console()
    checks = []
    for check in _checks(target, endpoint, jaeger, send=send, wait_s=wait_s):
        checks.append(check)
        if not as_json:
            _say(place, check)
    faults = sum(check.level == "fault" for check in checks)
    if as_json:
        say_json({"ok": not faults, "checks": [_plain(check) for check in checks]})
    else:
        _sum_up(place, faults, sum(check.level == "warning" for check in checks))
    return exits.FAILED if faults else exits.OK


def _checks(
    target: str | None, endpoint: str | None, jaeger: str | None, *, send: bool, wait_s: float
) -> Iterator[Check]:
    # First: what cannot be found is refused before anything is told.
    own = [] if target is None else list(look_at_target(target))
    yield from look_at_versions()
    yield from look_at_variables()
    yield from own
    yield from look_at_clock()
    yield from look_at_store()
    yield from look_at_spool()
    yield from look_at_receiver(endpoint, jaeger, send=send, wait_s=wait_s)


def _say(place: Console, check: Check) -> None:
    glyphs = choose_glyphs(place.encoding)
    marks = {"ok": glyphs.marks["ok"], "note": glyphs.foreign, "warning": "!"}
    mark = marks.get(check.level, glyphs.marks["error"])
    line = Text(f"{mark} ", _STYLES[check.level])
    line.append(check.about, "bold").append(f"  {tidy(check.said)}")
    # Further lines stand below the text, not below the mark.
    for number, part in enumerate(line.wrap(place, max(1, place.width - _INDENT))):
        part.rstrip()
        if number:
            part.pad_left(_INDENT)
        place.print(part)
    if check.remedy is not None:
        say(place, f"{glyphs.to} {tidy(check.remedy)}", _STYLES[check.level], indent=_INDENT)


def _sum_up(place: Console, faults: int, warnings: int) -> None:
    if faults:
        said = counted(faults, "fault")
        say(
            place,
            f"{said}, {counted(warnings, 'warning')}: what is red has to be mended",
            "bold red",
        )
    elif warnings:
        say(place, f"it works; {counted(warnings, 'warning')}", "yellow")
    else:
        say(place, "all well", FAINT)


def _plain(check: Check) -> dict[str, object]:
    return {
        "about": check.about,
        "level": check.level,
        "said": check.said,
        "remedy": check.remedy,
        "facts": dict(check.facts),
    }
