"""What stands behind a span's name where there is room: counts, tokens, cost, an item's key.

This module says what is worth saying and in which order; whoever draws knows the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.calls import call_facts, is_call, retried_after, sums
from hush.insight.rows import Fold
from hush.insight.timeline import in_flight_peak
from hush.insight.wording import counted, fold_text, item_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.insight.glyphs import Glyphs
    from hush.insight.rows import Row
    from hush.insight.tree import TreeNode

__all__ = ("Aside", "asides_of", "items_of")


_SMALL = frozenset({semconv.SPAN_NODE, semconv.SPAN_ITEM, semconv.SPAN_ATTEMPT})


@dataclass(frozen=True, slots=True)
class Aside:
    """One thing said of a span."""

    text: str
    """Not yet made safe."""
    whole: bool = True
    """Whether a part of it would mislead: shown as it is or not at all."""


def items_of(node: TreeNode) -> tuple[int, int]:
    """Return how many items a map had, and how many ran at once at most.

    Args:
        node: a map's; its own counts go before those of the spans in it, of which the span
            budget may have left few.
    """
    facts = node.record.attributes
    items = [child.record for child in node.children if child.record.index is not None]
    count, peak = facts.get(semconv.MAP_ITEMS), facts.get(semconv.MAP_PEAK_CONCURRENCY)
    return (
        count if isinstance(count, int) else len(items),
        peak if isinstance(peak, int) and peak else in_flight_peak(items),
    )


def asides_of(content: Row | Fold, glyphs: Glyphs) -> list[Aside]:
    """Say what is worth saying of a line, the most telling first.

    Args:
        content: of the line.
        glyphs: says how things are written.

    Returns:
        What to write as far as there is room.
    """
    if isinstance(content, Fold):
        return [Aside(fold_text(content.nodes, glyphs), whole=False)]
    return list(_of_row(content, glyphs))


def _of_row(row: Row, glyphs: Glyphs) -> Iterator[Aside]:
    record = row.node.record
    if row.hidden:
        yield Aside(f"{glyphs.hidden}{row.hidden}")
        yield from (Aside(text) for node in row.chain if (text := retried_after(node)))
    if row.last:
        yield Aside("last")
    if record.prefix == semconv.SPAN_MAP and not row.hidden:
        count, peak = items_of(row.node)
        yield Aside(counted(count, "item"))
        yield Aside(f"peak {peak:,}")
    inner = row.chain[-1].record
    if is_call(inner):
        yield from map(Aside, call_facts(inner, glyphs, merged=bool(row.merged)))
    elif record.prefix not in _SMALL or not any(
        is_call(child.chain[-1].record) for child in row.children
    ):
        # Else the row below has said it.
        yield from map(Aside, sums(record, glyphs))
    if key := item_key(record):
        yield Aside(key, whole=False)
