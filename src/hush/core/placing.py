"""Placing: which parts of a workflow run elsewhere, and what has to travel for that.

Looked at once, before any run: what cannot travel is a problem of the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.errors import GraphError, Problem
from hush.executors.in_process import InProcess
from hush.model.graph import Graph
from hush.model.policies import executor_flaws

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.model.executor import Executor
    from hush.model.node import Node
    from hush.plan.plan import NodePlan, Plan
    from hush.providers.hub import ResourceHub
    from hush.runtime.remote.target import Target

__all__ = ("executors_of", "targets_of")

NOTHING_ELSEWHERE: dict[int, Target] = {}


def targets_of(
    plan: Plan, executor: Executor | None, hub: ResourceHub | None
) -> Mapping[int, Target]:
    """Find what runs elsewhere.

    Args:
        plan: the top graph, compiled.
        executor: where maps run that are in no other map, and say nothing themselves; None
            is here.
        hub: where language models are configured; None where no node calls any.

    Returns:
        Where the body of a node runs, by the node's identity; what is not in it, runs here.

    Raises:
        GraphError: something cannot be sent to workers; all that cannot is in it.
    """
    problems = [
        Problem(flaw.rule, plan.name, flaw.message, flaw.remedy)
        for flaw in executor_flaws(executor)
    ]
    found = [] if problems else list(_placed(plan, plan.name, executor))
    if not found and not problems:
        return NOTHING_ELSEWHERE
    # Few workflows need it; it brings cloudpickle.
    from hush.runtime.remote.chunking import Pace  # noqa: PLC0415  # likewise
    from hush.runtime.remote.packing import pack_body  # noqa: PLC0415  # as above
    from hush.runtime.remote.target import Target  # noqa: PLC0415  # likewise
    from hush.worker.entry import run_call  # noqa: PLC0415  # likewise

    targets: dict[int, Target] = {}
    for node, body, path, where in found:
        try:
            packed = pack_body(node, path, _reference(where))
        except GraphError as error:
            problems.extend(error.problems)
            continue
        targets[id(node)] = Target(
            executor=where,
            function=run_call,
            body=packed,
            pace=Pace(),
            idempotent=_idempotent(node),
            resources=_resources(body, hub),
        )
    if problems:
        raise GraphError(plan.name, problems)
    return targets


def executors_of(targets: Mapping[int, Target]) -> tuple[Executor, ...]:
    """Return the executors that a workflow uses, each once."""
    return tuple({id(one.executor): one.executor for one in targets.values()}.values())


def _placed(
    plan: Plan, path: str, executor: Executor | None
) -> Iterator[tuple[Graph, Plan, str, Executor]]:
    """Yield the nodes whose bodies run elsewhere, compiled, with their paths and where.

    Args:
        plan: a graph.
        path: its path.
        executor: where its maps run that say nothing themselves.
    """
    for node in plan.nodes:
        if node.body is None:
            continue
        inner, where = f"{path}.{node.name}", _executor_of(node, executor)
        if where is not None and not isinstance(where, InProcess):
            assert isinstance(node.node, Graph)  # noqa: S101  # it has a body
            yield node.node, node.body, inner, where
        else:
            # What is in a map runs where the map's items run.
            yield from _placed(node.body, inner, None if node.kind == "map" else executor)


def _executor_of(node: NodePlan, executor: Executor | None) -> Executor | None:
    own: Executor | None = getattr(node.node, "executor", None)
    if own is not None:
        return own
    return executor if node.kind == "map" else None


def _idempotent(node: Node) -> bool:
    return node.idempotent and (
        not isinstance(node, Graph) or all(_idempotent(one) for one in node.nodes)
    )


def _resources(body: Plan, hub: ResourceHub | None) -> bytes | None:
    """Return what workers have to know of the resources that a body uses."""
    if hub is None or not body.resources:
        return None
    # It brings pydantic; whoever has a hub has it already.
    from hush.providers.travelling import pack_resources  # noqa: PLC0415  # as above

    return pack_resources(hub, body.resources)


def _reference(executor: Executor) -> str | None:
    """Return under which name workers import the top graph; None where it is sent to them."""
    return getattr(executor, "body", None)
