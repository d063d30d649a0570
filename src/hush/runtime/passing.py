"""Passing: a node's inputs out of its frame and its outputs into it, as its plan says.

Knows nothing of how the node is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hush.errors import MissingValueError, OutputError
from hush.model.ref import MISSING
from hush.plan.telling import hint

if TYPE_CHECKING:
    from hush.plan.plan import NodePlan, StarInput
    from hush.runtime.state import Frame

__all__ = ("checked", "resolved", "starred", "writes_of")


def resolved(node: NodePlan, frame: Frame) -> dict[str, Any]:
    """Return a node's inputs by name; absent ones that it can do without are left out.

    Args:
        node: is about to run.
        frame: its graph's values.

    Raises:
        MissingValueError: one that it needs has no value.
        Exception: what an operation on a reference raised.
    """
    inputs: dict[str, Any] = {}
    for star in node.star_inputs:
        _take_star(star, inputs, node, frame)
    for name, read, optional in node.inputs:
        value = read(frame)
        if value is not MISSING:
            inputs[name] = value
        elif not optional:
            raise MissingValueError(
                f"{frame.path}.{node.name}",
                f"the input {name!r} has no value: its source was skipped or did not "
                f"give it. Add .or_default(...) to the reference, or give the value",
            )
    return inputs


def _take_star(star: StarInput, inputs: dict[str, Any], node: NodePlan, frame: Frame) -> None:
    if star.owner is None:
        before = frame.plan.before_names(node.index)
        source: Mapping[str, Any] = {
            name: value
            for name, value in frame.values.items()
            if name in frame.given or before is None or name in before
        }
    else:
        source = frame.outputs.get(star.owner, {})
    names = source.keys() if star.names is None else star.names & source.keys()
    inputs.update({name: source[name] for name in names})
    missing = star.required - inputs.keys()
    if missing and star is node.star_inputs[-1]:
        name = min(missing)
        raise MissingValueError(
            f"{frame.path}.{node.name}",
            f"the input {name!r} has no value: nothing passed by '*' is called so. "
            f"Add inputs={{{name!r}: ...}}",
        )


def checked(node: NodePlan, outputs: object, frame: Frame) -> Mapping[str, Any]:
    """Return what a node gave as its outputs, once they are found to be such.

    Args:
        node: has run.
        outputs: what its ``execute`` returned.
        frame: its graph's values, for the path.

    Raises:
        OutputError: it is no mapping, or lacks what is declared or read.
    """
    if type(outputs) is not dict and not isinstance(outputs, Mapping):
        raise OutputError(
            f"{frame.path}.{node.name}",
            f"returned {type(outputs).__name__}, expected a mapping of outputs. "
            f"Return {{'name': value}}",
        )
    if node.direct is None and node.node.captures and "error" not in outputs:
        outputs = {**outputs, "error": None}
    if node.body is not None:
        return outputs
    for key in node.expected:
        if key not in outputs:
            raise _incomplete(node, outputs, frame)
    return outputs


def _incomplete(node: NodePlan, outputs: Mapping[str, Any], frame: Frame) -> OutputError:
    known = ", ".join(repr(key) for key in outputs) or "nothing"
    missing = sorted(node.expected - outputs.keys())
    names = ", ".join(map(repr, missing))
    return OutputError(
        f"{frame.path}.{node.name}",
        f"did not return {names}, which it declares or something reads; "
        f"it returned: {known}. Return it, or mend the name.{hint(missing[0], outputs)}",
    )


def writes_of(node: NodePlan, outputs: Mapping[str, Any], frame: Frame) -> dict[str, Any]:
    """Return what a node writes to PARENT, by PARENT's names.

    Args:
        node: has run.
        outputs: what it gave.
        frame: its graph's values; nothing is written yet.
    """
    if node.copies is not None:
        return {key: outputs[name] for key, name in node.copies if name in outputs}
    writes = starred(node, outputs)
    if node.writes:
        # The mappings are read where any reference is: in the frame. Nobody else can
        # see this before the node has settled.
        frame.outputs[node.index] = outputs
        try:
            for key, read in node.writes:
                value = read(frame)
                if value is not MISSING:
                    writes[key] = value
        finally:
            del frame.outputs[node.index]
    return writes


def starred(node: NodePlan, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``{"*": PARENT}`` writes."""
    if not node.star_output:
        return {}
    known = node.starred
    return {
        key: outputs[key]
        for key in outputs
        if (isinstance(key, str) if known is None else key in known)
    }
