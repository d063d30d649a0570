"""Alignment: which span of one run is the same thing as which span of another.

The same node has the same name in the same place; the same item has the same key, or where
items have no keys the same index. Attempts, calls and spans that users open are not things
of their own here: they belong to the node that they are in. A node that ran in several
attempts of what contains it is one thing with several spans.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from hush import semconv

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("Alignment", "Alone", "Pair", "align")

Side = Literal["a", "b"]
_Spans = list["TreeNode"]

_THINGS: Final = frozenset(
    {
        semconv.SPAN_RUN,
        semconv.SPAN_NODE,
        semconv.SPAN_GRAPH,
        semconv.SPAN_MAP,
        semconv.SPAN_LOOP,
        semconv.SPAN_ITEM,
        semconv.SPAN_ITERATION,
    }
)
_NUMBERED: Final = frozenset({semconv.SPAN_ITEM, semconv.SPAN_ITERATION})


@dataclass(frozen=True, slots=True)
class Pair:
    """The same thing in both runs."""

    path: str
    """Such as ``g.rank[doc-7].score``: the key of an item where it was found by its key."""
    a: Sequence[TreeNode]
    """Its spans in the first run, at least one, in order of start."""
    b: Sequence[TreeNode]
    contains: bool
    """Whether it contains other pairs."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A thing in one of the runs that is not in the other; what it contains is not listed."""

    path: str
    side: Side
    spans: Sequence[TreeNode]
    skipped: bool
    """Whether the other run says that it skipped it."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two runs side by side."""

    pairs: tuple[Pair, ...]
    """Containers before what they contain."""
    alone: tuple[Alone, ...]
    unseen: Mapping[str, int]
    """By path of a map: how many items have a span in one of the runs only, where spans of
    items were omitted to spare them; nobody knows how these compare."""


def align(a: TraceTree, b: TraceTree) -> Alignment:
    """Find what is the same in two runs of about the same workflow.

    Args:
        a: the first.
        b: the second.

    Returns:
        Pairs, and what is in one of them only. Where each holds one run these are taken to
        be the same whatever their names.
    """
    pairs: list[Pair] = []
    alone: list[Alone] = []
    unseen: Counter[str] = Counter()
    # By a loop, not by recursion: a trace may be deeper than Python's stack.
    pending: list[tuple[str, _Spans, _Spans]] = [("", list(a.roots), list(b.roots))]
    while pending:
        path, spans_a, spans_b = pending.pop()
        top = not path
        inner_a = _named(spans_a if top else _below(spans_a), top=top)
        inner_b = _named(spans_b if top else _below(spans_b), top=top)
        if top and len(inner_a) == len(inner_b) == 1:
            inner_b = dict(zip(inner_a, inner_b.values(), strict=True))
        if not (_have_keys(inner_a) and _have_keys(inner_b)):
            inner_a, inner_b = _by_index(inner_a), _by_index(inner_b)
        both = [name for name in inner_a if name in inner_b]
        if not top:
            pairs.append(Pair(path, tuple(spans_a), tuple(spans_b), contains=bool(both)))
        omitted = _omitted(spans_a) or _omitted(spans_b)
        sides: tuple[tuple[Side, _Named, _Named, _Spans], ...] = (
            ("a", inner_a, inner_b, spans_b),
            ("b", inner_b, inner_a, spans_a),
        )
        for side, mine, others, elsewhere in sides:
            for name, spans in mine.items():
                if name in others:
                    continue
                if omitted and spans[0].record.prefix in _NUMBERED:
                    unseen[path] += 1
                    continue
                skipped = _node_name(spans[0]) in _skipped(elsewhere)
                alone.append(Alone(_join(path, name), side, tuple(spans), skipped))
        pending += [(_join(path, name), inner_a[name], inner_b[name]) for name in reversed(both)]
    return Alignment(tuple(pairs), tuple(alone), unseen)


@dataclass(frozen=True, slots=True)
class _Name:
    """What makes a thing the same among those beside it."""

    text: str
    by: Literal["name", "index", "key"]
    nth: int = 0
    """Several items may have one key."""


_Named = dict[_Name, _Spans]


def _below(spans: Iterable[TreeNode]) -> _Spans:
    """Return the things directly inside, through attempts, calls and what users opened."""
    found = []
    pending = [child for span in reversed(list(spans)) for child in reversed(span.children)]
    while pending:
        node = pending.pop()
        if node.record.prefix in _THINGS:
            found.append(node)
        else:
            pending.extend(reversed(node.children))
    return found


def _named(spans: Iterable[TreeNode], *, top: bool) -> _Named:
    named: _Named = {}
    seen: Counter[Hashable] = Counter()
    things = [span for span in spans if span.record.prefix in _THINGS]
    if top:
        # Below a caller's own span, too.
        others = [span for span in spans if span.record.prefix not in _THINGS]
        things += _below(others)
    for span in things:
        record = span.record
        if record.prefix not in _NUMBERED:
            name = _Name(_node_name(span), "name")
        elif isinstance(key := record.attributes.get(semconv.ITEM_KEY), str):
            # Within one span of the map: in its next attempt the key is the same item.
            place = (key, record.parent_id)
            name = _Name(key, "key", seen[place])
            seen[place] += 1
        else:
            name = _Name(str(record.index), "index")
        named.setdefault(name, []).append(span)
    return named


def _have_keys(named: _Named) -> bool:
    return all(name.by != "index" for name in named)


def _by_index(named: _Named) -> _Named:
    found: _Named = {}
    for name, spans in named.items():
        for span in spans:
            number = name if name.by == "name" else _Name(str(span.record.index), "index")
            found.setdefault(number, []).append(span)
    return found


def _join(path: str, name: _Name) -> str:
    if name.by == "name":
        return f"{path}.{name.text}" if path else name.text
    again = f"#{name.nth + 1}" if name.nth else ""
    return f"{path}[{name.text}{again}]"


def _node_name(span: TreeNode) -> str:
    name = span.record.attributes.get(semconv.NODE_NAME)
    return name if isinstance(name, str) else span.name.partition(" ")[2]


def _omitted(spans: Iterable[TreeNode]) -> bool:
    return any(span.record.attributes.get(semconv.MAP_SPANS_OMITTED) for span in spans)


def _skipped(spans: Iterable[TreeNode]) -> frozenset[object]:
    found: list[object] = []
    for span in spans:
        names = span.record.attributes.get(semconv.SKIPPED)
        found += names if isinstance(names, list | tuple) else ()
    return frozenset(found)
