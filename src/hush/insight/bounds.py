"""Bounds: what held each map of a trace up, as the diagnosis has it.

Whoever says it of a map says it from here, so that a page, a waterfall and ``hush why`` do not
contradict each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.diagnosis import diagnose
from hush.insight.rescheduling import static_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hush.insight.diagnosis import Finding
    from hush.insight.tree import TraceTree

__all__ = ("bounds_of",)

_OF_MAPS: Final = frozenset(
    {
        "limit_too_low",
        "nested_map",
        "cpu_bound",
        "rate_limit",
        "thread_limit",
        "straggler",
        "slow_source",
        "blocking_node",
    }
)


def bounds_of(tree: TraceTree) -> Mapping[str, Finding]:
    """Return the finding that is worth most of each map, by its path without items.

    Args:
        tree: of any size. Maps that nothing held up are not there, nor are those of a run
            that was cut off: what held these up no replay can tell.
    """
    if not any(node.record.prefix == semconv.SPAN_MAP for node in tree):
        return {}
    found: dict[str, Finding] = {}
    for finding in diagnose(tree).findings:
        if finding.kind not in _OF_MAPS:
            continue
        path = static_path(finding.path)
        if finding.kind == "blocking_node":
            path = str(finding.facts.get("map", ""))
            if not path or finding.facts["blocked_s"] < finding.facts["map_s"] / 2:
                continue
        found.setdefault(path, finding)
    return found
