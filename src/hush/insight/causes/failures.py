"""Failures: what failed, whom it took along, what was lost by it.

These are told whether or not time is to be gained by mending them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.scene import NODE_LEVELS, capital, listed, number, plural, told
from hush.insight.wording import clean, error_text, format_cost, format_tokens, raised_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.record import SpanRecord
    from hush.insight.tree import TreeNode

__all__ = ("cancellations", "failed", "partial_failures", "timeouts", "waste")

_FAILED: Final = frozenset({semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT})
_BLAMED: Final = frozenset(
    {semconv.REASON_FAIL_FAST, semconv.REASON_TOLERANCE_EXCEEDED, semconv.REASON_TIMEOUT}
)
_REMEDIES: Final = {
    semconv.REASON_FAIL_FAST: "Where the others are worth having without it, let the map collect "
    "failures (on_error='collect') or the node capture its own (on_error='capture').",
    semconv.REASON_TOLERANCE_EXCEEDED: "Raise max_failures, or mend what fails.",
    semconv.REASON_TIMEOUT: "Raise the limit, or find out in the critical path what it waited for.",
}
_LONGEST: Final = 300
"""Characters of an error's text in a sentence."""


def failed(scene: Scene) -> Iterator[Candidate]:
    """Say why the run failed, if it did."""
    record = scene.run.record
    if record.outcome not in _FAILED:
        return
    origin = _origin(scene)
    path = record.attributes.get(semconv.FAILED_NODE)
    path = path if isinstance(path, str) else scene.path(origin)
    victims = _victims(scene).get(path, [])
    lost_s = sum(_wasted_s(victim) for victim in victims)
    error = clean(error_text(origin.record) or error_text(record))[:_LONGEST]
    timed_out = record.outcome == semconv.OUTCOME_TIMEOUT
    after_s = (origin.record.end_ns - record.start_ns) / 1e9
    facts: dict[str, Any] = {
        "error": error,
        "error_type": record.attributes.get(semconv.ERROR_TYPE),
        "after_s": after_s,
        "cancelled": [scene.path(victim) for victim in victims],
        "wasted_s": lost_s,
        "timeout": timed_out,
    }
    item = _item_around(origin)
    if item is not None:
        facts |= {"index": item.record.index, "key": item.record.attributes.get(semconv.ITEM_KEY)}
    how = "ran into its time limit" if timed_out else "failed"
    text = f"The run failed because {scene.name(origin)} {how} after {told(after_s)}"
    text += f": {error}." if error else "."
    if victims:
        names = listed([scene.name(victim) for victim in victims])
        text += f" That cancelled {names}, and {told(lost_s)} of work in {plural(len(victims), 'place')} was lost."
    remedy = f"Mend {scene.name(origin)}"
    if timed_out:
        remedy = f"Raise the time limit of {scene.name(origin)}, or find out what it waited for"
    else:
        remedy += "; give it a retry where the failure passes"
    yield Candidate(Finding("failed", path, 0.0, text, f"{remedy}.", facts))


def _origin(scene: Scene) -> TreeNode:
    """Return the span of what failed first: at the path that the run names, or else deepest."""
    path = scene.run.record.attributes.get(semconv.FAILED_NODE)
    red = [node for node in scene.nodes if node.record.outcome in _FAILED]
    levels = NODE_LEVELS | {semconv.SPAN_ITEM, semconv.SPAN_RUN}
    at = [n for n in red if scene.path(n) == path and n.record.prefix in levels]
    if at:
        return at[0]
    raised = [node for node in red if raised_here(node.record) and node.record.prefix in levels]
    # Without a name: the first red one that contains no other.
    leaves = [n for n in red if not any(c.record.outcome in _FAILED for c in n.children)]
    return min(raised or leaves, key=lambda n: n.record.end_ns, default=scene.run)


def _item_around(node: TreeNode) -> TreeNode | None:
    around: TreeNode | None = node
    while around is not None and around.record.prefix != semconv.SPAN_ITEM:
        around = around.parent
    return around


# --- cancellations -----------------------------------------------------------------------------------


def cancellations(scene: Scene) -> Iterator[Candidate]:
    """Say who was cancelled because of whom, and what that wasted."""
    for path, victims in _victims(scene).items():
        reason = str(victims[0].record.attributes.get(semconv.CANCEL_REASON))
        wasted_s = sum(map(_wasted_s, victims))
        tokens = sum(number(victim.record, semconv.TOKENS_WASTED) or 0 for victim in victims)
        kinds = Counter(_kind(victim) for victim in victims)
        facts = {
            "cause": path,
            "reason": reason,
            "victims": len(victims),
            "cancelled": [scene.path(victim) for victim in victims],
            "wasted_s": wasted_s,
            "tokens_wasted": tokens,
        }
        counts = listed([plural(count, kind) for kind, count in kinds.most_common()])
        why = "was cancelled" if len(victims) == 1 else "were cancelled"
        by = {
            semconv.REASON_TOLERANCE_EXCEEDED: f"because more of '{clean(path)}' failed than max_failures tolerates",
            semconv.REASON_TIMEOUT: f"by the time limit of '{clean(path)}'",
        }.get(reason, f"because '{clean(path)}' failed (fail-fast)")
        text = f"{counts} {why} {by}: {listed([scene.name(victim) for victim in victims])}."
        text += f" They had run for {told(wasted_s)} in all, for nothing"
        text += f", and used {format_tokens(tokens)} tokens." if tokens else "."
        yield Candidate(Finding("cancelled", path, 0.0, text, _REMEDIES.get(reason, ""), facts))
    if scene.run.record.outcome == semconv.OUTCOME_CANCELLED:
        yield _from_outside(scene)


def _from_outside(scene: Scene) -> Candidate:
    under_way = [
        node
        for node in scene.nodes
        if node.record.outcome == semconv.OUTCOME_CANCELLED
        and node is not scene.run
        and not any(c.record.outcome == semconv.OUTCOME_CANCELLED for c in node.children)
    ]
    text = f"The run was cancelled from outside after {told(scene.wall_s)}"
    if under_way:
        text += f", while it was in {listed([scene.name(node) for node in under_way])}"
    facts = {"reason": semconv.REASON_EXTERNAL, "cancelled": [scene.path(n) for n in under_way]}
    path = scene.path(scene.run)
    return Candidate(Finding("cancelled", path, 0.0, f"{text}.", "", facts))


def _victims(scene: Scene) -> dict[str, list[TreeNode]]:
    """Return who was cancelled by whom, without what is inside another victim."""
    found: dict[str, list[TreeNode]] = defaultdict(list)
    for node in scene.nodes:
        record = node.record
        around = node.parent
        if record.outcome != semconv.OUTCOME_CANCELLED or node is scene.run:
            continue
        if around is not None and around.record.outcome == semconv.OUTCOME_CANCELLED:
            continue
        cause = record.attributes.get(semconv.CANCEL_CAUSE)
        if isinstance(cause, str) and record.attributes.get(semconv.CANCEL_REASON) in _BLAMED:
            found[cause].append(node)
    return found


def _wasted_s(node: TreeNode) -> float:
    return node.record.seconds(semconv.WASTED_S) or node.duration_s


def _kind(node: TreeNode) -> str:
    prefix = node.record.prefix
    return "call" if prefix == semconv.SPAN_CHAT else prefix or "span"


# --- what did not fail the run ----------------------------------------------------------------------------


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
        errors = Counter(_said(item.record) for item in red)
        ways = {"handled": "handled by the nodes themselves", "failed": "collected"}
        how = " or ".join(said for name, said in ways.items() if counts[name])
        text = f"{bad:,} of {plural(size, 'item')} of '{group.name}' failed and were {how}"
        if errors:
            said, count = errors.most_common(1)[0]
            text += f", first {scene.name(red[0])}; most often ({count}): {said}"
        facts = {**counts, "items": size, "indices": [item.record.index for item in red]}
        yield Candidate(Finding("partial_failure", group.path, 0.0, f"{text}.", "", facts))
    captured = [
        node
        for node in scene.nodes
        if node.record.prefix in NODE_LEVELS
        and node.record.outcome in _FAILED
        and node.parent is not None
        and node.parent.record.outcome == semconv.OUTCOME_OK
    ]
    for path, nodes in scene.grouped(captured).items():
        text = f"{scene.name(nodes[0])} failed, which was captured: {_said(nodes[0].record)}."
        yield Candidate(
            Finding("partial_failure", path, 0.0, capital(text), "", {"failed": len(nodes)})
        )


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
