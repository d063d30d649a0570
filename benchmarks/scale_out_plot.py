"""The plot of the simulation: items per second over workers, one line for each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.plots import BAD, FAINT, GOOD, HAND, INK, OURS, PEER, STYLE, finish, svg

__all__ = ("plot_rates",)

LOOKS = ((BAD, "s"), (PEER, "^"), (OURS, "o"), (GOOD, "D"))


def plot_rates(
    title: str, workers: Sequence[int], ideal: Sequence[float], lines: Mapping[str, Sequence[float]]
) -> str:
    """Draw how many items are done in a second.

    Args:
        title: above it.
        workers: along the bottom.
        ideal: what so many workers could do if nothing else took time.
        lines: what they do, each way by its name; at most four.

    Returns:
        SVG.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(workers, ideal, color=HAND, linestyle=":", linewidth=1.5)
        axes.text(workers[-1], ideal[-1], "ideal   ", color=INK, ha="right", va="bottom")
        for (name, rates), (colour, marker) in zip(lines.items(), LOOKS, strict=False):
            axes.plot(workers, rates, color=colour, marker=marker, markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        axes.set_ylabel("items per second")
        finish(axes, title, "workers")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(visible=True, axis="y", color=FAINT)
        axes.legend(frameon=False, loc="upper left")
        return svg(figure, title)
