"""Labels: the label sets of metrics, bounded, whatever names a workflow makes up.

A metrics backend keeps every label set that it has ever seen, and so does the SDK. So what
comes from outside is bounded twice: each label has a limited number of values, and each
instrument a limited number of label sets; what comes after shares one. A label set is made
once and then found again: on the way of an item there is one look-up.
"""

from __future__ import annotations

from typing import Final

from hush import semconv
from hush.observe.describing import attributes_of, value_of

__all__ = ("GRAPHS", "NODES", "SERIES", "VALUES", "Names", "Series", "Values")

VALUES: Final = 100
"""Most values of a label that comes from outside, such as kinds of errors; all others share one."""
VALUE_LENGTH: Final = 128
"""Longest value of a label, in characters."""
GRAPHS: Final = 100
"""Most names of graphs."""
NODES: Final = 1_000
"""Most names of nodes, over all graphs."""
SERIES: Final = 1_000
"""Most label sets of one instrument, those that stand for all others left out. The SDK itself
stops at 2,000, and what it then counts has no labels at all."""
CLOSED: Final = frozenset((semconv.OUTCOME, semconv.CANCEL_REASON, semconv.MAP_BOUND_BY))
"""Labels with few values by their nature, which stay in any case."""


class Values:
    """The values that a label has had."""

    __slots__ = ("_limit", "_other", "_seen")

    def __init__(self, other: str, limit: int = VALUES) -> None:
        """Start with none.

        Args:
            other: stands for all that come once there are too many.
            limit: most values.
        """
        self._other = other
        self._limit = limit
        self._seen: set[str] = set()

    def bounded(self, value: object) -> str:
        """Return the label's value for ``value``."""
        return self.admit(str(value_of(value))[:VALUE_LENGTH])

    def admit(self, text: str) -> str:
        """Return a text that may leave, or what stands for it."""
        if text not in self._seen:
            # Threads that come here at once may add one more each, which does no harm.
            if len(self._seen) >= self._limit:
                return self._other
            self._seen.add(text)
        return text


class Names:
    """The labels of graphs, nodes and their kinds: the same on all metrics of a provider."""

    __slots__ = ("_graphs", "_kinds", "_known", "_nodes")

    def __init__(self) -> None:
        """Start with none."""
        self._graphs = Values(semconv.OTHER, GRAPHS)
        self._nodes = Values(semconv.OTHER, NODES)
        self._kinds = Values(semconv.OTHER)
        self._known: dict[tuple[str, str], str] = {}

    def graph(self, name: str) -> str:
        """Return a graph's label."""
        return self._label(semconv.GRAPH_NAME, name, self._graphs)

    def node(self, name: str) -> str:
        """Return a node's label."""
        return self._label(semconv.NODE_NAME, name, self._nodes)

    def kind(self, name: str) -> str:
        """Return the label of a kind of nodes."""
        return self._label(semconv.NODE_KIND, name, self._kinds)

    def _label(self, key: str, name: str, values: Values) -> str:
        label = self._known.get((key, name))
        if label is None:
            text = str(attributes_of({key: name})[key])[:VALUE_LENGTH]
            label = values.admit(text)
            # Made-up names fill no memory, not those either that are cut to the same label.
            if len(self._known) < GRAPHS + NODES:
                self._known[key, name] = label
        return label


class Series:
    """The label sets of one instrument."""

    __slots__ = ("_known", "_names")

    def __init__(self, *names: str) -> None:
        """Start with none.

        Args:
            *names: the labels, in the order of a key's parts.
        """
        self._names = names
        self._known: dict[tuple[str | None, ...], dict[str, str]] = {}

    def of(self, *key: str | None) -> dict[str, str]:
        """Return the label set of a key; the same object each time.

        Args:
            *key: the values, bounded each by itself; None leaves a label out.
        """
        labels = self._known.get(key)
        return self._add(key) if labels is None else labels

    def _add(self, key: tuple[str | None, ...]) -> dict[str, str]:
        pairs = list(zip(self._names, key, strict=True))
        if len(self._known) >= SERIES:
            pairs = [(name, _shared(name, value)) for name, value in pairs]
            key = tuple(value for _, value in pairs)
        made = {name: value for name, value in pairs if value is not None}
        return self._known.setdefault(key, made)


def _shared(name: str, value: str | None) -> str | None:
    """Return what stands for a value where there are too many label sets."""
    if value is None or name in CLOSED:
        return value
    return semconv.OTHER_ERROR if name == semconv.ERROR_TYPE else semconv.OTHER
