"""What the scheduler's facts on a span mean, in sentences.

A sentence is a list of texts and of references to other spans, which whoever shows it
can make into jumps. Nothing here is made safe to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.insight.page.bound_words import bound_words
from hush.insight.wording import counted, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hush.insight.page.places import Places
    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = ("Mention", "Sentence", "sentences_of")

Mention = tuple[str, "TreeNode"]
"""A text that stands for another span."""
Sentence = list["str | Mention"]

_SAME_S = 0.005  # two durations that differ by less are told as one
_TELLING_S = 0.001
_MOST_NAMES = 6
_COUNTS = (
    (semconv.MAP_OK, "ok"),
    (semconv.MAP_HANDLED, "handled"),
    (semconv.MAP_FAILED, "failed"),
    (semconv.MAP_CANCELLED, "cancelled"),
)
_REASONS = {
    semconv.REASON_FAIL_FAST: "because something else failed",
    semconv.REASON_TOLERANCE_EXCEEDED: "because more failed than its map tolerates",
    semconv.REASON_RACE_LOST: "because it lost a race",
    semconv.REASON_TIMEOUT: "because the time was up",
    semconv.REASON_EXTERNAL: "from outside",
}


def sentences_of(node: TreeNode, places: Places) -> list[Sentence]:
    """Explain a span.

    Args:
        node: the span.
        places: the paths of its trace.

    Returns:
        The most telling first; empty where the span speaks for itself.
    """
    teller = _Teller(node, places)
    return [
        *teller.fan_in(),
        *teller.map(),
        *teller.cancelled(),
        *teller.blocked(),
        *teller.skipped(),
    ]


class _Teller:
    """Tells of one span."""

    def __init__(self, node: TreeNode, places: Places) -> None:
        self._node = node
        self._record: SpanRecord = node.record
        self._places = places
        self._facts = node.record.attributes
        parent = node.parent
        self._around = "" if parent is None else places.path(parent)

    # --- small words -----------------------------------------------------------------------

    def _count(self, name: str) -> int:
        value = self._facts.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def _names(self, name: str) -> list[str]:
        value = self._facts.get(name)
        return [str(one) for one in value] if isinstance(value, list | tuple) else []

    def _mention(self, name: str) -> str | Mention:
        """Return a sibling's name as a reference, where its span is there."""
        found = self._places.find(name, self._around)
        return name if found is None else (name, found)

    def _listed(self, names: Sequence[str]) -> Iterator[str | Mention]:
        for at, name in enumerate(names[:_MOST_NAMES]):
            if at:
                yield " and " if at == len(names) - 1 else ", "
            yield self._mention(name)
        if len(names) > _MOST_NAMES:
            yield f" and {len(names) - _MOST_NAMES} more"

    def _item(self, index: Any) -> str | Mention:
        path = f"{self._places.path(self._node)}[{index}]"
        found = self._places.find(path)
        return f"[{index}]" if found is None else (f"[{index}]", found)

    # --- sentences -------------------------------------------------------------------------

    def fan_in(self) -> Iterator[Sentence]:
        mode = self._facts.get(semconv.FAN_IN_MODE)
        if mode is None and semconv.FAN_IN_COUNT not in self._facts:
            return
        name = str(self._facts.get(semconv.NODE_NAME) or self._record.name.partition(" ")[2])
        last = str(self._facts.get(semconv.FAN_IN_LAST) or "")
        count = self._count(semconv.FAN_IN_COUNT)
        if mode == semconv.FAN_IN_FIRST:
            yield [f"{name} took the first to arrive: ", self._mention(last), "."]
        elif mode == semconv.FAN_IN_ANY:
            yield [f"{name} needed any one of several; ", self._mention(last), " released it."]
        else:
            yield [*self._waited_for(name, mode, count, last)]
        if arrivals := self._arrivals():
            yield ["Arrivals: ", *arrivals, "."]
        if late := self._names(semconv.FAN_IN_LATE):
            yield ["Too late to matter: ", *self._listed(late), "."]
        if cancelled := self._names(semconv.FAN_IN_CANCELLED):
            yield ["Cancelled, no longer needed: ", *self._listed(cancelled), "."]

    def _waited_for(self, name: str, mode: Any, count: int, last: str) -> Iterable[str | Mention]:
        verb = "started with a quorum of" if mode == semconv.FAN_IN_QUORUM else "waited for"
        yield f"{name} {verb} {count}"
        if not last:
            yield "."
            return
        yield "; "
        yield self._mention(last)
        yield " came last"
        lead_s = self._record.seconds(semconv.FAN_IN_LEAD_S)
        times = [seconds for _, seconds in self._times()]
        gap_s = times[-1] - times[-2] if len(times) == count > 1 else lead_s
        if max(gap_s, lead_s) < _TELLING_S:
            yield ", together with the one before it."
            return
        yield f", {format_duration(gap_s)} after the one before it; without it {name} could "
        if abs(gap_s - lead_s) < _SAME_S:
            yield "have started that much earlier."
        else:
            yield f"have started {format_duration(lead_s)} earlier."

    def _times(self) -> list[tuple[str, float]]:
        """Return the arrivals as names and seconds after the first."""
        times = []
        for text in self._names(semconv.FAN_IN_ARRIVALS):
            name, _, after = text.rpartition(" +")
            try:
                times.append((name, float(after.removesuffix("s"))))
            except ValueError:
                return []
        return times

    def _arrivals(self) -> list[str | Mention]:
        said: list[str | Mention] = []
        times = self._times()
        for name, seconds in times[:_MOST_NAMES]:
            said += [", " if said else "", self._mention(name)]
            said.append(f" +{format_duration(seconds)}" if seconds else " first")
        if len(times) > _MOST_NAMES:
            said.append(f" and {len(times) - _MOST_NAMES} more")
        return [part for part in said if part]

    def map(self) -> Iterator[Sentence]:
        if self._record.prefix != semconv.SPAN_MAP:
            return
        if verdict := bound_words(self._record, self._places.bound(self._node)):
            yield [verdict]
        counts = [f"{n:,} {word}" for fact, word in _COUNTS if (n := self._count(fact))]
        limit, peak = (
            self._count(semconv.MAP_MAX_CONCURRENCY),
            self._count(semconv.MAP_PEAK_CONCURRENCY),
        )
        used = self._facts.get(semconv.MAP_UTILISATION)
        said = f"{self._count(semconv.MAP_ITEMS):,} items"
        said += f": {', '.join(counts)}" if counts else ""
        if limit:
            said += f". At most {peak:,} of {limit:,} ran at once"
            if isinstance(used, int | float):
                said += f"; the slots were in use {used:.0%} of the time"
        yield [f"{said}."]
        yield from self._spread()
        if omitted := self._count(semconv.MAP_SPANS_OMITTED):
            yield [
                (
                    f"{counted(omitted, 'span')} left out by the span budget; the figures here "
                    "count the items of those all the same."
                )
            ]

    def _spread(self) -> Iterator[Sentence]:
        seconds = self._record.seconds
        if most_s := seconds(semconv.MAP_RUN_MAX_S):
            yield [
                (
                    f"An item took {format_duration(seconds(semconv.MAP_RUN_P50_S))} in the middle, "
                    f"{format_duration(seconds(semconv.MAP_RUN_P95_S))} at the 95th percentile and "
                    f"{format_duration(most_s)} at most; it waited at most "
                    f"{format_duration(seconds(semconv.MAP_WAIT_MAX_S))}."
                )
            ]
        slowest: Sentence = []
        for text in self._names(semconv.MAP_SLOWEST):
            index, _, took = text.partition(":")
            try:
                told = f" {format_duration(float(took))}"
            except ValueError:
                told = ""
            slowest += [", " if slowest else "Slowest: ", self._item(index), told]
        last = self._facts.get(semconv.MAP_LAST_INDEX)
        if isinstance(last, int):
            slowest += ["; last to end: " if slowest else "Last to end: ", self._item(last)]
        if slowest:
            yield [*slowest, "."]

    def cancelled(self) -> Iterator[Sentence]:
        reason = self._facts.get(semconv.CANCEL_REASON)
        if reason is None:
            return
        said: Sentence = [f"Cancelled {_REASONS.get(str(reason), f'({reason})')}"]
        if cause := self._facts.get(semconv.CANCEL_CAUSE):
            said += [": ", self._mention(str(cause))]
        if wasted_s := self._record.seconds(semconv.WASTED_S):
            said.append(f"; {format_duration(wasted_s)} of work was lost")
        yield [*said, "."]

    def blocked(self) -> Iterator[Sentence]:
        if blocked_s := self._record.seconds(semconv.LOOP_BLOCKED_S):
            where = self._facts.get(semconv.LOOP_BLOCKED_AT)
            yield [
                f"Held the event loop for {format_duration(blocked_s)}"
                + (f" at {where}" if where else "")
                + ', and everything else with it: run it with run_in="thread".'
            ]

    def skipped(self) -> Iterator[Sentence]:
        names = self._names(semconv.SKIPPED)
        if names:
            count = max(len(names), self._count(semconv.SKIPPED_COUNT))
            shown = ", ".join(names[:_MOST_NAMES])
            more = f" and {count - _MOST_NAMES} more" if count > _MOST_NAMES else ""
            yield [f"Skipped: {shown}{more}."]
