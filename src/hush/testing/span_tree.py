"""SpanTree: one trace as a tree that prints itself and can be asserted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush import semconv
from hush.insight.timeline import in_flight_peak
from hush.insight.tree import TraceTree, TreeNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hush.insight.record import SpanRecord

__all__ = ("SpanTree",)


class SpanTree(TraceTree):
    """The spans of one trace, for tests.

    ``str(tree)`` is an indented tree without times, the same for every run that does the
    same: children in order of start, item indices and outcomes other than ``ok`` beside
    the names.
    """

    __slots__ = ()

    # --- finding -------------------------------------------------------------------------

    @property
    def root(self) -> TreeNode:
        """The only root.

        Raises:
            AssertionError: there is none, or more than one.
        """
        if len(self.roots) != 1:
            raise AssertionError(f"{len(self.roots)} roots, expected one, in:\n{self}")
        return self.roots[0]

    def all(
        self, name: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> list[TreeNode]:
        """Return the spans that match, containers before what they contain.

        Args:
            name: the span's name, such as ``node rank``; one that ends in ``*`` matches
                by its beginning; None matches all.
            attributes: attributes that the span must have with these values.

        Returns:
            Their nodes; empty where none matches.
        """
        wanted = attributes or {}
        missing = object()
        return [
            node
            for node in self.walk()
            if _named(node.name, name)
            and all(node.record.attributes.get(k, missing) == v for k, v in wanted.items())
        ]

    def one(self, name: str | None = None, attributes: Mapping[str, Any] | None = None) -> TreeNode:
        """Return the only span that matches.

        Args:
            name: as for :meth:`all`.
            attributes: as for :meth:`all`.

        Returns:
            Its node.

        Raises:
            AssertionError: none matches, or more than one; the message shows the tree.
        """
        found = self.all(name, attributes)
        if len(found) != 1:
            raise AssertionError(
                f"{len(found)} spans match {name!r} {dict(attributes or {})}, expected one, "
                f"in:\n{self}"
            )
        return found[0]

    def item(self, node: str, index: int) -> TreeNode:
        """Return the span of one item of a map.

        Args:
            node: the map's name.
            index: the item's index.
        """
        return self.one(f"item {node}", {semconv.ITEM_INDEX: index})

    # --- checking ------------------------------------------------------------------------

    def max_overlap(self, name: str) -> int:
        """Return the largest number of spans of that name that were open at one time.

        Args:
            name: as for :meth:`all`.
        """
        return in_flight_peak([node.record for node in self.all(name)])

    def assert_sound(self) -> None:
        """Check what holds for every trace of ours.

        One root; children inside their parents' intervals; every span of ours has an
        outcome, only known ones, with the status that belongs to it; a red span has an
        ``error.type`` and a description; the exception is recorded on one span only of
        each branch; the root links to nothing of its own trace.

        Raises:
            AssertionError: naming everything that does not hold, and the tree.
        """
        wrong = [said for node in self.walk() for said in _wrong(node)]
        if len(self.roots) != 1:
            wrong.append(f"{len(self.roots)} roots")
        wrong.extend(
            f"{root.name} links to its own trace"
            for root in self.roots
            if any(link.trace_id == root.record.trace_id for link in root.record.links)
        )
        if wrong:
            raise AssertionError("\n".join([*wrong, "in:", str(self)]))

    # --- printing ------------------------------------------------------------------------

    def render(self, attributes: Iterable[str] = ()) -> str:
        """Print the tree.

        Args:
            attributes: names of attributes to show where a span has them.

        Returns:
            One line a span, indented by two spaces a level.
        """
        shown = tuple(attributes)
        return "\n".join(_line(node, shown) for node in self.walk())

    def __str__(self) -> str:
        """Return the tree without attributes."""
        return self.render()


def _named(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _line(node: TreeNode, attributes: tuple[str, ...]) -> str:
    record = node.record
    said = "  " * node.depth + record.name
    if record.index is not None:
        said += f"[{record.index}]"
    if record.outcome not in {None, semconv.OUTCOME_OK}:
        said += f" {record.outcome}"
    for name in attributes:
        if name in record.attributes:
            said += f" {name}={record.attributes[name]!r}"
    return said


_RED = frozenset((semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT, semconv.OUTCOME_HANDLED))


def _wrong(node: TreeNode) -> Iterable[str]:
    record, parent = node.record, node.parent
    label = f"{record.name}{'' if record.index is None else [record.index]}"
    if record.end_ns < record.start_ns:
        yield f"{label} ends before it starts"
    if parent is not None:
        if record.start_ns < parent.record.start_ns:
            yield f"{label} starts before {parent.name}"
        if record.end_ns > parent.record.end_ns:
            yield f"{label} ends after {parent.name}"
    if record.prefix is None:
        return
    yield from _wrong_outcome(record, label)
    own = any(event.name == semconv.EVENT_EXCEPTION for event in record.events)
    if own and any(
        event.name == semconv.EVENT_EXCEPTION
        for below in node.walk()
        if below is not node and below.record.attributes.get(semconv.ATTEMPT) is None
        for event in below.record.events
        if below.record.prefix is not None and event.attributes == _exception(record)
    ):
        yield f"{label} records an exception that a span inside it has recorded"


def _exception(record: SpanRecord) -> Mapping[str, Any]:
    return next(e.attributes for e in record.events if e.name == semconv.EVENT_EXCEPTION)


def _wrong_outcome(record: SpanRecord, label: str) -> Iterable[str]:
    outcome = record.attributes.get(semconv.OUTCOME)
    if outcome not in semconv.OUTCOMES:
        yield f"{label} has the outcome {outcome!r}"
    elif record.is_red != (outcome in _RED):
        yield f"{label} is {outcome}, its status is {record.status}"
    if record.is_red and not record.status_description:
        yield f"{label} is red and does not say why"
    if record.is_red and semconv.ERROR_TYPE not in record.attributes:
        yield f"{label} is red and has no error.type"
    if outcome == semconv.OUTCOME_CANCELLED and semconv.CANCEL_REASON not in record.attributes:
        yield f"{label} is cancelled and does not say why"
