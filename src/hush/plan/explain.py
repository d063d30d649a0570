"""Explain: a plan as text, for people and for diffs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.model.join import First, Quorum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.plan.plan import NodePlan, Plan

__all__ = ("explain",)


def explain(plan: Plan) -> str:
    """Tell what a plan will do, one line a node, in the order in which nodes can start.

    Args:
        plan: a compiled graph.

    Returns:
        Text of several lines; the same graph gives the same text.
    """
    lines = [f"graph {plan.name}: {plan.size} node{'' if plan.size == 1 else 's'}"]
    takes = [*sorted(plan.required), *(f"{name}?" for name in sorted(plan.optional))]
    if plan.open_inputs:
        takes.append("*")
    lines.append(f"  inputs: {', '.join(takes) or 'none'}")
    gives = sorted(plan.outputs.names) + (["*"] if plan.outputs.open else [])
    lines.append(f"  outputs: {', '.join(gives) or 'none'}")
    lines.extend(_body(plan, "  "))
    return "\n".join(lines)


def _body(plan: Plan, indent: str) -> Iterator[str]:
    order = _by_level(plan)
    width = max((len(plan.nodes[i].name) + len(plan.nodes[i].kind) + 1 for i in order), default=0)
    for i in order:
        node = plan.nodes[i]
        title = f"{node.kind} {node.name}"
        yield f"{indent}{title:<{width}}  {_waits(plan, i)}{_policies(node)}".rstrip()
        if node.body is not None:
            yield from _body(node.body, indent + "    ")


def _by_level(plan: Plan) -> list[int]:
    shape = plan.shape
    level = [0] * shape.size
    missing = [len(shape.hard[i]) + len(shape.soft[i]) for i in range(shape.size)]
    ready = [i for i in range(shape.size) if not missing[i]]
    order: list[int] = []
    while ready:
        i = ready.pop()
        order.append(i)
        for j in shape.successors[i]:
            level[j] = max(level[j], level[i] + 1)
            missing[j] -= 1
            if missing[j] == 0:
                ready.append(j)
    left = set(range(shape.size)) - set(order)
    return sorted({*order, *left}, key=lambda i: (level[i], i))


def _waits(plan: Plan, i: int) -> str:
    shape = plan.shape
    names = [plan.nodes[p].name for p in shape.hard[i]]
    soft = [plan.nodes[p].name for p in shape.soft[i]]
    join = plan.nodes[i].node.join
    if isinstance(join, Quorum):
        return f"after {join.k} of {_short(names)}"
    if isinstance(join, First):
        return f"after the first of {_short(names)}"
    said = []
    if names:
        said.append(_short(names) if len(names) == 1 else f"all of {_short(names)}")
    if soft:
        said.append(f"any of {_short(soft)}")
    return f"after {' and '.join(said)}" if said else "at start"


def _short(names: list[str]) -> str:
    limit = 8
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _policies(node: NodePlan) -> str:
    spec = node.node
    said = []
    limit = getattr(spec, "max_concurrency", None)
    if limit is not None:
        said.append(f"at most {limit} at a time")
    said.extend(_limits(spec.retry, spec.timeout_s, spec.deadline_s))
    of_items = [
        getattr(spec, f"item_{name}", None) for name in ("retry", "timeout_s", "deadline_s")
    ]
    said.extend(f"{limit} per item" for limit in _limits(*of_items))
    if spec.on_error != "raise":
        said.append(f"on error {spec.on_error}")
    choices = [str(getattr(t, "name", t)) for t in spec.targets()]
    if choices:
        said.append(f"chooses among {_short(list(dict.fromkeys(choices)))}")
    return f" [{'; '.join(said)}]" if said else ""


def _limits(retry: Any, timeout_s: Any, deadline_s: Any) -> Iterator[str]:
    if retry is not None:
        yield f"{retry.attempts} attempts"
    if timeout_s is not None:
        yield f"timeout {timeout_s:g} s"
    if deadline_s is not None:
        yield f"deadline {deadline_s:g} s"
