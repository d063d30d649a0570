"""Steps: what the run's time was spent on, as the scheduler knew it or else from the instants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hush import semconv
from hush.insight.causes.scene import share, told
from hush.insight.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hush.insight.causes.scene import Scene
    from hush.insight.tree import TreeNode

__all__ = ("Step", "longest_steps", "steps_told")

_STEPS: Final = 3
_STEP: Final = re.compile(r"(?P<label>.*) (?P<seconds>[\d.]+)s \d+%")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the run's critical path."""

    label: str
    """Such as ``pages[6].fetch``."""
    seconds: float


def longest_steps(scene: Scene) -> tuple[Step, ...]:
    """Return the longest steps, as the scheduler knew them or else from the instants."""
    said = scene.run.record.attributes.get(semconv.CRITICAL_PATH)
    texts = said if isinstance(said, list | tuple) else ()
    found = [_STEP.fullmatch(str(text)) for text in texts]
    steps = [Step(clean(m["label"]), float(m["seconds"])) for m in found if m is not None]
    steps = steps or [Step(clean(label), s) for label, s in _derived_path(scene)]
    return tuple(sorted(steps, key=lambda step: -step.seconds)[:_STEPS])


def _derived_path(scene: Scene) -> Iterator[tuple[str, float]]:
    """Walk back from the end: what ended last, and before its start what had ended last."""
    pending: list[TreeNode] = [scene.run]
    prefix = f"{scene.path(scene.run)}."
    while pending:
        node = pending.pop()
        until_ns = node.record.end_ns
        inside = []
        for child in sorted(node.children, key=lambda c: -c.record.end_ns):
            if child.record.prefix is not None and child.record.end_ns <= until_ns:
                inside.append(child)
                until_ns = child.record.start_ns
        if inside:
            pending += inside
        elif node is not scene.run:
            yield scene.path(node).removeprefix(prefix), node.duration_s


def steps_told(steps: Sequence[Step], wall_s: float) -> str:
    """Write steps one after the other, each with its share of the run."""
    return ", ".join(
        f"{one.label} {told(one.seconds)} ({share(one.seconds, wall_s)})" for one in steps
    )
