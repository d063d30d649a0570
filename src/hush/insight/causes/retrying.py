"""Retrying: attempts that failed, the pauses after them, and waits for limits outside maps.

Attempts are spans of their own, calls to models too. What failed attempts cost the run is
their time and their pauses on the critical path; that they failed at all costs money too,
which is told elsewhere (:mod:`hush.insight.causes.failures`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.finding import Candidate, Finding
from hush.insight.causes.replay import Change
from hush.insight.causes.scene import listed, plural, share, told
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.tree import TreeNode

__all__ = ("lone_waits", "retries")

_TRIES: Final = frozenset({semconv.SPAN_ATTEMPT, semconv.SPAN_CHAT})
_FAILED: Final = frozenset({semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT})
_TOO_MANY: Final = "429"
_REMEDIES: Final = (
    (
        frozenset({_TOO_MANY}),
        (
            "The server asked for patience: set requests_per_minute or tokens_per_minute of the "
            "resource to what it grants, so that calls wait their turn instead of failing."
        ),
    ),
    (
        frozenset({"timeout", "NodeTimeoutError", "TimeoutError"}),
        "The time limit is near what the work takes: raise timeout_s, or find out why it is slow.",
    ),
)
"""By kinds of failure, what would help."""
_OTHERWISE: Final = (
    "Mend what fails, or fail sooner: fewer attempts, a smaller initial_s, on= only what passes."
)


def retries(scene: Scene) -> Iterator[Candidate]:
    """Find nodes and items whose failed attempts and pauses held the run up."""
    tried = [node for node in scene.nodes if any(map(_is_retried, _failures(node)))]
    for path, nodes in scene.grouped(tried).items():
        yield _told(scene, path, nodes)


def _failures(node: TreeNode) -> list[TreeNode]:
    """Return the attempts directly inside a span that failed."""
    return [
        child
        for child in node.children
        if child.record.prefix in _TRIES and child.record.outcome in _FAILED
    ]


def _is_retried(attempt: TreeNode) -> bool:
    """Say whether another attempt followed."""
    beside = () if attempt.parent is None else attempt.parent.children
    return any(
        other.record.prefix == attempt.record.prefix
        and other.record.start_ns >= attempt.record.end_ns
        for other in beside
    )


def _cost_s(node: TreeNode) -> tuple[float, float]:
    """Return seconds of failed attempts that were followed by others, and of pauses."""
    failed = [one for one in _failures(node) if _is_retried(one)]
    failed_s = sum(one.duration_s for one in failed)
    paused_s = node.record.seconds(semconv.BACKOFF_S)
    if not paused_s:
        told_s = [
            e.attributes.get(semconv.BACKOFF_S)
            for e in node.record.events
            if e.name == semconv.EVENT_RETRY
        ]
        paused_s = sum(one for one in told_s if isinstance(one, int | float))
    return failed_s, min(paused_s, max(0.0, node.duration_s - failed_s))


def _told(scene: Scene, path: str, nodes: Sequence[TreeNode]) -> Candidate:
    costs = [_cost_s(node) for node in nodes]
    failed_s, paused_s = (sum(column) for column in zip(*costs, strict=True))
    change = Change(
        {
            node.record.span_id: max(0.0, node.duration_s - sum(cost))
            for node, cost in zip(nodes, costs, strict=True)
        }
    )
    gain_s = scene.replay.gain_s(change)
    failures = [one for node in nodes for one in _failures(node)]
    kinds = Counter(
        clean(one.record.attributes.get(semconv.ERROR_TYPE, "unknown")).rpartition(".")[2]
        for one in failures
    )
    worst = max(nodes, key=lambda node: sum(_cost_s(node)))
    last = sum(node.record.outcome in _FAILED for node in nodes)
    facts = {
        "failed_attempts": len(failures),
        "failed_s": failed_s,
        "backoff_s": paused_s,
        "errors": dict(kinds),
        "retried": len(nodes),
        "worst": scene.path(worst),
        "failed_nevertheless": last,
    }
    name = clean(path.rpartition(".")[2])
    errors = listed([f"{kind} ({count})" for kind, count in kinds.most_common()])
    text = f"{plural(len(failures), 'attempt')} at '{name}' failed: {errors}"
    if len(nodes) > 1:
        text += f"; {len(nodes)} had to be repeated, most time went into {scene.name(worst)}"
    text += f". The failed attempts took {told(failed_s)}, the pauses after them {told(paused_s)}"
    if last:
        text += f"; {plural(last, 'time')} it failed all the same"
    text += (
        f". Without them the run would be {told(gain_s)} shorter, {share(gain_s, scene.wall_s)}."
    )
    remedy = next((said for these, said in _REMEDIES if these & kinds.keys()), _OTHERWISE)
    return Candidate(Finding("retry_storm", path, gain_s, text, remedy, facts), change)


# --- waits outside maps ---------------------------------------------------------------------------


def lone_waits(scene: Scene) -> Iterator[Candidate]:
    """Find nodes that waited for threads, or outside of maps for a rate limit."""
    groups: dict[tuple[str, str], list[TreeNode]] = defaultdict(list)
    for node in scene.nodes:
        record = node.record
        if record.prefix != semconv.SPAN_NODE or not record.seconds(semconv.WAIT_LIMITER_S):
            continue
        limiter = record.attributes.get(semconv.WAIT_LIMITER)
        if limiter is None:
            calls = [c for c in node.children if c.record.prefix == semconv.SPAN_CHAT]
            # A call that waited names its resource; whoever made none waited for a thread.
            limiter = calls[0].record.attributes.get(semconv.LLM_RESOURCE, "") if calls else None
        if limiter in {None, semconv.LIMITER_THREADS}:
            limiter = ""
        groups[scene.static(node), str(limiter)].append(node)
    for (path, limiter), nodes in groups.items():
        change = Change(
            {
                node.record.span_id: max(
                    0.0, node.duration_s - node.record.seconds(semconv.WAIT_LIMITER_S)
                )
                for node in nodes
            }
        )
        gain_s = scene.replay.gain_s(change)
        waited_s = sum(node.record.seconds(semconv.WAIT_LIMITER_S) for node in nodes)
        name = clean(path.rpartition(".")[2])
        what = f"the rate limit {clean(limiter)}" if limiter else "a free thread (max_threads)"
        text = (
            f"The node '{name}' waited {told(waited_s)} for {what}, in {plural(len(nodes), 'call')}. "
            f"Without that the run would be {told(gain_s)} shorter, {share(gain_s, scene.wall_s)}."
        )
        remedy = (
            "Raise max_threads of Hush(...), or let the node await instead of blocking a thread."
        )
        if limiter:
            remedy = f"Raise {clean(limiter)}, if the provider allows it, or ask a second resource."
        facts = {"limiter": limiter or None, "waited_s": waited_s, "nodes": len(nodes)}
        kind = "rate_limit" if limiter else "thread_limit"
        yield Candidate(Finding(kind, path, gain_s, text, remedy, facts), change, depth=1)  # type: ignore[arg-type]  # one of two kinds
