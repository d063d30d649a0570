"""Compile: a graph becomes a :class:`~hush.plan.plan.Plan`, or one ``GraphError``.

Bodies are compiled before the graphs that contain them, so that a graph knows what its
nested graphs read and write. Nothing is started and nothing is changed: the same graph
can be compiled again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hush.errors import GraphError, Problem
from hush.model.each import Each
from hush.model.edge import Parent
from hush.model.graph import Graph
from hush.model.join import First
from hush.model.policies import one_of
from hush.model.ref import MISSING, Ref, parts
from hush.model.replay import compile_value
from hush.model.shown import shown
from hush.plan.draft import Draft
from hush.plan.plan import NodePlan, Plan, Shape, StarInput
from hush.plan.rules import check
from hush.plan.values import Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hush.model.contract import Direct
    from hush.model.node import Node

__all__ = ("compile_body", "compile_graph")

TOP_POLICIES = {
    "timeout_s": "Give run(deadline_s=...), or nest it in another graph",
    "deadline_s": "Give run(deadline_s=...), or nest it in another graph",
    "retry": "Nest it in another graph, or give its nodes retry=",
    "on_error": "Nest it in another graph, or catch what run() raises",
    "join": "Nest it in another graph",
    "executor": "Give Hush(graph, executor=...), or nest it in another graph",
}
"""Arguments that say nothing on the top graph, with what to do instead."""

DEPTH_LIMIT = 150
"""Deepest nesting of graphs: compiling recurses once a level."""


def compile_graph(graph: object) -> Plan:
    """Compile the top graph.

    Args:
        graph: a GraphNode, finished.

    Returns:
        An immutable plan.

    Raises:
        TypeError: ``graph`` is no graph.
        GraphError: it has problems; all of them are in it.
    """
    if not isinstance(graph, Graph):
        msg = f"expected a GraphNode, got {type(graph).__name__}"
        raise TypeError(msg)
    problems: list[Problem] = [
        Problem(flaw.rule, graph.name, flaw.message, flaw.remedy) for flaw in graph.flaws()
    ]
    problems.extend(_top_problems(graph))
    if graph.parent is not None:
        problems.append(
            Problem(
                "nested-top",
                graph.name,
                f"it is a part of the graph {graph.parent.name!r}",
                "Run the outermost graph",
            )
        )
    plan = _compile(graph, graph.name, problems, depth=0, top=True)
    if problems:
        raise GraphError(graph.name, problems)
    return plan


def compile_body(graph: Graph, path: str) -> Plan:
    """Compile what a node contains as it is compiled together with its surroundings.

    Args:
        graph: the node.
        path: its path.

    Returns:
        An immutable plan, the same as that of the node in the plan of the whole.

    Raises:
        GraphError: it has problems; all of them are in it.
    """
    problems: list[Problem] = []
    plan = _compile(graph, path, problems, depth=0, top=False)
    if problems:
        raise GraphError(graph.name, problems)
    return plan


def _top_problems(graph: Graph) -> Iterator[Problem]:
    """Find what a graph cannot be at the top, where the run stands for a node around it."""
    if graph.each_inputs() or graph.carries():
        message = f"a {graph.kind} node is a part of a graph and is not run by itself"
        yield Problem("nested-top", graph.name, message, "Put it into a GraphNode")
        return
    for name, remedy in TOP_POLICIES.items():
        value = getattr(graph, name)
        if value is None or one_of(value, ("raise",)):
            continue
        message = f"{name}={shown(value)} on the top graph, where it would be ignored"
        yield Problem("bad-policy", graph.name, message, remedy)


def _compile(graph: Graph, path: str, problems: list[Problem], *, depth: int, top: bool) -> Plan:
    bodies: dict[int, Plan] = {}
    for i, node in enumerate(graph.nodes):
        if not isinstance(node, Graph):
            continue
        inner = f"{path}.{node.name}"
        if depth >= DEPTH_LIMIT:
            message = f"graphs are nested more than {DEPTH_LIMIT} deep"
            problems.append(Problem("depth", inner, message, "Flatten some of them"))
        else:
            bodies[i] = _compile(node, inner, problems, depth=depth + 1, top=False)
    draft = Draft(graph, path, bodies)
    values = Values(draft, bodies, frozenset(graph.inputs), open_given=bool(graph.star_inputs))
    problems.extend(check(draft, values, top=top))
    parent_reads: dict[int, set[str]] = defaultdict(set)
    for read in values.parent_reads():
        parent_reads[read.reader].add(read.key)
    required, optional = frozenset(values.required), frozenset(values.optional)
    defaults: dict[str, Any] = {}
    if top:
        required, optional, defaults = _top_inputs(graph, values)
    lanes = _lanes(draft)
    nodes = tuple(_node_plan(draft, values, lanes, i) for i in range(len(draft.nodes)))
    shape = _shape(draft, lanes)
    return Plan(
        name=graph.name,
        graph=graph,
        nodes=nodes,
        shape=shape,
        required=required,
        optional=optional,
        open_inputs=bool(graph.star_inputs),
        defaults=defaults,
        outputs=values.closed_outputs(),
        written=frozenset(values.writers),
        parent_reads={i: frozenset(names) for i, names in parent_reads.items()},
        line=_line(draft, nodes, shape),
        ancestors_write={
            i: _ancestors_write(draft, values, i)
            for i, node in enumerate(draft.nodes)
            if node.star_inputs
        },
        size=len(nodes) + sum(body.size for body in bodies.values()),
        widest=max(
            (
                max(getattr(node, "max_concurrency", 1), bodies[i].widest)
                for i, node in enumerate(draft.nodes)
                if i in bodies and isinstance(getattr(node, "max_concurrency", 1), int)
            ),
            default=1,
        ),
        resources=_resources(draft, bodies),
    )


def _resources(draft: Draft, bodies: Mapping[int, Plan]) -> dict[str, str]:
    users: dict[str, str] = {}
    for i, node in enumerate(draft.nodes):
        for name in node.resource_keys():
            users.setdefault(name, f"{draft.path}.{node.name}")
        if i in bodies:
            for name, path in bodies[i].resources.items():
                users.setdefault(name, path)
    return users


def _ancestors_write(draft: Draft, values: Values, i: int) -> frozenset[str] | None:
    if any(draft.runs_before(w, i) for w in values.open_writers):
        return None
    return frozenset(
        key
        for key, writers in values.writers.items()
        if any(draft.runs_before(w, i) for w in writers)
    )


def _top_inputs(
    graph: Graph, values: Values
) -> tuple[frozenset[str], frozenset[str], dict[str, Any]]:
    """Tell required inputs, optional ones and defaults of the top graph."""
    required, optional = set(values.required), set(values.optional)
    defaults: dict[str, Any] = {}
    for name, value in graph.inputs.items():
        inside = parts(value) if isinstance(value, Ref) else None
        if inside is None or inside.default is not MISSING:
            defaults[name] = value if inside is None else inside.default
            required.discard(name)
            optional.add(name)
        else:
            optional.discard(name)
            required.add(name)
    return frozenset(required), frozenset(optional), defaults


def _lanes(draft: Draft) -> dict[int, frozenset[int]]:
    """Find the nodes all of whose ways lead into joins only."""
    lanes: dict[int, frozenset[int]] = {}
    for i in reversed(draft.order):
        joins: set[int] = set()
        successors = draft.successors[i]
        for j in successors:
            if draft.joins[j] is not None:
                joins.add(j)
            elif j in lanes:
                joins |= lanes[j]
            else:
                break
        else:
            if successors and i not in draft.to_end:
                lanes[i] = frozenset(joins)
    return lanes


def _shape(draft: Draft, lanes: Mapping[int, frozenset[int]]) -> Shape:
    size = len(draft.nodes)
    joins = draft.joins
    return Shape(
        size=size,
        hard=tuple(
            tuple(draft.predecessors(i)) if joins[i] else tuple(draft.hard[i]) for i in range(size)
        ),
        soft=tuple(
            () if joins[i] or i in draft.soft_start else tuple(draft.soft[i]) for i in range(size)
        ),
        quorum=tuple(join.k if join else 0 for join in joins),
        cancel_rest=tuple(bool(join and join.cancel_rest) for join in joins),
        # Where START is a soft predecessor, the other soft ones decide nothing any more.
        successors=tuple(
            tuple(j for j in after if j not in draft.soft_start or i not in draft.soft[j])
            for i, after in enumerate(draft.successors)
        ),
        choices={i: frozenset(chosen.values()) for i, chosen in draft.choices.items()},
        lanes=lanes,
    )


def _line(draft: Draft, nodes: tuple[NodePlan, ...], shape: Shape) -> tuple[int, ...] | None:
    """Return the order of a graph whose nodes are calls, one after the other."""
    before: tuple[int, ...] = ()
    for i in draft.order:
        if nodes[i].direct is None or shape.hard[i] != before or shape.soft[i]:
            return None
        before = (i,)
    return tuple(draft.order) if len(draft.order) == len(nodes) else None


def _direct(draft: Draft, lanes: Mapping[int, frozenset[int]], i: int) -> Direct | None:
    node = draft.nodes[i]
    policies = (node.retry, node.timeout_s, node.deadline_s, draft.joins[i])
    plain = all(policy is None for policy in policies) and not node.captures
    return node.direct() if plain and i not in lanes and i not in draft.choices else None


def _node_plan(
    draft: Draft, values: Values, lanes: Mapping[int, frozenset[int]], i: int
) -> NodePlan:
    node = draft.nodes[i]

    def lookup(ref: Ref) -> Callable[[Any], Any]:
        inside = parts(ref)
        key = inside.key
        if isinstance(inside.owner, Parent):
            return lambda frame: frame.values.get(key, MISSING)
        index = draft.index.get(id(inside.owner), -1)

        def output(frame: Any) -> Any:
            outputs = frame.outputs.get(index)
            return MISSING if outputs is None else outputs.get(key, MISSING)

        return output

    parameters = draft.parameters(i)
    body = values.bodies.get(i)
    declared = values.outputs[i]
    reads = frozenset(draft.output_reads[i] | ({"*"} if node.star_output else set()))
    certain = draft.certain_reads.get(i, set())
    return NodePlan(
        index=i,
        name=node.name,
        kind=node.kind,
        node=node,
        inputs=tuple(
            (
                name,
                compile_value(value.source if isinstance(value, Each) else value, lookup),
                name in parameters.optional,
            )
            for name, value in node.inputs.items()
        ),
        star_inputs=tuple(_star_inputs(draft, i)),
        conditions=tuple(compile_value(condition, lookup) for condition in node.conditions()),
        writes=tuple(
            (output.key, compile_value(output.source, lookup)) for output in node.output_maps
        ),
        copies=_copies(node),
        star_output=node.star_output,
        starred=values.starred[i],
        fills=(values.wanted_of(i) if node.captures and i in values.open_writers else frozenset()),
        reads=reads,
        expected=frozenset(
            certain if body is not None else certain | _required_outputs(node, declared)
        ),
        declared=declared,
        body=body,
        races=any(isinstance(draft.joins[j], First) for j in draft.successors[i]),
        direct=_direct(draft, lanes, i),
    )


def _copies(node: Node) -> tuple[tuple[str, str], ...] | None:
    sources = [(output.key, parts(output.source)) for output in node.output_maps]
    if node.star_output or any(inside.ops or inside.owner is not node for _, inside in sources):
        return None
    return tuple((key, inside.key) for key, inside in sources)


def _required_outputs(node: Node, declared: frozenset[str] | None) -> frozenset[str]:
    required = node.required_outputs()
    return (declared or frozenset()) if required is None else required


def _star_inputs(draft: Draft, i: int) -> list[StarInput]:
    node: Node = draft.nodes[i]
    parameters = draft.parameters(i)
    takes_all = parameters.open
    result = []
    for owner in node.star_inputs:
        index = None if isinstance(owner, Parent) else draft.index.get(id(owner))
        names = (parameters.required | parameters.optional) - set(node.inputs)
        required = parameters.required - set(node.inputs)
        result.append(StarInput(index, None if takes_all else names, required))
    return result
