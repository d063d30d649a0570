"""What passes between a node, the compiler and the runtime: plain data and one protocol.

A kind of node says what it takes, gives and asks for in these terms, and knows nothing
of how the answer comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from hush.model.ref import Ref
    from hush.model.retry import Retry

__all__ = (
    "BodyOutputs",
    "FanOut",
    "Flaw",
    "ItemRecord",
    "NodeContext",
    "OutputMap",
    "Parameters",
    "RunIn",
    "Selection",
)

RunIn = Literal["loop", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A problem that a node knows of itself; its path is added when it is reported."""

    rule: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """Which inputs a node takes."""

    required: frozenset[str] = frozenset()
    """Names without which it cannot run."""
    optional: frozenset[str] = frozenset()
    """Names that have a default of their own."""
    open: bool = False
    """Whether any other name is taken too, as with ``**kwargs``."""

    def takes(self, name: str) -> bool:
        """Say whether ``name`` is taken."""
        return self.open or name in self.required or name in self.optional


@dataclass(frozen=True, slots=True)
class BodyOutputs:
    """What the nodes of a graph write to PARENT."""

    names: frozenset[str] = frozenset()
    """Names that are known before running."""
    open: bool = False
    """Whether further names appear at run time (``{"*": PARENT}`` without declaration)."""


@dataclass(frozen=True, slots=True, eq=False)
class OutputMap:
    """One value on its way from a node to its containing graph."""

    source: Ref
    """A reference to the node's output, with operations."""
    key: str
    """The containing graph's name for it."""


class Selection(dict[str, Any]):
    """Outputs of a node that chooses among its successors, with the names it chose."""

    __slots__ = ("chosen",)

    def __init__(self, outputs: Mapping[str, Any], chosen: Iterable[str]) -> None:
        """Keep outputs and choice.

        Args:
            outputs: the node's outputs.
            chosen: names of the selected targets; targets that are not among them
                are skipped.
        """
        super().__init__(outputs)
        self.chosen = frozenset(chosen)


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """What became of one item of a fan-out."""

    index: int
    key: str | None
    outcome: str
    outputs: Mapping[str, Any] | None
    """The body's outputs; None where the item failed."""
    error_type: str | None = None
    message: str | None = None
    attempts: int = 1
    run_s: float = 0.0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FanOut:
    """What a map asks of the runtime. Fields mean what MapNode's arguments mean."""

    each: Mapping[str, Any]
    """Input name to source object."""
    each_in_thread: frozenset[str]
    """Names of those sources whose ``next`` runs in a thread."""
    broadcast: Mapping[str, Any]
    max_concurrency: int
    on_item: Callable[[ItemRecord], None]
    """Called once per finished item, in order of completion, on the loop."""
    collect: bool
    """Whether failing items leave the others running."""
    max_failures: int | float | None
    retry: Retry | None
    timeout_s: float | None
    deadline_s: float | None
    key: Callable[[dict[str, Any]], Any] | None
    failed_when: Callable[[Mapping[str, Any]], str | None] | None
    """Gives the text of a handled failure, None where there is none."""
    carry: bool = False
    """Whether an item sees what the item before it wrote (a for loop)."""
    iterations: bool = False
    """Whether items are called iterations in spans and paths."""


class NodeContext(Protocol):
    """What a node may ask for while it runs; given by the runtime."""

    @property
    def path(self) -> str:
        """The node's path, items included."""

    @property
    def reads(self) -> frozenset[str]:
        """Names of this node's outputs that anything reads; ``*`` where all are."""

    @property
    def body_outputs(self) -> BodyOutputs:
        """What this node's body writes; empty where it has no body."""

    def annotate(self, name: str, value: Any) -> None:
        """Put an attribute on the node's span; a name from :mod:`hush.semconv`."""

    def warn(self, event: str, **facts: Any) -> None:
        """Log a warning that names the node."""

    def evaluate(self, position: int) -> Any:
        """Evaluate one of the node's :meth:`Node.conditions` against its surroundings."""

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        run_in: RunIn,
        abandon: bool,
    ) -> Awaitable[Any]:
        """Call a plain function on the loop, in a thread or in a process."""

    def run_body(self, values: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Run the body once with ``values`` as PARENT; return what it wrote."""

    def run_iteration(self, index: int, values: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Run the body once as an iteration with its own span and path."""

    def fan_out(self, request: FanOut) -> Awaitable[None]:
        """Run the body for every item of a source."""
