"""Compares what a run told with what a simulation says: paths, outcomes, joins and maps."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from hush import semconv
from hush.runtime.verdict import RATE_LIMITED, STRAGGLER, WORTH
from tests.runtime.truth_graph import Join
from tests.runtime.truth_map import MapTruth
from tests.runtime.truth_paths import compare_path
from tests.runtime.truth_simulation import Truth


def compare(tree: Any, truth: Truth, compared: Counter[str]) -> list[str]:
    """Return what a run told wrongly."""
    wrong = compare_path(tree, truth, compared)
    spans = by_path(tree)
    wrong += compare_outcomes(spans, truth, compared)
    wrong += compare_joins(spans, truth, compared)
    wrong += compare_maps(spans, truth, compared)
    return wrong


def by_path(tree: Any) -> list[tuple[str, Any]]:
    """Return every span that stands for a node, an item or a round, with its path."""
    found: list[tuple[str, Any]] = []

    def look(node: Any, path: str) -> None:
        facts = node.record.attributes
        mine = path
        for name in (semconv.ITEM_INDEX, semconv.ITERATION_INDEX):
            if name in facts:
                mine = f"{path}[{facts[name]}]"
        mine = facts.get(semconv.NODE_PATH, mine)
        if mine != path:
            found.append((mine, node.record))
        for child in node.children:
            look(child, mine)

    look(tree.root, "g")
    return found


def compare_outcomes(
    spans: list[tuple[str, Any]], truth: Truth, compared: Counter[str]
) -> list[str]:
    told = Counter(
        (
            path,
            record.attributes[semconv.OUTCOME],
            record.attributes.get(semconv.CANCEL_REASON),
            record.attributes.get(semconv.CANCEL_CAUSE),
        )
        for path, record in spans
    )
    compared["spans"] += told.total()
    compared["cancelled"] += sum(n for one, n in told.items() if one[1] == "cancelled")
    return [
        *(f"told, but not so: {one}" for one in told - truth.spans),
        *(f"not told: {one}" for one in truth.spans - told),
    ]


def attributes_of(spans: list[tuple[str, Any]], path: str) -> list[dict[str, Any]]:
    of = sorted((r.start_ns, i) for i, (p, r) in enumerate(spans) if p == path)
    return [spans[i][1].attributes for _, i in of]


def compare_joins(spans: list[tuple[str, Any]], truth: Truth, compared: Counter[str]) -> list[str]:
    wrong = []
    for path, record in spans:
        if semconv.FAN_IN_MODE in record.attributes and path not in truth.joins:
            wrong.append(f"{path} is no fan-in")
    for path, joins in truth.joins.items():
        told = [one for one in attributes_of(spans, path) if semconv.FAN_IN_MODE in one]
        if len(told) != len(joins):
            wrong.append(f"{path}: {len(told)} fan-ins, not {len(joins)}")
            continue
        for facts, join in zip(told, joins, strict=True):
            compared["fan-ins"] += 1
            compared[f"fan-ins {join.mode}"] += 1
            wrong += [f"{path}: {one}" for one in wrong_of_join(facts, join)]
    return wrong


def wrong_of_join(facts: dict[str, Any], join: Join) -> list[str]:
    first = join.arrivals[0][1]
    exact = {
        semconv.FAN_IN_MODE: join.mode,
        semconv.FAN_IN_LAST: join.last,
        semconv.FAN_IN_COUNT: len(join.arrivals),
        semconv.FAN_IN_LEAD_S: join.lead_s,
        semconv.FAN_IN_SPREAD_S: join.arrivals[-1][1] - first,
    }
    wrong = differing(facts, exact)
    if set(facts.get(semconv.FAN_IN_LATE, ())) != join.late:
        wrong.append(f"late are {join.late}, not {facts.get(semconv.FAN_IN_LATE)}")
    if set(facts.get(semconv.FAN_IN_CANCELLED, ())) != join.cancelled:
        wrong.append(f"cancelled are {join.cancelled}, not {facts.get(semconv.FAN_IN_CANCELLED)}")
    arrivals = [text.split(" +") for text in facts[semconv.FAN_IN_ARRIVALS]]
    if [name for name, _ in arrivals] != [name for name, _ in join.arrivals]:
        wrong.append(f"arrived {join.arrivals}, not {arrivals}")
    return wrong


def differing(facts: dict[str, Any], exact: dict[str, Any], near: float = 1e-6) -> list[str]:
    wrong = []
    for name, value in exact.items():
        told = facts.get(name)
        same = told == (pytest.approx(value, abs=near) if isinstance(value, float) else value)
        if not same:
            wrong.append(f"{name} is {value}, not {told}")
    return wrong


def compare_maps(spans: list[tuple[str, Any]], truth: Truth, compared: Counter[str]) -> list[str]:
    wrong = []
    for path, maps in truth.maps.items():
        told = [one for one in attributes_of(spans, path) if semconv.MAP_OK in one]
        if not told:
            continue
        if len(told) != len(maps):
            wrong.append(f"{path}: {len(told)} maps, not {len(maps)}")
            continue
        for facts, one in zip(told, maps, strict=True):
            compared["maps"] += 1
            wrong += [f"{path}: {text}" for text in wrong_of_map(facts, one, compared)]
    return wrong


def wrong_of_map(facts: dict[str, Any], one: MapTruth, compared: Counter[str]) -> list[str]:
    wall = one.ended - one.began
    used = sum(end - began for began, end in one.spans.values())
    full, limited, source, tail = shares(one)
    exact: dict[str, Any] = {
        semconv.MAP_ITEMS: one.begun if one.sized is None else one.sized,
        semconv.MAP_OK: one.ok,
        semconv.MAP_FAILED: one.failed,
        semconv.MAP_CANCELLED: one.begun - one.ok - one.failed,
        semconv.MAP_RETRIED: one.retried,
        semconv.MAP_AT_LIMIT_S: full,
        semconv.MAP_IDLE_TAIL_S: tail,
    }
    wrong = differing(facts, exact)
    if wall > 0:
        wrong += differing(facts, {semconv.MAP_UTILISATION: used / (one.limit * wall)}, 1e-4)
    if not one.runs:
        return wrong + [f"told: {n}" for n in (semconv.MAP_SLOWEST,) if n in facts]
    slowest = sorted(one.runs.values(), reverse=True)[:5]
    told = [int(text.split(":")[0]) for text in facts[semconv.MAP_SLOWEST]]
    if [one.runs[i] for i in told] != pytest.approx(slowest, abs=1e-9):
        wrong.append(f"the slowest take {slowest}, not {told}")
    wrong += differing(
        facts,
        {semconv.MAP_LAST_INDEX: one.last, semconv.MAP_RUN_MAX_S: max(one.runs.values())},
    )
    clear, bound = bound_by(one, limited, source, tail)
    if clear:
        compared["verdicts"] += 1
        compared[f"bound by {bound}"] += 1
        wrong += differing(facts, {semconv.MAP_BOUND_BY: bound})
    return wrong


def shares(one: MapTruth) -> tuple[float, float, float, float]:
    """Return for how long all slots were taken; so while items were left; one was free and the
    source was waited for; and nothing was left."""
    changes = sorted(
        [(began, 1) for began, _ in one.spans.values()]
        + [(end, -1) for _, end in one.spans.values()]
        + [(one.ended, 0)]
    )
    full = limited = source = tail = 0.0
    now, running = one.began, 0
    given = one.given if one.given is not None else one.began
    for at, change in changes:
        # Cut where the last item came and where the source ended.
        cuts = sorted({now, at, *(t for t in (given, one.dry) if t is not None and now < t < at)})
        for left, right in pairwise(cuts):
            asked = one.dry is None or left < one.dry
            more = left < given if one.over_at_last else asked
            if running == one.limit:
                full += right - left
            if not more:
                tail += right - left
            elif running < one.limit:
                source += right - left
            elif left >= given and one.dry is not None:
                # There were no more, as turned out.
                tail += right - left
            else:
                limited += right - left
        now, running = at, running + change
    return full, limited, source, tail


def bound_by(one: MapTruth, limited: float, source: float, tail: float) -> tuple[bool, str | None]:
    """Return what bound a map, and whether that is beyond doubt."""
    busy = sum(one.runs.values())
    runs = sorted(one.runs.values())
    rate = one.waited_s / busy / RATE_LIMITED
    if rate > 1.02:
        return True, semconv.BOUND_BY_RATE_LIMIT
    middle = {runs[(len(runs) - 1) // 2], runs[len(runs) // 2]}
    straggled = {runs[-1] > 1.05 * STRAGGLER * m for m in middle} | {
        runs[-1] > 0.95 * STRAGGLER * m for m in middle
    }
    parts = {semconv.BOUND_BY_LIMIT: limited, semconv.BOUND_BY_SOURCE: source}
    clear = rate < 0.98 and len(straggled) == 1
    if straggled == {True}:
        parts[semconv.BOUND_BY_STRAGGLER] = tail
    else:
        most = max(parts.values())
        clear = clear and not 0.98 < most / (WORTH * tail or 1e-9) < 1.02
        if most < WORTH * tail:
            return clear, None
    first, second = sorted(parts.values(), reverse=True)[:2]
    return clear and second < 0.98 * first, max(parts, key=parts.__getitem__)
