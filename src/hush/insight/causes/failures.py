"""Failures: why a run failed or ended before its time, and whom that took along.

These are told whether or not time is to be gained by mending them. What cancelled others is
one finding with its victims; where that is not what the run failed of, one of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.scene import NODE_LEVELS, ended, listed, number, plural, told
from hush.insight.wording import clean, error_text, format_tokens, raised_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.tree import TreeNode

__all__ = ("cancellations", "failed")

_FAILED: Final = frozenset({semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT})
_BLAMED: Final = frozenset(
    {semconv.REASON_FAIL_FAST, semconv.REASON_TOLERANCE_EXCEEDED, semconv.REASON_TIMEOUT}
)
_REMEDIES: Final = {
    semconv.REASON_FAIL_FAST: "Where the others are worth having without it, let the map collect "
    "failures (on_error='collect') or the node capture its own (on_error='capture').",
    semconv.REASON_TOLERANCE_EXCEEDED: "Raise max_failures, or mend what fails.",
    semconv.REASON_TIMEOUT: "Raise the limit, or look at what it waited for.",
}
_UNDER_WAY: Final = 3
"""Of what was under way when a run ended, so many are named, those first that took longest."""
_LONGEST: Final = 300
"""Characters of an error's text in a sentence."""


def failed(scene: Scene) -> Iterator[Candidate]:
    """Say why the run failed, if it did."""
    record = scene.run.record
    if record.outcome not in _FAILED:
        return
    if scene.cut:
        yield _out_of_time(scene)
        return
    origin = _origin(scene)
    path = _failed_path(scene)
    path = path or scene.path(origin)
    victims = _victims(scene).get(path, [])
    error = clean(error_text(origin.record) or error_text(record))[:_LONGEST]
    timed_out = record.outcome == semconv.OUTCOME_TIMEOUT
    after_s = (origin.record.end_ns - record.start_ns) / 1e9
    facts: dict[str, Any] = {
        "error": error,
        "error_type": record.attributes.get(semconv.ERROR_TYPE),
        "after_s": after_s,
        "timeout": timed_out,
        **_victim_facts(scene, victims),
    }
    item = _item_around(origin)
    if item is not None:
        facts |= {"index": item.record.index, "key": item.record.attributes.get(semconv.ITEM_KEY)}
    how = "ran into its time limit" if timed_out else "failed"
    text = f"The run failed because {scene.name(origin)} {how} after {told(after_s)}"
    text = ended(f"{text}: {error}" if error else text)
    remedy = f"Mend {scene.name(origin)}; give it a retry where the failure passes."
    if timed_out:
        remedy = f"Raise the time limit of {scene.name(origin)}, or find out what it waited for."
    if victims:
        reason = str(facts["reason"])
        because = " (fail-fast)" if reason == semconv.REASON_FAIL_FAST else ""
        text += f" That cancelled {_counted(victims)}{because}: {_named(scene, victims)}; {_lost(victims, facts)}."
        if not timed_out:
            remedy = f"{remedy} {_REMEDIES.get(reason, '')}".strip()
    yield Candidate(Finding("failed", path, 0.0, text, remedy, facts))


def _failed_path(scene: Scene) -> str | None:
    path = scene.run.record.attributes.get(semconv.FAILED_NODE)
    return path if isinstance(path, str) else None


def _out_of_time(scene: Scene) -> Candidate:
    """Tell of a run that its own deadline ended: what it was in, and how far it had come."""
    record = scene.run.record
    under_way = _under_way(scene)
    text = f"The run was ended by its time limit (deadline_s) after {told(scene.wall_s)}"
    text += _while_in(scene, under_way)
    text += f".{_progress(scene)}"
    facts = {
        "error": clean(error_text(record))[:_LONGEST],
        "error_type": record.attributes.get(semconv.ERROR_TYPE),
        "after_s": scene.wall_s,
        "timeout": True,
        "under_way": [scene.path(node) for node in under_way],
        **_victim_facts(scene, _victims(scene).get(scene.path(scene.run), [])),
    }
    remedy = "Raise the limit, or look at what it was in"
    remedy += f": {scene.name(under_way[0])} first." if under_way else "."
    return Candidate(Finding("failed", scene.path(scene.run), 0.0, text, remedy, facts))


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
    fatal = _failed_path(scene) if scene.run.record.outcome in _FAILED else None
    for path, victims in _victims(scene).items():
        if path == fatal:
            continue
        facts = {"cause": path, **_victim_facts(scene, victims)}
        reason = str(facts["reason"])
        why = "was cancelled" if len(victims) == 1 else "were cancelled"
        by = {
            semconv.REASON_TOLERANCE_EXCEEDED: f"because more of '{clean(path)}' failed than max_failures tolerates",
            semconv.REASON_TIMEOUT: f"by the time limit of '{clean(path)}'",
        }.get(reason, f"because '{clean(path)}' failed (fail-fast)")
        text = f"{_counted(victims)} {why} {by}: {_named(scene, victims)}; {_lost(victims, facts)}."
        yield Candidate(Finding("cancelled", path, 0.0, text, _REMEDIES.get(reason, ""), facts))
    if scene.run.record.outcome == semconv.OUTCOME_CANCELLED:
        yield _from_outside(scene)


def _from_outside(scene: Scene) -> Candidate:
    under_way = _under_way(scene)
    text = f"The run was cancelled from outside after {told(scene.wall_s)}"
    text += f"{_while_in(scene, under_way)}.{_progress(scene)}"
    facts = {"reason": semconv.REASON_EXTERNAL, "cancelled": [scene.path(n) for n in under_way]}
    return Candidate(Finding("cancelled", scene.path(scene.run), 0.0, text, "", facts))


def _under_way(scene: Scene) -> list[TreeNode]:
    """Return what was cancelled and contains nothing that was, the longest first."""
    found = [
        node
        for node in scene.nodes
        if node.record.outcome == semconv.OUTCOME_CANCELLED
        and node is not scene.run
        and not any(c.record.outcome == semconv.OUTCOME_CANCELLED for c in node.children)
    ]
    return sorted(found, key=lambda node: -node.duration_s)


def _while_in(scene: Scene, under_way: Sequence[TreeNode]) -> str:
    if not under_way:
        return ""
    names = [f"{scene.name(node)} (for {told(node.duration_s)})" for node in under_way]
    return f", while it was in {listed(names, _UNDER_WAY)}"


def _progress(scene: Scene) -> str:
    """Say how far the maps had come that were under way."""
    said = ""
    for group in scene.maps:
        if all(node.record.outcome != semconv.OUTCOME_CANCELLED for node in group.nodes):
            continue
        size = sum(number(node.record, semconv.MAP_ITEMS) or 0 for node in group.nodes)
        over = sum(
            number(node.record, name) or 0
            for node in group.nodes
            for name in (semconv.MAP_OK, semconv.MAP_FAILED, semconv.MAP_HANDLED)
        )
        if size:
            said += f" {over:,} of {plural(size, 'item')} of '{group.name}' were done."
    return said


def _victim_facts(scene: Scene, victims: Sequence[TreeNode]) -> dict[str, Any]:
    return {
        "reason": victims[0].record.attributes.get(semconv.CANCEL_REASON) if victims else None,
        "victims": len(victims),
        "cancelled": [scene.path(victim) for victim in victims],
        "wasted_s": sum(map(_wasted_s, victims)),
        "tokens_wasted": sum(number(v.record, semconv.TOKENS_WASTED) or 0 for v in victims),
    }


def _counted(victims: Sequence[TreeNode]) -> str:
    kinds = Counter(_kind(victim) for victim in victims)
    return listed([plural(count, kind) for kind, count in kinds.most_common()])


def _named(scene: Scene, victims: Sequence[TreeNode]) -> str:
    return listed([scene.name(victim) for victim in victims])


def _lost(victims: Sequence[TreeNode], facts: Mapping[str, Any]) -> str:
    """Say what was lost by a cancellation."""
    wasted = told(facts["wasted_s"])
    text = f"{wasted} of work was lost"
    if len(victims) > 1:
        text = f"{wasted} of work in all was lost"
    tokens = facts["tokens_wasted"]
    return f"{text}, and {format_tokens(tokens)} tokens" if tokens else text


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
