"""The characters of a waterfall, in a fine set and in one that every terminal can show.

This module knows nothing of traces; it says which character stands for what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("ASCII", "FINE", "Glyphs", "choose_glyphs")


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of characters; each is one cell wide."""

    marks: Mapping[str, str]
    """Mark of each outcome."""
    foreign: str
    """Mark of a span that is not ours and not red."""
    run: str
    run_left: str
    """The left half of a cell."""
    run_right: str
    """The right half of a cell."""
    wait: str
    tick: str
    branch: str
    last: str
    trunk: str
    stroke: str
    """Between a branch and the name."""
    ellipsis: str
    hidden: str
    """Before the number of spans that are not shown below a span."""
    times: str
    """Before the number of attempts."""
    because: str
    """Before the text of an error."""
    cause: str
    """Before the path of what caused a cancellation."""
    to: str
    """Between what went in and what came out."""
    levels: str
    """From one to many."""
    micro: str

    def needed(self) -> str:
        """Return every character that an encoding must be able to write."""
        return "".join(
            (
                *self.marks.values(),
                self.foreign + self.run + self.run_left + self.run_right + self.wait + self.tick,
                self.branch + self.last + self.trunk + self.stroke + self.ellipsis + self.hidden,
                self.times + self.because + self.cause + self.to + self.levels + self.micro,
            )
        )


FINE = Glyphs(
    marks={
        semconv.OUTCOME_OK: "✓",
        semconv.OUTCOME_HANDLED: "!",
        semconv.OUTCOME_ERROR: "✗",
        semconv.OUTCOME_TIMEOUT: "◔",
        semconv.OUTCOME_CANCELLED: "⊘",
    },
    foreign="·",
    run="━",
    run_left="╸",
    run_right="╺",
    wait="┄",
    tick="╷",
    branch="├",
    last="└",
    trunk="│",
    stroke="─",
    ellipsis="…",
    hidden="+",
    times="×",  # noqa: RUF001  # the sign for "times" is meant
    because="╰",
    cause="←",
    to="→",
    levels="▁▂▃▄▅▆▇█",
    micro="µ",
)
"""For every encoding of Unicode."""

ASCII = Glyphs(
    marks={
        semconv.OUTCOME_OK: "v",
        semconv.OUTCOME_HANDLED: "!",
        semconv.OUTCOME_ERROR: "X",
        semconv.OUTCOME_TIMEOUT: "T",
        semconv.OUTCOME_CANCELLED: "/",
    },
    foreign="-",
    run="=",
    run_left="=",
    run_right="=",
    wait=".",
    tick="|",
    branch="|",
    last="`",
    trunk="|",
    stroke="-",
    ellipsis="~",
    hidden="+",
    times="x",
    because="`",
    cause="<",
    to=">",
    levels=".:-=+*#@",
    micro="u",
)
"""For everything else."""


def choose_glyphs(encoding: str | None) -> Glyphs:
    """Return the finest set that an encoding can write.

    Args:
        encoding: the output's encoding; None and unknown ones are taken for ASCII.

    Returns:
        ``FINE`` or ``ASCII``.
    """
    try:
        FINE.needed().encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return FINE
