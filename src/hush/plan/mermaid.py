"""Mermaid: a plan as a flowchart in Mermaid's language.

Hard edges are solid, soft edges dotted, joins and branch choices are labels. Syntax:
https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.model.join import First, Quorum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.plan.plan import NodePlan, Plan

__all__ = ("to_mermaid",)


def to_mermaid(plan: Plan) -> str:
    """Draw a plan.

    Args:
        plan: a compiled graph.

    Returns:
        Mermaid source, from ``flowchart LR`` on.
    """
    return "\n".join(["flowchart LR", *_graph(plan, "n", "    ")])


def _graph(plan: Plan, prefix: str, indent: str) -> Iterator[str]:
    start, end = f"{prefix}_start", f"{prefix}_end"
    yield f"{indent}{start}((START))"
    for i, node in enumerate(plan.nodes):
        yield from _node(node, f"{prefix}{i}", indent)
    yield f"{indent}{end}((END))"
    shape = plan.shape
    for i in range(shape.size):
        if not shape.hard[i] and not shape.soft[i]:
            yield f"{indent}{start} --> {prefix}{i}"
        for p in shape.hard[i]:
            label = _label(plan, p, i)
            yield f"{indent}{prefix}{p} -->{label} {prefix}{i}"
        for p in shape.soft[i]:
            yield f"{indent}{prefix}{p} -.->{_label(plan, p, i)} {prefix}{i}"
        if not shape.successors[i]:
            yield f"{indent}{prefix}{i} --> {end}"


def _node(node: NodePlan, name: str, indent: str) -> Iterator[str]:
    text = _text(node.name)
    if node.body is not None:
        yield f'{indent}subgraph {name}["{_text(node.kind)} {text}"]'
        yield f"{indent}    direction LR"
        yield from _graph(node.body, f"{name}_", indent + "    ")
        yield f"{indent}end"
    elif node.node.targets():
        yield f'{indent}{name}{{"{text}"}}'
    else:
        yield f'{indent}{name}["{text}"]'


def _label(plan: Plan, source: int, target: int) -> str:
    join = plan.nodes[target].node.join
    if isinstance(join, Quorum):
        return f"|{join.k} of {len(plan.shape.hard[target])}|"
    if isinstance(join, First):
        return "|first|"
    if target in plan.shape.choices.get(source, ()):
        return "|choice|"
    return ""


def _text(text: str) -> str:
    # Mermaid reads HTML entities in quoted text; quotes and brackets would end it.
    replaced = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "#": "&num;"}
    return "".join(replaced.get(char, " " if char in "\r\n" else char) for char in text)
