"""Time as columns: where a span's bar lies, where the ticks are, how many were open.

Everything here is arithmetic on instants and cells. This module knows neither colours
nor trees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hush.insight.glyphs import Glyphs
    from hush.insight.record import SpanRecord

__all__ = ("NOTHING", "RUN", "WAIT", "Timeline", "in_flight_peak")

NOTHING: Final = 0
WAIT: Final = 1
RUN: Final = 2

_TICK_CELLS = 7  # at least so far apart, so that labels have room
_NICE = (1, 2, 5)
# (from this many seconds on, seconds of one, unit)
_AXIS_UNITS = ((7_200.0, 3_600.0, "h"), (300.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"))


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of time laid over a number of cells."""

    start_ns: int
    end_ns: int
    cells: int

    def _half(self, instant_ns: int, *, up: bool) -> int:
        """Return the half cell at an instant; integers only, for instants are large."""
        span = max(1, self.end_ns - self.start_ns)
        scaled = (instant_ns - self.start_ns) * 2 * self.cells
        half = -(-scaled // span) if up else scaled // span
        return min(max(half, 0), 2 * self.cells)

    def bar(self, start_ns: int, end_ns: int, waits: Iterable[tuple[int, int]] = ()) -> list[int]:
        """Lay a span over the cells.

        Args:
            start_ns: its start.
            end_ns: its end.
            waits: stretches in which it waited, before its start or inside it.

        Returns:
            NOTHING, WAIT or RUN for each half cell. However short the span is, it has
            at least one half cell that runs.
        """
        halves = [NOTHING] * (2 * self.cells)
        first = min(self._half(start_ns, up=False), 2 * self.cells - 1)
        last = max(self._half(end_ns, up=True), first + 1)
        halves[first:last] = [RUN] * (last - first)
        for wait_from, wait_to in self._joined(waits):
            # Rounded inwards within the bar: running is never drawn as waiting.
            low = self._half(wait_from, up=wait_from >= start_ns)
            high = self._half(min(wait_to, end_ns), up=False) if wait_to > start_ns else first
            for at in range(low, high):
                halves[at] = WAIT
        if RUN not in halves:
            halves[last - 1] = RUN
        return halves

    def _joined(self, waits: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Join stretches with so little between them that nobody could see it."""
        least_ns = (self.end_ns - self.start_ns) // (4 * self.cells)
        joined: list[tuple[int, int]] = []
        for wait_from, wait_to in sorted(waits):
            if joined and wait_from - joined[-1][1] < least_ns:
                joined[-1] = (joined[-1][0], max(joined[-1][1], wait_to))
            else:
                joined.append((wait_from, wait_to))
        return joined

    def ticks(self, glyphs: Glyphs) -> str:
        """Return the line of the axis: a tick and its time, again and again."""
        total_s = (self.end_ns - self.start_ns) / 1e9
        if total_s <= 0:
            return f"{glyphs.tick}0"[: self.cells]
        one_s, unit = next(
            ((one, name) for bound, one, name in _AXIS_UNITS if total_s >= bound), (1e-6, "µs")
        )
        # In the unit, not in seconds: a tick at 1000 s is no round number of minutes.
        total = total_s / one_s
        least = total * _TICK_CELLS / self.cells
        power = 10.0 ** math.floor(math.log10(least))
        step = next((n * power for n in _NICE if n * power >= least), 10 * power)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        line = [" "] * self.cells
        free = 0  # where the label before ends; a long one hides the next tick
        for number in range(int(total / step + 1e-9) + 1):
            text = (
                f"{number * step:.{decimals}f} {unit.replace('µ', glyphs.micro)}" if number else "0"
            )
            at = int(number * step / total * self.cells)
            if at < free:
                continue
            free = at + 1 + len(text)
            if free <= self.cells:
                line[at:free] = [glyphs.tick, *text]
            elif at < self.cells:
                line[at] = glyphs.tick
        return "".join(line)

    def crowd(self, records: Sequence[SpanRecord], levels: str) -> str:
        """Draw how many spans were open over time.

        Args:
            records: the spans.
            levels: characters from few to many.

        Returns:
            One character per cell, a space where none was open. The highest stands for
            the peak of :func:`in_flight_peak`.
        """
        peak = in_flight_peak(records)
        highest = [0] * self.cells
        width_ns = max(1, self.end_ns - self.start_ns)
        steps = sorted(_steps(records))
        count = 0
        for (instant, change), (until, _) in pairwise([*steps, (self.end_ns, 0)]):
            count += change
            if count == 0:
                continue
            first = (instant - self.start_ns) * self.cells // width_ns
            last = -(-(until - self.start_ns) * self.cells // width_ns)
            for cell in range(max(0, min(first, self.cells - 1)), min(last, self.cells)):
                highest[cell] = max(highest[cell], count)
        return "".join(levels[-(-n * len(levels) // peak) - 1] if n else " " for n in highest)


def _steps(records: Iterable[SpanRecord]) -> Iterable[tuple[int, int]]:
    # At one instant ends come before starts: who follows does not overlap.
    for record in records:
        if record.end_ns > record.start_ns:
            yield record.start_ns, 1
            yield record.end_ns, -1


def in_flight_peak(records: Sequence[SpanRecord]) -> int:
    """Return the largest number of spans open at one time.

    Args:
        records: the spans. Those that take no time count one each, on their own.

    Returns:
        The number; 0 without spans.
    """
    count = peak = 0
    for _, change in sorted(_steps(records)):
        count += change
        peak = max(peak, count)
    return max(peak, min(1, len(records)))
