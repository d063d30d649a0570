"""Plan: a compiled graph, immutable, made once and run many times.

The runtime reads only this: who waits for whom as indices, how inputs are read from a
frame, what is written where. It knows nothing of running.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hush.model.edge import PARENT
from hush.model.ref import MISSING, Ref, parts
from hush.model.replay import evaluate

if TYPE_CHECKING:
    from hush.model.contract import BodyOutputs, Direct
    from hush.model.graph import Graph
    from hush.model.node import Node

__all__ = ("NodePlan", "Plan", "Shape", "StarInput")

Reader = Callable[[Any], Any]
"""Reads one value from a frame; MISSING where it is absent."""


@dataclass(frozen=True, slots=True)
class StarInput:
    """``inputs={"*": ...}``: which names are passed on."""

    owner: int | None
    """Index of the node that is read; None for PARENT."""
    names: frozenset[str] | None
    """Names to pass where they exist; None passes all that exist."""
    required: frozenset[str] = frozenset()
    """Names among them without which the node cannot run."""


@dataclass(frozen=True, slots=True, eq=False)
class NodePlan:
    """One node, compiled."""

    index: int
    name: str
    kind: str
    node: Node
    inputs: tuple[tuple[str, Reader, bool], ...]
    """Name, reader, and whether the node can do without the value."""
    star_inputs: tuple[StarInput, ...]
    conditions: tuple[Reader, ...]
    writes: tuple[tuple[str, Reader], ...]
    """PARENT's name and how the value is read once the outputs stand in the frame."""
    copies: tuple[tuple[str, str], ...] | None
    """The same where each is one of its own outputs as it is: PARENT's name and the output's;
    None where any is more than that, or all outputs are written."""
    star_output: bool
    starred: frozenset[str] | None
    """Names that ``{"*": PARENT}`` writes; None where all that came back are written."""
    fills: frozenset[str]
    """Names that are None where the node captures a failure and they have no value: others
    read them, and only this node may be the one to write them."""
    reads: frozenset[str]
    """Output names that anything reads; ``*`` among them where all are written on."""
    expected: frozenset[str]
    """Output names that must be there: declared ones and ones read without default."""
    declared: frozenset[str] | None
    body: Plan | None
    races: bool
    """Whether it is a predecessor of a ``First``: who loses a race writes nothing."""
    direct: Direct | None
    """The one call that the node comes to; None where it has policies, chooses among its
    successors, waits for a join, may lose a race, or does anything else."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Who waits for whom; all that the ready set needs."""

    size: int
    hard: tuple[tuple[int, ...], ...]
    soft: tuple[tuple[int, ...], ...]
    """Empty where START is among the soft predecessors."""
    quorum: tuple[int, ...]
    """0 without join, else how many predecessors must succeed."""
    cancel_rest: tuple[bool, ...]
    successors: tuple[tuple[int, ...], ...]
    choices: Mapping[int, frozenset[int]]
    """By choosing node, the successors among which it chooses."""
    lanes: Mapping[int, frozenset[int]]
    """By node, the joins into which alone all its ways lead; such a node's failure is
    the join's business."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A graph, compiled."""

    name: str
    graph: Graph
    nodes: tuple[NodePlan, ...]
    shape: Shape
    required: frozenset[str]
    """Values of PARENT that must be given."""
    optional: frozenset[str]
    """Values of PARENT that may be given."""
    open_inputs: bool
    """Whether any other value may be given."""
    defaults: Mapping[str, Any]
    """The top graph's literal inputs: defaults that a run may override."""
    outputs: BodyOutputs
    written: frozenset[str]
    """Names that nodes of this graph write to PARENT, where known."""
    parent_reads: Mapping[int, frozenset[str]]
    """By node, the names that it reads from PARENT."""
    size: int
    """Number of nodes, bodies included."""
    widest: int
    """Largest ``max_concurrency`` of any map in it; 1 without maps."""
    resources: Mapping[str, str]
    """Names of the resources that nodes use, bodies included, each with the path of the
    first such node."""

    line: tuple[int, ...] | None
    """The order of its nodes, where each is one call and waits for the one before it only;
    None where any is not."""
    ancestors_write: Mapping[int, frozenset[str] | None]
    """By node that takes all of PARENT: names written before it; None where an open
    output makes that unknown."""

    def before_names(self, i: int) -> frozenset[str] | None:
        """Return the names that nodes before ``i`` write, None where unknown."""
        return self.ancestors_write.get(i, frozenset())

    def graph_outputs(self, wrote: Mapping[str, Any]) -> dict[str, Any]:
        """Return the top graph's outputs: what ``outputs=`` names, else all that was written.

        Args:
            wrote: what the graph's nodes wrote.
        """
        maps = self.graph.output_maps
        if not maps or self.graph.star_output:
            return dict(wrote)
        result: dict[str, Any] = {}
        for output in maps:
            inside = parts(output.source)
            plain = Ref(PARENT, inside.key, inside.ops)
            value = evaluate(plain, wrote)
            if value is not MISSING:
                result[output.key] = value
        return result

    def index_of(self, name: str) -> int | None:
        """Return the index of the node called ``name``, None where there is none."""
        return next((node.index for node in self.nodes if node.name == name), None)
