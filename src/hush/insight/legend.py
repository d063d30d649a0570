"""What the marks of a waterfall mean: of all marks, those that stand in a picture.

The picture is read, and not the trace, since a mark that found no room needs no word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.calls import is_call
from hush.insight.glyphs import choose_glyphs
from hush.insight.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.glyphs import Glyphs
    from hush.insight.tree import TraceTree

__all__ = ("legend_of",)

_OUTCOMES: Final = (
    (semconv.OUTCOME_HANDLED, "failed and was handled"),
    (semconv.OUTCOME_ERROR, "failed"),
    (semconv.OUTCOME_TIMEOUT, "timed out"),
    (semconv.OUTCOME_CANCELLED, "cancelled"),
)


def legend_of(tree: TraceTree, lines: Sequence[str], encoding: str | None) -> list[str]:
    """Explain the marks of a waterfall.

    Args:
        tree: the trace that was drawn.
        lines: the picture, as it was printed.
        encoding: of the output, by which the marks were chosen.

    Returns:
        An explanation for each mark that is there, the most frequent first.
    """
    return list(_told(tree, lines, choose_glyphs(encoding)))


def _told(tree: TraceTree, lines: Sequence[str], glyphs: Glyphs) -> Iterator[str]:
    text = "\n".join(lines)
    outcomes = {node.record.outcome for node in tree}
    if glyphs.wait * 2 in text:
        yield f"{glyphs.wait * 2} waiting"
    yield f"{glyphs.run * 2} running"
    for outcome, meaning in _OUTCOMES:
        if outcome in outcomes:
            yield f"{glyphs.marks[outcome]} {meaning}"
    if any(node.record.outcome is None for node in tree):
        yield f"{glyphs.foreign} not Hush's own"
    for pattern, meaning in (
        (rf" {re.escape(glyphs.hidden)}(\d+)(?= |$)", ""),
        (r" peak \d[\d,]*(?= |$)", "most items at once"),
        (r" last(?= |$)", "last to end"),
        (rf" {re.escape(glyphs.times)}\d+(?= |$)", "attempts"),
        (rf" {re.escape(glyphs.cause)} \S", "what cancelled it"),
        (
            rf"{re.escape(glyphs.ellipsis)} \d+ more.*[{re.escape(glyphs.levels)}]",
            "how many at once",
        ),
    ):
        found = re.search(pattern, text, re.MULTILINE)
        if found is None:
            continue
        mark = found[0].strip()
        if meaning == "":
            yield f"{mark} {counted(int(found[1]), 'span').partition(' ')[2]} inside, not drawn"
        elif meaning == "what cancelled it":
            yield f"{glyphs.cause} {meaning}"
        elif meaning == "how many at once":
            yield f"{glyphs.levels[0]}{glyphs.levels[-1]} {meaning}"
        else:
            yield f"{mark}: {meaning}"
    if any(is_call(node.record) for node in tree):
        if re.search(r" #\d", text):
            yield "#2: second attempt of a call"
        if re.search(rf"\d{re.escape(glyphs.to)}\d", text):
            yield f"12{glyphs.to}3 tokens in and out"
