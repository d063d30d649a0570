"""How far one driver goes: workers, chunks, span budget, and two levels, simulated.

    python -m benchmarks.scale_out [--measure] [--costs FILE] [--write]

Prints what one driver's costs are, how many items a second it can go through at most, and where
workers begin to wait for it. With --measure the costs are measured here first, with one process of
this machine as the worker; else they are those of the page. With --write the table and the plot go
into docs/scale-out.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.machine import describe_machine
from benchmarks.scale_out_model import (
    DEFAULTS,
    Costs,
    Scenario,
    ceiling,
    chunk_for,
    simulate,
    two_levels,
)

__all__ = ("BEGIN", "END", "main", "render", "write_page")

BEGIN = "<!-- simulated: begin; python -m benchmarks.scale_out --write makes this part -->"
END = "<!-- simulated: end -->"
PLOT = "rates.svg"
WORKERS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
WORKS = (0.01, 0.1, 1.0, 10.0)
PLOTTED_WORK_S = 0.1
ENOUGH = 0.9
"""Workers are busy enough where they work for this share of the time."""
SHARD_WORKERS = 100
"""Workers of one driver, where there are two levels."""


def ways(work_s: float) -> dict[str, Scenario]:
    """Return what is compared, by name, for items that take so long."""
    chunk = chunk_for(work_s)
    one = Scenario(1, work_s, 1, budget=None)
    found = {"one item a call, all spans": one}
    if chunk > 1:
        found[f"{chunk} items a call, all spans"] = replace(one, chunk=chunk)
        found[f"{chunk} items a call, span budget"] = replace(one, chunk=chunk, budget=1_000)
    else:
        found["one item a call, span budget"] = replace(one, budget=1_000)
    return found


def busy_until(costs: Costs, scenario: Scenario) -> int:
    """Return with how many workers these are still busy enough; to two digits or so."""
    low, high = 1, 2
    while high < 10**7 and _busy(costs, scenario, high):
        low, high = high, 2 * high
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if _busy(costs, scenario, middle) else (low, middle)
    return low


def _busy(costs: Costs, scenario: Scenario, workers: int) -> bool:
    # What many workers do is known without waiting for each of them: the driver is what counts.
    if workers > 5_000:
        each_s = scenario.work_s + costs.worker_item_s + costs.worker_call_s / scenario.chunk
        return ceiling(costs, scenario) * each_s / workers >= ENOUGH
    run = replace(scenario, workers=workers, budget=_all_or_none(scenario))
    return simulate(costs, run).workers >= ENOUGH


def _all_or_none(scenario: Scenario) -> int | None:
    """A long map is meant: what its first thousand items cost does not count."""
    return None if scenario.budget is None else 0


def rows(costs: Costs) -> Iterable[tuple[float, str, float, int]]:
    """Yield what an item takes, the way, the driver's ceiling, and busy workers."""
    for work_s in WORKS:
        for name, scenario in ways(work_s).items():
            yield work_s, name, ceiling(costs, scenario), busy_until(costs, scenario)


def rates(costs: Costs, work_s: float) -> tuple[list[float], dict[str, list[float]]]:
    """Return the ideal and the simulated items per second, for each number of workers."""
    ideal = [workers / work_s for workers in WORKERS]
    lines = {}
    for name, scenario in ways(work_s).items():
        run = replace(scenario, budget=_all_or_none(scenario))
        lines[name] = [
            simulate(costs, replace(run, workers=workers)).items_per_s for workers in WORKERS
        ]
    lines[f"two levels, a driver for each {SHARD_WORKERS}"] = [
        two_levels(
            costs, replace(run, workers=workers), max(1, workers // SHARD_WORKERS)
        ).items_per_s
        for workers in WORKERS
    ]
    return ideal, lines


def table(found: Sequence[tuple[float, str, float, int]]) -> str:
    """Return rows as a table of the page."""
    said = [
        "| an item takes | way | at most | workers until they wait |",
        "|---|---|---|---|",
    ]
    said += [
        f"| {_duration(work_s)} | {name} | {_round(most)} items/s | {_round(busy)} |"
        for work_s, name, most, busy in found
    ]
    return "\n".join(said)


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"


def _round(value: float) -> str:
    """Two digits that mean something."""
    digits = max(0, len(str(int(value))) - 2)
    return f"{round(value, -digits):,.0f}"


def render(costs: Costs, found: Sequence[tuple[float, str, float, int]], how: str) -> str:
    """Return the generated part of the page."""
    each = "; ".join(
        f"{what} {seconds * 1e6:,.0f} µs"
        for what, seconds in (
            ("a call", costs.call_s),
            ("an item", costs.item_s),
            ("a worker's span that is kept", costs.span_s),
            ("one that is left out", costs.omitted_s),
        )
    )
    return (
        f"What the driver does takes of its processor: {each}. {how}\n\n{table(found)}\n\n"
        "The last column: with more workers than that, each works for less than "
        f"{ENOUGH:.0%} of the time.\n\n"
        f"![Items per second over workers, for items of {_duration(PLOTTED_WORK_S)}]"
        f"(assets/scale-out/{PLOT})\n"
    )


def write_page(costs: Costs, how: str, docs: Path = ROOT / "docs") -> list[Path]:
    """Write the table, the plot and the costs; return the files."""
    # Only here: plots need a package that nothing else does.
    from benchmarks.scale_out_plot import plot_rates

    page, assets = docs / "scale-out.md", docs / "assets" / "scale-out"
    assets.mkdir(parents=True, exist_ok=True)
    ideal, lines = rates(costs, PLOTTED_WORK_S)
    title = f"One driver and its workers, items of {_duration(PLOTTED_WORK_S)}, simulated"
    plot = assets / PLOT
    plot.write_text(plot_rates(title, WORKERS, ideal, lines), encoding="utf-8")
    kept = assets / "costs.json"
    kept.write_text(json.dumps({"how": how, **asdict(costs)}, indent=1) + "\n", encoding="utf-8")
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    body = render(costs, list(rows(costs)), how)
    page.write_text(f"{before}{BEGIN}\n\n{body}\n{END}{after}", encoding="utf-8")
    return [page, plot, kept]


def read_costs(file: Path) -> tuple[Costs, str]:
    """Return what was measured, and how; what is missing is as by default."""
    read = json.loads(file.read_text(encoding="utf-8"))
    how = str(read.pop("how", ""))
    return replace(DEFAULTS, **read), how


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the costs here first")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="take the costs from here")
    parser.add_argument("--write", action="store_true", help="write docs/scale-out.md")
    options = parser.parse_args()
    kept = ROOT / "docs" / "assets" / "scale-out" / "costs.json"
    if options.measure:
        from benchmarks.scale_out_costs import measure_costs

        costs = measure_costs()
        machine = describe_machine()
        how = f"Measured with one process as the worker on: {machine['processor']}, {machine['Python']}."
    elif options.costs or kept.exists():
        costs, how = read_costs(options.costs or kept)
    else:
        costs, how = DEFAULTS, "Assumed, not measured."
    for name, value in asdict(costs).items():
        print(f"{name:16}{value * 1e6:>10,.1f} µs")
    print()
    line = "{:>8}  {:32}{:>14}{:>10}"
    print(line.format("an item", "way", "items/s", "workers"))
    for work_s, name, most, busy in rows(costs):
        print(line.format(_duration(work_s), name, _round(most), _round(busy)))
    print(f"\nItems per second, items of {_duration(PLOTTED_WORK_S)}")
    ideal, lines = rates(costs, PLOTTED_WORK_S)
    print(f"{'workers':36}" + "".join(f"{workers:>9,}" for workers in WORKERS))
    for name, values in {"ideal": ideal, **lines}.items():
        print(f"{name:36}" + "".join(f"{value:>9,.0f}" for value in values))
    if options.write:
        for path in write_page(costs, how):
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
