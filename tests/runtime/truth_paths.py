"""Compares the path that a run told with the true one, and with the one that Jaeger draws."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from hush import semconv
from tests.e2e.critical_path import critical_path
from tests.runtime.truth_simulation import Truth

WORTH_A_STEP = 0.05
"""What is less of a whole than this may go untold."""
NEAR = 0.0006
"""Half of what is told is rounded away."""
MAY_BE_SMALL = (" (source)", " (itself)", " (stopping)")


def compare_path(tree: Any, truth: Truth, compared: Counter[str]) -> list[str]:
    texts = tree.root.record.attributes.get(semconv.CRITICAL_PATH, ())
    told = {}
    for text in texts:
        label, seconds, _ = text.rsplit(" ", 2)
        if label in told:
            return [f"told twice: {label}"]
        told[label] = float(seconds[:-1])
    answers = []
    for way in truth.end.moment.ways():
        expected: dict[str, float] = {}
        for label, seconds in way:
            if label:
                name = label.removeprefix("g.")
                expected[name] = expected.get(name, 0.0) + seconds
        wrong = compare_steps(told, expected)
        if not wrong:
            compared["steps"] += len(told)
            compared["paths"] += 1
            compared["paths with sums"] += any("shorter step" in label for label in told)
            return []
        answers.append((len(wrong), f"path {told}\n  is not {expected}\n  as {wrong}"))
    return [f"{len(answers)} answers, the nearest:\n{min(answers)[1]}"]


def compare_steps(told: dict[str, float], expected: dict[str, float]) -> list[str]:
    wrong = []
    left = dict(expected)
    pooled = any("shorter step" in label for label in told)
    for label, seconds in told.items():
        if is_sum(label) or label not in left:
            continue
        truly = left.pop(label)
        if abs(truly - seconds) > NEAR:
            wrong.append(f"{label} took {truly}")
    for label, seconds in told.items():
        if label in expected and not is_sum(label):
            continue
        more = re.fullmatch(r"(.*) \((\d+) more items?\)", label)
        if more and pooled:
            continue  # of some of them, steps are told alone
        if more:
            wrong += compare_rest(more[1], int(more[2]), seconds, told, left)
        elif "shorter step" not in label and not label.endswith("(itself)"):
            wrong.append(f"{label} was not waited for")
    for label, seconds in told.items():
        if label.endswith("(itself)") and label not in expected:
            path = label.removesuffix(" (itself)")
            inside = [name for name in left if is_within(name, path) and is_small(name, expected)]
            small = sum(left.pop(name) for name in inside)
            if abs(small - seconds) > NEAR:
                wrong.append(f"{label} was {small}")
    if pooled:
        shorter = sum(seconds for label, seconds in told.items() if is_sum(label))
        untold = sum(left.values())
        small = WORTH_A_STEP * sum(expected.values())
        if not shorter - NEAR * len(left) <= untold <= shorter + small:
            wrong.append(f"the shorter steps are {untold}")
    else:
        wrong += [f"{name} is missing" for name in left if not is_small(name, expected)]
    order = [label for label in told if label in expected and " " not in label]
    if order != [label for label in expected if label in order]:
        wrong.append("the order is another one")
    return wrong


def compare_rest(
    path: str, count: int, seconds: float, told: dict[str, float], left: dict[str, float]
) -> list[str]:
    """Compare the items of a map that are told of together."""
    item = re.compile(re.escape(path) + r"(\[\d+\])")
    alone = {match[1] for label in told if (match := item.match(label))}
    inside: dict[str, float] = defaultdict(float)
    for label in list(left):
        match = item.match(label)
        if match and match[1] not in alone:
            inside[match[1]] += left.pop(label)
    if len(inside) != count or abs(sum(inside.values()) - seconds) > NEAR:
        return [f"there are {len(inside)} more of {path}, with {sum(inside.values())}"]
    return []


def is_sum(label: str) -> bool:
    return "shorter step" in label or "more item" in label


def is_within(label: str, path: str) -> bool:
    return not path or (label.startswith(path) and label[len(path) : len(path) + 1] in ".[ ")


def is_small(label: str, expected: dict[str, float]) -> bool:
    for ending in MAY_BE_SMALL:
        if label.endswith(ending):
            path = label.removesuffix(ending)
            if ending == " (stopping)":
                path = re.sub(r"(\[\d+\]|\.?[^.\]]+)$", "", path)
            whole = sum(s for name, s in expected.items() if is_within(name, path))
            return expected[label] <= WORTH_A_STEP * whole + 1e-9
    return False


def jaeger_differs(tree: Any, truth: Truth) -> bool:
    """Say whether the path that Jaeger would draw has other leaves than each true one."""
    leaves = {}
    names = {}

    def look(node: Any, path: str) -> None:
        mine = node.record.attributes.get(semconv.NODE_PATH, path)
        names[node.record.span_id] = mine
        if node.record.attributes.get(semconv.NODE_KIND) in ("work", "code"):
            leaves[mine] = True
        for child in node.children:
            look(child, mine)

    look(tree.root, "g")
    spans = [Timed(node.record) for node in tree.walk()]
    drawn = {names[section.span.span_id] for section in critical_path(spans)} & leaves.keys()
    true = [
        {label.split(" ")[0] for label, seconds in way if seconds > 0} & leaves.keys()
        for way in truth.end.moment.ways()
    ]
    return drawn not in true


class Timed:
    """A span as Jaeger knows it."""

    def __init__(self, record: Any) -> None:
        self.span_id = record.span_id
        self.parent_id = record.parent_id
        self.start_us = record.start_ns // 1000
        self.end_us = record.end_ns // 1000
