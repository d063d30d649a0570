"""What is written about a span: its label, its duration, what went wrong.

Text from a trace is foreign: it may hold control characters, escape sequences or half a
character. It is made harmless here, once. This module knows nothing of terminals' widths.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from hush import semconv
from hush.insight.glyphs import FINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hush.insight.glyphs import Glyphs
    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = (
    "clean",
    "counted",
    "error_text",
    "fold_text",
    "format_cost",
    "format_duration",
    "format_tokens",
    "item_key",
    "raised_here",
    "span_label",
)

# Text longer than this is never shown whole; cleaning a megabyte would only cost time.
_LONGEST = 2_000
# Control, format (bidirectional overrides, joiners), surrogates, line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Terminals disagree on what they do to the width of the character before them.
_VARIATION_SELECTORS = dict.fromkeys(range(65024, 65040))
# (upper bound in seconds, factor, unit)
_UNITS = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (60.0, 1.0, "s"))
_MINUTE_S, _HOUR_S = 60, 3_600
_OUR_ERRORS = "hush.errors."  # takes room and says nothing new
_PLAIN_TOKENS = 10_000  # fewer are written out
_THOUSANDS = ((1e6, 1e3, "k"), (1e9, 1e6, "M"), (math.inf, 1e9, "G"))
_CENTS_USD, _LEAST_USD = 0.1, 1e-6


def clean(text: object, encoding: str = "utf-8") -> str:
    r"""Make foreign text safe to print on one line.

    Args:
        text: anything; its ``str`` counts.
        encoding: of the output; what it cannot write becomes an escape.

    Returns:
        The text with white space of any kind as single spaces and with control
        characters, bidirectional overrides and the like as escapes (``\x1b``).
    """
    raw = str(text)[:_LONGEST].translate(_VARIATION_SELECTORS)
    line = " ".join(raw.split())
    safe = "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _UNSAFE
        else char
        for char in line
    )
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def format_duration(seconds: float, glyphs: Glyphs = FINE) -> str:
    """Write a duration in at most eight cells.

    Args:
        seconds: how long; negative ones count as 0.
        glyphs: says how micro is written.

    Returns:
        Three significant digits and a unit: ``12.3 ms``, ``1.24 s``, ``2m05s``, ``3h20m``.
    """
    if seconds <= 0:
        return "0 s"
    for bound, factor, unit in _UNITS:
        # Rounded first, so that 999.6 µs is 1.00 ms and never 1000 µs.
        value = float(f"{seconds * factor:.3g}")
        if value < bound * factor:
            digits = 0 if value >= 100 or unit == "µs" else 1 if value >= 10 else 2  # noqa: PLR2004  # three digits in all
            return f"{value:.{digits}f} {unit.replace('µ', glyphs.micro)}"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02d}s"
    minutes = round(seconds / _MINUTE_S)
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02d}m" if hours < 100 else f"{hours}h"  # noqa: PLR2004  # eight cells


def format_tokens(count: int) -> str:
    """Write a number of tokens in few cells: ``412``, ``12.3k``, ``4.56M``."""
    if count < _PLAIN_TOKENS:
        return str(count)
    # Rounded first, so that 999,960 is 1.00M and never 1000k.
    rounded = float(f"{count:.3g}")
    factor, unit = next((one, name) for bound, one, name in _THOUSANDS if rounded < bound)
    digits = max(0, 2 - int(math.log10(rounded / factor)))  # three in all
    return f"{rounded / factor:.{digits}f}{unit}"


def counted(count: int, noun: str) -> str:
    """Write a number with what it counts: ``1 span``, ``2,048 spans``; the noun's last word changes."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_cost(usd: float) -> str:
    """Write dollars with two significant digits, from ten cents on with cents: ``$0.0012``."""
    if usd <= 0:
        return "$0"
    usd = float(f"{usd:.2g}") if usd < _CENTS_USD else usd
    if usd >= _CENTS_USD:
        return f"${usd:,.2f}"
    if usd < _LEAST_USD:
        return f"<${_LEAST_USD:.6f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}".rstrip("0")


def span_label(record: SpanRecord, glyphs: Glyphs, *, short: bool = False) -> str:
    """Name a span: ``item fetch [3]``, and the number of attempts where there were several.

    Args:
        record: the span.
        glyphs: says how "times" is written.
        short: leave out the name of an item's map, where the line above says it.

    Returns:
        The name, not yet made safe to print.
    """
    label = record.name
    if record.index is not None:
        prefix = record.prefix or ""
        label = f"{prefix if short else record.name} [{record.index}]"
    attempts = record.attributes.get(semconv.ATTEMPTS)
    if isinstance(attempts, int) and attempts > 1:
        label += f" {glyphs.times}{attempts}"
    return label


def item_key(record: SpanRecord) -> str:
    """Return an item's key, not yet made safe; empty where it only repeats the index."""
    key = record.attributes.get(semconv.ITEM_KEY)
    if key is None or record.index is None or str(key) == str(record.index):
        return ""
    return str(key)


def raised_here(record: SpanRecord) -> bool:
    """Say whether a red span's exception is its own, and not one from inside it."""
    return any(event.name == semconv.EVENT_EXCEPTION for event in record.events)


def error_text(record: SpanRecord) -> str:
    """Say what went wrong in a red span.

    Args:
        record: any span.

    Returns:
        Type and text, not yet made safe; empty for a span that is not red and for a red
        one that says nothing.
    """
    if not record.is_red:
        return ""
    text = record.status_description or ""
    kind = record.attributes.get(semconv.ERROR_TYPE)
    for event in record.events:
        if event.name == semconv.EVENT_EXCEPTION:
            kind = kind or event.attributes.get(semconv.EXCEPTION_TYPE)
            text = text or str(event.attributes.get(semconv.EXCEPTION_MESSAGE, ""))
    if kind and kind != semconv.ERROR_TYPE_HANDLED and str(kind).rpartition(".")[2] not in text:
        text = f"{kind}: {text}" if text else str(kind)
    return text.removeprefix(_OUR_ERRORS)


def fold_text(nodes: Sequence[TreeNode], glyphs: Glyphs, room: int | None = None) -> str:
    """Sum up spans that are not shown, on one line.

    Args:
        nodes: at least one.
        glyphs: says how an omission is written.
        room: cells that there are; None is any number. With little room less is said,
            but never less than the number of spans.

    Returns:
        For example ``… 391 more items (ok 390, handled 1; median 12.0 ms, max 40.1 ms)``.
    """
    prefixes = {node.record.prefix for node in nodes}
    prefix = prefixes.pop() if len(prefixes) == 1 else None
    noun = "call" if prefix == semconv.SPAN_CHAT else prefix or "span"
    plural = noun if len(nodes) == 1 else f"{noun}s"
    counts = Counter(node.record.outcome or semconv.OUTCOME_OK for node in nodes)
    known = [outcome for outcome in semconv.OUTCOMES if outcome in counts]
    told = ", ".join(f"{outcome} {counts[outcome]}" for outcome in known)
    if len(counts) == 1 and known:
        told = known[0]  # the number stands before it
    durations = [node.duration_s for node in nodes]
    middle = format_duration(median(durations), glyphs)
    longest = format_duration(max(durations), glyphs)
    least = f"{glyphs.ellipsis} {len(nodes)} more"
    texts = (
        f"{least} {plural} ({told}; median {middle}, max {longest})",
        f"{least} {plural} ({told}; max {longest})",
        f"{least} {plural} ({told})",
        f"{least} ({told})",
    )
    return next((text for text in texts if room is None or len(text) <= room), least)
