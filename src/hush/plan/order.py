"""Order: topological order, ancestors and cycles of a graph of indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("find_cycles", "sort")


def sort(
    before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]
) -> tuple[list[int], list[int]]:
    """Sort nodes so that each stands behind its predecessors.

    Args:
        before: predecessors of each node.
        after: successors of each node.

    Returns:
        The order, without nodes that stand on a cycle or behind one; and for each node all
        its ancestors as a bit mask, so that "is a before b" costs one shift.
    """
    size = len(before)
    missing = [len(one) for one in before]
    ready = [i for i in range(size) if not missing[i]]
    order: list[int] = []
    ancestors = [0] * size
    while ready:
        i = ready.pop()
        order.append(i)
        mask = ancestors[i] | (1 << i)
        for j in after[i]:
            ancestors[j] |= mask
            missing[j] -= 1
            if not missing[j]:
                ready.append(j)
    return order, ancestors


def find_cycles(
    left: set[int], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Find one cycle of each knot of cycles.

    Args:
        left: nodes that could not be sorted.
        before: predecessors of each node.
        after: successors of each node.

    Returns:
        Cycles with their first node repeated at the end, each starting at its least node.
    """
    left = set(left)
    counts = {i: sum(p in left for p in before[i]) for i in left}
    cycles: list[list[int]] = []
    loose = [i for i in left if not counts[i]]
    while left:
        # What only hangs on a cycle has, once that is gone, no predecessor left.
        while loose:
            i = loose.pop()
            left.discard(i)
            for j in after[i]:
                if j in left:
                    counts[j] -= 1
                    if not counts[j]:
                        loose.append(j)
        if not left:
            break
        cycle = _walk_back(left, before)
        cycles.append(cycle)
        knot = _reach(cycle, left, after) & _reach(cycle, left, before)
        left -= knot
        for i in knot:
            for j in after[i]:
                if j in left:
                    counts[j] -= 1
                    if not counts[j]:
                        loose.append(j)
    return sorted(cycles)


def _walk_back(left: set[int], before: Sequence[Sequence[int]]) -> list[int]:
    # Every node left over has a predecessor left over, so walking back must return.
    walk: list[int] = []
    at: dict[int, int] = {}
    i = min(left)
    while i not in at:
        at[i] = len(walk)
        walk.append(i)
        i = next(p for p in before[i] if p in left)
    loop = walk[at[i] :][::-1]
    first = loop.index(min(loop))
    loop = loop[first:] + loop[:first]
    return [*loop, loop[0]]


def _reach(start: list[int], within: set[int], ways: Sequence[Sequence[int]]) -> set[int]:
    found = set(start)
    pending = list(start)
    while pending:
        for j in ways[pending.pop()]:
            if j in within and j not in found:
                found.add(j)
                pending.append(j)
    return found
