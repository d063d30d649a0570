"""The plots of docs/benchmarks.md, as SVG that is legible on light and dark pages.

Drawn with matplotlib (the extra ``bench``) in placeholder colours that become CSS variables,
which follow the reader's scheme, background included.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.outcomes import Cost, Outcome

__all__ = (
    "BAD",
    "FAINT",
    "GOOD",
    "HAND",
    "INK",
    "OURS",
    "PEER",
    "STYLE",
    "finish",
    "plot_costs",
    "plot_targets",
    "svg",
)

# Placeholder, light, dark.
COLOURS = {
    "paper": ("#010203", "#ffffff", "#1b1d26"),
    "ink": ("#040506", "#26282e", "#d9dbe2"),
    "faint": ("#070809", "#d5d8de", "#3c404d"),
    "ours": ("#0a0b0c", "#3f51b5", "#8c9eff"),
    "hand": ("#0d0e0f", "#7a7f8c", "#9aa0ae"),
    "peer": ("#101112", "#c0722a", "#e0a15e"),
    "good": ("#131415", "#2e7d32", "#81c784"),
    "bad": ("#161718", "#c62828", "#ef8a80"),
}
PAPER, INK, FAINT, OURS, HAND, PEER, GOOD, BAD = (of[0] for of in COLOURS.values())
STYLE = {
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "hush",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
}


def plot_costs(costs: Sequence[Cost], title: str) -> str:
    """Draw what each program cost per item or node, as bars from cheap to dear.

    Args:
        costs: of one block.
        title: above the bars.
    """
    ordered = sorted(costs, key=lambda cost: -cost.measured.median)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.3 * len(ordered)), layout="constrained")
        axes = figure.subplots()
        names = [f"{cost.program}, untraced" if cost.peer else cost.program for cost in ordered]
        values = [cost.measured.median for cost in ordered]
        colours = [
            OURS if cost.program.startswith("hush") else PEER if cost.peer else HAND
            for cost in ordered
        ]
        errors = [
            [cost.measured.median - cost.measured.low for cost in ordered],
            [cost.measured.high - cost.measured.median for cost in ordered],
        ]
        axes.barh(names, values, color=colours, xerr=errors, ecolor=INK, height=0.66)
        axes.set_xscale("log")
        axes.set_xlim(right=max(values) * 2.2)
        for at, cost in enumerate(ordered):
            value = cost.measured.median
            said = f"{value:,.0f}" if value >= 20 else f"{value:.1f}"
            axes.text(cost.measured.high * 1.08, at, said, va="center")
        finish(axes, title, f"{ordered[0].unit}, of the processor, logarithmic")
        return svg(figure, title)


def plot_targets(outcomes: Sequence[Outcome], title: str) -> str:
    """Draw how far each row is from its limit: 1 is the limit, left of it is met.

    Args:
        outcomes: those that have a limit above zero.
        title: above the dots.
    """
    rows = [(row, row.limit) for row in outcomes if row.limit][::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1 + 0.26 * len(rows)), layout="constrained")
        axes = figure.subplots()
        names = [f"{row.title}{f', {row.loop}' if row.loop else ''}" for row, _ in rows]
        for at, (row, limit) in enumerate(rows):
            judged = row.measured if row.ratio is None else row.ratio
            colour = BAD if row.verdict == "missed" else GOOD
            low, high = judged.low / limit, judged.high / limit
            axes.plot([low, high], [at, at], color=colour, linewidth=2)
            axes.plot([judged.median / limit], [at], "o", color=colour, markersize=6)
            if row.floor_ratio is not None:
                axes.plot([row.floor_ratio.median / limit], [at], "|", color=HAND, markersize=9)
        axes.set_yticks(range(len(rows)), names)
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_xscale("log")
        finish(axes, title, "measured over its limit, logarithmic; the tick is the floor")
        return svg(figure, title)


def finish(axes: Any, title: str, label: str) -> None:
    """Give axes their title and label, a grid across, and nothing around them."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(label)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")


def svg(figure: Figure, title: str) -> str:
    """Return a figure whose colours follow the reader's scheme."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue()
    for name, (placeholder, _, _) in COLOURS.items():
        text = text.replace(placeholder, f"var(--{name})")

    def variables(at: int) -> str:
        return "; ".join(f"--{name}: {of[at]}" for name, of in COLOURS.items())

    style = (
        f"<style>svg {{ {variables(1)} }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {variables(2)} }} }}</style>"
    )
    # After the first tag, which is many lines long.
    text = re.sub(r"(<svg\b[^>]*>)", rf"\1\n{style}", text, count=1)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
