"""A diagnosis as the page shows it: each finding with its heading, and with jumps to spans.

What is said of "item 250" leads to that item's row, so that nobody has to look for it among
hundreds. Nothing here is made safe to show.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hush import semconv
from hush.insight.diagnosis import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hush.insight.diagnosis import Finding
    from hush.insight.page.places import Places
    from hush.insight.tree import TraceTree, TreeNode

__all__ = ("Findings",)

_JOINTS: Final = "'\"`.,;:!?()"
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_ITEM: Final = re.compile(r"\b[Ii]tem (\d+)\b(?![.,]\d| (?:s|ms|µs|%))")
"""An item, and not "a slot for each item 9.66 s"."""
_BAD: Final = frozenset({"failed", "cancelled", "timeout"})
_MILD: Final = frozenset({"partial_failure", "waste"})


class Findings:
    """Writes a diagnosis for the page of one trace."""

    def __init__(
        self, tree: TraceTree, places: Places, number: Callable[[TreeNode | None], int]
    ) -> None:
        """Look at the trace.

        Args:
            tree: that was diagnosed.
            places: its paths.
            number: gives a span's place among the page's, -1 for none.
        """
        self._places = places
        self._number = number
        self._longest: dict[str, TreeNode] = {}
        for node in tree:
            static = _INDEX.sub("", places.path(node))
            held = self._longest.get(static)
            if node.record.prefix in _SHOWN and (held is None or held.duration_s < node.duration_s):
                self._longest[static] = node

    def write(self, diagnosis: Diagnosis | Sequence[str], graph: str) -> dict[str, Any]:
        """Return what the page reads.

        Args:
            diagnosis: of the trace, or sentences on it.
            graph: that paths may be relative to.
        """
        if not isinstance(diagnosis, Diagnosis):
            return {"said": [self._linked(text, graph) for text in diagnosis], "findings": []}
        whole_s = diagnosis.wall_s or 1.0
        gaining = [one for one in diagnosis.findings if one.gain_s]
        return {
            "said": [[note] for note in diagnosis.notes],
            "findings": [self._finding(one, whole_s, graph) for one in diagnosis.findings],
            "together": [diagnosis.gain_s, diagnosis.gain_s / whole_s] if len(gaining) > 1 else [],
        }

    def _finding(self, one: Finding, whole_s: float, graph: str) -> dict[str, Any]:
        node = self._node(one.path)
        return {
            "kind": one.kind.replace("_", " "),
            "tone": "bad" if one.kind in _BAD else "mild" if one.kind in _MILD else "plain",
            "path": one.path.removeprefix(f"{graph}."),
            "at": self._number(node),
            "saves": one.gain_s,
            "share": min(1.0, one.gain_s / whole_s),
            "text": self._linked(one.text, graph, one.path),
            "remedy": self._linked(one.remedy, graph, one.path),
        }

    def _node(self, path: str) -> TreeNode | None:
        """Return the span at a path; of many on it the longest; else of what contains it."""
        while path:
            found = self._places.find(path) or self._longest.get(path)
            if found is not None:
                return found
            path = path.rpartition(".")[0]
        return None

    def _linked(self, text: str, graph: str, around: str = "") -> list[Any]:
        """Make items and paths in a text jumps."""
        parts: list[Any] = []
        at = 0
        for mention in _ITEM.finditer(text):
            item = self._item(around, mention[1])
            if item is None:
                continue
            parts += self._paths(text[at : mention.start()], graph)
            parts.append([mention[0], self._number(item)])
            at = mention.end()
        return [*parts, *self._paths(text[at:], graph)]

    def _item(self, around: str, index: str) -> TreeNode | None:
        """Return the item of a map that a path leads through, the innermost map first."""
        base = _INDEX.sub("", around)
        while base:
            # Of maps in items any one: which is meant, only the path with all indices tells.
            found = self._places.find(f"{base}[{index}]")
            if found is not None:
                return found
            base = base.rpartition(".")[0]
        return None

    def _paths(self, text: str, graph: str) -> list[Any]:
        parts: list[Any] = [""]
        for word in text.split(" "):
            core = word.strip(_JOINTS)
            node = self._places.find(core, graph) if core and core != graph else None
            if node is None:
                parts[-1] += f"{word} "
                continue
            before, _, after = word.partition(core)
            parts[-1] += before
            parts += [[core, self._number(node)], f"{after} "]
        parts[-1] = parts[-1].removesuffix(" ")
        return [part for part in parts if part]


_SHOWN: Final = frozenset(
    {semconv.SPAN_NODE, semconv.SPAN_GRAPH, semconv.SPAN_MAP, semconv.SPAN_LOOP}
)
"""Kinds of spans that a path without indices may mean."""
