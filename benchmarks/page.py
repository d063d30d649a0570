"""Writes what was measured into docs/benchmarks.md, between its markers, and its plots."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.outcomes import Cost, Outcome, Table
from benchmarks.plots import plot_costs, plot_targets
from benchmarks.printing import figure, ratio_text

__all__ = ("BEGIN", "END", "render", "write_page")

BEGIN = "<!-- measured: begin; python -m benchmarks writes this part -->"
END = "<!-- measured: end -->"
PLOTTED = {"map": "map of", "chain": "chain of", "fan-out": "fan-out of 100 nodes"}
"""Blocks that have a plot of what each program costs, and a part of its title."""


def write_page(table: Table, docs: Path = ROOT / "docs") -> list[Path]:
    """Write the page, its plots and the figures as JSON.

    Args:
        table: what was measured.
        docs: the folder with ``benchmarks.md``.

    Returns:
        The files that were written.
    """
    page, assets = docs / "benchmarks.md", docs / "assets" / "benchmarks"
    assets.mkdir(parents=True, exist_ok=True)
    plots = {"targets.svg": plot_targets(table.outcomes, "How far each row is from its limit")}
    for key, part in PLOTTED.items():
        if costs := _of(table.costs, key, part):
            plots[f"{key}.svg"] = plot_costs(costs, costs[0].title)
    written = []
    for name, text in plots.items():
        (assets / name).write_text(text, encoding="utf-8")
        written.append(assets / name)
    figures = assets / "figures.json"
    figures.write_text(json.dumps(table.to_json(), indent=1) + "\n", encoding="utf-8")
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    body = render(table, [name for name in plots if name != "targets.svg"])
    page.write_text(f"{before}{BEGIN}\n\n{body}\n{END}{after}", encoding="utf-8")
    return [page, figures, *written]


def render(table: Table, plots: Iterable[str]) -> str:
    """Return the generated part of the page.

    Args:
        table: what was measured.
        plots: names of the pictures of costs.
    """
    machine = "; ".join(
        what if name in {"processor", "system"} else f"{name} {what}"
        for name, what in table.machine.items()
    )
    kind = "A quick run, with fewer rounds and smaller sizes. " if table.quick else ""
    before, after = table.load
    intro = (
        f"{kind}Measured {table.taken} in {table.seconds:.0f} s on: {machine}. "
        f"Load average over a minute: {before:.1f} before, {after:.1f} after."
    )
    parts = [
        intro,
        "",
        *_table(table.outcomes),
        "",
        "![Each row's figure over its limit](assets/benchmarks/targets.svg)",
        "",
        *(f"{note}.\n" for note in table.notes),
        "### What each program costs",
        "",
        *(f"![{name.removesuffix('.svg')}](assets/benchmarks/{name})\n" for name in plots),
        *_costs(table.costs),
        *_peers(table.peers),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _table(outcomes: Iterable[Outcome]) -> list[str]:
    lines = [
        "| work | loop | target | floor | measured [quartiles] | ratio [quartiles] | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in outcomes:
        unit = row.unit.split(" per ")[0]
        floor = "" if row.floor is None else f"{figure(row.floor.median)} {unit}"
        if row.floor_ratio is not None:
            floor += f" ({row.floor_ratio.median:.2f})"
        seen = row.measured
        measured = f"{figure(seen.median)} {unit}"
        if seen.rounds > 1:
            measured += f" [{figure(seen.low)}-{figure(seen.high)}]"
        verdict = f"**{row.verdict}**" if row.verdict == "missed" else row.verdict
        cells = (row.title, row.loop, row.target, floor, measured, ratio_text(row.ratio), verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _costs(costs: Iterable[Cost]) -> list[str]:
    lines = ["| | program | median | quartiles | least |", "|---|---|---|---|---|"]
    title = ""
    for cost in costs:
        shown = f"{cost.title}, {cost.unit}" if cost.title != title else ""
        title = cost.title
        seen = cost.measured
        lines.append(
            f"| {shown} | {cost.program} | {figure(seen.median)} | "
            f"{figure(seen.low)}-{figure(seen.high)} | {figure(seen.least)} |"
        )
    return [*lines, ""]


def _peers(peers: dict[str, str]) -> list[str]:
    if not peers:
        return ["Other runtimes were not asked for in this run."]
    said = ", ".join(f"{name} {version}" for name, version in peers.items())
    return [f"Other runtimes: {said}."]


def _of(costs: Iterable[Cost], key: str, part: str) -> list[Cost]:
    return [
        cost
        for cost in costs
        if cost.block == key and cost.loop == "asyncio" and part in cost.title
    ]
