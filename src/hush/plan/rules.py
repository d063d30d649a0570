"""The rules of a graph, as a table: each finds every place where it is broken.

A rule is a generator over one graph's draft. Rules do not stop each other, so that one
``GraphError`` shows everything that is wrong. Each problem names the node's path and
the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hush.errors import Problem
from hush.plan import structure_rules, value_rules
from hush.plan.telling import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hush.plan.draft import Draft
    from hush.plan.telling import Found
    from hush.plan.values import Values

__all__ = ("RULES", "Rule", "check")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    find: Callable[[Draft, Values], Found]


RULES: tuple[Rule, ...] = (
    Rule("empty-graph", structure_rules.empty),
    Rule("duplicate-name", structure_rules.duplicates),
    Rule("stray-edge", structure_rules.stray_edges),
    Rule("unknown-target", structure_rules.targets),
    Rule("cycle", structure_rules.cycles),
    Rule("unreachable", structure_rules.unreachable),
    Rule("never-runs", structure_rules.never_runs),
    Rule("join", structure_rules.joins),
    Rule("unknown-input", value_rules.inputs_taken),
    Rule("missing-input", value_rules.inputs_given),
    Rule("unknown-output", value_rules.outputs_known),
    Rule("read-order", value_rules.reads_ordered),
    Rule("read-certain", value_rules.reads_certain),
    Rule("conflict", value_rules.conflicts),
    Rule("bad-source", value_rules.each_elsewhere),
    Rule("bad-output", value_rules.given_twice),
)


def check(draft: Draft, values: Values, *, top: bool) -> Iterator[Problem]:
    """Find every problem of one graph.

    Args:
        draft: its structure.
        values: what is written and given in it.
        top: whether it is the top graph, whose outputs no outer graph reads.

    Yields:
        What the nodes know of themselves first, then problems in the order of the table.
    """
    for i, node in enumerate(draft.nodes):
        for flaw in node.flaws():
            yield Problem(flaw.rule, path_of(draft, i), flaw.message, flaw.remedy)
    for rule in RULES:
        for where, message, remedy in rule.find(draft, values):
            yield Problem(rule.name, where, message, remedy)
    if top:
        for where, message, remedy in value_rules.outputs_of_top(draft, values):
            yield Problem("unknown-output", where, message, remedy)
