"""Losses: what went wrong in a run that went on all the same.

These are told whether or not time is to be gained by mending them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.scene import NODE_LEVELS, capital, ended, number, plural, told
from hush.insight.wording import clean, error_text, format_cost, format_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = ("partial_failures", "timeouts", "waste")

_FAILED: Final = frozenset({semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT})
_LONGEST: Final = 300
"""Characters of an error's text in a sentence."""
_PLACE: Final = re.compile(r"\S*\[\d+\]\S*: ")
"""The path with which an item's error text begins."""
_DIGITS: Final = re.compile(r"\d+")


def timeouts(scene: Scene) -> Iterator[Candidate]:
    """Say which time limits passed without failing the run."""
    fatal = scene.run.record.attributes.get(semconv.FAILED_NODE)
    late = [
        node
        for node in scene.nodes
        if any(event.name == semconv.EVENT_TIMEOUT for event in node.record.events)
        and scene.path(node) != fatal
    ]
    for path, nodes in scene.grouped(late).items():
        limits = [
            seconds
            for node in nodes
            for event in node.record.events
            if event.name == semconv.EVENT_TIMEOUT
            and isinstance(seconds := event.attributes.get(semconv.LIMIT_S), int | float)
        ]
        spent_s = sum(node.duration_s for node in nodes)
        name = clean(path.rpartition(".")[2])
        text = f"'{name}' ran into its time limit"
        text += f" of {told(max(limits))}" if limits else ""
        text += f" {plural(len(nodes), 'time')} ({scene.name(nodes[0])}"
        text += f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        text += f"), which took {told(spent_s)} and gave nothing."
        remedy = "Raise the limit if the work needs it, or lower it if waiting so long is in vain."
        facts = {"times": len(nodes), "limit_s": max(limits, default=0.0), "spent_s": spent_s}
        yield Candidate(Finding("timeout", path, 0.0, text, remedy, facts))


def partial_failures(scene: Scene) -> Iterator[Candidate]:
    """Say what failed in a run that went on."""
    for group in scene.maps:
        counts = {
            name: sum(number(node.record, key) or 0 for node in group.nodes)
            for name, key in (("failed", semconv.MAP_FAILED), ("handled", semconv.MAP_HANDLED))
        }
        calm = all(node.record.outcome not in _FAILED for node in group.nodes)
        bad = sum(counts.values())
        if not bad or not calm:
            continue
        size = sum(number(node.record, semconv.MAP_ITEMS) or 0 for node in group.nodes)
        red = [item for item in group.items if item.record.is_red]
        ways = {"handled": "handled by the nodes themselves", "failed": "collected"}
        how = " or ".join(said for name, said in ways.items() if counts[name])
        was = "was" if bad == 1 else "were"
        text = f"{bad:,} of {plural(size, 'item')} of '{group.name}' failed and {was} {how}"
        text += f", first {scene.name(red[0])}{_most_often(red)}" if red else ""
        facts = {**counts, "items": size, "indices": [item.record.index for item in red]}
        yield Candidate(Finding("partial_failure", group.path, 0.0, ended(text), "", facts))
    captured = [
        node
        for node in scene.nodes
        if node.record.prefix in NODE_LEVELS
        and node.record.outcome in _FAILED
        and node.parent is not None
        and node.parent.record.outcome == semconv.OUTCOME_OK
    ]
    for path, nodes in scene.grouped(captured).items():
        text = f"{scene.name(nodes[0])} failed, which was captured: {_said(nodes[0].record)}"
        yield Candidate(
            Finding("partial_failure", path, 0.0, ended(capital(text)), "", {"failed": len(nodes)})
        )


def _most_often(red: Sequence[TreeNode]) -> str:
    """Say how most of the items failed; texts count as one that differ by the item's name only."""
    said = [_PLACE.sub("", _said(item.record), count=1) for item in red]
    kinds = [_kind_of(text, item) for text, item in zip(said, red, strict=True)]
    ((kind, count),) = Counter(kinds).most_common(1)
    example = said[kinds.index(kind)]
    if count == 1:
        return f": {example}" if example else ""
    such = ", such as" if len(set(said)) > 1 else ""
    return (
        f"; {count} times{such}: {example}"
        if count == len(red)
        else f"; most often ({count} times){such}: {example}"
    )


def _kind_of(text: str, item: TreeNode) -> str:
    key = item.record.attributes.get(semconv.ITEM_KEY)
    if isinstance(key, str) and key:
        text = text.replace(clean(key), "#")
    return _DIGITS.sub("#", text)


def _said(record: SpanRecord) -> str:
    return clean(error_text(record))[:_LONGEST]


def waste(scene: Scene) -> Iterator[Candidate]:
    """Say how many tokens served nothing."""
    records: Sequence[SpanRecord] = [scene.run.record]
    tokens = number(records[0], semconv.TOKENS_WASTED)
    if tokens is None:
        records = [n.record for n in scene.nodes if n.record.prefix == semconv.SPAN_CHAT]
        tokens = sum(number(record, semconv.TOKENS_WASTED) or 0 for record in records)
    if not tokens:
        return
    dollars = [
        usd
        for record in records
        if isinstance(usd := record.attributes.get(semconv.WASTED_USD), int | float)
    ]
    used = sum(
        number(scene.run.record, name) or 0
        for name in (semconv.TOKENS_INPUT, semconv.TOKENS_OUTPUT)
    )
    cost = f", {format_cost(sum(dollars))}" if dollars else ""
    beside = f", beside {format_tokens(used)} that served" if used else ""
    text = (
        f"{format_tokens(tokens)} tokens{cost} went into calls that failed, were cancelled or lost "
        f"a race{beside}."
    )
    facts = {"tokens": tokens, "usd": sum(dollars) if dollars else None}
    yield Candidate(Finding("waste", scene.path(scene.run), 0.0, text, "", facts))
