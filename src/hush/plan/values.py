"""Values: which names of PARENT are given, written and read in one graph."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hush.model.contract import BodyOutputs
from hush.model.edge import Parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.plan.draft import Draft, Read
    from hush.plan.plan import Plan

__all__ = ("Values",)


class Values:
    """The names of one graph's PARENT.

    Attributes:
        bodies: by node, its compiled body.
        outputs: by node, names of its outputs; None where known at run time only.
        starred: by node, names that its ``{"*": PARENT}`` writes; None likewise.
        writers: by PARENT name, the nodes that write it.
        required, optional: names that the graph must or may be given from outside.
    """

    def __init__(
        self,
        draft: Draft,
        bodies: Mapping[int, Plan],
        given: frozenset[str],
        *,
        open_given: bool,
    ) -> None:
        """Collect what is written and what must come from outside.

        Args:
            draft: the graph's structure.
            bodies: compiled bodies of its nodes.
            given: names of the graph's inputs.
            open_given: whether any other name may be given.
        """
        self._draft = draft
        self._positions = {i: p for p, i in enumerate(draft.order)}
        self.bodies = bodies
        self.given = given
        self.open_given = open_given
        self.outputs: list[frozenset[str] | None] = [
            node.output_names(bodies[i].outputs if i in bodies else BodyOutputs())
            for i, node in enumerate(draft.nodes)
        ]
        self.starred = [self._starred(i) for i in range(len(draft.nodes))]
        self.writers: dict[str, set[int]] = defaultdict(set)
        self.open_writers: set[int] = set()
        for i, node in enumerate(draft.nodes):
            for output in node.output_maps:
                self.writers[output.key].add(i)
            names = self.starred[i]
            if names is None:
                self.open_writers.add(i)
            for name in names or ():
                self.writers[name].add(i)
        self.required: set[str] = set()
        self.optional: set[str] = set()
        self._find_inputs()

    def _starred(self, i: int) -> frozenset[str] | None:
        node = self._draft.nodes[i]
        if not node.star_output:
            return frozenset()
        names = node.star_names(self.bodies[i].outputs if i in self.bodies else BodyOutputs())
        return names | {"error"} if node.captures and names is not None else names

    def position(self, i: int) -> int:
        """Return a node's place in topological order."""
        return self._positions.get(i, len(self._positions))

    def writers_of(self, key: str) -> set[int]:
        """Return the nodes that write ``key``, those that may at run time included."""
        return self.writers.get(key, set()) | self.open_writers

    def is_given(self, key: str) -> bool:
        """Say whether ``key`` has a value before anything runs."""
        return key in self.required or key in self.given or self.open_given

    def parent_reads(self) -> Iterator[Read]:
        """Yield what is read from PARENT."""
        return (read for read in self._draft.reads if isinstance(read.owner, Parent))

    def wanted_of(self, i: int) -> frozenset[str]:
        """Return what others read of PARENT that only an open writer may write.

        Args:
            i: index of a node that writes all its outputs, whatever they are.
        """
        return frozenset(
            read.key
            for read in self.parent_reads()
            if not read.optional and self._draft.runs_before(i, read.reader)
        )

    def body_readers(self, i: int, name: str) -> list[str]:
        """Return the names of the nodes in a body that read ``name``."""
        body = self.bodies[i]
        return [body.nodes[r].name for r, names in body.parent_reads.items() if name in names]

    def _find_inputs(self) -> None:
        draft = self._draft
        for read in self.parent_reads():
            sure = self.writers.get(read.key, ())
            if any(draft.runs_before(w, read.reader) for w in sure):
                continue
            # What comes after an open writer is written by it or given: the run will tell.
            after_open = any(draft.runs_before(w, read.reader) for w in self.open_writers)
            optional = read.optional or after_open
            (self.optional if optional else self.required).add(read.key)
        self.optional -= self.required

    def closed_outputs(self) -> BodyOutputs:
        """Return what the graph's nodes write to PARENT."""
        return BodyOutputs(frozenset(self.writers), open=bool(self.open_writers))
