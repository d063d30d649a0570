"""Rules of values: what is read, written, given and passed on."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from hush.model.each import Each
from hush.model.edge import Parent
from hush.model.ref import parts
from hush.plan.telling import hint, listing, path_of

if TYPE_CHECKING:
    from hush.plan.draft import Draft, Read
    from hush.plan.telling import Found
    from hush.plan.values import Values

PAIR_LIMIT = 200
"""Beyond this many writers of one value not every pair is compared."""


__all__ = (
    "conflicts",
    "each_elsewhere",
    "given_twice",
    "inputs_given",
    "inputs_taken",
    "outputs_known",
    "outputs_of_top",
    "reads_certain",
    "reads_ordered",
)


def inputs_taken(draft: Draft, _values: Values) -> Found:
    """Inputs that the callable does not take."""
    for i, node in enumerate(draft.nodes):
        parameters = node.parameters()
        for name in node.inputs:
            if not parameters.takes(name):
                known = parameters.required | parameters.optional
                yield (
                    path_of(draft, i),
                    f"{node.name!r} does not take the input {name!r}; it takes: {listing(known)}",
                    f"Rename or remove it.{hint(name, known)}",
                )


def inputs_given(draft: Draft, values: Values) -> Found:
    """Required inputs that are missing."""
    for i, node in enumerate(draft.nodes):
        body = values.bodies.get(i)
        if node.star_inputs:
            continue
        parameters = draft.parameters(i)
        needed = parameters.required
        if body is not None:
            needed |= node.body_reads(body.outputs)
        for name in sorted(needed - set(node.inputs)):
            where = f"{node.name!r} needs the input {name!r}"
            remedy = f"Add inputs={{{name!r}: ...}}"
            # What is not taken at all is a problem of its own, and says itself what was meant.
            spare = node.inputs.keys() - needed - parameters.optional
            guess = hint(name, filter(parameters.takes, spare))
            if body is not None:
                readers = ", ".join(values.body_readers(i, name)) or "its condition"
                where += f", which {readers} reads from PARENT"
                if node.carries():
                    remedy = f"Give its first round a value: inputs={{{name!r}: ...}}"
                else:
                    remedy += "; a nested graph sees only its inputs"
            yield path_of(draft, i), where, f"{remedy}.{guess}" if guess else remedy


def outputs_known(draft: Draft, values: Values) -> Found:
    """Unknown outputs of nodes that declare theirs."""
    for i, keys in draft.output_reads.items():
        known = values.outputs[i]
        if known is None:
            continue
        node = draft.nodes[i]
        for key in sorted(keys - known):
            if node.captures and key == "error":
                continue
            yield (
                path_of(draft, i),
                f"unknown output {key!r} of node {node.name!r}; it declares: {listing(known)}",
                f"Use a declared name.{hint(key, known)}",
            )


def reads_ordered(draft: Draft, _values: Values) -> Found:
    """Inputs read from nodes that do not run before."""
    for read in draft.reads:
        if isinstance(read.owner, Parent):
            continue
        owner = draft.index.get(id(read.owner))
        reader = draft.nodes[read.reader]
        name = read.owner.ref_name
        if owner is None:
            yield (
                path_of(draft, read.reader),
                f"{read.label!r} reads {name}[{read.key!r}], a node of another graph",
                "Pass the value through inputs= and outputs= of the graphs between",
            )
        elif read.from_output:
            continue
        elif not draft.runs_before(owner, read.reader):
            # On a cycle, and behind one, there is no order to speak of.
            if owner not in draft.sorted or read.reader not in draft.sorted:
                continue
            if owner == read.reader:
                yield (
                    path_of(draft, owner),
                    f"{read.label!r} reads {name}[{read.key!r}], which the node itself gives",
                    "Read it from a node before this one; to repeat work use WhileLoopNode",
                )
                continue
            yield (
                path_of(draft, read.reader),
                (
                    f"{read.label!r} reads {name}[{read.key!r}], but {name!r} does not run "
                    f"before {reader.name!r}"
                ),
                f"Add the edge {name} >> {reader.name}",
            )


def reads_certain(draft: Draft, values: Values) -> Found:
    """Inputs read from nodes that may be skipped or unfinished, without a default."""
    for read in draft.reads:
        if read.optional:
            continue
        if isinstance(read.owner, Parent):
            yield from _parent_read_certain(draft, values, read)
            continue
        owner = draft.index.get(id(read.owner))
        if owner is None or owner == read.reader or not draft.runs_before(owner, read.reader):
            continue
        if not draft.provided({owner}, read.reader):
            name = read.owner.ref_name
            yield _uncertain(draft, read, f"{name}[{read.key!r}]", name)


def _parent_read_certain(draft: Draft, values: Values, read: Read) -> Found:
    if values.is_given(read.key):
        return
    writers = values.writers_of(read.key)
    before = {w for w in writers if draft.runs_before(w, read.reader)}
    if before and not draft.provided(before, read.reader):
        names = " or ".join(repr(draft.nodes[w].name) for w in sorted(before))
        yield _uncertain(draft, read, f"PARENT[{read.key!r}]", f"its writer {names}")


def _uncertain(draft: Draft, read: Read, what: str, whose: str) -> tuple[str, str, str]:
    return (
        path_of(draft, read.reader),
        (
            f"{read.label!r} reads {what}, but {whose} may be skipped or unfinished when "
            f"{draft.nodes[read.reader].name!r} runs"
        ),
        f"Give a default: {what}.or_default(...), or wait for it with a hard edge",
    )


def conflicts(draft: Draft, values: Values) -> Found:
    """Two nodes that write one name, or one that writes and one that reads it, in no order."""
    for key, writers in values.writers.items():
        ordered = sorted(writers, key=values.position)
        pair = _unordered_pair(draft, ordered)
        if pair is not None:
            first, second = (draft.nodes[i].name for i in pair)
            yield (
                path_of(draft, pair[1]),
                (
                    f"{first!r} and {second!r} both write PARENT[{key!r}] and neither runs "
                    f"before the other"
                ),
                f"Connect them ({first} >> {second}) or write to different names",
            )
        for read in draft.parent_reads.get(key, ()):
            if read.reader in writers:
                continue
            for writer in ordered:
                if _clash(draft, writer, read.reader):
                    a, b = draft.nodes[writer].name, draft.nodes[read.reader].name
                    yield (
                        path_of(draft, read.reader),
                        (
                            f"{b!r} reads PARENT[{key!r}], which {a!r} writes, and neither runs "
                            f"before the other"
                        ),
                        f"Add the edge {a} >> {b}",
                    )
                    break


def _unordered_pair(draft: Draft, ordered: list[int]) -> tuple[int, int] | None:
    if all(draft.settled_before(a, b) for a, b in pairwise(ordered)):
        return None
    for a, b in combinations(ordered[:PAIR_LIMIT], 2):
        if draft.exclusive(a, b) or draft.rivals(a, b):
            continue
        # A way of edges is not enough: what was released by another may start before.
        early = draft.runs_before(a, b) and not draft.settled_before(a, b)
        if early or _clash(draft, a, b):
            return a, b
    return None


def _clash(draft: Draft, a: int, b: int) -> bool:
    if a not in draft.sorted or b not in draft.sorted:
        return False
    return not (draft.runs_before(a, b) or draft.runs_before(b, a) or draft.exclusive(a, b))


def outputs_of_top(draft: Draft, values: Values) -> Found:
    """Outputs of the top graph that nothing in it writes."""
    written = values.closed_outputs()
    if written.open:
        return
    for output in draft.graph.output_maps:
        key = parts(output.source).key
        if key not in written.names:
            yield (
                draft.path,
                f"unknown output {key!r} of the graph; its nodes write: {listing(written.names)}",
                f"Write it with outputs={{{key!r}: PARENT}} of a node.{hint(key, written.names)}",
            )


def given_twice(draft: Draft, values: Values) -> Found:
    """Bodies that write what their node gives itself, such as ``error`` where it captures."""
    for i, node in enumerate(draft.nodes):
        body = values.bodies.get(i)
        if body is None:
            continue
        own = node.own_outputs()
        for key in sorted(own.keys() & body.outputs.names):
            yield (
                path_of(draft, i),
                f"its body writes {key!r}, which {own[key]} gives too",
                "Write it under another name",
            )


def each_elsewhere(draft: Draft, _values: Values) -> Found:
    """Each inputs of nodes that iterate over nothing."""
    for i, node in enumerate(draft.nodes):
        iterated = node.each_inputs()
        for name, value in node.inputs.items():
            if isinstance(value, Each) and name not in iterated:
                yield (
                    path_of(draft, i),
                    f"input {name!r} is an Each, but a {node.kind} node runs once",
                    (
                        f"Put {node.name!r} into a MapNode or ForLoopNode that has the Each, or pass "
                        f"the collection itself"
                    ),
                )
