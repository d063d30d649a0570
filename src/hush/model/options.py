"""The options that constructors of nodes hand on, for type checkers.

What each means stands where it is taken: in ``Node.__init__``, ``ItemsNode.__init__`` and
``CodeNode.__init__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hush.model.contract import RunIn
    from hush.model.join import Join
    from hush.model.retry import Retry

__all__ = ("CodeOptions", "ItemsOptions", "NodeOptions", "Wiring")


class Wiring(TypedDict, total=False):
    """How a node hangs together with others, and whether it may be run again."""

    inputs: Mapping[str, Any] | None
    outputs: Mapping[str, Any] | None
    join: Join | None
    idempotent: bool


class NodeOptions(Wiring, total=False):
    """What every node takes."""

    on_error: str
    retry: Retry | None
    timeout_s: float | None
    deadline_s: float | None


class CodeOptions(NodeOptions, total=False):
    """What a CodeNode takes besides its name and its function."""

    return_keys: Iterable[str] | None
    run_in: RunIn | None
    abandon_on_cancel: bool


class ItemsOptions(Wiring, total=False):
    """What maps and for loops take."""

    on_error: str
    max_failures: int | float | None
    retry: Retry | None
    timeout_s: float | None
    deadline_s: float | None
    key: Callable[[dict[str, Any]], Any] | None
    failed_when: str | Callable[[Mapping[str, Any]], Any] | None
    span_budget: int | None
