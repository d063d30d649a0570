"""Diagnosis: why a run took as long as it did, or failed, in plain words, and what would help.

Each cause looks at the run on its own (:mod:`hush.insight.causes`); here is decided what of
it is told, and in which order: first why it failed, then by the seconds to be gained, then
what costs no time. Gains are found by replaying the run with only this one thing changed,
so that they are never more than the run took, and two of them are not always their sum:
where a gain comes already with those before it, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.blocking import blocking_nodes
from hush.insight.causes.failures import cancellations, failed
from hush.insight.causes.fan_ins import slow_predecessors
from hush.insight.causes.finding import EXPLAINS, OVERLAPS, Candidate, Finding
from hush.insight.causes.losses import partial_failures, timeouts, waste
from hush.insight.causes.replay import NO_CHANGE, both
from hush.insight.causes.retrying import lone_waits, retries
from hush.insight.causes.scene import Scene, find_run, plural, share, told
from hush.insight.causes.shared_limits import shared_limits
from hush.insight.causes.slots import limits
from hush.insight.causes.sources import sources
from hush.insight.causes.steps import Step, longest_steps, steps_told
from hush.insight.causes.stragglers import stragglers
from hush.insight.causes.workers import workers
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("Diagnosis", "Finding", "Step", "diagnose")

_RULES: Final[Sequence[Callable[[Scene], Iterable[Candidate]]]] = (
    failed,
    cancellations,
    blocking_nodes,
    retries,
    shared_limits,
    sources,
    workers,
    limits,
    stragglers,
    lone_waits,
    slow_predecessors,
    timeouts,
    partial_failures,
    waste,
)
"""Every cause that is looked for; of findings worth the same, the earlier one is told first."""
_ALWAYS: Final = frozenset({"failed", "cancelled", "timeout", "partial_failure", "waste"})
"""Kinds that are told whatever is to be gained."""
_FIRST: Final[Mapping[str, int]] = {"failed": 0, "unfinished": 0, "cancelled": 1}
"""Before all others in a run that did not go well."""
_TIMELESS: Final = frozenset({"blocking_node", "cpu_bound"})
"""Told without a gain too, after everything that has one: others may lose by it."""
_BAD: Final = frozenset({semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT, semconv.OUTCOME_CANCELLED})
_UNTIMED: Final = 9


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is to be known of a run."""

    trace_id: str
    run: str
    """The graph's name."""
    outcome: str | None
    wall_s: float
    findings: tuple[Finding, ...]
    """The most important first; at least one, except of a trace without spans."""
    gain_s: float
    """What all remedies together would gain: less than the sum where they overlap."""
    steps: tuple[Step, ...]
    """Where the time went: the longest steps of the critical path, the longest first."""
    notes: tuple[str, ...] = ()
    """What this could not take into account."""

    @property
    def first(self) -> Finding | None:
        """The most important finding."""
        return self.findings[0] if self.findings else None

    def sentences(self) -> tuple[str, ...]:
        """Return the diagnosis as paragraphs: the run, each finding, where the time went."""
        if not self.findings:
            return ("This trace holds no spans.",)
        ended = {None: "", semconv.OUTCOME_OK: " and went well"}.get(
            self.outcome, f" and ended with {self.outcome}"
        )
        said = [f"The run '{clean(self.run)}' took {told(self.wall_s)}{ended}."]
        several = len(self.findings) > 1
        for place, finding in enumerate(self.findings, 1):
            said.append(f"{place}. {finding}" if several else str(finding))
        gains = [finding.gain_s for finding in self.findings if finding.gain_s]
        if len(gains) > 1:
            said.append(
                f"All of this together would save about {told(self.gain_s)}, "
                f"{share(self.gain_s, self.wall_s)} of the run."
            )
        if self.steps and self.findings[0].kind != "all_fine":
            said.append(f"The critical path: {steps_told(self.steps, self.wall_s)}.")
        return (*said, *self.notes)

    def __str__(self) -> str:
        """Return the sentences, one paragraph a line."""
        return "\n".join(self.sentences())


def diagnose(tree: TraceTree) -> Diagnosis:
    """Say why a run took as long as it did, or failed.

    Args:
        tree: a trace from anywhere; of several runs in it the longest outermost one counts.
            Where the scheduler's facts are missing, what follows from the instants is told,
            with "about".

    Returns:
        The findings, the most important first.
    """
    run = find_run(tree)
    if run is None:
        return Diagnosis(tree.trace_id, "", None, 0.0, (), 0.0, ())
    if all(node.record.prefix is None for node in tree):
        return _of_others(tree, run)
    scene = Scene(run)
    found = [one for rule in _RULES for one in rule(scene) if _is_told(scene, one)]
    if not scene.whole:
        found.append(_unfinished(tree, scene))
    kept = _causes_only(scene, found)
    kept.sort(key=lambda one: _rank(scene, one))
    findings, gain_s = _counted_once(scene, kept)
    steps = longest_steps(scene)
    # What held the loop says where the time went, whatever the run lost by it.
    if not any(
        one.gain_s >= scene.worth_s or one.kind in _FIRST or one.kind in _TIMELESS
        for one in findings
    ):
        fine = _all_fine(scene, steps)
        calm = all(one.kind == "waste" for one in findings)
        findings = [fine, *findings] if calm else [*findings, fine]
    return Diagnosis(
        trace_id=tree.trace_id,
        run=scene.path(run),
        outcome=run.record.outcome if scene.whole else None,
        wall_s=scene.wall_s,
        findings=tuple(findings),
        gain_s=gain_s,
        steps=steps,
        notes=tuple(_notes(scene)),
    )


def _is_told(scene: Scene, one: Candidate) -> bool:
    kind = one.finding.kind
    if kind in _ALWAYS or kind in _TIMELESS:
        return True
    return one.finding.gain_s >= scene.worth_s and _follows(scene, one)


def _follows(scene: Scene, one: Candidate) -> bool:
    """Say whether the run would have been shorter, too, and not only longer in what it did not do.

    What had not ended when something else failed would have gone on; only what was over by
    then can have come earlier.
    """
    if scene.cut:
        return False
    if scene.run.record.outcome not in _BAD or one.finding.kind == "retry_storm":
        return True
    for span_id in one.change.touched:
        node = scene.node(span_id)
        while node is not None and node is not scene.run:
            if node.record.outcome in _BAD:
                return False
            node = node.parent
    return True


def _causes_only(scene: Scene, found: Sequence[Candidate]) -> list[Candidate]:
    """Leave out symptoms that one cause explains; the cause says what it led to."""
    kept = sorted(found, key=lambda one: -one.depth)
    for symptom in list(kept):
        mine_s = symptom.finding.gain_s
        if symptom.depth > 1 or not mine_s:
            continue
        for at, cause in enumerate(kept):
            if cause.depth <= symptom.depth or cause.finding.gain_s < EXPLAINS * mine_s:
                continue
            left_s = scene.replay.gain_s(symptom.change, beyond=cause.change)
            if left_s < EXPLAINS * mine_s:
                kept.remove(symptom)
                kept[at] = replace(cause, finding=_with_symptom(cause.finding, symptom.finding))
                break
    return kept


def _with_symptom(cause: Finding, symptom: Finding) -> Finding:
    if symptom.kind != "slow_predecessor" or "fan_in" in cause.facts:
        return cause
    fan_in = str(symptom.facts["fan_in"])
    lead_s = float(symptom.facts["lead_s"])
    text = f"{cause.text} '{clean(fan_in.rpartition('.')[2])}' had to wait {told(lead_s)} because of it."
    return replace(cause, text=text, facts={**cause.facts, "fan_in": fan_in, "lead_s": lead_s})


def _rank(scene: Scene, one: Candidate) -> tuple[int, float, int]:
    finding = one.finding
    if finding.kind in _FIRST and (scene.run.record.outcome != semconv.OUTCOME_OK or scene.cut):
        return (_FIRST[finding.kind], 0.0, 0)
    # Rules' order decides among equals, for sorting is stable; causes go before symptoms.
    return (_UNTIMED - 1 if finding.gain_s else _UNTIMED, -round(finding.gain_s, 3), -one.depth)


def _counted_once(scene: Scene, kept: Sequence[Candidate]) -> tuple[list[Finding], float]:
    """Say of each finding how much of its gain comes already with those before it."""
    findings: list[Finding] = []
    done, total_s = NO_CHANGE, 0.0
    for one in kept:
        finding = one.finding
        if finding.gain_s and one.change is not NO_CHANGE:
            more_s = min(finding.gain_s, scene.replay.gain_s(one.change, beyond=done))
            done = both(done, one.change)
            if total_s and finding.gain_s - more_s > OVERLAPS * finding.gain_s:
                before = [i for i, other in enumerate(findings, 1) if other.gain_s]
                where = f"under {before[0]}" if len(before) == 1 else "above"
                text = f"{finding.text} {told(finding.gain_s - more_s)} of this is already counted {where}."
                finding = replace(finding, text=text, facts={**finding.facts, "beyond_s": more_s})
            total_s += more_s
        findings.append(finding)
    return findings, min(total_s, scene.wall_s)


# --- traces without a run --------------------------------------------------------------------


def _of_others(tree: TraceTree, root: TreeNode) -> Diagnosis:
    """Say that Hush can say nothing."""
    text = (
        f"There is no run of Hush in this trace, only {plural(len(tree), 'span')} of other programs; "
        f"and only of its own runs Hush knows what waited for what."
    )
    remedy = "Was this the trace that you meant? hush traces lists the runs that are stored."
    finding = Finding("no_run", clean(root.name), 0.0, text, remedy)
    return Diagnosis(tree.trace_id, clean(root.name), None, root.duration_s, (finding,), 0.0, ())


def _unfinished(tree: TraceTree, scene: Scene) -> Candidate:
    """Say that a run has not ended, as far as this trace knows."""
    text = (
        f"The run has no span of its own here: it still goes on, its process was killed, or the "
        f"span was lost. {plural(len(tree), 'span')} had ended, the last one "
        f"{told(tree.duration_s)} after the first had begun; what else was under way is not known."
    )
    return Candidate(Finding("unfinished", scene.path(scene.run), 0.0, text, ""))


def _all_fine(scene: Scene, steps: Sequence[Step]) -> Finding:
    text = (
        "Nothing held it up: no limit, straggler, source or predecessor by which more than "
        f"{told(scene.worth_s)} could be gained."
    )
    if steps:
        text += f" The time went into {steps_told(steps, scene.wall_s)}."
    facts = {"steps": [(step.label, step.seconds) for step in steps]}
    remedy = "To be faster, make these steps themselves faster." if steps else ""
    return Finding("all_fine", scene.path(scene.run), 0.0, text, remedy, facts)


def _notes(scene: Scene) -> Iterator[str]:
    maps = [node for group in scene.maps for node in group.nodes]
    recorded = [
        scene.replay.recorded_map(node)
        for node in maps
        if node.record.attributes.get(semconv.MAP_SPANS_OMITTED)
    ]
    missing = sum(one.size - len(one.items) for one in recorded)
    if missing:
        have = "item has no span; it was" if missing == 1 else "items have no spans; they were"
        yield (
            f"{missing:,} {have} taken to be like the ordinary ones that were kept, so gains in "
            f"maps are about."
        )
