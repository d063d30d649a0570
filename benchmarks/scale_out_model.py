"""One driver and many workers, simulated: where the driver is what all wait for.

The driver is one server that takes its work in order: to send a call, to take a report in, item
by item and span by span. Workers take calls in the order in which they were sent. That is the
whole model; it knows nothing of engines, and its costs come from
:mod:`benchmarks.scale_out_costs`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush, heapreplace

__all__ = (
    "DEFAULTS",
    "Costs",
    "Scenario",
    "Simulated",
    "ceiling",
    "chunk_for",
    "simulate",
    "two_levels",
)


@dataclass(frozen=True, slots=True)
class Costs:
    """What things take, in seconds of one processor, but for the latency."""

    call_s: float
    """The driver's, for each call: to pack and send it, to take its report."""
    item_s: float
    """The driver's, for each item without its spans."""
    span_s: float
    """The driver's, for each span of a worker that is kept."""
    omitted_s: float
    """The driver's, for each span of a worker that the budget leaves out."""
    worker_call_s: float
    """The worker's, for each call."""
    worker_item_s: float
    """The worker's, for each item, its spans included, without what the item is there for."""
    latency_s: float = 0.0005
    """One way between driver and worker."""


DEFAULTS = Costs(
    call_s=0.001,
    item_s=0.00015,
    span_s=0.00005,
    omitted_s=0.00001,
    worker_call_s=0.001,
    worker_item_s=0.0004,
)
"""Where nothing is measured; of the order of what two shared cores showed."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A map over workers."""

    workers: int
    """Slots of all machines together."""
    work_s: float
    """What an item takes on average; each differs, exponentially."""
    chunk: int
    """Items of a call."""
    spans: int = 4
    """Spans of each item below that of the driver."""
    budget: int | None = 1_000
    """Items whose spans are kept; None keeps all."""
    ahead: int = 1
    """Calls that wait in the engine for each worker's next."""
    calls: int = 0
    """How many are simulated; 0 means enough for all workers to be in their stride."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of it."""

    items_per_s: float
    """While all workers are in their stride."""
    driver: float
    """Share of that time in which the driver was busy."""
    workers: float
    """Share of that time in which a worker worked."""
    seconds: float
    """From the first call to the last report."""


def chunk_for(work_s: float, about_s: float = 1.0, most: int = 1_000) -> int:
    """Return how many items make a call that takes about so long.

    Args:
        work_s: of one item.
        about_s: of a call.
        most: never more than this.
    """
    return max(1, min(most, round(about_s / work_s)))


def ceiling(costs: Costs, scenario: Scenario) -> float:
    """Return the items per second at which the driver is busy all the time.

    Args:
        costs: of the driver.
        scenario: its chunk, its spans and whether there is a budget count.
    """
    span_s = costs.span_s if scenario.budget is None else costs.omitted_s
    return 1 / (costs.call_s / scenario.chunk + costs.item_s + scenario.spans * span_s)


def simulate(costs: Costs, scenario: Scenario, seed: int = 0) -> Simulated:
    """Run a map of the model.

    Args:
        costs: of driver and workers.
        scenario: what is run.
        seed: of the items' times.
    """
    chance = random.Random(seed)
    chunk, workers = scenario.chunk, scenario.workers
    in_flight = workers * (1 + scenario.ahead)
    calls = scenario.calls or max(2_000, 8 * in_flight)
    own_s = costs.worker_call_s + chunk * costs.worker_item_s
    kept_s = costs.call_s / 2 + chunk * (costs.item_s / 2 + scenario.spans * costs.span_s)
    left_out_s = costs.call_s / 2 + chunk * (costs.item_s / 2 + scenario.spans * costs.omitted_s)
    send_s = costs.call_s / 2 + chunk * costs.item_s / 2
    keep = math.inf if scenario.budget is None else scenario.budget / chunk

    free = [0.0] * workers
    heapify(free)
    reports: list[float] = []
    driver_free = driver_busy = last = 0.0
    sent = 0
    stride: list[tuple[float, float]] = []

    def send(now: float) -> float:
        nonlocal sent, driver_busy
        sent += 1
        driver_busy += send_s
        now += send_s
        # Times that differ exponentially add up to a gamma distribution.
        takes = own_s + chance.gammavariate(chunk, scenario.work_s)
        ends = max(free[0], now + costs.latency_s) + takes
        heapreplace(free, ends)
        heappush(reports, ends + costs.latency_s)
        return now

    for _ in range(in_flight):
        driver_free = send(driver_free)
    for number in range(calls):
        arrived = heappop(reports)
        took = kept_s if number < keep else left_out_s
        driver_busy += took
        driver_free = last = max(arrived, driver_free) + took
        if sent < calls:
            driver_free = send(driver_free)
        # Between the first full round and the last: the ends are the ends of any map.
        if number in (in_flight, calls - in_flight):
            stride.append((last, driver_busy))
    (began, busy_before), (ended, busy_after) = stride
    rate = (calls - 2 * in_flight) * chunk / (ended - began)
    each_s = scenario.work_s + own_s / chunk
    return Simulated(
        items_per_s=rate,
        driver=(busy_after - busy_before) / (ended - began),
        workers=min(1.0, rate * each_s / workers),
        seconds=last,
    )


def two_levels(costs: Costs, scenario: Scenario, shards: int, seed: int = 0) -> Simulated:
    """Run a map of shards, each of which is a map with a driver and workers of its own.

    Args:
        costs: of all drivers and workers.
        scenario: what is run in all; its workers are divided, and its calls.
        shards: how many, all at the same time.
        seed: of the items' times.

    Returns:
        What came of all together; the driver is the one above the shards.
    """
    each = replace(scenario, workers=max(1, scenario.workers // shards), calls=0)
    # A sample of the shards will do. The driver above takes one report for all of a shard.
    sample = [simulate(costs, each, seed + number) for number in range(min(shards, 5))]
    rate = shards * sum(one.items_per_s for one in sample) / len(sample)
    seconds = sum(one.seconds for one in sample) / len(sample)
    above = shards * (costs.call_s + costs.item_s + costs.span_s) / seconds
    return Simulated(
        items_per_s=rate,
        driver=above,
        workers=sum(one.workers for one in sample) / len(sample),
        seconds=seconds,
    )
