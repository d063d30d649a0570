"""The critical path as Jaeger's UI draws it, so that tests can ask which spans it passes.

Written from the published description of the algorithm: a trace has one root; a child that
reaches out of its parent is cut to the parent, one that lies wholly outside is left out with all
below it; references that are not parentage do not count. Then, from the root's end backwards:

1. Go to the child that ended last. Between that child's end and the point we came from, the
   span itself is on the path.
2. In the child, do the same. When no child is left, the path runs down to the span's own start.
3. Back in the parent, the point is the start of the child just left; go to the child that ended
   last among those that ended *strictly before* that point.

Times are whole microseconds, as Jaeger keeps them: two spans, of which one ends in the very
microsecond in which the other starts, are therefore not one after the other, and the earlier
one falls off the path. The path that Hush itself computes (``hush.critical_path``) does not guess.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar


class TimedSpan(Protocol):
    """What the algorithm has to know of a span."""

    @property
    def span_id(self) -> str: ...

    @property
    def parent_id(self) -> str | None: ...

    @property
    def start_us(self) -> int: ...

    @property
    def end_us(self) -> int: ...


SpanT = TypeVar("SpanT", bound=TimedSpan)


class Section(NamedTuple, Generic[SpanT]):
    """A stretch of time in which one span alone determined when the trace would end."""

    span: SpanT
    start_us: int
    end_us: int


class _Visit(Generic[SpanT]):
    """A span cut to its parent, with the point up to which its path is still open."""

    __slots__ = ("children", "end_us", "point_us", "span", "start_us")

    def __init__(self, span: SpanT, start_us: int, end_us: int) -> None:
        self.span = span
        self.start_us = start_us
        self.end_us = end_us
        self.point_us = end_us
        self.children: list[_Visit[SpanT]] = []
        """In the order of their ends; the last one is the next candidate."""


def critical_path(spans: Iterable[SpanT]) -> list[Section[SpanT]]:
    """Compute the path that Jaeger would draw through one trace.

    Args:
        spans: all spans of one trace, in any order. Of children that ended in the same
            microsecond the one given first is taken.

    Returns:
        The sections in the order of time, empty ones left out. They do not overlap.

    Raises:
        ValueError: the trace has no root or more than one; Jaeger draws nothing then.
    """
    spans = list(spans)
    known = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_id not in known]
    if len(roots) != 1:
        raise ValueError(f"a critical path needs exactly one root span, found {len(roots)}")
    backwards: list[Section[SpanT]] = []
    stack = [_cut_to_parents(roots[0], spans)]
    entered = True
    while stack:
        visit = stack[-1]
        # On the way in any child will do, be it the one that ended with its parent.
        while not entered and visit.children and visit.children[-1].end_us >= visit.point_us:
            visit.children.pop()
        if visit.children:
            child = visit.children.pop()
            _add(backwards, visit, child.end_us)
            visit.point_us = child.start_us
            stack.append(child)
            entered = True
        else:
            _add(backwards, visit, visit.start_us)
            stack.pop()
            entered = False
    return backwards[::-1]


def _add(backwards: list[Section[SpanT]], visit: _Visit[SpanT], start_us: int) -> None:
    if start_us < visit.point_us:
        backwards.append(Section(visit.span, start_us, visit.point_us))


def _cut_to_parents(root: SpanT, spans: list[SpanT]) -> _Visit[SpanT]:
    children: dict[str, list[SpanT]] = defaultdict(list)
    for span in spans:
        if span is not root and span.parent_id is not None:
            children[span.parent_id].append(span)
    top = _Visit(root, root.start_us, root.end_us)
    open_visits = [top]
    while open_visits:
        parent = open_visits.pop()
        for span in children[parent.span.span_id]:
            if span.start_us < parent.end_us and span.end_us > parent.start_us:
                start_us = max(span.start_us, parent.start_us)
                visit = _Visit(span, start_us, min(span.end_us, parent.end_us))
                parent.children.append(visit)
                open_visits.append(visit)
        # Stable, and reversed first: of equal ends the first given comes last and is taken.
        parent.children.reverse()
        parent.children.sort(key=lambda visit: visit.end_us)
    return top
