"""The simulation of one driver: where it can be calculated, it agrees; its page is made of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from benchmarks.scale_out import BEGIN, END, busy_until, write_page
from benchmarks.scale_out_model import DEFAULTS, Scenario, ceiling, chunk_for, simulate, two_levels

SCENARIO = Scenario(workers=10, work_s=0.1, chunk=10, budget=None)


def test_a_few_workers_do_what_workers_can():
    seen = simulate(DEFAULTS, SCENARIO)
    each_s = 0.1 + DEFAULTS.worker_item_s + DEFAULTS.worker_call_s / 10
    assert seen.items_per_s == pytest.approx(10 / each_s, rel=0.05)
    assert seen.workers == pytest.approx(1, abs=0.05)
    assert seen.driver == pytest.approx(seen.items_per_s / ceiling(DEFAULTS, SCENARIO), rel=0.05)


def test_many_workers_do_what_the_driver_can():
    scenario = replace(SCENARIO, workers=2_000)
    seen = simulate(DEFAULTS, scenario)
    assert seen.items_per_s == pytest.approx(ceiling(DEFAULTS, scenario), rel=0.01)
    assert seen.driver == pytest.approx(1, abs=0.01)


def test_a_call_alone_takes_the_sum_of_its_parts():
    # One worker, nothing ahead, no chance: the driver's, the way, the worker's, the way back.
    costs = replace(DEFAULTS, latency_s=0.01)
    seen = simulate(costs, Scenario(1, 1e-9, 1, spans=0, ahead=0))
    parts = costs.call_s + costs.item_s + costs.worker_call_s + costs.worker_item_s + 0.02
    assert 1 / seen.items_per_s == pytest.approx(parts, rel=1e-3)


def test_chunks_and_the_budget_raise_the_ceiling():
    single = replace(SCENARIO, chunk=1)
    budgeted = replace(SCENARIO, budget=1_000)
    assert ceiling(DEFAULTS, single) < ceiling(DEFAULTS, SCENARIO) < ceiling(DEFAULTS, budgeted)
    assert busy_until(DEFAULTS, single) < busy_until(DEFAULTS, SCENARIO)
    assert (chunk_for(0.01), chunk_for(0.1), chunk_for(5)) == (100, 10, 1)


def test_two_levels_go_beyond_one_driver():
    scenario = replace(SCENARIO, workers=2_000)
    seen = two_levels(DEFAULTS, scenario, shards=20)
    assert seen.items_per_s > 5 * ceiling(DEFAULTS, scenario)
    assert seen.driver < 0.01


def test_the_page_keeps_what_people_wrote(tmp_path):
    page = tmp_path / "scale-out.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    written = write_page(DEFAULTS, "Assumed.", tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "| 100 ms | 10 items a call, span budget | 3,400 items/s |" in text
    assert "a call 1,000 µs" in text
    (plot,) = (path for path in written if path.suffix == ".svg")
    ET.fromstring(plot.read_text())
